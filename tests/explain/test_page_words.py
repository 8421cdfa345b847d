"""What stands beside the maps of a label is that label's own."""

import numpy as np
import pytest

from fundus_diag.explain.output import describe
from fundus_diag.explain.overlay import TOP_LABEL


def test_each_label_has_its_own_probability_and_threshold_beside_it():
    found = {
        "labels": ["G", "X"],
        "probability": np.array([0.125, 0.5]),
        "threshold": np.array([0.25, 0.75]),
        "top": False,
    }
    got = [describe(found, k) for k in range(2)]
    assert [x["label"] for x in got] == ["G", "X"]
    assert [x["text"] for x in got] == ["glaucoma", ""]
    assert [x["probability"] for x in got] == [0.125, 0.5]
    assert [x["threshold"] for x in got] == [0.25, 0.75]
    assert [x["note"] for x in got] == ["", ""]
    assert describe({**found, "top": True}, 1)["note"] == TOP_LABEL
    assert np.isnan(describe({**found, "threshold": np.full(2, np.nan)}, 0)["threshold"])
    with pytest.raises(IndexError):
        describe(found, 2)
