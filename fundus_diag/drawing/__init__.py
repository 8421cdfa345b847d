"""The parts of a drawn photograph; `fundus_diag.synthetic` puts them together."""
