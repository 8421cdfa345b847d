"""The two mistakes a user can make; the command line prints either as one line. And its words."""

import re

SHOWN = 100  # characters of a text from outside that a line quotes
# As `repr` quotes, which sets a backslash before its own sign; not the apostrophe of a word.
_LONG = re.compile(
    rf"(?<!\w)(?:'((?:[^'\\]|\\.){{{SHOWN}}})(?:[^'\\]|\\.)+'"
    rf'|"((?:[^"\\]|\\.){{{SHOWN}}})(?:[^"\\]|\\.)+")'
)


def shortened(line):
    """A line, of whose quotations that are long the beginning is left."""
    return _LONG.sub(lambda found: f"'{found[1] or found[2]}..'", line)


class _Mistake(ValueError):
    def __init__(self, line):
        super().__init__(shortened(line))

    def _render_traceback_(self):
        """What a notebook shows in place of a traceback: lines of IPython's protocol."""
        return [f"{type(self).__name__}: {self}"]


class DataError(_Mistake):
    """A file, row or image is wrong; the message names it. Exit status 1."""


class UsageError(_Mistake):
    """A flag is wrong or two flags contradict each other; the message names them. Exit status 2."""


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 row", "2 rows"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
