"""`associate`: regions of a table's masks, or of a segmenter, and labels of a run."""

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from tiny import make_photographs, ready_run

from fundus_diag.cli import main
from fundus_diag.explain.associate import FIGURES, first_of
from fundus_diag.metrics.summary import summarise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs with masks of a bright and of a dark corner, half of each; a run on them."""
    folder = tmp_path_factory.mktemp("associate")
    manifest = make_photographs(folder / "photographs", patients=12)
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    for k, image in enumerate(table["image"]):
        for name, place in (("bright", (14, 18)), ("dark", (30, 30))):
            mask = np.zeros((48, 56), np.uint8)
            if name == "bright" or k % 2:
                mask[place[0] : place[0] + 8, place[1] : place[1] + 8] = 255
            (folder / "photographs" / name).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / "photographs" / name / image), mask)
        table.loc[k, ["mask_bright", "mask_dark"]] = [f"{x}/{image}" for x in ("bright", "dark")]
    table.to_csv(folder / "photographs" / "masked.csv", index=False)
    ready_run(manifest, folder / "run")
    val = [*("--split", "val"), "--out", folder / "run" / "predictions_val.csv"]
    places = ["--manifest", manifest, "--image-root", manifest.parent]
    assert main([str(x) for x in ("predict", folder / "run", *places, *val)]) == 0
    return folder


def words(folder, out, *more):
    photographs = folder / "photographs"
    places = ["--manifest", photographs / "masked.csv", "--image-root", photographs, "--out", out]
    return [str(x) for x in ("associate", folder / "run", *places, *more)]


def test_every_photograph_region_and_label_has_a_row(folder, tmp_path, capsys):
    assert main(words(folder, tmp_path, "--regions", "A=bright", "B=dark")) == 0
    assert "A: its own region is first in" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "associations.csv")
    images = pd.read_csv(folder / "photographs/masked.csv")["image"]
    # Where the dark region is empty it has no row.
    assert len(table) == 2 * len(images) + 2 * (len(images) // 2)
    sums = table.groupby(["image", "label"])["share"].sum()
    assert sums.max() <= 1 + 1e-6
    assert table["area"].between(0.01, 0.2).all()
    np.testing.assert_allclose(table["ratio"], table["share"] / table["area"])
    val = pd.read_csv(folder / "run" / "predictions_val.csv")
    for row in table.iloc[::7].itertuples():
        known = val.dropna(subset=f"y_{row.label}")
        alike = known.loc[(known[f"p_{row.label}"] - row.probability).abs().sort_values().index]
        count = max(((alike[f"p_{row.label}"] - row.probability).abs() <= 0.05).sum(), 10)
        n, k = len(alike[:count]), alike[:count][f"y_{row.label}"].sum()
        z, share = 1.959964, k / n  # Wilson's interval, by its formula
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        assert row.probability_low == pytest.approx(max(middle - half, 0), abs=1e-6)
        assert row.probability_high == pytest.approx(min(middle + half, 1), abs=1e-6)
    summary = pd.read_csv(tmp_path / "associations_summary.csv").set_index("label")
    truth = pd.read_csv(folder / "photographs/masked.csv").set_index("image")
    both = table.groupby("image")["region"].nunique() == 2
    ill = truth["A"] == 1
    wanted = [x for x in truth.index if ill[x] and both[x]]
    assert summary["n"]["A"] == len(wanted)
    own = table[(table["label"] == "A") & table["image"].isin(wanted)]
    best = own.loc[own.groupby("image")["ratio"].idxmax()]
    assert summary["first"]["A"] == pytest.approx((best["region"] == "bright").mean())
    assert summary["chance"]["A"] == 0.5


def test_a_region_is_first_by_what_it_has_for_its_size():
    def row(image, region, rank, ratio, y=1):
        return {"image": image, "patient": image, "label": "D", "region": region, "y": y,
                "region_rank": rank, "ratio": ratio}  # fmt: skip

    nothing = float("nan")
    table = pd.DataFrame(
        [
            *(row("a", "EX", 1, 4.0), row("a", "HE", 2, 2.0), row("a", "disc", 3, 1.0)),
            *(row("b", "EX", 2, 1.5), row("b", "disc", 1, 3.0)),
            row("c", "EX", 1, 9.0),  # nothing else that it could be taken for
            *(row("d", "EX", 1, 9.0, y=0), row("d", "disc", 2, 1.0, y=0)),  # not ill
            # A map that knows nothing is at chance, one of zeros has no first.
            *(row("e", "EX", 2, 1.0), row("e", "HE", 2, 1.0), row("e", "disc", 2, 1.0)),
            *(row("f", "EX", nothing, nothing), row("f", "disc", nothing, nothing)),
        ]
    )
    firsts = first_of(table, {"D": ("EX", "HE")}).set_index("image")["first"]
    assert firsts.to_dict() == pytest.approx(
        {"a": 1, "b": 0, "e": 2 / 3, "f": nothing}, nan_ok=True
    )
    summary = summarise(first_of(table, {"D": ("EX", "HE")}), "label", FIGURES, 100)
    assert summary["n"].item() == 4
    assert summary["first"].item() == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert summary["first_undefined"].item() == 1
    assert summary["chance"].item() == pytest.approx((2 / 3 + 1 / 2 + 2 / 3 + 1 / 2) / 4)
    assert summary["ratio"].item() == pytest.approx((4.0 + 1.5 + 1.0) / 3)


def test_a_mask_that_does_not_fit_is_said_before_anything_is_written(folder, tmp_path, capsys):
    photographs = tmp_path / "photographs"
    shutil.copytree(folder / "photographs", photographs)
    last = pd.read_csv(photographs / "masked.csv")["mask_dark"].iloc[-1]
    cv2.imwrite(str(photographs / last), np.zeros((48, 57), np.uint8))
    command = words(folder, tmp_path / "out", "--regions", "A=bright")
    command = [x.replace(str(folder / "photographs"), str(photographs)) for x in command]
    capsys.readouterr()  # of the fixture
    assert main(command) == 1
    *progress, line = capsys.readouterr().err.strip().splitlines()
    assert all(x.startswith("looking at photographs") for x in progress)
    assert f"{last}: 57x48 pixels" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--regions", "A=nose"], "--regions A=nose: there are bright, dark"),
        (["--regions", "C=bright"], "--regions C=bright: the run has A, B"),
        (["--regions", "A"], "LABEL=NAME"),
    ],
)
def test_what_has_no_regions_is_said_in_a_line(folder, tmp_path, capsys, more, said):
    assert main(words(folder, tmp_path / "out", *more)) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()
