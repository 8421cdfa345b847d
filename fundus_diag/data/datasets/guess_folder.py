"""A mapping for folders of classes, perhaps within folders of splits."""

import os
from collections import Counter

from fundus_diag.data.datasets.guess_words import fit, key, listed, odir_label, quoted
from fundus_diag.data.datasets.lookup import ENDINGS
from fundus_diag.data.datasets.values import plain
from fundus_diag.data.labels import SPLIT_WORDS
from fundus_diag.data.names import PATTERN
from fundus_diag.utils.errors import DataError


def of_folder(folder):
    """A mapping for folders of classes, perhaps within folders of splits."""
    inner = _folders(folder)
    splits = [x for x in inner if plain(x) in SPLIT_WORDS]
    classes = sorted({y for x in splits for y in _folders(folder / x)}) if splits else inner
    if not classes:
        raise DataError(f"{folder}: no folders of classes in it: a table is needed")
    lines = [
        f"# Guessed from {folder.name}/: look at every line; ?? marks what is not known.",
        'reader = "folders"',
        'label_choices = ["own", "odir"]',
        'dataset = ""',
        "",
    ]
    endings = Counter(
        os.path.splitext(name)[1].lower()
        for _, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".")
    )
    pictures = [x for x in endings if x in ENDINGS and x]
    lines += [
        "[files]",
        f"extensions = {listed(pictures)} # {sum(endings[x] for x in pictures)} files",
    ]
    lines += [f"# name: patient and eye in it\nname = '{PATTERN}'", ""]
    if splits:
        lines += [
            "[splits]",
            *(f"{key(x)} = {quoted(SPLIT_WORDS[plain(x)])}" for x in splits),
            "",
        ]
    lines.append("[classes]")
    for name in classes:
        label = odir_label(name)
        if not label:
            lines.append(f"# ?? {name!r}: no disease that is known here, so it has its own name")
        lines.append(f"{key(name)} = {quoted(label or fit(name))}")
    return lines


def _folders(folder):
    with os.scandir(folder) as entries:
        return sorted(x.name for x in entries if x.is_dir() and not x.name.startswith("."))
