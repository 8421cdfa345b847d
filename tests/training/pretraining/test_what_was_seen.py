"""Fine-tuning knows the photographs of a pretraining again, whatever they are called by then."""

import pandas as pd
import pytest
from narrow_vit import pretrain_flags, register
from tiny import main, make_photographs

from fundus_diag.data.manifest import read_manifest
from fundus_diag.models import build_encoder
from fundus_diag.models.weights import h5
from fundus_diag.models.weights.load import weights_record
from fundus_diag.runs import photographs
from fundus_diag.runs.run_files import leaks
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.pretraining import pretrain
from fundus_diag.training.seen import start_record


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a pretraining, without its epochs, on a table without splits."""
    folder = tmp_path_factory.mktemp("seen")
    manifest = make_photographs(folder / "photographs", patients=12)
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    table[:10].drop(columns="split").to_csv(folder / "photographs" / "some.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        register(patch.setitem)
        patch.setattr(pretrain, "fit", lambda run: None)
        words = pretrain_flags(folder / "photographs" / "some.csv", folder / "run")
        assert main(words) == 0
    return folder / "run" / "encoder.weights.h5"


def record_of(weights, manifest, tmp_path):
    """What a training from these weights says of them."""
    table = read_manifest(manifest)
    config = TrainConfig(manifest, manifest.parent, tmp_path / "run", weights=str(weights))
    seen = photographs.take(table.table, manifest.parent, ("train", "val", "test"))
    return start_record(config, table, seen)


def test_a_table_without_splits_is_recorded_whole(weights):
    record = weights_record(weights)
    assert record["pretrained_on"]["splits"] == ["all"]
    assert len(h5.read_seen(weights)) == 10
    assert {x["split"] for x in photographs.read(weights.parent)} == {"all"}
    assert len(photographs.read(weights.parent)) == 10


def test_the_same_photographs_under_other_names_and_splits_are_counted(weights, tmp_path):
    source = weights.parent.parent / "photographs"
    table = pd.read_csv(source / "manifest.csv", dtype=str, keep_default_na=False)
    root = tmp_path / "other"
    root.mkdir()
    table["split"] = ["test", "train"] * (len(table) // 2) + ["test"] * (len(table) % 2)
    table["patient"] = [f"q{k}" for k in range(len(table))]
    table.loc[12:14, "split"] = "val"
    for k, image in enumerate(table["image"]):
        (root / f"{k}.png").write_bytes((source / image).read_bytes())
    table["image"] = [f"{k}.png" for k in range(len(table))]
    table.to_csv(root / "m.csv", index=False)
    record = record_of(weights, root / "m.csv", tmp_path)
    tests = int((table["split"] == "test").sum())
    assert record["held_out"] == {"val": [0, 3], "test": [5, tests]}
    (line,) = leaks(record)
    assert f"pretrained on 5 of the {tests} photographs of test" in line


def test_photographs_that_were_not_seen_are_not_called_seen(weights, tmp_path):
    other = make_photographs(tmp_path / "other", patients=10, seed=5)
    record = record_of(weights, other, tmp_path)
    assert {n for n, _ in record["held_out"].values()} == {0}
    assert leaks(record) == []


def test_copies_of_the_photographs_of_the_same_table_were_seen_as_its_splits_say(tmp_path):
    """Saved anew they have other fingerprints: the table knows that they are the same ones."""
    manifest = make_photographs(tmp_path / "other", patients=10)
    with pytest.MonkeyPatch.context() as patch:
        register(patch.setitem)
        encoder = build_encoder("narrow_vit", 32)
    record = {"pretrained_on": {"sha256": read_manifest(manifest).sha256}}
    counts = pd.read_csv(manifest)["split"].value_counts()
    for splits, seen in ((["train"], ()), (["train", "val"], ("val",)), (["all"], ("val", "test"))):
        record["pretrained_on"]["splits"] = splits
        h5.save(encoder, tmp_path / "a.weights.h5", record, photographs.numbers([]))
        found = record_of(tmp_path / "a.weights.h5", manifest, tmp_path)
        assert found["held_out"] == {
            x: [counts[x] if x in seen else 0, counts[x]] for x in ("val", "test")
        }
        assert len(leaks(found)) == len(seen)


def test_weights_that_do_not_say_are_called_unknown(weights, tmp_path):
    manifest = make_photographs(tmp_path / "other", patients=10)
    with pytest.MonkeyPatch.context() as patch:
        register(patch.setitem)
        encoder = build_encoder("narrow_vit", 32)
    for name, record in (("none", None), ("ported", {"naming": "RETFound"})):
        h5.save(encoder, tmp_path / f"{name}.weights.h5", record)
        found = record_of(tmp_path / f"{name}.weights.h5", manifest, tmp_path)
        assert found["held_out"] is None
        assert "is not recorded" in leaks(found)[0]
    for known in ("none", "imagenet"):
        assert record_of(known, manifest, tmp_path) is None
    # An older record of the same table: its splits say it.
    same = {"pretrained_on": {"splits": ["train"], "sha256": read_manifest(manifest).sha256}}
    for splits, said in ((["train"], []), (["train", "test"], ["on rows of test"])):
        same["pretrained_on"]["splits"] = splits
        h5.save(encoder, tmp_path / "old.weights.h5", same)
        lines = leaks(record_of(tmp_path / "old.weights.h5", manifest, tmp_path))
        assert len(lines) == len(said)
        assert all(part in line for part, line in zip(said, lines, strict=True))
    same["pretrained_on"]["sha256"] = "of another table"
    h5.save(encoder, tmp_path / "old.weights.h5", same)
    assert "is not recorded" in leaks(record_of(tmp_path / "old.weights.h5", manifest, tmp_path))[0]
