"""Published data sets, a builder each; `fundus_diag.datasets` is where they are called."""
