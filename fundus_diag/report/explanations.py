"""The page of explanations beside a run's report: its surest hits and its worst errors."""

from fundus_diag.data.labels import EYES, label_text
from fundus_diag.data.paths import inside
from fundus_diag.explain.explain import explain_batch
from fundus_diag.explain.explainer import layers_of
from fundus_diag.explain.settings import Settings
from fundus_diag.report.environment import environment
from fundus_diag.report.mapped import OPACITY, cards
from fundus_diag.report.selection import picks
from fundus_diag.runs.answers import validation_of
from fundus_diag.runs.cases import Case, load_case
from fundus_diag.runs.run_files import is_drawn, own_photographs, read_predictions
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import write_text
from fundus_diag.utils.progress import track


def write_explanations(run, split="test"):
    """Writes explanations.html (explanations_<split>.html for another split than test).

    Args:
        run: an opened `Run` with predictions of the split.
        split: name of the split.

    Returns:
        Path of the page, or None where the folder of the photographs is not there.

    Raises:
        DataError: a file of the run is missing or wrong.
    """
    run_dir, root = run.run_dir, own_photographs(run.config)
    if root is None:
        return None
    unit = run.config["unit"]
    table = read_predictions(run_dir / f"predictions_{split}.csv", list(run.labels), unit)
    grade, validation = run.config["task"] == "grade", validation_of(run)
    picked = picks(table, run.labels, run.thresholds, grade)
    settings = Settings()
    layers = layers_of(run.model, settings)
    sections = {label: {"title": label_text(label), "found": []} for label in run.labels}
    failed = 0
    for label, kind, row in track(picked, "explaining", len(picked)):
        record = table.iloc[row]
        try:
            case = _case(record, unit, root)
            batch = [(case, load_case(run, case))]
        except DataError:
            failed += 1  # it was there for the prediction; the page says how many are missing
            continue
        (found,) = explain_batch(run, batch, layers, settings, [[run.labels.index(label)]])
        truth = [label_text(x) for x in run.labels if record[f"y_{x}"] == 1]
        about = {"kind": kind, "patient": case.patient, "truth": truth}
        images = " and ".join(case.images.values())
        for card in cards(found, settings.level, validation, grade):
            sections[label]["found"].append(card | about | {"images": images})
    end = "" if split == "test" else f"_{split}"
    page = run_dir / f"explanations{end}.html"
    text = (
        environment()
        .get_template("explanations.html.j2")
        .render(
            name=run_dir.resolve().name,
            split=split,
            report=f"report{end}.html",
            sections=list(sections.values()),
            failed=failed,
            drawn=is_drawn(run.config),
            opacity=OPACITY,
            level=settings.level,
        )
    )
    write_text(page, text)
    return page


def _case(record, unit, root):
    names = {"": record["image"]} if unit == "eye" else {e: record[f"image_{e}"] for e in EYES}
    if unit == "eye" and record.get("eye") in EYES:
        names = {record["eye"]: record["image"]}
    names = {eye: name for eye, name in names.items() if name}
    paths = {eye: inside(root, name) for eye, name in names.items()}
    if None in paths.values():
        raise DataError(f"{', '.join(names.values())}: not inside the image root")
    return Case("", record["patient"], names, paths)
