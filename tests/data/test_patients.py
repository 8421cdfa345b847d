"""Who is who: what is said where a table does not tell, and patients who share a picture."""

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus_diag.cli import main
from fundus_diag.data import manifest, patients, splits
from fundus_diag.data.checks import check
from fundus_diag.data.same_people import one_person, same_people

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
    errors, warnings = check(path, tmp_path)
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
        "1 pictures cannot be read and were not compared",
        "patients who share a picture are dealt out together: a, c, e",
    ]
    for seed in range(8):
        made = splits.split(path, tmp_path / "s.csv", (0.4, 0.3, 0.3), seed, image_root=tmp_path)
        table = manifest.read_manifest(tmp_path / "s.csv", need_split=True).table
        assert table["patient"].tolist() == people  # nobody is renamed
        assert table["split"][[0, 2, 4]].nunique() == 1
        assert made["notes"][1:] == notes
    apart = [splits.split(path, tmp_path / "s.csv", (0.4, 0.3, 0.3), seed) for seed in range(8)]
    assert all(len(made["notes"]) == 1 for made in apart)


def test_a_split_needs_the_root_it_is_given(tmp_path, capsys):
    path = table_of(tmp_path, list("ab"))
    flags = ["--out", str(tmp_path / "s.csv"), "--image-root", str(tmp_path / "none")]
    assert main(["manifest", "split", str(path), *flags]) == 1
    assert "none: the image root is not a folder" in capsys.readouterr().err
