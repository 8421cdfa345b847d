"""Weights of encoders: published ones ported by name, and files of our own. Loading is strict."""
