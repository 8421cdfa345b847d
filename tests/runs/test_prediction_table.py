"""What is known and what is predicted stand under their own labels, row by row."""

import numpy as np
import pandas as pd
import pytest

from fundus_diag.data.inputs import Rows
from fundus_diag.runs.predict import prediction_table


@pytest.mark.parametrize("labels", [("D", "G", "N"), ("N", "G", "D")])
def test_each_label_has_its_truth_and_its_probability(labels):
    """The run has its labels in another order than the table, and one more."""
    known = {"N": [1, 0, np.nan, 1], "D": [0, 0, 1, np.nan]}
    y = np.array([known["N"], known["D"]], "float32").T
    table = pd.DataFrame({"image": list("abcd"), "patient": list("ppqr"), "eye": ["left"] * 4})
    table["secret"] = 7  # a column of the user's own is none of the predictions
    rows = Rows(table.set_index(pd.Index([3, 5, 7, 9])), np.arange(4), y, ("N", "D"))
    p = {"N": [0.1, 0.2, 0.3, 0.4], "G": [0.5, 0.6, 0.7, 0.8], "D": [0.9, 0.95, 0.05, 0.01]}
    got = prediction_table(rows, labels, np.array([p[x] for x in labels]).T)
    assert set(got) == {"image", "patient", "eye", "y_N", "y_D", "p_N", "p_G", "p_D"}
    for label in labels:
        np.testing.assert_array_equal(got[f"p_{label}"], p[label])
    for label, values in known.items():
        column = got[f"y_{label}"]
        assert str(column.dtype) == "Int64"
        np.testing.assert_array_equal(column.to_numpy("float64", na_value=np.nan), values)
    text = got.to_csv(index=False).splitlines()
    assert text[1].startswith("a,p,left,1,0,")
    assert text[3].startswith("c,q,left,,1,")
