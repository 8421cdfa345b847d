"""Layers that several families of encoders share."""
