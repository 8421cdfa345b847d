"""A mapping that is offered: it says why, asks what it does not know, and can be built by."""

import tomllib
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest

from fundus_diag.cli import main
from fundus_diag.data import manifest
from fundus_diag.data.datasets.build import build
from fundus_diag.data.datasets.guess import guess, unknown
from fundus_diag.data.datasets.guess_words import odir_label
from fundus_diag.data.datasets.schema import checked
from fundus_diag.utils.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def built(tmp_path, path, root, name="csv", **options):
    """The table that a guess builds, and its questions."""
    text = guess(path, root)
    checked(Path("guess.toml"), tomllib.loads(text))
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(text, "utf-8")
    table = {} if name == "folders" else {"table": path}
    build(name, root, tmp_path / "out.csv", mapping=mapping, **table, **options)
    return manifest.read_manifest(tmp_path / "out.csv", need_labels=None), unknown(text)


def test_a_table_of_grades_whose_names_tell_the_eye(tmp_path):
    names = [f"{k}_{eye}" for k in range(10, 40) for eye in ("left", "right")]
    root = touch(tmp_path / "root", *(f"train/{name}.jpeg" for name in names))
    path = tmp_path / "trainLabels.csv"
    levels = np.arange(60) % 5
    pd.DataFrame({"image": names, "level": levels}).to_csv(path, index=False)
    read, questions = built(tmp_path, path, root)
    assert read.task == "grade"
    np.testing.assert_array_equal(read.table[list(read.labels)].to_numpy().argmax(axis=1), levels)
    assert read.table["patient"].tolist() == [name.split("_")[0] for name in names]
    assert read.table["eye"].tolist() == [name.split("_")[1] for name in names]
    assert read.table["image"].tolist() == [f"train/{name}.jpeg" for name in names]
    assert questions == ["the scale ends at 4, the highest that is there"]


def test_a_hospitals_workbook(tmp_path):
    """A title, two sheets, leading zeros, words for yes and no, ages as they are written."""
    book = openpyxl.Workbook()
    book.active.append(["About"])
    sheet = book.create_sheet("Data")
    sheet.append(["Screening 2019"])
    sheet.append([])
    sheet.append(["File", "Patient ID", "Eye", "Age", "Sex", "Glaucoma", "Drusen", "Remarks"])
    for k in range(30):
        row = [f"IMG{k:04d}", 17 + k // 2, "OD" if k % 2 else "os", "065Y", "F"]
        sheet.append([*row, "yes" if k % 3 == 0 else "no", "NA" if k == 4 else k % 2, f"text {k}"])
        sheet.cell(k + 4, 2).number_format = "000000"
    path = tmp_path / "list.xlsx"
    book.save(path)
    root = touch(tmp_path / "root", *(f"a/b/IMG{k:04d}.JPG" for k in range(30)))
    read, questions = built(tmp_path, path, root)
    assert read.labels == ("G", "Drusen")
    np.testing.assert_array_equal(read.table["G"], [float(k % 3 == 0) for k in range(30)])
    assert np.isnan(read.table["Drusen"][4])
    assert read.table["Drusen"][5] == 1
    assert read.table["patient"][:3].tolist() == ["000017", "000017", "000018"]
    assert read.table["eye"][:2].tolist() == ["left", "right"]
    assert set(read.table["age"]) == {65}
    assert read.table["image"][0] == "a/b/IMG0000.JPG"
    assert questions == []


def test_another_encoding_and_delimiter(tmp_path):
    path = tmp_path / "t.txt"
    rows = [f"眼{k}.jpg;张{k // 2};{'右左'[k % 2]};{k % 2}" for k in range(20)]
    rows = ["图片;病人;眼;青光眼", *rows]
    path.write_bytes("\n".join(rows).encode("gb18030"))
    root = touch(tmp_path / "root", *(f"眼{k}.jpg" for k in range(20)))
    read, questions = built(tmp_path, path, root)
    assert read.labels == ("G",)
    assert read.table["patient"][:2].tolist() == ["张0", "张0"]
    assert questions == ["not UTF-8: read as gb18030, look at the names"]


def test_a_list_without_a_header(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("\n".join(f"007-{k:04d}.jpg {k % 6}" for k in range(60)))
    root = touch(tmp_path / "root", *(f"train/007-{k:04d}.jpg" for k in range(60)))
    text = guess(path, root)
    assert 'delimiter = "blanks"' in text
    assert "header = []" in text
    assert any("'2' holds" in x for x in unknown(text))


def test_folders_of_classes_within_splits(tmp_path):
    names = [f"{s}/{c}/{k}.png" for s in ("train", "Validation")
             for c in ("Glaucoma", "normal_eyes", "RP") for k in range(3)]  # fmt: skip
    root = touch(tmp_path / "root", *names)
    read, questions = built(tmp_path, root, root, "folders")
    assert set(read.labels) == {"G", "N", "RP"}
    assert read.table["split"].value_counts().to_dict() == {"train": 9, "val": 9}
    assert questions == ["'RP': no disease that is known here, so it has its own name"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Glaucoma_suspect", "G"), ("normal_eyes", "N"), ("abnormal", None), ("DR", "D"),
        ("hypertensive_retinopathy", "H"), ("Diabetic Retinopathy", "D"), ("ARMD", "A"),
        ("drusen", None), ("Myopia", "M"), ("unhealthy", None), ("白内障", "C"), ("hydra", None),
    ],
)  # fmt: skip
def test_names_that_stand_for_a_label_of_odir(name, label):
    assert odir_label(name) == label


def test_what_is_not_known_is_asked_and_not_made_up(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("n,score,code\n" + "".join(f"{k},{k / 7},{'abc'[k % 3]}\n" for k in range(9)))
    root = tmp_path / "root"
    root.mkdir()
    out = tmp_path / "m.toml"
    words = ["manifest", "guess", str(path), "--root", str(root), "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    for text in ("?? no column names pictures under root/", "?? nothing tells of patients",
                 "?? nothing tells which eye", "?? 'code' holds a 3, b 3, c 3"):  # fmt: skip
        assert text in said
    assert "[labels]" not in out.read_text()
    assert main(words) == 2
    assert "is there already; name another file" in capsys.readouterr().err
    with pytest.raises(DataError, match="no folders of classes in it"):
        guess(root, root)
