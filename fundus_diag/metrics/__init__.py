"""Figures of merit and their intervals; `fundus_diag.evaluation` puts them together."""
