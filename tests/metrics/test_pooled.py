"""Figures of photographs together: by hand, over the same draws of patients."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fundus_diag.metrics.bootstrap import interval, resamples
from fundus_diag.metrics.lesions import froc_of, marks
from fundus_diag.metrics.pooled import AT, FOUND, pooled

SIDE, LEVELS = 24, 256
STEPS = np.arange(8, LEVELS, 8)


def photograph(seed, lesions=3):
    """(truth, scores) of squares of two pixels, some of them called, among false ones."""
    rng = np.random.default_rng(seed)
    truth, scores = np.zeros((SIDE, SIDE), bool), rng.integers(0, 60, (SIDE, SIDE), np.uint8)
    places = rng.permutation(64)[: 2 * lesions]
    for k, place in enumerate(places):
        y, x = 3 * (place // 8), 3 * (place % 8)
        truth[y : y + 2, x : x + 2] = k < lesions
        scores[y : y + 2, x : x + 2] = rng.integers(0, LEVELS)
    return truth, scores


def counted(photographs, called=100):
    found = [marks(*x, STEPS) for x in photographs]
    return {
        "hits": np.stack([np.bincount(s[t], minlength=LEVELS) for t, s in photographs]),
        "every": np.stack([np.bincount(s.ravel(), minlength=LEVELS) for t, s in photographs]),
        "called": np.full(len(photographs), called),
        "found": np.stack([x[0] for x in found]),
        "false": np.stack([x[1] for x in found]),
        "lesions": np.array([x[2] for x in found]),
    }


def by_hand(photographs, called=100):
    """Of the photographs as they lie there, some of them several times."""
    truth, scores = (np.concatenate([x[k].ravel() for x in photographs]) for k in (0, 1))
    called = scores >= called
    froc = froc_of([marks(*x, STEPS) for x in photographs], AT)
    return {
        "pooled_average_precision": average_precision_score(truth, scores),
        "pooled_dice": 2 * (truth & called).sum() / (truth.sum() + called.sum()),
        **{f"{FOUND}{n}": x for n, x in zip(AT, froc, strict=True)},
    }


def test_figures_and_intervals_are_those_of_drawn_photographs_taken_as_they_lie():
    photographs = [photograph(seed, lesions=seed % 4) for seed in range(8)]
    patients = ["a", "a", "b", "c", "d", "d", "e", "f"]
    got = pooled(counted(photographs), patients, resamples=40, seed=3)
    assert got["lesions"] == sum(seed % 4 for seed in range(8))
    want = by_hand(photographs)
    assert {x: got[x] for x in want} == pytest.approx(want)
    assert got[f"{FOUND}1"] < got[f"{FOUND}8"]  # else nothing was compared
    draws = [
        by_hand([photographs[i] for i in np.repeat(np.arange(8), weights)])
        for weights in np.concatenate(list(resamples(patients, 40, 3)), axis=1).T
    ]
    for name in want:
        ends = interval([x[name] for x in draws])[0]
        assert [got[f"{name}_low"], got[f"{name}_high"]] == pytest.approx(ends), name
        assert ends[0] < ends[1]


def test_thresholds_may_differ_between_photographs_that_several_networks_scored():
    photographs = [photograph(seed) for seed in range(2)]
    counts = counted(photographs)
    counts["called"] = np.array([40, 200])
    got = pooled(counts, ["a", "b"], resamples=0)
    calls = [s >= at for (_, s), at in zip(photographs, (40, 200), strict=True)]
    both = sum((t & c).sum() for (t, _), c in zip(photographs, calls, strict=True))
    either = sum(t.sum() + c.sum() for (t, _), c in zip(photographs, calls, strict=True))
    assert got["pooled_dice"] == pytest.approx(2 * both / either)
    assert np.isnan(got["pooled_dice_low"])


def test_where_nothing_is_there_and_nothing_is_called_nothing_is_defined():
    nothing = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), np.uint8)
    got = pooled(counted([nothing, nothing]), ["a", "b"], resamples=20)
    assert got.pop("lesions") == 0
    assert all(np.isnan(x) for x in got.values())


def test_one_patient_has_no_interval():
    got = pooled(counted([photograph(0), photograph(1)]), ["a", "a"])
    assert got["pooled_dice"] > 0
    assert np.isnan(got["pooled_dice_low"])
