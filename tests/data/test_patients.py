"""Who is who: what is said where a table does not tell, and patients who share a picture."""

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus_diag.cli import main
from fundus_diag.data import manifest, patients, splits
from fundus_diag.data.checks import check
from fundus_diag.data.same_people import one_person, same_people
from fundus_diag.utils.errors import UsageError

NOTE = "pictures are patients of their own"


def frame(people, images=None):
    images = images or [f"{k}.jpg" for k in range(len(people))]
    rows = {"image": images, "patient": people, "eye": "", "split": "train", "D": 1.0}
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("people", "own"),
    [
        ("a b c d", 4),  # nobody has two
        ("a a c d", 0),  # somebody has: the others may have one eye
        ("a a 2.jpg 3.jpg", 2),  # called as their pictures
        ("a a x-2.jpg x-3.jpg", 2),  # .. with the data set's prefix
        ("a a 3.jpg 2.jpg", 0),
        ("a", 0),
        ("0.jpg", 1),
    ],
)
def test_pictures_of_which_nothing_tells_the_patient_are_counted(people, own):
    table = frame(people.split())
    assert patients.own_patients(table) == own
    expected = [f"{own} of {len(table)} {NOTE}"] if own else []
    assert [note.split(":")[0] for note in patients.notes(table)] == expected


def test_a_decomposed_name_is_a_patient_of_its_own_too():
    table = frame(["1", "1", "\u00e9.jpg"], ["a", "b", "e\u0301.jpg"])
    assert patients.own_patients(table) == 1


def of_run(unit, counts, **data):
    parts = {k: {"rows": rows, "patients": people} for k, (rows, people) in enumerate(counts)}
    return {"unit": unit, "data": {"splits": parts, **data}}


@pytest.mark.parametrize(
    ("config", "own"),
    [
        (of_run("eye", [(4, 4), (2, 2)]), 6),
        (of_run("eye", [(4, 3), (2, 2)]), 0),
        (of_run("patient", [(4, 4), (2, 2)]), 0),  # a row per patient: nothing is seen
        (of_run("patient", [(4, 4)], own_patients=3), 3),
        (of_run("eye", [(4, 4)], own_patients=0), 0),
        (of_run("eye", [(4, 3)], own_patients="many"), 0),
    ],
)
def test_a_run_tells_how_many_it_was_trained_on(config, own):
    assert patients.own_patients_of_run(config) == own


def table_of(folder, people, **columns):
    path = folder / "t.csv"
    frame(people).assign(**columns).to_csv(path, index=False)
    return path


def test_training_and_the_commands_over_tables_say_it(tmp_path, capsys):
    path = table_of(tmp_path, list("abcd"), split=["train", "val"] * 2)
    (warning,) = [x for x in manifest.check_trainable(manifest.read_manifest(path)) if NOTE in x]
    assert warning.startswith(f"{path}: 4 of 4 {NOTE}")
    assert main(["manifest", "split", str(path), "--out", str(tmp_path / "s.csv")]) == 0
    assert f"note: 4 of 4 {NOTE}" in capsys.readouterr().out
    assert main(["manifest", "merge", str(path), "--out", str(tmp_path / "m.csv")]) == 0
    assert f"note: 4 of 4 {NOTE}" in capsys.readouterr().out
    for k in range(4):
        cv2.imwrite(str(tmp_path / f"{k}.jpg"), np.full((32, 32), 50 * k, np.uint8))
    _, errors, warnings, _ = check(path, tmp_path)
    assert errors == []
    assert [x.split(": where")[0] for x in warnings if NOTE in x] == [f"{path}: 4 of 4 {NOTE}"]


def test_one_person_is_whoever_links_lead_to():
    people = list("abcdefa")
    links = [("e", "c"), ("b", "e"), ("f", "f")]
    assert one_person(people, links) == list("abbdbfa")
    assert one_person(people, []) == people


def write_noise(path, seed, quality=95):
    noise = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8)
    noise = cv2.GaussianBlur(cv2.resize(noise, (200, 200)), (0, 0), 3)
    cv2.imwrite(str(path), noise, [cv2.IMWRITE_JPEG_QUALITY, quality])


def test_patients_who_share_a_picture_are_dealt_out_together(tmp_path):
    """a and c have the same file, c and e nearly the same picture: three names of one person."""
    people = list("abcdefgh")
    for k, seed in enumerate((0, 1, 0, 2, 0, 3, 4, 5)):
        write_noise(tmp_path / f"{k}.jpg", seed, quality=60 if k == 4 else 95)
    (tmp_path / "7.jpg").write_text("no picture")
    path = table_of(tmp_path, people)
    person, notes = same_people(manifest.read_manifest(path).table, tmp_path)
    assert person == list("abadafgh")
    assert notes == [
        "1 picture unreadable and not compared",
        "patients who share a picture are dealt out together: a, c, e",
    ]
    for seed in range(8):
        made = splits.split(path, tmp_path / "s.csv", (0.4, 0.3, 0.3), seed, keep_together=tmp_path)
        table = manifest.read_manifest(tmp_path / "s.csv", need_split=True).table
        assert table["patient"].tolist() == people  # nobody is renamed
        assert table["split"][[0, 2, 4]].nunique() == 1
        assert made["notes"][2:] == notes
    apart = [splits.split(path, tmp_path / "s.csv", (0.4, 0.3, 0.3), seed) for seed in range(8)]
    assert all(len(made["notes"]) == 2 for made in apart)


def test_a_split_needs_the_root_it_is_given(tmp_path, capsys):
    path = table_of(tmp_path, list("ab"))
    flags = ["--out", str(tmp_path / "s.csv"), "--keep-together", str(tmp_path / "none")]
    assert main(["manifest", "split", str(path), *flags]) == 1
    assert "none: the image root is not a folder" in capsys.readouterr().err


def test_ids_that_name_nobody_or_more_than_one_person_are_named():
    people = ["nan"] * 3 + [f"p{k // 2}" for k in range(60)] + ["clinic"] * 21
    nobody, many = patients.notes(frame(people))
    assert nobody.startswith("patient 'nan' has 3 pictures: that is nobody")
    assert many == "patient 'clinic' has 21 pictures: more than one person is likely to have"
    assert patients.notes(frame([f"p{k // 2}" for k in range(60)])) == []
    assert patients.notes(frame(["a"] * 30 + ["b"] * 28)) == []  # a study of few people


@pytest.mark.parametrize("word", ["nan", "NaN", "None", " null ", "N/A", "-", "Unknown"])
def test_nobody_has_many_names(word):
    assert patients.is_nobody(word)
    assert not patients.is_nobody(word + "1")


def test_an_official_test_split_stays_and_the_rest_is_dealt(tmp_path, capsys):
    people = [f"p{k // 2}" for k in range(200)]
    before = ["test" if k < 40 else "train" if k < 160 else "" for k in range(200)]
    before[41] = ""  # the fellow eye of somebody in train
    before[39] = ""  # .. and of somebody in test, who stays there with both
    path = table_of(tmp_path, people, split=before, D=[float(k % 3 == 0) for k in range(200)])
    made = splits.split(path, tmp_path / "s.csv", (0.7, 0.1, 0.2), 0, keep=["test"])
    after = manifest.read_manifest(tmp_path / "s.csv", need_split=True).table["split"].tolist()
    assert after[:40] == ["test"] * 40
    assert "test" not in after[40:]
    assert after[40:].count("val") == 20  # a tenth for every seven: 10 of 80 patients
    assert made["notes"] == [
        "1 row of people in a split that is kept put there too, such as '39.jpg'"
    ]
    flags = ["--out", str(tmp_path / "s.csv"), "--keep", "test"]
    assert main(["manifest", "split", str(path), *flags, "--ratios", ".5", ".5", "0"]) == 0
    after = manifest.read_manifest(tmp_path / "s.csv", need_split=True).table["split"].tolist()
    assert [after[40:].count(x) for x in ("train", "val")] == [80, 80]
    capsys.readouterr()
    for keep, ratios, complaint in (
        (["val"], (0.7, 0.1, 0.2), "--keep val: .* has no row in it"),
        (["test", "train"], (0.7, 0.0, 0.3), "no share for the splits that are not kept"),
        (["dev"], (0.7, 0.1, 0.2), "--keep dev"),
    ):
        with pytest.raises(UsageError, match=complaint):
            splits.split(path, tmp_path / "s.csv", ratios, 0, keep=keep)


def test_splits_that_are_dealt_anew_are_said(tmp_path):
    path = table_of(tmp_path, [f"p{k // 2}" for k in range(40)], split="test")
    made = splits.split(path, tmp_path / "s.csv")
    assert made["notes"] == ["the splits that the table had are dealt anew (--keep keeps them)"]
