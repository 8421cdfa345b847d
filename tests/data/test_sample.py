"""A balanced part: so many of every label, whole patients, the sharper picture of an eye."""

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_diag.cli import main
from fundus_diag.data import manifest
from fundus_diag.data.sample import balanced, sample
from fundus_diag.imaging.quality import sharpness
from fundus_diag.utils.errors import DataError, UsageError


def table(folder, rows=400, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"image": [f"{k}.png" for k in range(rows)]})
    frame["patient"] = [f"p{k // 2}" for k in range(rows)]
    frame["eye"] = ["left", "right"] * (rows // 2)
    frame["split"] = ["train" if k < 3 * rows // 4 else "val" for k in range(rows)]
    for label, share in (("A", 0.5), ("B", 0.1), ("C", 0.02)):
        frame[label] = (rng.random(rows) < share).astype(int)
    path = folder / "t.csv"
    frame.to_csv(path, index=False)
    return path


def test_every_label_has_its_number_and_patients_are_whole(tmp_path):
    path = table(tmp_path)
    made = sample(path, tmp_path / "s.csv", per_label=6)
    before, after = (manifest.read_manifest(x).table for x in (path, tmp_path / "s.csv"))
    for split in ("train", "val"):
        there, kept = (x[x["split"] == split] for x in (before, after))
        for label in "ABC":
            assert kept[label].sum() >= min(6, there[label].sum())
        assert kept["C"].sum() == min(there["C"].sum(), kept["C"].sum())
    assert len(after) < 120
    counts = before["patient"].value_counts()
    assert (after["patient"].value_counts() == counts[after["patient"].unique()]).all()
    assert made["rows"] == len(after)
    again = sample(path, tmp_path / "again.csv", per_label=6)
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "s.csv").read_text()
    sample(path, tmp_path / "other.csv", per_label=6, seed=1)
    assert (tmp_path / "other.csv").read_text() != (tmp_path / "s.csv").read_text()
    assert again["splits"] == made["splits"]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6))
def test_nobody_more_than_needed_is_taken(per_label, seed):
    rng = np.random.default_rng(seed)
    y = rng.choice([0.0, 1.0, np.nan], (120, 3), p=[0.7, 0.2, 0.1])
    who = np.arange(120) // 2
    kept = balanced(y, who, per_label, np.random.default_rng(0))
    for label in range(3):
        assert (y[kept, label] == 1).sum() >= min(per_label, (y[:, label] == 1).sum())
    # Each label draws at most as many people as it wants positives.
    assert len(np.unique(who[kept])) <= 3 * per_label


def test_the_sharpest_of_an_eyes_pictures_stays(tmp_path):
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 255, (120, 130, 3), np.uint8)
    sharp = cv2.GaussianBlur(sharp, (0, 0), 1)
    for name, sigma in (("a", 3), ("b", 0.4), ("c", 1.5)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.GaussianBlur(sharp, (0, 0), sigma))
    rows = ["a.png,p,left", "b.png,p,left", "c.png,p,left", "a.png,q,left", "c.png,p,"]
    rows[3], rows[4] = "d.png,q,left", "e.png,p,"
    for name in "de":
        cv2.imwrite(str(tmp_path / f"{name}.png"), sharp)
    (tmp_path / "t.csv").write_text("\n".join(["image,patient,eye", *rows]) + "\n")
    words = ["--out", tmp_path / "s.csv", "--one-per-eye", "--image-root", tmp_path]
    assert main(["manifest", "sample", *map(str, [tmp_path / "t.csv", *words])]) == 0
    read = manifest.read_manifest(tmp_path / "s.csv", need_labels=False).table
    assert read["image"].tolist() == ["b.png", "d.png", "e.png"]
    (tmp_path / "c.png").write_text("no picture")
    assert main(["manifest", "sample", *map(str, [tmp_path / "t.csv", *words])]) == 1


@given(st.integers(20, 400), st.floats(0.5, 4))
@settings(max_examples=20, deadline=None)
def test_blur_lowers_the_sharpness_whatever_the_brightness(side, sigma):
    rng = np.random.default_rng(side)
    picture = cv2.GaussianBlur(rng.integers(0, 255, (side, side, 3), np.uint8), (0, 0), 0.6)
    assert sharpness(cv2.GaussianBlur(picture, (0, 0), sigma)) < sharpness(picture)
    assert sharpness(np.zeros_like(picture)) == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, UsageError, "--per-label N or --one-per-eye"),
        ({"per_label": 0}, UsageError, "--per-label 0: at least 1"),
        ({"one_per_eye": True}, UsageError, "--one-per-eye needs --image-root"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        sample(table(tmp_path), tmp_path / "s.csv", **options)
    (tmp_path / "n.csv").write_text("image,patient,eye\na.png,p,left\n")
    with pytest.raises(DataError, match="no label to balance"):
        sample(tmp_path / "n.csv", tmp_path / "s.csv", per_label=1)
    assert not (tmp_path / "s.csv").exists()
