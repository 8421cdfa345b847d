"""`fundus-diag runs`: a table of the runs below a folder."""

import json
import math
import re
import shutil
import sys
from typing import Literal

from fundus_diag.cli.parsing import File

NARROWEST = 8  # columns that a name is folded to
KINDS = ("classifier", "grades", "findings", "segmenter", "pretraining", None)
FOLDED = ("run", "encoder", "data")  # whose cells may take several lines
HEADS = ("run", "encoder", "data", "epochs", "val", "test", "state")


def runs(folder: File, /, format: Literal["table", "csv", "json"] = "table"):
    """List the runs below a folder: network, data, epochs, figures of val and test, state.

    A run is finished, interrupted (--resume goes on), running (a process is writing into it) or
    damaged. What has no figure of test is not scored on it yet.

    Args:
        folder: Folder that is looked through, itself too.
        format: table, as wide as the terminal, in a pipe 80 columns; csv or json with all that is
            known.

    Example:
        fundus-diag runs reports
        fundus-diag runs reports --format csv
    """
    from fundus_diag.runs.below import DAMAGED, FIELDS, runs_below
    from fundus_diag.utils.files import csv_text

    found = runs_below(folder)
    if format == "json":
        print(json.dumps([_finite(x) for x in found], indent=2))
    elif format == "csv":
        print(csv_text([dict(zip(FIELDS, FIELDS, strict=True)), *found], FIELDS), end="")
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
        print("\n\n".join(_part(found, kind, width) for kind in KINDS if _of(found, kind)))
        for one in _of(found, None, state=DAMAGED):
            print(one["problem"])


def _of(found, kind, state=None):
    return [x for x in found if (x["kind"] == kind if state is None else x["state"] == state)]


def _part(found, kind, width):
    """The table of the runs of a kind, and what its figures are."""
    those = _of(found, kind)
    figure = next((x["figure"] for x in those if x["figure"]), None)
    title = f"{kind or 'unknown'}: val and test in {figure}" if figure else f"{kind or 'unknown'}"
    return "\n".join([title, *(f"  {x}".rstrip() for x in table(those, width - 2))])


def table(found, width):
    """Lines of a table of `below.describe`'s dicts, of at most so many columns if that can be."""
    cells = [dict(zip(HEADS, HEADS, strict=True)), *map(_cells, found)]
    widths = {x: max(len(row[x]) for row in cells) for x in HEADS}
    # Cells are broken behind a sign first, and anywhere only then.
    pieces = {x: max(len(y) for row in cells for y in _pieces(row[x])) for x in FOLDED}
    for least in (pieces, dict.fromkeys(FOLDED, NARROWEST)):
        while sum(widths.values()) + 2 * (len(HEADS) - 1) > width:
            wide = [x for x in FOLDED if widths[x] > least[x]]
            if not wide:
                break
            widths[max(wide, key=widths.get)] -= 1
    lines = []
    for row in cells:
        folded = {x: _fold(row[x], widths[x]) for x in HEADS}
        for k in range(max(map(len, folded.values()))):
            parts = [(folded[x][k] if k < len(folded[x]) else "").ljust(widths[x]) for x in HEADS]
            lines.append("  ".join(parts).rstrip())
    return lines


def _cells(one):
    def text(value):
        return "-" if value is None else str(value)

    size = f" {one['image_size']}" if one["image_size"] else ""
    epochs = text(one["epochs"])
    return {
        **{x: text(one[x]) for x in ("run", "data", "state")},
        "encoder": text(one["encoder"]) + size,
        "epochs": f"{epochs}/{one['of']}" if one["of"] and one["epochs"] is not None else epochs,
        "val": _figure(one["val"]),
        "test": _figure(one["test"]),
    }


def _figure(value):
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3f}"


def _pieces(text):
    """Where a text may be broken: behind signs."""
    return re.findall(r"[^/_. -]*[/_. -]?", text)


def _fold(text, width):
    """Lines of at most so many characters."""
    lines = [""]
    for piece in _pieces(text):
        if len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return [x.rstrip() for x in lines if x] or [""]


def _finite(row):
    """JSON knows no NaN."""
    return {k: None if isinstance(x, float) and not math.isfinite(x) else x
            for k, x in row.items()}  # fmt: skip
