"""What a command takes, read from its signature: for its help, completion and misspelt flags."""

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from pathlib import Path
from typing import Annotated, Literal, Union

from fundus_diag.utils.flags import flag

NAMES = {Path: "PATH", str: "TEXT", int: "N", float: "X"}


@dataclasses.dataclass(frozen=True)
class Argument:
    """One of a command's arguments.

    Attributes:
        name: of the parameter, or of the field of a configuration.
        positional: whether it stands without a flag.
        metavar: what follows the flag, "" for a switch.
        choices: that it has to be one of; of any text none.
        default: `inspect.Parameter.empty` where it is required.
        text: what it means, one paragraph.
        configuration: dataclass that it is a field of, or None.
        said: of its default, where the command says it in its own words, or "".
    """

    name: str
    positional: bool
    metavar: str
    choices: tuple
    default: object
    text: str
    configuration: type | None = None
    said: str = ""

    @property
    def required(self):
        return self.default is inspect.Parameter.empty

    @property
    def negated(self):
        """Whether it is a switch that turns something off."""
        return not self.metavar and self.default is True

    @property
    def flag(self):
        """As it is typed; of a positional its name in capitals."""
        if self.positional:
            return self.name.upper()
        return flag(f"no_{self.name}" if self.negated else self.name)


def arguments(command, defaults=None):
    """The `Argument`s of a command, those of its configurations among them.

    Args:
        command: function; see `parsing.parse`.
        defaults: {name: value} in place of its own.
    """
    defaults = defaults or {}
    hints = typing.get_type_hints(command, include_extras=True)
    texts, found = sections(command)[1], []
    for name, known in inspect.signature(command).parameters.items():
        kind, marks = _plain(hints[name])
        default = defaults.get(name, known.default)
        if dataclasses.is_dataclass(kind):
            found += _fields(kind, default)
            continue
        positional = known.kind is known.POSITIONAL_ONLY
        said = next((x(None) for x in (getattr(m, "help_behavior_hint", None) for m in marks)
                     if callable(x)), "")  # fmt: skip
        shown = *_shown(kind, marks), default, texts.get(name, "")
        found.append(Argument(name, positional, *shown, said=said))
    return found


def sections(command):
    """(paragraphs of a docstring, {argument: text}, lines of its example)."""
    lines = inspect.getdoc(command).splitlines()
    parts, name = {"": []}, ""
    for line in lines:
        if line in ("Args:", "Example:"):
            name = line
        parts.setdefault(name, []).append(line)
    texts, last = {}, None
    for line in textwrap.dedent("\n".join(parts.get("Args:", [])[1:])).splitlines():
        if line and not line.startswith(" "):
            last, _, line = line.partition(": ")
        if last:
            texts[last] = f"{texts.get(last, '')} {line.strip()}".strip()
    paragraphs = "\n".join(parts[""]).strip().split("\n\n")
    example = textwrap.dedent("\n".join(parts.get("Example:", [])[1:])).strip()
    return [" ".join(x.split()) for x in paragraphs], texts, example.splitlines()


def _fields(configuration, values):
    texts, found = field_texts(configuration), []
    hints = typing.get_type_hints(configuration, include_extras=True)
    for field in dataclasses.fields(configuration):
        default = field.default
        if dataclasses.is_dataclass(values) and not isinstance(values, type):
            default = getattr(values, field.name)
        if default is dataclasses.MISSING:
            default = inspect.Parameter.empty
        shown = *_shown(*_plain(hints[field.name])), default, texts.get(field.name, "")
        found.append(Argument(field.name, False, *shown, configuration))
    return found


@functools.cache
def field_texts(configuration):
    """{field: the text below it} of a dataclass, those of its bases among them."""
    texts = {}
    for kind in reversed(configuration.__mro__):
        if kind is object:
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        for field, below in zip(body.body, body.body[1:], strict=False):
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and is_text:
                texts[field.target.id] = " ".join(below.value.value.split())
    return texts


def _plain(hint):
    """(type, what it is annotated with)."""
    marks = ()
    while typing.get_origin(hint) is Annotated:
        hint, *more = typing.get_args(hint)
        marks += tuple(more)
    return hint, marks


def _shown(kind, marks=()):
    """(metavar, choices) of a type."""
    factory = next((m.constructor_factory for m in marks
                    if getattr(m, "constructor_factory", None)), None)  # fmt: skip
    kind = factory() if factory else kind
    if kind is bool:
        return "", ()
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        (left,) = [x for x in inner if x is not type(None)]
        return _shown(left)
    if origin is Literal:
        choices = tuple(str(x) for x in inner if x is not None)
        return "{" + ",".join(choices) + "}", choices
    if origin is tuple:
        one, choices = _shown(inner[0])
        if inner[-1] is not ...:
            return " ".join(_shown(x)[0] for x in inner), choices
        return f"{one} ..", choices
    return NAMES[kind], ()
