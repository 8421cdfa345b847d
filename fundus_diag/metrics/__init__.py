"""From arrays to figures and their intervals."""
