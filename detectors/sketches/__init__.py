"""Mergeable summaries: merging is exactly associative and commutative."""
