"""Published data sets and one's own, as tables."""
