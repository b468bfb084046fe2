"""Mixes: which labels of a category a segment has, and in which shares."""
