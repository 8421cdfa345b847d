"""A run's folder: claimed, described, read back, applied."""
