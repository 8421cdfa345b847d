"""What every configuration does with its flags: their names, and their ranges."""

import dataclasses

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


def words_of(config):
    """Words of a command line that say a configuration: its flags that are not the defaults'."""
    words = []
    for x in dataclasses.fields(config):
        value = getattr(config, x.name)
        if value == x.default or (x.name in ("resume", "overwrite") and not value):
            continue
        if isinstance(value, bool):
            words.append(flag(x.name) if value else flag(f"no_{x.name}"))
        elif isinstance(value, tuple):
            words += [flag(x.name), *map(str, value)]
        else:
            words += [flag(x.name), str(value)]
    return words
