"""From the words of a command line to the function that they call."""

import contextlib
import dataclasses
import functools
import inspect
import io
import typing
from pathlib import Path
from typing import Annotated

import tyro

from fundus_diag.utils.errors import UsageError

File = tyro.conf.Positional[Path]
DISCLAIMER = "A research tool, not for clinical use."


def parse(commands, argv, program, description, defaults=None):
    """The command that `argv` names and its arguments.

    Args:
        commands: {name: function}; flags come from its signature, help from its docstring.
        argv: words after the program's name.
        program: the program's name.
        description: its first line of help.
        defaults: {command: {name of an argument: value that stands for what is not said}}.

    Returns:
        (function, args, kwargs), or None where help was asked for and given.

    Raises:
        UsageError: one line, in place of the parser's box over many.
    """
    complaint = io.StringIO()
    called = []

    def note(name, command):
        @functools.wraps(command)
        def noted(*args, **kwargs):
            called.append((command, args, kwargs))

        noted.__signature__ = _signature(command, (defaults or {}).get(name, {}))
        noted.__annotations__ = {x.name: x.annotation for x in
                                 noted.__signature__.parameters.values()}  # fmt: skip
        del noted.__wrapped__  # its signature is the one that counts
        return noted

    try:
        with contextlib.redirect_stderr(complaint):
            tyro.extras.subcommand_cli_from_dict(
                {name: note(name, command) for name, command in commands.items()},
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


def _signature(command, defaults):
    """Of a command: with other defaults, and with what the help says of them."""
    hints = typing.get_type_hints(command, include_extras=True)
    parameters = []
    for name, known in inspect.signature(command).parameters.items():
        kind = hints[name]
        default = defaults.get(name, known.default)
        for part in (kind, *typing.get_args(kind)):
            if isinstance(part, type) and dataclasses.is_dataclass(part):
                _explain_defaults(part)
        kind = _with_hint(name, kind)
        parameters.append(known.replace(annotation=kind, default=default))
    return inspect.Signature(parameters)


@functools.cache
def _explain_defaults(configuration):
    """Puts into a dataclass's fields what the help says of their defaults."""
    for kind in reversed(configuration.__mro__):
        for name, hint in kind.__dict__.get("__annotations__", {}).items():
            kind.__annotations__[name] = _with_hint(name, hint)


def _with_hint(name, kind):
    """The type of an argument, with words in place of the parser's "default: None"."""

    def hint(default):
        if default in ("None", ""):
            return "(optional)"  # the text says what happens without it
        off = f"; --no-{name.replace('_', '-')} turns it off"
        return {"True": f"(default: on{off})", "False": "(default: off)"}.get(
            default, f"(default: {default})"
        )

    # A hint that a command gives itself counts.
    said = any(getattr(x, "help_behavior_hint", None) for x in getattr(kind, "__metadata__", ()))
    return kind if said else Annotated[kind, tyro.conf.arg(help_behavior_hint=hint)]


def _first_sentence(box):
    """The message of the parser's box, without its frame, hints and help texts."""
    lines = [x.strip("│╭╰╮╯ ") for x in box.splitlines()[1:]]
    rule = next((i for i, x in enumerate(lines) if x.startswith("─")), len(lines))
    if lines and lines[0].startswith("Missing"):
        lines = [x for x in lines[:rule] if x.startswith(("Missing", "-")) or x.isupper()]
    return " ".join(" ".join(lines[:rule]).split())
