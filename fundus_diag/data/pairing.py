"""From one row per eye to one row per patient."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fundus_diag.data.labels import EYES, GRADE, is_healthy
from fundus_diag.utils.errors import DataError

NAMED = 3  # eyes that an error names
ONCE = ("split", "age", "sex", "dataset")  # columns that belong to the patient


def pair_table(table: pd.DataFrame, labels: tuple[str, ...], task: str, path) -> pd.DataFrame:
    """One row per patient, in the order of their first row.

    A disease is 1 where any eye has it, 0 where all photographed eyes are graded and free of it,
    NaN otherwise. The label of no disease (`labels.is_healthy`: N, normal ..) is 1 where all eyes
    are normal, 0 where one is not, NaN otherwise. Of
    exclusive grades the patient has that of the worse eye, none if an eye is not graded; all
    `grade_*` columns of the table count, also those that are not among `labels`.

    Returns:
        patient, image_left, image_right ("" where there is none), the columns of ONCE that the
        table has, and the labels (float32).

    Raises:
        DataError: a patient has several pictures of one eye, or a picture of neither.
    """
    _check_eyes(table, path)
    groups = table.groupby("patient", sort=False)
    pairs = pd.DataFrame({"patient": list(groups.indices)}).set_index("patient", drop=False)
    pairs = pairs.loc[table["patient"].drop_duplicates()]
    for eye in EYES:
        images = table.loc[table["eye"] == eye].set_index("patient")["image"]
        pairs[f"image_{eye}"] = images.reindex(pairs.index).fillna("").astype(object)
    for name in ONCE:
        if name in table:
            known = table[name].where(table[name] != "")
            pairs[name] = known.groupby(table["patient"]).first().reindex(pairs.index)
            if name != "age":
                pairs[name] = pairs[name].fillna("").astype(object)
    combined = _worst_grade(table, labels) if task == "grade" else _any_eye(table, labels)
    pairs = pd.concat([pairs, combined.reindex(pairs.index).astype("float32")], axis=1)
    return pairs.reset_index(drop=True)


def without_healthy(labels: Sequence[str]) -> list[str]:
    """A line where none of the labels of a pair says that there is no disease."""
    if any(is_healthy(label) for label in labels):
        return []
    return [
        "no label is called N, normal or healthy, so each counts as a disease: a patient has it "
        "where one eye has"
    ]


def stack_eyes(rows, image_size):
    """Pictures of one or both eyes as a network over pairs takes them.

    Args:
        rows: per patient {eye: picture (S, S, 3)}, "left", "right" or both.
        image_size: S.

    Returns:
        images (B, 2, S, S, 3) float32, left first; mask (B, 2) float32, 0 where there is no
        picture. What stands in such a place is black, and not seen by the network.
    """
    blank = np.zeros((image_size, image_size, 3), np.float32)
    images = np.array([[row.get(eye, blank) for eye in EYES] for row in rows], np.float32)
    return images, np.array([[eye in row for eye in EYES] for row in rows], np.float32)


def _check_eyes(table, path):
    unknown = table.loc[table["eye"] == "", "patient"]
    if len(unknown):
        raise DataError(
            f"{path}: patient {unknown.iloc[0]!r} has a picture of neither the left nor the right "
            "eye: pairs need to know which"
        )
    twice = table[table.duplicated(["patient", "eye"], keep=False)]
    if len(twice):
        groups = twice.groupby(["patient", "eye"], sort=False)["image"]
        named = [f"{eye} eye of {patient!r}: {', '.join(x)}" for (patient, eye), x in groups]
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        raise DataError(
            f"{path}: {len(named)} eyes with several pictures ({'; '.join(named[:NAMED])}{more}): "
            "a pair takes one of each eye; `manifest sample --one-per-eye` keeps the sharpest"
        )


def _any_eye(table, labels):
    by = table["patient"]
    columns = {}
    for label in labels:
        ones, zeros = (table[label] == 1).groupby(by), (table[label] == 0).groupby(by)
        one, zero = (ones.all(), zeros.any()) if is_healthy(label) else (ones.any(), zeros.all())
        columns[label] = pd.Series(np.where(one, 1.0, np.where(zero, 0.0, np.nan)), one.index)
    return pd.DataFrame(columns)


def _worst_grade(table, labels):
    grades = table[[name for name in table.columns if GRADE.fullmatch(name)]]
    grade = grades.to_numpy().argmax(axis=1).astype("float64")
    grade[grades.isna().any(axis=1)] = np.inf  # greater than any grade: not known
    worst = pd.Series(grade, table.index).groupby(table["patient"]).max()
    columns = {x: (worst == grades.columns.get_loc(x)).astype("float64") for x in labels}
    return pd.DataFrame(columns, worst.index).where(np.isfinite(worst))
