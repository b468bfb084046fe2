"""Outliers: values far outside what the baseline allows, several in a row."""
