"""Time series in CSV files through the series detector: reading, writing, drawing."""
