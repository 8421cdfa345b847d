"""Who is who in a table: a split by patient is worth what the table tells of its patients."""

import pandas as pd

from fundus_diag.data.labels import nfc

# Ids by which programs write that there is none.
NOBODY = {"nan", "none", "null", "na", "n/a", "#n/a", "nil", "-", "--", "?", "unknown", "anonymous"}
# A patient with more pictures than this, and than so many times the median, is hardly one person.
MANY, TIMES = 20, 10
NAMED = 3  # of whom a note names


def own_patients(table: pd.DataFrame) -> int:
    """How many pictures are patients of their own because nothing tells of another.

    All, where no patient has two pictures; else those whose patient is called as the picture,
    which is how `manifest build` calls a patient of whom it knows nothing.

    Args:
        table: a manifest's, a row per picture.
    """
    if len(table) > 1 and table["patient"].nunique() == len(table):
        return len(table)
    pairs = zip(table["patient"], table["image"], strict=True)
    return sum(patient.endswith(nfc(image)) for patient, image in pairs)


def own_patients_of_run(config: dict) -> int:
    """The same of the table that a run was trained on.

    A run of an older version did not note it; its counts show the case of all of them.
    """
    data = config["data"]
    noted = data.get("own_patients")
    if isinstance(noted, int):
        return noted
    rows, patients = (
        sum(part[k] for part in data["splits"].values()) for k in ("rows", "patients")
    )
    return rows if config["unit"] == "eye" and rows == patients else 0


def is_nobody(patient: str) -> bool:
    """Whether an id says that nobody knows who it is."""
    return nfc(patient).strip().lower() in NOBODY


def notes(table: pd.DataFrame) -> list[str]:
    """What is odd about the patients of a table, a line each.

    Pictures that are patients of their own, so that a split may part a person's eyes; ids that name
    nobody; ids with more pictures than one person has.
    """
    lines, own = [], own_patients(table)
    if own:
        lines.append(
            f"{own} of {len(table)} pictures are patients of their own: where nothing tells who is "
            "who, both eyes of a person may stand on two sides of a split"
        )
    counts = table["patient"].value_counts()
    nobody = counts[[is_nobody(patient) for patient in counts.index]]
    if len(nobody):
        lines.append(
            f"{_said(nobody)}: that is nobody, and a split keeps them on one side as one person"
        )
    many = counts.drop(nobody.index)
    many = many[many > max(MANY, TIMES * counts.median())]
    if len(many):
        lines.append(f"{_said(many)}: more than one person is likely to have")
    return lines


def _said(counts):
    named = [f"patient {patient!r} has {count} pictures" for patient, count in counts.items()]
    return ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" * (len(named) > NAMED))
