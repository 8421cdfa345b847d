"""Photographs found by words: their scores, and the best of each phrase with where it looks."""

import numpy as np

from fundus_diag.explain.explain import explain_batch
from fundus_diag.explain.explainer import layers_of
from fundus_diag.explain.laying import over_photograph
from fundus_diag.explain.output import shrunk
from fundus_diag.explain.overlay import blend
from fundus_diag.explain.settings import Settings
from fundus_diag.metrics.calibration import FEW_POSITIVES
from fundus_diag.report.environment import environment
from fundus_diag.report.pictures import jpeg_url
from fundus_diag.runs.cases import load_batches, load_case, usable_cases
from fundus_diag.utils.files import csv_text, growing, make_folder, write_bytes

TABLE, PAGE = "retrieved.csv", "retrieved.html"
FIELDS = ("image", "patient", "eye", "phrase", "score")


def retrieve(run, cases, out, top=8, batch_size=16):
    """Scores photographs by a run's phrases, and shows the best of each.

    Args:
        run: `run.Run`, of `words.asked`.
        cases: `cases.Case`s.
        out: folder: retrieved.csv, a row for each photograph and phrase, and retrieved.html.
        top: photographs of each phrase on the page.
        batch_size: photographs at a time.

    Returns:
        (path of the page, {phrase: [(score, photograph)], best first}).

    Raises:
        DataError: no photograph can be read, or nothing can be written.
    """
    make_folder(out)
    cases, best = usable_cases(cases, "skip"), {phrase: [] for phrase in run.labels}
    with growing(out / TABLE, "rows") as write:
        write(csv_text([dict(zip(FIELDS, FIELDS, strict=True))], FIELDS))
        for batch in load_batches(run, cases, batch_size, "skip"):
            pictures = np.stack([next(iter(eyes.values())).picture for _, eyes in batch])
            for (case, eyes), scores in zip(batch, run.predict(pictures), strict=True):
                (eye,) = eyes
                who = {"image": case.images[eye], "patient": case.patient, "eye": eye}
                rows = [
                    who | {"phrase": phrase, "score": f"{score:.6g}"}
                    for phrase, score in zip(run.labels, scores, strict=True)
                ]
                write(csv_text(rows, FIELDS), len(rows))
                for phrase, score in zip(run.labels, scores, strict=True):
                    found = best[phrase]
                    found.append((float(score), case))
                    found.sort(key=lambda x: -x[0])
                    del found[top:]
    shown = {phrase: _pictures(run, phrase, found) for phrase, found in best.items()}
    text = (
        environment()
        .get_template("retrieved.html.j2")
        .render(
            run=run.run_dir.resolve().name,
            number=len(cases),
            found=shown,
            known=run.points["labels"],
            FEW=FEW_POSITIVES,
        )
    )
    write_bytes(out / PAGE, text.encode())
    named = {
        phrase: [(score, next(iter(case.images.values()))) for score, case in found]
        for phrase, found in best.items()
    }
    return out / PAGE, named


def _pictures(run, phrase, found):
    """[(title, score, data URL of the photograph, and of it under the map)] of one phrase."""
    settings = Settings(methods=("words",), median=0)
    layers, k = layers_of(run.model, settings), run.labels.index(phrase)
    shown = []
    for score, case in found:
        batch = [(case, load_case(run, case))]
        (made,) = explain_batch(run, batch, layers, settings, chosen=[[k]])
        ((eye, maps),) = made["fused"]["words"].items()
        photo, box, inside = shrunk(made["loaded"][eye])
        laid = over_photograph(maps[0], made["grids"]["words"], box, inside)
        shown.append((case.title, score, jpeg_url(photo), jpeg_url(blend(photo, laid))))
    return shown
