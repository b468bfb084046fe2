"""What fault experiments share: proxies, workers on a broker, verdicts, measurements."""
