"""Columns of masks: for each picture the file that outlines one kind of thing in it."""

import re

from fundus_diag.data.columns import MASK, NO_MASK
from fundus_diag.data.datasets.lookup import Lookup


def mask_columns(root, description):
    """A function of a picture's stem and row that gives {"mask_<name>": path, NO_MASK or ""}.

    Of `files` of the description the first that is there counts; in it {stem} stands for the
    picture's stem and other names in braces for columns of the row. "" says that nobody looked.
    """
    lookup = Lookup(root)

    def columns(stem, row):
        found = {}
        for name, rule in description.masks.items():
            paths = [_filled(text, stem, row) for text in rule.files]
            there = next((x for x in map(lookup.find, paths) if x), None)
            found[MASK + name] = there or (NO_MASK if rule.missing == "none" else "")
        return found

    return columns


def unseen(rows):
    """Takes back that there is nothing to outline where no row has a file: nobody unpacked them.

    Args:
        rows: of the readers; their columns of such masks become "".

    Returns:
        A line for each column of masks without any file.
    """
    notes = []
    for name in dict.fromkeys(x for row in rows for x in row if x.startswith(MASK)):
        if all(row.get(name, "") in ("", NO_MASK) for row in rows):
            notes.append(f"{name}: none of its files is there, for any of the pictures")
            for row in rows:
                row[name] = ""
    return notes


def _filled(text, stem, row):
    return re.sub("{([^{}]+)}", lambda m: stem if m[1] == "stem" else str(row.get(m[1], "")), text)
