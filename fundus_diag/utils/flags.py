"""What every configuration does with its flags: their names, and their ranges."""

from fundus_diag.utils.errors import UsageError


def check_limits(config, limits):
    """Raises UsageError at the first value out of its range; `limits`: {field: (low, high)}."""
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise UsageError(f"{flag(name)} {value}: must lie from {low} to {high}")


def flag(name):
    """Command-line name of a field."""
    return "--" + name.replace("_", "-")
