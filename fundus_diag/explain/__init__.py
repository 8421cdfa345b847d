"""Where in a photograph a logit comes from: class activation maps, filters, pictures, measures."""

from fundus_diag.explain.cam import METHODS, maps

__all__ = ["METHODS", "maps"]
