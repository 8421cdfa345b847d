import json
import re
import tarfile
import tomllib

import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest

from fundus_diag.data import manifest
from fundus_diag.data.datasets import build
from fundus_diag.data.datasets.descriptions import describe, descriptions_dir
from fundus_diag.data.datasets.odir import eye_labels
from fundus_diag.data.findings import read_vocabulary
from fundus_diag.utils.errors import DataError, UsageError

LABELS = list("NDGCAHMO")
ODIR_COLUMNS = [
    "ID",
    "Patient Age",
    "Patient Sex",
    "Left-Fundus",
    "Right-Fundus",
    "Left-Diagnostic Keywords",
    "Right-Diagnostic Keywords",
    *LABELS,
]
ODIR_ROWS = [
    [7, 61, "Male", "7_left.jpg", "7_right.jpg", "normal fundus，lens dust", "Cataract，drusen"]
    + [0, 0, 0, 1, 0, 0, 0, 1],
    [8, 1, "Female", "8_left.jpg", "8_right.jpg", "low image quality", "suspected glaucoma"]
    + [0, 0, 1, 0, 0, 0, 0, 0],
    [9, 50, "Male", "9_left.jpg", "9_right.jpg", "a new word", "normal fundus"]
    + [0, 0, 0, 0, 0, 0, 0, 1],
]


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def odir(root, folder="images", kaggle=True, skip=()):
    names = [name for row in ODIR_ROWS for name in row[3:5] if name not in skip]
    touch(*(root / folder / name for name in names))
    if kaggle:
        rows = [[*row, name] for row in ODIR_ROWS for name in row[3:5]]
        frame = pd.DataFrame(rows, columns=[*ODIR_COLUMNS, "filename"])
        frame.to_csv(root / "full_df.csv", index=False)
    else:
        book = openpyxl.Workbook()
        for row in [ODIR_COLUMNS, *ODIR_ROWS]:
            book.active.append(row)
        book.save(root / "ODIR-5K_Training_Annotations.xlsx")
    return root


@pytest.mark.parametrize("kaggle", [True, False])
@pytest.mark.parametrize(
    "folder",
    ["images", "preprocessed_images", "ODIR-5K/Training Images", "ODIR-5K_Training_Dataset"],
)
def test_odir_is_built_from_either_table_and_every_layout(tmp_path, kaggle, folder):
    root = odir(tmp_path / "odir", folder, kaggle, skip=("9_right.jpg",))
    counts = build.build("odir5k", root, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == (
        "image,patient,eye,age,sex,dataset,N,D,G,C,A,H,M,O\n"
        f"{folder}/7_left.jpg,odir-7,left,61,male,odir5k,1,0,0,0,0,0,0,0\n"
        f"{folder}/7_right.jpg,odir-7,right,61,male,odir5k,0,0,0,1,0,0,0,1\n"
        f"{folder}/8_right.jpg,odir-8,right,1,female,odir5k,0,0,1,0,0,0,0,0\n"
        f"{folder}/9_left.jpg,odir-9,left,50,male,odir5k,0,0,0,0,0,0,0,1\n"
    )
    assert counts["rows"] == 4
    assert [re.sub(r"line \d+", "line", x) for x in counts["left_out"]] == [
        f"1 row, no diagnosis, only remarks on the picture (such as '{folder}/8_left.jpg', line)",
        "1 row, picture missing (such as '9_right.jpg', line)",
    ]
    assert counts["notes"] == ["keyword 'a new word' is not known: counted as O, 1 eyes"]
    assert manifest.resolve_images(manifest.read_manifest(tmp_path / "out.csv"), root)
    json.dumps(counts)


def test_patient_labels_are_those_published(tmp_path):
    root = odir(tmp_path / "odir")
    build.build("odir5k", root, tmp_path / "out.csv", labels="patient")
    read = manifest.read_manifest(tmp_path / "out.csv").table.set_index("image")
    for row in ODIR_ROWS:
        for name in row[3:5]:
            if name != "8_left.jpg":
                assert read.loc[f"images/{name}", LABELS].tolist() == row[7:]


def test_findings_are_labels_of_their_own(tmp_path):
    root = odir(tmp_path / "odir")
    counts = build.build("odir5k", root, tmp_path / "out.csv", labels="findings")
    assert counts["notes"] == ["finding 'a new word' is not in the vocabulary, 1 eyes"]
    strange = "1 row, a finding that the vocabulary does not know"
    assert any(strange in x for x in counts["left_out"])
    eyes = manifest.read_manifest(tmp_path / "out.csv").table.set_index("image")
    build.build("odir5k", root, tmp_path / "eye.csv")
    own = manifest.read_manifest(tmp_path / "eye.csv").table.set_index("image")
    assert eyes.index.tolist() == [x for x in own.index if x != "images/9_left.jpg"]
    words = read_vocabulary()
    names = [x for x in eyes.columns if x in words.finding]
    assert names == [x for x in words.finding if x in names]
    assert (eyes[names] == 1).any().all()
    for image, row in eyes.iterrows():
        said = {words.finding[x].label for x in names if row[x] == 1}
        assert said - {"N"} <= {x for x in LABELS if own.loc[image, x] == 1}


def oracle(data_dir):
    return pd.read_csv(data_dir / "odir5k" / "labels.csv").set_index("filename")


@pytest.mark.parametrize(
    ("keywords", "labels"),
    [
        ("normal fundus", "N"),
        ("lens dust，normal fundus ", "N"),
        ("normal fundus，drusen", "O"),
        ("lens dust", ""),
        ("", ""),
        ("suspected moderate non proliferative retinopathy", "D"),
        ("post laser photocoagulation,diabetic retinopathy,maculopathy", "DO"),
        ("hypertensive retinopathy，Wet age-related macular degeneration", "HA"),
        ("myopia retinopathy，tessellated fundus", "MO"),
    ],
)
def test_keywords_stand_for_labels(keywords, labels):
    assert eye_labels(keywords, describe("odir5k").keywords) == set(labels)


def test_eye_labels_agree_with_the_reference_on_every_row(data_dir):
    rules = tomllib.loads((descriptions_dir() / "odir5k.toml").read_text())["keywords"]
    reference = oracle(data_dir)
    for row in reference.itertuples():
        assert eye_labels(row.keywords, rules) == {k for k in LABELS if getattr(row, k)}, row
    assert len(reference) == 4917


@pytest.fixture(scope="module")
def odir_folder(data_dir, tmp_path_factory):
    """A folder with a file, empty but for a byte, in the place of every photograph."""
    root = tmp_path_factory.mktemp("odir")
    with tarfile.open(data_dir / "odir5k" / "images_256.tar") as archive:
        touch(*(root / name for name in archive.getnames() if name.endswith(".jpg")))
    return root


XLSX = "ODIR-5K_Training_Annotations.xlsx"


@pytest.mark.parametrize(
    ("table", "labels", "prefix"), [(XLSX, "eye", ""), ("full_df.csv", "patient", "patient_")]
)
def test_the_built_table_is_the_reference(data_dir, odir_folder, tmp_path, table, labels, prefix):
    out = tmp_path / "out.csv"
    source = data_dir / "odir5k" / table
    counts = build.build("odir5k", odir_folder, out, labels=labels, table=source)
    read = manifest.read_manifest(out).table
    reference = oracle(data_dir)
    assert set(read["image"]) == {f"images/{name}" for name in reference.index}
    want = reference.loc[read["image"].str.removeprefix("images/")]
    np.testing.assert_array_equal(read[LABELS], want[[prefix + label for label in LABELS]])
    assert (read["patient"].to_numpy() == "odir-" + want["ID"].astype(str).to_numpy()).all()
    assert (read["eye"].to_numpy() == want["side"].to_numpy()).all()
    assert (read["age"].to_numpy() == want["age"].to_numpy()).all()
    assert counts["notes"] == []
    if table == "full_df.csv":
        assert [x.partition(" (")[0] for x in counts["left_out"]] == ["43 rows, picture missing"]


def test_eyes_together_give_the_published_patient_for_all_but_4149(data_dir):
    description = describe("odir5k")
    book = openpyxl.load_workbook(
        data_dir / "odir5k" / "ODIR-5K_Training_Annotations.xlsx", read_only=True
    )
    header, *rows = book.active.iter_rows(values_only=True)
    exceptions = []
    for row in rows:
        row = dict(zip(header, row, strict=True))
        keywords = [row[f"{side}-Diagnostic Keywords"] for side in ("Left", "Right")]
        eyes = set().union(*(eye_labels(text, description.keywords) for text in keywords))
        patient = eyes - {"N"} or eyes
        if patient != {label for label in LABELS if row[label]}:
            exceptions.append(row["ID"])
    book.close()
    assert len(rows) == 2871
    assert exceptions == [4149]


def test_retinamnist_becomes_png_files_with_its_own_split(data_dir, tmp_path):
    root = data_dir / "retinamnist"
    counts = build.build("retinamnist", root, tmp_path / "r.csv")
    read = manifest.read_manifest(tmp_path / "r.csv", need_split=True)
    assert read.task == "grade"
    assert [counts["splits"][s]["rows"] for s in ("train", "val", "test")] == [1080, 120, 400]
    paths = manifest.resolve_images(read, tmp_path)
    with np.load(root / "retinamnist.npz") as archive:
        at = 0
        for split in ("train", "val", "test"):
            grades = archive[f"{split}_labels"].ravel()
            rows = read.table.iloc[at : at + len(grades)]
            np.testing.assert_array_equal(rows[list(read.labels)], np.eye(5)[grades])
            for i in (0, len(grades) - 1):
                picture = cv2.imread(str(paths[at + i]))[..., ::-1]
                np.testing.assert_array_equal(picture, archive[f"{split}_images"][i])
            at += len(grades)
    build.build("retinamnist", root, tmp_path / "o.csv", labels="odir")
    graded = manifest.read_manifest(tmp_path / "o.csv").table
    np.testing.assert_array_equal(graded["D"], 1 - read.table["grade_0"])
    assert graded[[label for label in LABELS if label != "D"]].isna().all(axis=None)


def save_npz(path, **changes):
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = np.zeros((2, 8, 8, 3), np.uint8)
        arrays[f"{split}_labels"] = np.array([[0], [4]], np.uint8)
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_images": None}, "no array 'val_images'"),
        ({"val_labels": np.array([[0], [5]])}, "grades outside 0 .. 4"),
        ({"val_labels": np.zeros((3, 1), int)}, "not 2 integers"),
        ({"val_images": np.zeros((2, 8, 8), np.uint8)}, r"not uint8 \(n, h, w, 3\)"),
        ({"val_images": np.array([{}], dtype=object)}, "not an archive of arrays"),
    ],
)
def test_a_wrong_archive_is_refused_in_one_line(tmp_path, changes, message):
    save_npz(tmp_path / "retinamnist.npz", **changes)
    with pytest.raises(DataError, match=message) as caught:
        build.build("retinamnist", tmp_path, tmp_path / "out.csv")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "retinamnist.npz").write_text("text")
    with pytest.raises(DataError, match="not an archive"):
        build.build("retinamnist", tmp_path, tmp_path / "out.csv")


def test_unknown_names_labels_and_roots_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no data set 'odir'"):
        build.build("odir", tmp_path, tmp_path / "out.csv")
    with pytest.raises(UsageError, match="--labels grade: odir5k has eye and patient"):
        build.build("odir5k", tmp_path, tmp_path / "out.csv", labels="grade")
    with pytest.raises(DataError, match="none: not a folder"):
        build.build("odir5k", tmp_path / "none", tmp_path / "out.csv")
    with pytest.raises(DataError, match="none of the files full_df.csv"):
        build.build("odir5k", tmp_path, tmp_path / "out.csv")
    odir(tmp_path / "odir")
    for picture in (tmp_path / "odir" / "images").iterdir():
        picture.unlink()
    with pytest.raises(DataError, match="no row is left .*picture missing"):
        build.build("odir5k", tmp_path / "odir", tmp_path / "out.csv")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_a_damaged_sheet_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "data.xlsx").write_bytes(content)
    with pytest.raises(DataError, match="data.xlsx: not a readable .xlsx file"):
        build.build("odir5k", tmp_path, tmp_path / "out.csv")


def test_a_sheet_of_another_kind_names_the_column_it_lacks(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["ID", "Age"])
    book.active.append([1, 60])
    book.save(tmp_path / "data.xlsx")
    with pytest.raises(DataError, match="data.xlsx: no column 'Patient Age'"):
        build.build("odir5k", tmp_path, tmp_path / "out.csv")
