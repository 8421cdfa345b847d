"""The page of `explain-eval`: how good maps are, beside maps that know nothing."""

from pathlib import Path

from fundus_diag.data.labels import file_name, label_text
from fundus_diag.explain.evaluate import CONTROLS
from fundus_diag.report.environment import environment
from fundus_diag.report.mapped import TITLES
from fundus_diag.report.pictures import inline_svg
from fundus_diag.runs.run_files import is_drawn
from fundus_diag.utils.files import write_text

PAGE = "faithfulness.html"
COLUMNS = {  # as the documentation calls them; whether more is better
    "pointing": ("peak hits", True),
    "energy": ("energy inside", True),
    "overlap": ("soft Jaccard", True),
    "iou": ("IoU at", True),
    "iou_best": ("IoU at its best", True),
    "deletion": ("deletion (low is good)", False),
    "insertion": ("insertion (high is good)", True),
}


def write_faithfulness(out, run, table, facts):
    """Writes faithfulness.html beside what `explain_eval` wrote.

    Args:
        out: folder.
        run: `run.Run`.
        table, facts: as `explain_eval` returns them.

    Returns:
        Path of the page.
    """
    out = Path(out)
    columns = {name: title for name, (title, _) in COLUMNS.items()}
    columns["pointing"] += f" (within {100 * facts['tolerance']:g} %)"
    columns["iou"] += f" {facts['level']:g}"
    sections = []
    for at, (label, rows) in enumerate(table.groupby("label", sort=False)):
        files = {x: out / f"{x}_{file_name(label)}.svg" for x in ("deletion", "insertion")}
        sections.append(
            {
                "title": label_text(label),
                "lesions": facts["lesions"].get(label, []),
                "scored": facts["scored"].get(label, 0),
                "rows": [_row(row, rows) for row in rows.to_dict("records")],
                "curves": [
                    inline_svg(path.read_bytes(), f"{x} of {label_text(label)}", f"{x}-{at}")
                    for x, path in files.items()
                    if path.is_file()
                ],
            }
        )
    text = (
        environment()
        .get_template("faithfulness.html.j2")
        .render(
            name=run.run_dir.resolve().name,
            drawn=is_drawn(run.config),
            columns=columns,
            sections=sections,
            facts=facts,
            randomised="randomised_correlation" in table,
        )
    )
    write_text(out / PAGE, text)
    return out / PAGE


def _row(row, rows):
    """One map of the table: its figures as (value, low, high, whether it beats both controls)."""
    controls = rows[rows["method"].isin(CONTROLS)]
    figures = {}
    for name, (_, more) in COLUMNS.items():
        value, low, high = (_number(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
        clear = None
        if row["method"] not in CONTROLS and low is not None and len(controls):
            # Clear of a control: the intervals do not even touch.
            others = controls[f"{name}_{'high' if more else 'low'}"]
            clear = bool((low > others).all() if more else (high < others).all())
        figures[name] = (value, low, high, clear)
    return {
        "method": TITLES.get(row["method"], row["method"]),
        "filter": "" if row["method"] in CONTROLS else row["filter"],
        "control": row["method"] in CONTROLS,
        "n": row["n"],
        "zero": row["zero_maps"],
        "random": _number(row.get("randomised_correlation")),
        "figures": figures,
    }


def _number(value):
    return None if value is None or value != value else float(value)
