"""The pages that a run is read by."""
