"""Photographs are decoded once, masks are read once, and unreadable photographs are all named."""

from collections import Counter

import pandas as pd
import pytest
from explained import damaged, evaluate, files, note_decoded, rows_of

from fundus_diag.cli import main
from fundus_diag.data import masks
from fundus_diag.explain import evaluate as evaluation

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def decoded(monkeypatch):
    return note_decoded(monkeypatch)


def explained(folder, *words, run="eye"):
    return main([str(w) for w in ("explain", folder / run, *words, "--no-pages")])


def of_split(folder, split):
    """Table and flags of one split of the drawn photographs."""
    manifest = folder / "photographs" / "manifest.csv"
    table = pd.read_csv(manifest)
    flags = ["--manifest", manifest, "--image-root", manifest.parent, "--split", split]
    return table[table["split"] == split], flags


def each_once(decoded, paths):
    return Counter(decoded) == Counter(path.read_bytes() for path in paths)


def test_photographs_are_decoded_once_to_be_explained(folder, tmp_path, decoded):
    assert explained(folder, "--images", *files(folder, 3), "--out", tmp_path) == 0
    assert each_once(decoded, files(folder, 3))


@pytest.mark.parametrize("run", ["eye", "patient"])
def test_photographs_of_a_table_are_decoded_once_to_be_explained(folder, tmp_path, decoded, run):
    table, flags = of_split(folder, "test")
    assert explained(folder, *flags, "--out", tmp_path, run=run) == 0
    assert each_once(decoded, [folder / "photographs" / x for x in table["image"]])


@pytest.mark.slow
@pytest.mark.parametrize("run", ["eye", pytest.param("patient", marks=pytest.mark.slow)])
def test_photographs_and_masks_are_read_once_to_be_scored(
    folder, tmp_path, decoded, run, monkeypatch
):
    read, batches = [], []
    read_one, explain_batch = masks._read, evaluation.explain_batch
    monkeypatch.setattr(masks, "_read", lambda path: read.append(path) or read_one(path))

    def noted(run, batch, layers, settings, chosen, together):
        batches.append((batch[0][0].name, [run.labels[k] for k in chosen[0]]))
        return explain_batch(run, batch, layers, settings, chosen, together)

    monkeypatch.setattr(evaluation, "explain_batch", noted)
    words = ["--lesions", "A=bright", "B=dark,bright", "--methods", "layer_cam"]
    assert evaluate(folder, tmp_path, *words, run=run) == 0
    table, _ = of_split(folder, "test")
    assert each_once(decoded, [folder / "photographs" / x for x in table["image"]])
    stems = set(table["image"].str.removesuffix(".png"))
    kept = [p for p in (folder / "masks").rglob("*.png") if p.stem.rsplit("_", 1)[0] in stems]
    assert sorted(read) == sorted(kept)
    names = table["patient"] if run == "patient" else table["image"].str.removesuffix(".png")
    wanted = {}
    for name, stem in zip(names, table["image"].str.removesuffix(".png"), strict=True):
        if (folder / "masks" / "bright" / f"{stem}_bright.png").exists():
            wanted[name] = ["A", "B"]
    assert dict(batches) == wanted
    assert len(batches) == len(wanted)  # all labels of a case in one go
    scored = pd.read_csv(tmp_path / "faithfulness_images.csv")
    assert len(scored[scored["filter"] == "none"]) == 2 * 3 * len(kept)  # a method, two controls


def test_a_mask_that_is_none_stops_it_before_anything_is_explained(
    folder, tmp_path, decoded, capsys
):
    table, _ = of_split(folder, "test")
    (tmp_path / "masks" / "bright").mkdir(parents=True)
    stem = table["image"].iloc[-1].removesuffix(".png")
    (tmp_path / "masks" / "bright" / f"{stem}_bright.png").write_bytes(b"text")
    assert evaluate(folder, tmp_path / "out", "--masks", tmp_path / "masks") == 1
    assert f"{stem}_bright.png: no mask" in capsys.readouterr().err
    assert decoded == []


def broken_files(folder, tmp_path, count=2):
    """Photographs damaged behind their headers."""
    found = []
    for k, path in enumerate(files(folder, count)):
        found.append(tmp_path / f"damaged{k}.png")
        found[-1].write_bytes(damaged(path))
    return found


def test_unreadable_photographs_stop_it_or_are_left_out_and_named(
    folder, tmp_path, capsys, decoded
):
    text, (pixels,) = tmp_path / "text.png", broken_files(folder, tmp_path, 1)
    text.write_bytes(b"no picture")
    words = ["--images", *files(folder, 2), text, pixels, "--out", tmp_path / "out"]
    assert explained(folder, *words) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "2 photographs cannot be read" in error
    assert "text.png (not an image" in error
    assert "damaged0.png (damaged PNG)" in error
    assert not (tmp_path / "out").exists()
    assert max(Counter(decoded).values()) == 1
    decoded.clear()
    assert explained(folder, *words, "--on-bad-image", "skip") == 0
    captured = capsys.readouterr()
    assert "text.png" in captured.err
    assert "damaged0.png" in captured.err
    assert "2 explained" in captured.out
    assert set(rows_of(tmp_path / "out" / "explanations.csv")["image"]) == {
        str(path) for path in files(folder, 2)
    }
    assert each_once(decoded, [*files(folder, 2), pixels])


def test_all_damaged_photographs_are_named_though_they_come_to_light_one_by_one(
    folder, tmp_path, capsys, decoded
):
    good, bad = files(folder, 4), broken_files(folder, tmp_path)
    words = ["--images", good[0], bad[0], good[1], bad[1], *good[2:], "--out", tmp_path / "out"]
    assert explained(folder, *words, "--batch-size", "1") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "2 photographs cannot be read" in error
    assert all(f"{path} (damaged PNG)" in error for path in bad)
    assert each_once(decoded, [*good, *bad])
    assert [path.name for path in (tmp_path / "out").glob("*.npz")] == [f"{good[0].stem}.npz"]
    assert not (tmp_path / "out" / "explanations.csv").exists()


def test_where_nothing_can_be_read_nothing_is_explained(folder, tmp_path, capsys):
    (tmp_path / "text.png").write_bytes(b"no picture")
    words = ["--images", tmp_path / "text.png", "--out", tmp_path / "out"]
    assert explained(folder, *words, "--on-bad-image", "skip") == 1
    assert "no photograph that can be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [explained, evaluate])
def test_where_only_decoding_shows_that_nothing_can_be_read_nothing_is_explained(
    folder, tmp_path, capsys, command
):
    table, _ = of_split(folder, "test")
    for name in table["image"]:
        (tmp_path / name).write_bytes(damaged(folder / "photographs" / name))
    table.to_csv(tmp_path / "m.csv", index=False)
    words = ["--manifest", tmp_path / "m.csv", "--image-root", tmp_path, "--out", tmp_path / "out"]
    words += ["--on-bad-image", "skip"]
    if command is evaluate:
        words = [tmp_path / "out", *words]
    assert command(folder, *words) == 1
    assert "no photograph that can be read" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out" / "explanations.csv").exists()
    assert not (tmp_path / "out" / "faithfulness.csv").exists()


@pytest.mark.parametrize("kind", ["text", "damaged"])
def test_of_a_pair_the_eye_that_can_be_read_is_explained(folder, tmp_path, kind, capsys):
    table, _ = of_split(folder, "test")
    (tmp_path / "photographs").mkdir()
    for name in table["image"]:
        whole = folder / "photographs" / name
        content = whole.read_bytes()
        if name == "008_right.png":
            content = b"no picture" if kind == "text" else damaged(whole)
        (tmp_path / "photographs" / name).write_bytes(content)
    table.to_csv(tmp_path / "m.csv", index=False)
    words = ["--manifest", tmp_path / "m.csv", "--image-root", tmp_path / "photographs"]
    words += ["--out", tmp_path / "out"]
    assert explained(folder, *words, run="patient") == 1
    assert "008_right.png" in capsys.readouterr().err.strip().splitlines()[-1]
    assert explained(folder, *words, "--on-bad-image", "skip", run="patient") == 0
    eyes = rows_of(tmp_path / "out" / "explanations.csv").groupby("patient")["eye"].unique()
    assert set(eyes["p8"]) == {"left"}
    assert set(eyes["p9"]) == {"left", "right"}
