"""Which photographs a run, or weights, have seen: by what is in the files, not by their names."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from tiny import make_photographs

from fundus_diag.models import build_encoder
from fundus_diag.models.weights import h5
from fundus_diag.models.weights.load import load_encoder
from fundus_diag.runs import photographs
from fundus_diag.runs.run_files import leaks
from fundus_diag.utils.errors import DataError


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_photographs(tmp_path_factory.mktemp("seen") / "photographs", patients=10)


def test_equal_files_have_equal_fingerprints_and_others_have_not(tmp_path):
    rng = np.random.default_rng(0)
    small, large = rng.bytes(100), rng.bytes(500_000)
    contents = {
        "a": small, "same": small, "b": large, "longer": large + b"\0",
        "start": b"\1" + large[1:], "end": large[:-1] + b"\1", "shorter": small[:-1], "empty": b"",
    }  # fmt: skip
    found = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        found[name] = photographs.fingerprint(tmp_path / name)
    assert found["a"] == found["same"]
    assert len(set(found.values())) == len(found) - 1
    assert all(len(x) == 16 and int(x, 16) >= 0 for x in found.values())
    with pytest.raises(DataError, match="gone: cannot be read: No such file"):
        photographs.fingerprint(tmp_path / "gone")


def test_rows_are_those_wanted_and_are_read_back(manifest, tmp_path):
    table = pd.read_csv(manifest, dtype=str)
    rows = photographs.take(table, manifest.parent, ("train", "val"), {"001_left.png"})
    wanted = table[table["split"].isin(["train", "val"]) & (table["image"] != "001_left.png")]
    assert [x["image"] for x in rows] == wanted["image"].tolist()
    assert [x["split"] for x in rows] == wanted["split"].tolist()
    photographs.write(tmp_path, rows)
    assert photographs.read(tmp_path) == rows
    assert photographs.read(tmp_path / "none") is None
    every = photographs.take(table.drop(columns="split"), manifest.parent, None)
    assert {x["split"] for x in every} == {"all"}
    assert len(every) == len(table)
    photographs.check_same(tmp_path, rows)
    changed = [rows[0] | {"fingerprint": "0" * 16}, *rows[1:]]
    with pytest.raises(DataError, match=f"have changed since.*: {rows[0]['image']}"):
        photographs.check_same(tmp_path, changed)
    with pytest.raises(DataError, match="have changed"):
        photographs.check_same(tmp_path, rows[1:])


def test_photographs_are_known_again_under_another_name_and_split(manifest, tmp_path):
    table = pd.read_csv(manifest, dtype=str)
    learned = photographs.take(table, manifest.parent, ("train",))
    other = tmp_path / "other"
    other.mkdir()
    rows = []
    for k, image in enumerate(table["image"]):
        (other / f"x{k}.png").write_bytes((manifest.parent / image).read_bytes())
        rows.append({"image": f"x{k}.png", "patient": str(k), "split": ("val", "test")[k % 2]})
    own = photographs.take(pd.DataFrame(rows), other, ("train", "val", "test"))
    counts = photographs.held_out(own, photographs.numbers(learned))
    train = set(table["image"][table["split"] == "train"])
    for parity, split in enumerate(("val", "test")):
        here = [x for k, x in enumerate(table["image"]) if k % 2 == parity]
        assert counts[split] == [sum(x in train for x in here), len(here)]
    lines = leaks({"pretrained_on": {"splits": ["train"]}, "held_out": counts})
    assert [f"{counts[s][0]} of the {counts[s][1]} photographs of {s}" in line
            for s, line in zip(("val", "test"), lines, strict=True)] == [True, True]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, []),
        ({}, []),
        ({"pretrained_on": {"splits": ["train"]}}, []),
        ({"pretrained_on": {"splits": ["train", "val"]}}, ["on rows of val"]),
        ({"pretrained_on": {"splits": ["all"]}}, ["on rows of val and test"]),
        ({"held_out": None}, ["is not recorded"]),
        ({"naming": "RETFound", "held_out": None}, ["is not recorded"]),
        ({"pretrained_on": {"splits": ["all"]}, "held_out": None}, ["is not recorded"]),
        ({"held_out": {"val": [0, 9], "test": [2, 8]}}, ["on 2 of the 8 photographs of test"]),
        ({"held_out": {"val": [0, 9], "test": [0, 8]}}, []),
        ({"held_out": {"val": "x", "test": [1]}}, []),
    ],
)
def test_what_a_reader_is_told_of_weights(record, expected):
    lines = leaks(record)
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True))


def test_weights_carry_the_photographs_that_they_have_seen(tmp_path):
    encoder = build_encoder("tiny", 32)
    seen = np.sort(np.random.default_rng(0).integers(0, 2**63, 20_000).astype(np.uint64))
    path = tmp_path / "a.weights.h5"
    h5.save(encoder, path, {"source": "here"}, seen)
    np.testing.assert_array_equal(h5.read_seen(path), seen)
    loaded, _ = load_encoder("tiny", 32, str(path))
    for a, b in zip(encoder.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    build_encoder("tiny", 32).load_weights(path)  # Keras itself minds it neither
    h5.save(encoder, path, {"source": "here"})
    assert h5.read_seen(path) is None


def test_a_list_of_photographs_that_is_none_is_refused(tmp_path):
    path = tmp_path / "a.weights.h5"
    for make in (
        lambda file: file.create_dataset(h5.SEEN, data=np.zeros((2, 2), np.uint64)),
        lambda file: file.create_dataset(h5.SEEN, data=np.zeros(3)),
        lambda file: file.create_dataset(h5.SEEN, (2**33,), np.uint64, chunks=(1024,)),
        lambda file: file.create_group(h5.SEEN),
        lambda file: file.__setitem__(h5.SEEN, h5py.ExternalLink("other.h5", "/x")),
    ):
        with h5py.File(path, "w") as file:
            make(file)
        with pytest.raises(DataError, match=r"a\.weights\.h5: "):
            h5.read_seen(path)


def test_rows_shared_with_a_run_are_counted_by_photograph_and_by_patient(manifest, tmp_path):
    table = pd.read_csv(manifest, dtype=str)
    photographs.write(tmp_path, photographs.take(table, manifest.parent, ("train", "val")))
    other = pd.DataFrame(
        {
            "image": ["000_left.png", "new.png", "new2.png", "005_left.png", "new3.png"],
            "patient": ["p0", "p1", "q", "z", "p5"],
        }
    )
    assert photographs.shared(tmp_path, {"data": {}}, other) == {"train": 2, "val": 2}
    pairs = pd.DataFrame(
        {"image_left": ["", "a"], "image_right": ["000_right.png", "b"], "patient": ["x", "y"]}
    )
    assert photographs.shared(tmp_path, {"data": {}}, pairs) == {"train": 1, "val": 0}
    # Without the list, by the run's table, if that is still the same one; else nothing is known.
    data = {"manifest": str(manifest), "sha256": photographs.read_manifest(manifest).sha256}
    empty = tmp_path / "empty"
    assert photographs.shared(empty, {"data": data}, other) == {"train": 2, "val": 2}
    assert photographs.shared(empty, {"data": {**data, "sha256": "1"}}, other) is None
    assert photographs.shared(empty, {"data": {}}, other) is None
    broken = tmp_path / "no.csv"
    broken.write_text("not,a,table\n1,2,3\n")
    assert photographs.shared(empty, {"data": {"manifest": str(broken)}}, other) is None
    assert json.dumps(photographs.shared(empty, {"data": data}, other))
