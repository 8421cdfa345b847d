"""From the words of a command line to the function that they call."""

import contextlib
import difflib
import functools
import inspect
import io
import typing
from pathlib import Path

import tyro

from fundus_diag.cli.arguments import arguments
from fundus_diag.cli.helping import help_of
from fundus_diag.utils.errors import UsageError

File = tyro.conf.Positional[Path]
DISCLAIMER = "A research tool, not for clinical use."
HELP = ("-h", "--help")


def parse(command, words, program, defaults=None):
    """The arguments that words give a command.

    Args:
        command: function; flags come from its signature, help from its docstring.
        words: of the command line, after the command.
        program: the program's name and the command's.
        defaults: {name of an argument: value that stands for what is not said}.

    Returns:
        (args, kwargs), or None where help was asked for and given.

    Raises:
        UsageError: one line, in place of the parser's box over many.
    """
    if set(HELP) & set(words):
        print(help_of(command, program, defaults))
        return None
    _check_flags(command, words, program, defaults)
    complaint, called = io.StringIO(), []

    @functools.wraps(command)
    def noted(*args, **kwargs):
        called.append((args, kwargs))

    noted.__signature__ = _signature(command, defaults or {})
    noted.__annotations__ = {x.name: x.annotation for x in
                             noted.__signature__.parameters.values()}  # fmt: skip
    del noted.__wrapped__  # its signature is the one that counts
    try:
        with contextlib.redirect_stderr(complaint):
            tyro.cli(noted, prog=program, args=words, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit:
        raise UsageError(_first_sentence(complaint.getvalue())) from None
    return called[0]


def chosen(name, commands, program):
    """The command of a name; raises UsageError with the nearest where there is none."""
    if name in commands:
        return commands[name]
    raise _unknown(name, "option" if name.startswith("-") else "command", commands, program)


def _unknown(word, what, known, program):
    """The error of a word that is not among the known ones; it names the nearest of them."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    near = f", did you mean {found[0]}?" if found else ""
    return UsageError(f"{word}: no such {what}{near}; `{program} --help` lists all")


def _check_flags(command, words, program, defaults):
    """Raises UsageError at the first flag that the command does not have."""
    known = [x.flag for x in arguments(command, defaults) if not x.positional]
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        if name.startswith("--") and len(name) > 2 and name not in known:
            raise _unknown(name, "option", known, program)


def _signature(command, defaults):
    """Of a command, with other defaults."""
    hints = typing.get_type_hints(command, include_extras=True)
    parameters = [
        known.replace(annotation=hints[name], default=defaults.get(name, known.default))
        for name, known in inspect.signature(command).parameters.items()
    ]
    return inspect.Signature(parameters)


def _first_sentence(box):
    """The message of the parser's box, without its frame, hints and help texts."""
    lines = [x.strip("│╭╰╮╯ ") for x in box.splitlines()[1:]]
    rule = next((i for i, x in enumerate(lines) if x.startswith("─")), len(lines))
    if lines and lines[0].startswith("Missing"):
        lines = [x for x in lines[:rule] if x.startswith(("Missing", "-")) or x.isupper()]
    return " ".join(" ".join(lines[:rule]).split())
