"""The parts of the report; `fundus_diag.report` puts them together."""
