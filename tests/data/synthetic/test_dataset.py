import tarfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from fundus_diag.data.labels import LABELS
from fundus_diag.data.manifest import read_manifest
from fundus_diag.data.synthetic.dataset import draw_dataset, draw_labels
from fundus_diag.data.synthetic.eye import ANATOMY, DISEASES, SIGNS, draw_eye
from fundus_diag.utils.errors import DataError, UsageError

D_SIGNS = SIGNS["D"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    out = tmp_path_factory.mktemp("drawn")
    draw_dataset(out, patients=60, size=96, seed=5)
    return out


def picture_of(path):
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def test_labels_are_as_frequent_as_documented():
    eyes = [(k, eye, shown) for k in range(1500) for eye, shown in draw_labels(1, k).items()]
    y = np.array([[label in shown for label in DISEASES] for _, _, shown in eyes])
    assert ((y.mean(axis=0) > 0.11) & (y.mean(axis=0) < 0.23)).all()
    assert 0.25 < (~y.any(axis=1)).mean() < 0.36
    assert (y.sum(axis=1) > 1).mean() > 0.15
    table = pd.DataFrame({"patient": [k for k, _, _ in eyes], "D": y[:, 0]})
    pairs = table.groupby("patient").D.agg(["sum", "size"]).query("size == 2")
    assert 0.03 < 1 - len(pairs) / 1500 < 0.1  # a few patients have one eye only
    assert (pairs["sum"] == 2).mean() > 2 * y[:, 0].mean() ** 2  # the eyes of a patient are alike


def test_the_manifest_of_a_drawn_set_is_a_manifest(drawn):
    manifest = read_manifest(drawn / "manifest.csv", need_split=True)
    table = manifest.table
    assert manifest.labels == LABELS
    assert manifest.task == "multi_label"
    assert table.patient.nunique() == 60
    assert (table.groupby("patient").split.nunique() == 1).all()
    assert dict(table.groupby("split").patient.nunique()) == {"train": 42, "val": 9, "test": 9}
    np.testing.assert_array_equal(table.N == 1, table[list(DISEASES)].sum(axis=1) == 0)
    assert table.age.between(18, 92).all()
    assert set(table.sex) == {"female", "male"}
    pictures = {str(path.relative_to(drawn)) for path in (drawn / "images").iterdir()}
    assert pictures == set(table.image)
    assert table.mask_vessels.tolist() == [
        f"outlines/vessels/{Path(x).stem}.png" for x in table.image
    ]
    for name in (*ANATOMY, *D_SIGNS):
        files = table[f"mask_{name}"]
        assert all(x == "none" or (drawn / x).is_file() for x in files)
        folder = "outlines" if name in ANATOMY else "masks"  # a cup that G has enlarged is a sign
        assert (files != "none").sum() == len(list(drawn.glob(f"{folder}/{name}/*.png")))
    assert (table.mask_hard_exudate[table.D == 0] == "none").all()
    for row in table.itertuples():
        assert row.image == f"images/{row.patient}_{row.eye}.jpg"
        assert picture_of(drawn / row.image).shape == (96, 96, 3)


def test_masks_lie_where_labels_say_and_half_of_d_is_small(drawn):
    table = read_manifest(drawn / "manifest.csv").table
    areas = []
    for row in table.itertuples():
        stem = f"{row.patient}_{row.eye}"
        signs = {path.parent.name for path in (drawn / "masks").glob(f"*/{stem}.png")}
        shown = [label for label in DISEASES if getattr(row, label) == 1]
        assert signs <= {sign for label in shown for sign in SIGNS[label]}
        assert all(signs & set(SIGNS[label]) for label in shown)
        if row.D == 1:
            masks = [
                cv2.imread(str(drawn / "masks" / sign / f"{stem}.png"), cv2.IMREAD_GRAYSCALE)
                for sign in signs & set(D_SIGNS)
            ]
            assert all(set(np.unique(mask)) == {0, 255} for mask in masks)
            field = (picture_of(drawn / row.image).max(axis=-1) > 20).sum()
            areas.append(np.any(masks, axis=0).sum() / field)
    assert len(areas) > 10
    assert 0.4 <= (np.array(areas) < 0.01).mean() <= 0.6


def test_more_patients_add_pictures_and_change_none(drawn, tmp_path):
    draw_dataset(tmp_path / "few", patients=4, size=96, seed=5)
    names = {path.name for path in (tmp_path / "few" / "images").iterdir()}
    calls = []
    draw_dataset(tmp_path / "few", patients=8, size=96, seed=5, progress=lambda *c: calls.append(c))
    after = {path.name: path for path in (tmp_path / "few" / "images").iterdir()}
    assert names < set(after)
    assert calls == [(k, len(after)) for k in range(1, len(after) + 1)]
    for name, path in after.items():
        assert path.read_bytes() == (drawn / "images" / name).read_bytes()
    few = read_manifest(tmp_path / "few" / "manifest.csv").table.drop(columns="split")
    many = read_manifest(drawn / "manifest.csv").table.drop(columns="split")
    pd.testing.assert_frame_equal(few, many.head(len(few)))


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="holds something else"):
        draw_dataset(tmp_path, patients=2, size=64)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(DataError, match="thesis.txt: cannot be drawn in"):
        draw_dataset(tmp_path / "thesis.txt", patients=2, size=64)
    draw_dataset(tmp_path / "new", patients=1, size=64, seed=1)
    with pytest.raises(DataError, match="holds something else"):
        draw_dataset(tmp_path / "new", patients=1, size=64, seed=2)


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"size": 8}, {"seed": -1}])
def test_numbers_that_are_too_small_are_named(tmp_path, wrong):
    with pytest.raises(UsageError, match=f"--{next(iter(wrong))} "):
        draw_dataset(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_colour_and_contrast_are_those_of_real_photographs(data_dir):
    """Medians of drawn pictures lie between the 10th and 90th percentile of 98 real ones."""

    def measure(picture):
        field = picture.max(axis=-1) > 30
        return [*picture[field].mean(axis=0), picture.mean(axis=-1)[field].std()]

    archive = data_dir / "odir5k" / "images_256.tar"
    if not archive.is_file():
        pytest.skip(f"no photographs to compare with at {archive}")
    real = []
    with tarfile.open(archive) as files:
        for member in [m for m in files if m.isfile()][::50]:
            data = np.frombuffer(files.extractfile(member).read(), np.uint8)
            real.append(measure(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)))
    drawn = [
        measure(draw_eye((0, patient), shown, eye)[0])
        for patient in range(25)
        for eye, shown in draw_labels(0, patient).items()
    ]
    low, high = np.percentile(real, (10, 90), axis=0)
    middle = np.median(drawn, axis=0)
    assert (low < middle).all()
    assert (middle < high).all()


@pytest.mark.slow
def test_thumbnails_do_not_give_the_labels_away():
    """400 + 400 pictures at 16x16: logistic regression, at its best strength, is below .80."""
    x, y, patients, diabetic = [], [], [], 0
    for patient in range(410):
        for eye, shown in draw_labels(2, patient).items():
            mild = diabetic % 2 == 0
            diabetic += "D" in shown
            picture, _ = draw_eye((2, patient), shown, eye, 64, mild=mild)
            x.append(cv2.resize(picture, (16, 16), interpolation=cv2.INTER_AREA).ravel())
            y.append([not shown, *(label in shown for label in DISEASES)])
            patients.append(patient)
    y, train = np.array(y), np.array(patients) < 205
    x = StandardScaler().fit_transform(np.array(x) / 255.0)
    macro = []
    for strength in (1e-3, 1e-2, 1e-1):
        model = LogisticRegression(C=strength, max_iter=500)
        scores = [model.fit(x[train], t[train]).decision_function(x[~train]) for t in y.T]
        macro.append(roc_auc_score(y[~train], np.stack(scores, axis=1), average="macro"))
    assert 0.55 < max(macro) < 0.80
