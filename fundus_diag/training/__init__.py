"""From a table to a finished run."""
