"""From the words of a command line to the function that they call."""

import contextlib
import functools
import io
from pathlib import Path

import tyro

from fundus_diag.utils.errors import UsageError

File = tyro.conf.Positional[Path]
DISCLAIMER = "A research tool, not for clinical use."


def parse(commands, argv, program, description):
    """The command that `argv` names and its arguments.

    Args:
        commands: {name: function}; flags come from its signature, help from its docstring.
        argv: words after the program's name.
        program: the program's name.
        description: its first line of help.

    Returns:
        (function, args, kwargs), or None where help was asked for and given.

    Raises:
        UsageError: one line, in place of the parser's box over many.
    """
    complaint = io.StringIO()
    called = []

    def note(command):
        @functools.wraps(command)
        def noted(*args, **kwargs):
            called.append((command, args, kwargs))

        return noted

    try:
        with contextlib.redirect_stderr(complaint):
            tyro.extras.subcommand_cli_from_dict(
                {name: note(command) for name, command in commands.items()},
                prog=program,
                description=description,
                args=argv or ["--help"],
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            return None
        raise UsageError(_first_sentence(complaint.getvalue())) from None
    return called[0]


def _first_sentence(box):
    """The message of the parser's box, without its frame, hints and help texts."""
    lines = [x.strip("│╭╰╮╯ ") for x in box.splitlines()[1:]]
    rule = next((i for i, x in enumerate(lines) if x.startswith("─")), len(lines))
    if lines and lines[0].startswith("Missing"):
        lines = [x for x in lines[:rule] if x.startswith(("Missing", "-")) or x.isupper()]
    return " ".join(" ".join(lines[:rule]).split())
