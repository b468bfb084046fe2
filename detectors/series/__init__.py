"""One time series, one row at a time: evidence of a change, novelty of a value, and the band where it should
lie.
"""
