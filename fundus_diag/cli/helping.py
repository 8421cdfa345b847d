"""`--help`: of all commands, and of one, with its flags in groups."""

import shutil
import textwrap

from fundus_diag.cli.arguments import arguments, sections
from fundus_diag.cli.groups import GROUPS, REST, recipe_default, said

WIDEST = 100  # columns: longer lines are hard to read
INDENT = 26  # columns before what a flag means


def overview(commands, program, description, more=()):
    """Help of a program: its commands, a line or two each.

    Args:
        commands: {title of a group: {name: what it does}}.
        program: as it is called.
        description: a line.
        more: (flag, text) of the program's own.
    """
    lines = [f"usage: {program} COMMAND ..", "", description]
    for title, those in commands.items():
        lines += ["", f"{title}:"]
        for name, text in those.items():
            lines += _entry(name, text, indent=16)
    lines += ["", "options:"]
    for name, text in (("-h, --help", "Show this; behind a command its flags."), *more):
        lines += _entry(name, text)
    return "\n".join(lines)


def help_of(command, program, defaults=None):
    """Help of a command.

    Args:
        command: function, see `parsing.parse`.
        program: as it is called, with the command's name.
        defaults: {name of an argument: value} in place of its own.
    """
    known = arguments(command, defaults)
    paragraphs, _, example = sections(command)
    usage = [f"usage: {program}"]
    for one in (x for x in known if x.positional):
        name = one.flag + " .." * one.metavar.endswith("..")
        usage.append(name if one.required else f"[{name}]")
    usage += [f"{x.flag} {x.metavar}" for x in known if x.required and not x.positional]
    usage += ["[OPTIONS]"] * any(not x.required and not x.positional for x in known)
    lines = _wrapped(" ".join(usage), hanging=4)
    for text in paragraphs:
        lines += ["", *_wrapped(text)]
    for title, those in grouped(known).items():
        lines += ["", f"{title}:"]
        for one in those:
            name = one.flag if one.positional else f"{one.flag} {one.metavar}".strip()
            lines += _entry(name, _text(one))
    if example:
        lines += ["", "example:", *(f"  {x}" for x in example)]
    return "\n".join(lines)


def grouped(known):
    """{title: `Argument`s}; those that have no group of their own stand last, or alone."""
    places = {name: title for title, names in GROUPS.items() for name in names}
    configured = any(x.configuration and x.name == "run_dir" for x in known)
    found = {"arguments": [x for x in known if x.positional]}
    found |= {title: [] for title in GROUPS}
    found |= {"maps": [], REST: []}
    for one in known:
        if one.positional:
            continue
        own = "maps" if one.configuration else REST
        found[places.get(one.name, own) if configured else own].append(one)
    order = {name: i for i, name in enumerate(places)}
    for title in GROUPS:
        found[title].sort(key=lambda x: order[x.name])
    return {title: those for title, those in found.items() if those}


def _text(one):
    """What an argument means, and what holds without it."""
    text = one.text
    if one.positional and one.choices:
        text = f"{text.removesuffix('.')}: {', '.join(one.choices)}."
    if one.negated:
        text = f"Leave out: {text[:1].lower()}{text[1:]}"
    if not one.metavar:
        return text
    if one.required:
        return f"{text} (required)"
    if one.said:
        return f"{text} ({one.said})"
    default = recipe_default(one) if one.default is None else said(one.default)
    if default:
        return f"{text} (default: {default})"
    return text if "default" in text.lower() or "without" in text.lower() else f"{text} (optional)"


def _entry(name, text, indent=INDENT):
    wrapped = _wrapped(text, indent)
    if len(name) > indent - 4:
        return [*_wrapped(name, 2, hanging=4), *wrapped]
    return [f"  {name}".ljust(indent) + wrapped[0].lstrip(), *wrapped[1:]]


def _wrapped(text, indent=0, hanging=0):
    width = min(WIDEST, shutil.get_terminal_size().columns)
    blank = " " * indent
    return textwrap.wrap(
        text or "-", max(width, indent + 20), initial_indent=blank,
        subsequent_indent=blank + " " * hanging, break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
