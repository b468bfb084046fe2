"""Measurements side by side in one run: ratios and percentiles, never verdicts of a test run."""
