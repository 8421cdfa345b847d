"""Who is who in a table: a split by patient is worth what the table tells of its patients."""

import pandas as pd

from fundus_diag.data.labels import nfc


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


def notes(table: pd.DataFrame) -> list[str]:
    """A line where pictures are patients of their own, so that a split may part a person's eyes."""
    own = own_patients(table)
    if not own:
        return []
    return [
        f"{own} of {len(table)} pictures are patients of their own: where nothing tells who is "
        "who, both eyes of a person may stand on two sides of a split"
    ]
