"""Means over photographs and their intervals over patients."""

import math

import numpy as np
import pandas as pd
import pytest

from fundus_diag.metrics import bootstrap
from fundus_diag.metrics.summary import summarise


def table_of(n=90, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "patient": rng.integers(0, 25, n).astype(str),
            "label": rng.choice(list("DG"), n),
            "method": rng.choice(["layer_cam", "grad_cam"], n),
            "energy": rng.random(n),
            "pointing": (rng.random(n) < 0.4).astype(float),
        }
    )
    table.loc[rng.random(n) < 0.2, "energy"] = np.nan
    return table


def test_means_and_intervals_equal_a_plain_loop_over_the_same_draws():
    table = table_of()
    got = summarise(table, ["label", "method"], ["energy", "pointing"], 60, seed=3)
    assert len(got) == 4
    for row in got.to_dict("records"):
        rows = table[(table.label == row["label"]) & (table.method == row["method"])]
        assert row["n"] == len(rows)
        names = sorted(set(rows.patient))
        rng = np.random.default_rng(3)
        draws = [[names[i] for i in rng.integers(0, len(names), len(names))] for _ in range(60)]
        for figure in ("energy", "pointing"):
            assert row[figure] == pytest.approx(np.nanmean(rows[figure]))
            assert row[f"{figure}_undefined"] == rows[figure].isna().sum()
            means = [
                np.nanmean(np.concatenate([rows[figure][rows.patient == p] for p in drawn]))
                for drawn in draws
            ]
            ends = [row[f"{figure}_low"], row[f"{figure}_high"]]
            assert ends == pytest.approx(np.percentile(means, [2.5, 97.5]))
            assert ends[0] < row[figure] < ends[1]


def test_a_patient_with_many_rows_comes_and_goes_as_a_whole():
    table = pd.DataFrame({"patient": ["a"] * 50 + ["b"], "label": "D", "energy": [1.0] * 50 + [0]})
    (row,) = summarise(table, "label", ["energy"]).to_dict("records")
    assert row["energy"] == pytest.approx(50 / 51)  # the mean is one of rows
    assert (row["energy_low"], row["energy_high"]) == (0, 1)  # a quarter of the draws each


def test_undefined_rows_are_left_out_and_counted_and_undefined_groups_stay_so():
    table = pd.DataFrame(
        {
            "patient": list("aabbc") * 2,
            "label": ["D"] * 5 + ["G"] * 5,
            "energy": [1, np.nan, 0, 0.5, np.nan] + [np.nan] * 5,
        }
    )
    got = summarise(table, ["label"], ["energy"], resamples=200)
    columns = ["label", "n", "energy", "energy_low", "energy_high", "energy_undefined"]
    assert list(got.columns) == columns
    assert list(got.label) == ["D", "G"]
    assert list(got.n) == [5, 5]
    assert got.energy[0] == pytest.approx(0.5)
    assert got.energy[1:].isna().all()
    assert got[["energy_low", "energy_high"]].iloc[1].isna().all()
    assert list(got.energy_undefined) == [2, 5]


def test_too_few_patients_or_too_many_empty_draws_give_a_mean_without_an_interval():
    one = pd.DataFrame({"patient": ["a", "a"], "label": "D", "energy": [0.2, 0.4]})
    known = pd.DataFrame({"patient": ["a", "a", "b"], "label": "D", "energy": [0.2, 0.4, np.nan]})
    rare = pd.DataFrame({"patient": np.arange(40).astype(str), "label": "D", "energy": np.nan})
    rare.loc[:1, "energy"] = [0.2, 0.4]  # of 40 patients: (38 / 40) ** 40 = 13 % empty draws
    assert (38 / 40) ** 40 > bootstrap.MAX_UNDEFINED
    for table in (one, known, rare):
        (row,) = summarise(table, "label", ["energy"]).to_dict("records")
        assert row["energy"] == pytest.approx(0.3)
        assert math.isnan(row["energy_low"])
        assert math.isnan(row["energy_high"])
    none = summarise(table_of(), "label", ["energy"], resamples=0)
    assert none[["energy_low", "energy_high"]].isna().all().all()
    assert none.energy.notna().all()


def test_groups_keep_their_order_and_row_order_does_not_matter():
    table = table_of()
    table["label"] = table["label"].map({"D": "z", "G": None})
    got = summarise(table, ["label", "method"], ["energy"], 50)
    assert list(got.n) == [
        len(rows)
        for _, rows in table.groupby(["label", "method"], sort=False, dropna=False)
    ]  # fmt: skip
    assert got.n.sum() == len(table)
    mixed = summarise(table.sample(frac=1, random_state=0), ["label", "method"],
                                   ["energy"], 50)  # fmt: skip
    both = got.merge(mixed, on=["label", "method"])
    for end in ("", "_low", "_high"):
        np.testing.assert_allclose(both[f"energy{end}_x"], both[f"energy{end}_y"])
    assert len(summarise(table[:0], "label", ["energy"])) == 0


def test_a_table_that_cannot_be_summarised_says_why():
    table = table_of()
    with pytest.raises(ValueError, match="no column filter, iou"):
        summarise(table, ["label", "filter"], ["energy", "iou"])
    table.loc[3, "patient"] = None
    with pytest.raises(ValueError, match="without a patient"):
        summarise(table, "label", ["energy"])
