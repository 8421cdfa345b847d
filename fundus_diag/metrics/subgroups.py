"""Whom rows are of: by age, by sex, by data set."""

import numpy as np
import pandas as pd

AGE_BANDS = ((2, 40), (40, 50), (50, 60), (60, 70), (70, 130))  # years; 0 and 1 are placeholders


def group_order(name):
    """Sorts by name, with "under 40" before "40 to 49" and "not given" last."""
    return (name == "not given", not name.startswith("under "), name)


def groupings(predictions):
    """{column: name of the group of each row}, of columns that know several groups."""
    found = {}
    if "age" in predictions:
        age = pd.to_numeric(predictions["age"], errors="coerce").to_numpy("float64")
        names = np.full(len(age), "not given", dtype=object)
        for low, high in AGE_BANDS:
            text = f"{low} to {high - 1}" if high < 130 else f"{low} and over"
            names[(age >= low) & (age < high)] = text if low > 2 else f"under {high}"
        found["age"] = pd.Series(names)
    for column in ("sex", "dataset"):
        if column in predictions:
            texts = predictions[column].astype("object").fillna("").astype(str).str.strip()
            found[column] = texts.replace("", "not given").reset_index(drop=True)
    # One group that holds every row says nothing that the table of labels does not say.
    return {name: values for name, values in found.items() if values.nunique() > 1}
