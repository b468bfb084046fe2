"""Absolute rules: bounds that people set, whatever the history says."""
