"""The vocabulary of tables: labels and their names, grades, eyes, splits."""

import re

from fundus_diag.utils.errors import DataError

LABEL_NAMES = {
    "N": "normal",
    "D": "diabetic retinopathy",
    "G": "glaucoma",
    "C": "cataract",
    "A": "macular degeneration",
    "H": "hypertensive retinopathy",
    "M": "myopia",
    "O": "other",
}
LABELS = tuple(LABEL_NAMES)  # ODIR's eight, in its order
HEALTHY, OTHER = "N", "O"  # no disease; a disease that no other label names
# What any label may be called: it becomes part of file and column names.
LABEL_NAME = re.compile(r"\w[\w .+()-]{0,63}")
GRADE = re.compile(r"grade_\d+")
EYES = ("left", "right")
EYE_VALUES = (*EYES, "")  # of a table: "" where nobody knows
SPLITS = ("train", "val", "test")


def label_text(label):
    """The label as a reader knows it: "D diabetic retinopathy", "grade 2", or as it stands."""
    if label in LABEL_NAMES:
        return f"{label} {LABEL_NAMES[label]}"
    return label.replace("_", " ") if GRADE.fullmatch(label) else label


def task_of(path, labels) -> str:
    """What is learned: `grade` where the labels are grade_0 .. grade_k, else `multi_label`.

    Raises:
        DataError: grades are mixed with labels, or one of them is missing or out of order.
    """
    grades = [name for name in labels if GRADE.fullmatch(name)]
    if not grades:
        return "multi_label"
    if len(grades) < len(labels):
        other = next(name for name in labels if name not in grades)
        raise DataError(f"{path}: grades ({grades[0]}) and the label {other!r} in one table")
    if len(grades) < 2 or grades != [f"grade_{k}" for k in range(len(grades))]:
        raise DataError(f"{path}: grades must be the columns grade_0, grade_1 .. in that order")
    return "grade"
