"""Where in a photograph a logit comes from: maps by many methods, filters, pictures, measures."""

from fundus_diag.explain.explainer import maps
from fundus_diag.explain.methods.registry import METHODS

__all__ = ["METHODS", "maps"]
