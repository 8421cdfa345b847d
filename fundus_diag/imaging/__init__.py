"""From the bytes of a file to its field of view; `fundus_diag.preprocess` puts it together."""
