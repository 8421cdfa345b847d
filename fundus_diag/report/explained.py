"""The pages of `explain`: one a case, and the index of all."""

import functools
from pathlib import Path
from urllib.parse import quote

from fundus_diag.data.labels import LABEL_NAMES, label_text
from fundus_diag.data.tables import read_table
from fundus_diag.report.environment import environment
from fundus_diag.report.mapped import PAGE_END, THUMB_END, short, write_case_page
from fundus_diag.report.shown import file_name
from fundus_diag.runs.answers import validation_of
from fundus_diag.runs.contents import INDEX
from fundus_diag.runs.run_files import is_drawn
from fundus_diag.utils.files import write_text


def case_pages(run):
    """The function (folder, explained case, level) that writes its page; workers can be sent it.

    Args:
        run: `run.Run`.
    """
    return functools.partial(
        write_case_page,
        name=run.run_dir.resolve().name,
        validation=validation_of(run),
        grade=run.config["task"] == "grade",
        drawn=is_drawn(run.config),
    )


def write_index(out, run):
    """Writes index.html: the cases of explanations.csv, in its order. Returns its path."""
    out, cases = Path(out), {}
    table = read_table(out / "explanations.csv")
    columns = [table.column(x) for x in ("file", "image", "label", "probability", "called")]
    for file, image, label, probability, called in zip(*columns, strict=True):
        case = cases.setdefault(file, {"images": {}, "lines": {}})
        case |= {"page": quote(f"{file}{PAGE_END}"), "thumb": quote(f"{file}{THUMB_END}")}
        case["images"][file_name(image)] = None
        name = LABEL_NAMES.get(label, label_text(label))
        said = "called" if called == "1" else "not called"
        case["lines"][label] = f"{name} {short(float(probability))}, {said}"
    shown = [
        {**case, "title": " and ".join(case["images"]), "lines": list(case["lines"].values())}
        for case in cases.values()
    ]
    text = (
        environment()
        .get_template("explained_index.html.j2")
        .render(name=run.run_dir.resolve().name, cases=shown, drawn=is_drawn(run.config))
    )
    write_text(out / INDEX, text)
    return out / INDEX
