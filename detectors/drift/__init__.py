"""Drift: the level of a signal has moved and stays moved."""
