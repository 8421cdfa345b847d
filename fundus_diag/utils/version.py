"""The version, where building the package can read it without its dependencies."""

__version__ = "0.1.0"
