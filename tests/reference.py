"""Writes docs/reference/{commands,recipes,encoders,data-sets,metrics,python}.md out of the code.

    python tests/reference.py [FOLDER]

What they say stands in the code and in data_manifests/ alone; tests/docs/test_reference.py fails
where a page lags.
"""

import contextlib
import importlib
import inspect
import io
import os
import re
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout's, whatever is installed
FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- Made by `make reference`: mend the code that it is made of. -->"
WIDTH = "110"  # columns of the help texts that are read

# What each figure is. tp, fp, fn, tn are cells of the confusion matrix of a label.
FIGURES = {
    "roc_auc": (
        "the chance that an ill one scores higher than a healthy one; ties count half",
        ".5",
    ),
    "average_precision": (
        "sum over the ranks of precision x rise of recall: area under precision over recall",
        "the prevalence",
    ),
    "accuracy": ("(tp + tn) / all", ""),
    "precision": ("tp / (tp + fp): positive predictive value", "the prevalence"),
    "recall": ("tp / (tp + fn): sensitivity", ""),
    "f1": ("2 tp / (2 tp + fp + fn)", ""),
    "specificity": ("tn / (tn + fp)", ""),
    "false_positive_rate": ("fp / (tn + fp)", ""),
    "mcc": ("Matthews' correlation of truth and call", "0"),
    "brier": ("mean of (probability - truth) squared; 0 is best", "prevalence x (1 - prevalence)"),
    "ece": ("expected calibration error: mean gap of probability and truth over bins", "0"),
    "npv": ("tn / (tn + fn): negative predictive value", "1 - the prevalence"),
}
MEASURES = {
    "pointing": (
        "whether the highest place of the map lies in a lesion, or near enough; of several as high "
        "their share"
    ),
    "energy": "share of the map's sum that lies in lesions",
    "overlap": "soft Jaccard: sum of the smaller of map and mask over sum of the larger",
    "overlap_as_planned": "the same as the original system's plan has it",
    "iou_best": "intersection over union with the mask at the map's best level",
    "iou": "intersection over union with the mask at a level of .5",
    "deletion": (
        "area under the probability as the map's highest places are deleted first; low is good"
    ),
    "insertion": "area under the probability as they are shown first; high is good",
}
COMMANDS = """What `fundus-diag COMMAND --help` says. Each command reads files and writes files
and can be run again alone; status 0 is done, 1 a wrong file or photograph, 2 a wrong flag, 130
Ctrl-C."""
RECIPES = """What `--recipe` sets where a flag does not say otherwise. `auto`, the default, is
`scratch` with `--weights none`, else the encoder's own: [encoders](encoders.md). Where each
comes from and what was left out: [fine-tuning](../how-to/encoders.md#fine-tuning)."""
ENCODERS = """What each is, how large, and how it is trained: [encoders](../how-to/encoders.md).
`--recipe auto` is `scratch` for all of them with `--weights none`."""
DATA_SETS = """What `data_manifests/NAME.toml` says of each, for `fundus-diag manifest build
NAME`. All at a glance, and how to add one: [data sets](../how-to/data-sets.md)."""
METRICS = """As they are called in `metrics_<split>.json` and `.csv`. What is undefined is
`null` or empty: never 0, never .5. Each has a 95 % interval, `NAME_ci`, by the bootstrap over
patients, where enough resamples define it."""
MEANS = """The calibration error has {bins} bins of equal width. In macro means, which count
every label alike, {means} of a label that could have been called and never was, or always, count
0: who never says a label would gain by it. Micro figures are of all labels' entries together.
`precision_at_half` and `npv_at_half` are predictive values where half of all are ill: those at any
other share follow from them, for the odds are in proportion."""
MAPS = """By `fundus-diag explain-eval`, inside the field of view, beside a uniform map and a
centred Gaussian."""
OUTLINES = """Dice, IoU, distances, lesions found:
[segments](../how-to/segments.md#what-is-written)."""
OTHERS = {
    "exact_match": "share of rows of which every label is called right",
    "hamming": "share of entries that are called wrong",
    "grade.accuracy": "share of rows whose likeliest grade is the true one",
    "grade.kappa": "quadratic kappa: agreement beyond chance, a miss by k grades weighs k squared",
    "grade.referable": "the figures of a label, of the grade of the cut and above at its threshold",
    "odir.kappa, odir.f1, odir.auc, odir.final": (
        "those of the ODIR-2019 challenge, over all entries as one vector, called above {above:g}; "
        '`final` is the mean of the three, and its "F1" is accuracy'
    ),
}
NAMES = """The names that stay. Of each: what it takes and gives, units, ranges, errors. How
they are used: [from Python](../how-to/python.md)."""
PYTHON = (
    ("fundus_diag", "What a program begins with."),
    ("fundus_diag.models", "Encoders by name, and the classifier on top of them."),
    ("fundus_diag.explain", "Where in a photograph a logit comes from."),
)
# Not handed on by the packages, and met by everyone who uses them.
ALSO = (
    "fundus_diag.runs.run.Run",
    "fundus_diag.imaging.preprocess.load_picture",
    "fundus_diag.utils.errors.DataError",
    "fundus_diag.utils.errors.UsageError",
)


def one_line(text):
    return " ".join(text.split())


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(text):
    return " ".join(str(text).split()).replace("|", "\\|")


def plain(text):
    """A text in which Markdown finds nothing but its `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(x if x.startswith("`") else re.sub(r"([*_<\[\]])", r"\\\1", x) for x in parts)


# Commands.


def help_text(*words):
    from fundus_diag.cli import main

    # Frames are drawn for what can show them.
    said = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with mock.patch.dict(os.environ, COLUMNS=WIDTH, NO_COLOR="1"), contextlib.redirect_stdout(said):
        status = main([*words, "--help"])
    assert status == 0, words
    said.seek(0)
    return said.read()


def command_section(words):
    """A command's help: its first lines, then a list for each group of flags, and its example."""
    said = help_text(*words)
    before, *groups = re.split(r"^(\S.*):\n(?=  )", said, flags=re.MULTILINE)
    text = re.sub(r"\Ausage:.*?\n\n", "", before, flags=re.DOTALL)
    out = [f"## {' '.join(words)}", paragraphs(text)]
    for title, lines in zip(groups[::2], groups[1::2], strict=True):
        if title == "example":
            example = "\n".join(x.strip() for x in lines.strip().splitlines())
            out.append(f"```sh\n{example}\n```")
            continue
        out.append(f"**{plain(title)}**")
        out.append("\n".join(f"- `{name}`: {plain(what)}" for name, what in rows_of(lines)))
    return "\n\n".join(x for x in out if x)


def paragraphs(text):
    found = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(plain(" ".join(x.split())) for x in found if x.strip())


def rows_of(lines):
    """[(flag, what)] of the lines of a group: flags stand two places in, what they are further."""
    rows = []
    for line in lines.splitlines():
        if re.match(r"  \S", line):
            name, _, what = line.strip().partition("  ")
            rows.append((name, what.strip()))
        elif line.strip():
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {line.strip()}".strip())
    return rows


def commands():
    from fundus_diag.cli import main as cli

    known = sys.modules[cli.__module__]
    groups = known.GROUPS
    names = [(name,) for name in known.COMMANDS if name not in groups]
    names += [(group, name) for group, (commands, _) in groups.items() for name in commands]
    return "\n\n".join(
        [
            "# Commands",
            one_line(COMMANDS),
            *map(command_section, names),
        ]
    )


# Recipes, encoders, data sets.


def recipes():
    from fundus_diag.training.recipes import RECIPES as known

    names = list(known)
    keys = list(known[names[0]])
    keys += [x for name in names for x in known[name] if x not in keys]
    rows = [
        (f"`--{key.replace('_', '-')}`", *(_value(known[x].get(key)) for x in names))
        for key in keys
    ]
    return "\n\n".join(
        [
            "# Recipes",
            one_line(RECIPES),
            table(["flag", *(f"`{x}`" for x in names)], rows),
        ]
    )


def _value(value):
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else value


def encoders():
    from fundus_diag.models import encoders as known
    from fundus_diag.models.encoders import PRESETS

    rows = []
    for family in known.FAMILIES:
        ported = "; ".join(x.title for x in family.NAMINGS)
        for name in family.PRESETS:
            preset = PRESETS[name]
            options = (f"`{k}={_option(v)}`" for k, v in known.defaults(name).items())
            imagenet = (
                f"{preset.published.title} ({preset.published.terms})" if preset.published else ""
            )
            rows.append(
                (f"`{name}`", preset.image_size, f"`{preset.recipe}`", plain(imagenet), ported,
                 ", ".join(options))
            )  # fmt: skip
    head = [
        "`--encoder`",
        "`--image-size` by default, px",
        "`--recipe auto`",
        "`--weights imagenet`",
        "`port` reads",
        "`--encoder-options`, with what they are",
    ]
    return "\n\n".join(
        [
            "# Encoders",
            one_line(ENCODERS),
            table(head, rows),
        ]
    )


def _option(value):
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return getattr(value, "__name__", value)


def data_sets():
    from fundus_diag.data.datasets.descriptions import describe, described

    out = [
        "# Data sets",
        one_line(DATA_SETS),
    ]
    for name in described():
        known = describe(name)
        rows = [
            ("title", plain(known.title)),
            ("`--labels`", ", ".join(f"`{x}`" for x in known.label_choices)),
            ("access", plain(known.access)),
            ("licence", plain(known.licence)),
            ("origin", plain(known.origin)),
            ("citation", plain(known.citation)),
            ("layout seen", "yes" if known.verified else "no: `build` says so"),
        ]
        out += [
            f"## {name}",
            paragraphs(known.about),
            "\n".join(f"- {x}: {cell(y)}" for x, y in rows),
        ]
        out += [f"To know: {paragraphs(known.notes)}"] if known.notes.strip() else []
    return "\n\n".join(out)


# Metrics.


def metrics():
    from fundus_diag.explain.metrics.score import FIGURES as measures
    from fundus_diag.metrics import classification as c

    assert set(FIGURES) == set(c.FIGURES), "FIGURES of tests/reference.py lags"
    assert set(MEASURES) == set(measures), "MEASURES of tests/reference.py lags"
    means = ", ".join(f"`{x}`" for x in c.IN_MEANS)
    others = [
        (", ".join(f"`{x}`" for x in names.split(", ")), what.format(above=c.OFFICIAL_THRESHOLD))
        for names, what in OTHERS.items()
    ]
    return "\n\n".join(
        [
            "# Metrics",
            one_line(METRICS),
            "## Of a label",
            "`tp, fp, fn, tn` count its graded rows, called at the run's threshold.",
            table(
                ["figure", "what", "a model that knows nothing"],
                [(f"`{x}`", *FIGURES[x]) for x in c.FIGURES],
            ),
            one_line(MEANS.format(bins=c.ECE_BINS, means=means)),
            "## Of a row, of grades, of the challenge",
            table(["figure", "what"], others),
            "## Of a map",
            one_line(MAPS),
            table(["figure", "what"], [(f"`{x}`", MEASURES[x]) for x in measures]),
            "## Of outlines",
            one_line(OUTLINES),
        ]
    )


# Python.


def python():
    out = [
        "# Python",
        one_line(NAMES),
    ]
    for name, about in PYTHON:
        module = importlib.import_module(name)
        out += [f"## {name}", about]
        for public in sorted(module.__all__):
            if public != "__version__":
                out += python_entry(f"{name}.{public}", getattr(module, public))
    out += ["## Also"]
    for path in ALSO:
        module, _, name = path.rpartition(".")
        if not any(f"### {package}.{name}" in out for package, _ in PYTHON):
            out += python_entry(path, getattr(importlib.import_module(module), name))
    return "\n\n".join(x for x in out if x)


def python_entry(path, thing):
    from fundus_diag.models.encoders import PRESETS

    if isinstance(thing, dict):
        names = ", ".join(f"`{x}`" for x in thing)
        if list(thing) == list(PRESETS):
            names = "the names of all [encoders](encoders.md)"
        return [f"### {path}", f"A dict: {names}."]
    if inspect.ismodule(thing):
        called = type(thing).__dict__.get("__call__")  # a module that may be called, too
        return [f"### {path}", docstring(inspect.getdoc(called or thing) or "")]
    doc = inspect.getdoc(thing) or ""
    other = re.search(r"[Ss]ee `(fundus_diag[\w.]+)`", doc)
    if other:
        module, _, name = other[1].rpartition(".")
        doc = inspect.getdoc(getattr(importlib.import_module(module), name))
    out = [f"### {path}", *signature(thing), docstring(doc)]
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        for name, member in vars(thing).items():
            if not name.startswith("_") and inspect.getdoc(member) and not isinstance(member, type):
                function = member.fget if isinstance(member, property) else member
                if callable(function):
                    out += [f"#### {thing.__name__}.{name}"]
                    out += [] if isinstance(member, property) else signature(function)
                    out += [docstring(inspect.getdoc(function))]
    return out


def signature(thing):
    if inspect.isclass(thing):
        return []
    said = ", ".join(
        str(x.replace(annotation=inspect.Parameter.empty)) for x in
        inspect.signature(thing).parameters.values() if x.name != "self"
    )  # fmt: skip
    return [f"`{thing.__name__}({said})`"]


def docstring(doc):
    """Google's sections as lists."""
    out = []
    for block in re.split(r"\n\s*\n", doc.strip()):
        title, _, rest = block.partition("\n")
        if title in ("Args:", "Returns:", "Raises:", "Attributes:", "Yields:"):
            entries = re.split(
                r"\n {4}(?=\S)", "\n" + inspect.cleandoc("x\n" + rest)[2:].replace("\n", "\n    ")
            )
            entries = [" ".join(x.split()) for x in entries if x.strip()]
            named = title != "Returns:" and title != "Yields:"
            out.append(f"**{title[:-1]}**")
            out.append(
                "\n".join(f"- {_named(x)}" for x in entries) if named else plain(" ".join(entries))
            )
        else:
            out.append(plain(" ".join(block.split())))
    return "\n\n".join(out)


def _named(entry):
    name, colon, text = entry.partition(": ")
    return f"`{name}`: {plain(text)}" if colon and len(name) < 60 else plain(entry)


PAGES = {
    "commands.md": commands,
    "recipes.md": recipes,
    "encoders.md": encoders,
    "data-sets.md": data_sets,
    "metrics.md": metrics,
    "python.md": python,
}


def page(name):
    """The text of one of `PAGES`."""
    title, rest = PAGES[name]().split("\n", 1)
    return f"{title}\n\n{MADE}\n{rest.rstrip()}\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else FOLDER
    for name in PAGES:
        (folder / name).write_text(page(name), "utf-8")
        print(folder / name)
