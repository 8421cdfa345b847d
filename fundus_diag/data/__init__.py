"""From a table of photographs to batches."""
