"""Photographs whose names have blanks, quotes, signs of HTML or Chinese; of Windows; of frames."""

import numpy as np
import pandas as pd
import pytest
from dicoms import dicom
from PIL import Image
from tiny import make_photographs, ready_run

from fundus_diag.cli import main
from fundus_diag.runs import photographs

ODD = (
    "a photograph.png",
    'it\'s "quoted" & more.png',
    "眼底照片 左.png",
    "<script>alert(1)</script>.png",
    "<img src=x onerror=alert(2)>.png",
    "100% {{ 7 * 7 }}.png",
    "both\\of\\windows.png",
    "none.of.dcm",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and a table of `ODD` and of three frames of one DICOM file."""
    folder = tmp_path_factory.mktemp("odd")
    manifest = make_photographs(folder / "in", patients=30)
    table = pd.read_csv(manifest, keep_default_na=False)
    test = np.flatnonzero(table["split"] == "test")
    for number, name in zip(test, ODD, strict=False):
        path = folder / "in" / name.replace("\\", "/")
        path.parent.mkdir(exist_ok=True, parents=True)
        (folder / "in" / table.loc[number, "image"]).rename(path)
        table.loc[number, "image"] = name
    frames = []
    for k, number in enumerate(test[len(ODD) :][:2]):
        path = folder / "in" / table.loc[number, "image"]
        frames.append(np.asarray(Image.open(path).convert("RGB")))
        table.loc[number, "image"] = f"scan.dcm#{k + 1}"
    tags = {"Rows": 48, "Columns": 56, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    content = b"".join(x.tobytes() for x in frames)
    tags |= {"PlanarConfiguration": 0, "NumberOfFrames": "2"}
    (folder / "in" / "scan.dcm").write_bytes(dicom(content, **tags))
    table.to_csv(manifest, index=False)
    ready_run(manifest, folder / "run")
    return folder


def flags(folder):
    manifest = folder / "in" / "manifest.csv"
    return ["--manifest", manifest, "--image-root", manifest.parent, "--split", "test"]


def words(*parts):
    return [str(part) for part in parts]


@pytest.mark.usefixtures("undrawn")
def test_pages_show_such_names_and_run_nothing_of_them(folder):
    assert main(words("report", folder / "run", "--resamples", "100")) == 0
    for page in ("report.html", "explanations.html"):
        text = (folder / "run" / page).read_text("utf-8")
        assert "<script>alert" not in text
        assert "onerror=alert(2)>" not in text.replace("&gt;", "")
        assert "<img src=x" not in text
        assert "100% 49" not in text
    table = pd.read_csv(folder / "run" / "predictions_test.csv")
    assert set(ODD) | {"scan.dcm#1", "scan.dcm#2"} <= set(table["image"])


def test_such_photographs_are_checked_predicted_and_explained(folder, capsys):
    manifest = folder / "in" / "manifest.csv"
    assert main(words("manifest", "check", manifest, "--image-root", manifest.parent)) == 0
    out = folder / "predictions.csv"
    assert main(words("predict", folder / "run", *flags(folder), "--out", out)) == 0
    table = pd.read_csv(out)
    assert set(ODD) | {"scan.dcm#1", "scan.dcm#2"} <= set(table["image"])
    assert main(words("explain", folder / "run", *flags(folder), "--no-pages")) == 0
    made = pd.read_csv(folder / "run" / "cams" / "explanations.csv")
    assert set(made["image"]) == set(table["image"])
    for name in made["file"]:
        assert (folder / "run" / "cams" / f"{name}.npz").is_file()
    assert "several pictures" not in capsys.readouterr().err


def test_the_first_of_several_is_said_once_a_run(folder, capsys):
    scan = folder / "in" / "scan.dcm"
    table = pd.DataFrame({"image": ["scan.dcm"], "patient": ["p"], "eye": [""]})
    table.to_csv(folder / "one.csv", index=False)
    place = ["--manifest", folder / "one.csv", "--image-root", folder / "in"]
    said = "photographs hold several pictures, of which the first is taken: scan.dcm\n"
    out = folder / "one_predictions.csv"
    assert main(words("predict", folder / "run", *place, "--out", out)) == 0
    assert capsys.readouterr().err.count(f"warning: 1 of 1 {said}") == 1
    explained = ["--out", folder / "maps", "--no-pages"]
    assert main(words("explain", folder / "run", *place, *explained)) == 0
    assert capsys.readouterr().err.count(f"warning: 1 of 1 {said}") == 1
    # On a command line a file stands for all of its frames.
    assert main(words("explain", folder / "run", scan, *explained)) == 0
    assert "several pictures" not in capsys.readouterr().err
    assert main(words("manifest", "check", folder / "one.csv", "--image-root", folder / "in")) == 0
    printed = capsys.readouterr()
    kind, _, name = said.rpartition(": ")
    assert f"{kind.replace('hold', 'that hold')} (1): {name}" in printed.out + printed.err
    both = pd.read_csv(folder / "maps" / "explanations.csv")["file"].unique()
    assert len(both) == 2
    assert main(words("explain", folder / "run", "--images", f"{scan}#3", *explained)) == 1
    assert "scan.dcm#3 (no frame 3: the file has 2)" in capsys.readouterr().err


def test_frames_of_a_file_have_fingerprints_of_their_own(folder):
    scan = folder / "in" / "scan.dcm"
    first, second = (photographs.fingerprint(f"{scan}#{k}") for k in (1, 2))
    assert photographs.fingerprint(scan) == first != second
    table = pd.DataFrame({"image": [ODD[6], "scan.dcm#2"], "patient": ["a", "b"]})
    rows = photographs.take(table, folder / "in", None)
    windows = folder / "in" / "both" / "of" / "windows.png"
    assert [x["fingerprint"] for x in rows] == [photographs.fingerprint(windows), second]
