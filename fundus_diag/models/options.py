"""Options of encoders as words of a command line: NAME=VALUE."""

import contextlib

from fundus_diag.models.encoders import defaults
from fundus_diag.models.layers.preprocessing import LARGEST
from fundus_diag.utils.errors import UsageError

# Parameters of feature maps that are not for `parse_options`: flags of their own, or inner matters.
_OWN = {"drop_path", "activation", "final_norm", "readable", "class_token", "patches"}


def parse_options(encoder, words):
    """Options of an encoder from words NAME=VALUE: numbers, true, false, 1,2,10 or text.

    Raises:
        UsageError: no such encoder or option, or a word of another form.
    """
    known = {k: x for k, x in defaults(encoder).items() if k not in _OWN}
    return parsed(words, known, "--encoder-options", encoder)


def parsed(words, known, flag, owner):
    """Options from words NAME=VALUE: numbers, true, false, 1,2,10 or text.

    Args:
        known: {name: default}; a value is of the default's kind.
        flag, owner: that the words stand behind, and what has the options, for messages.

    Raises:
        UsageError: no such option, or a word of another form.
    """
    options = {}
    for word in words:
        name, equals, value = str(word).partition("=")
        if name not in known or not equals:
            raise UsageError(f"{flag} {word}: {owner} has {', '.join(known)} (NAME=VALUE)")
        values = tuple(_value(x) for x in value.split(","))
        options[name] = values if len(values) > 1 else values[0]
        if isinstance(known[name], str):  # there, "none" is a name like others
            options[name] = value
        if not _alike(options[name], known[name]):
            raise UsageError(f"{flag} {word}: such as {name}={_text(known[name])}")
    return options


def _alike(value, default):
    """Whether a value can stand for the default: so many numbers, yes or no, or a text."""
    if isinstance(default, tuple):
        fits = isinstance(value, tuple) and len(value) == len(default)
        return fits and all(_alike(v, d) for v, d in zip(value, default, strict=True))
    if isinstance(default, (bool, str)):
        return type(value) is type(default)
    if isinstance(default, int):
        return type(value) is int and 0 < value <= LARGEST
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (numeric and 0 < value <= LARGEST)


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def _value(text):
    words = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
