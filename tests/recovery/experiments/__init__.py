"""All fault experiments; each module has a tuple ``EXPERIMENTS``."""
