"""`fundus-diag`: a file a command, which holds its flags and prints."""

from fundus_diag.cli.main import main

__all__ = ["main"]
