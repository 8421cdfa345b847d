"""Where in a photograph a logit comes from: maps by many methods, filters, pictures, measures."""

__all__ = ["METHODS", "maps"]


def __getattr__(name):
    # On first use: TensorFlow takes seconds to import, and `settings` is needed for a help text.
    if name == "maps":
        from fundus_diag.explain.explainer import maps

        return maps
    if name == "METHODS":
        from fundus_diag.explain.methods.registry import METHODS

        return METHODS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
