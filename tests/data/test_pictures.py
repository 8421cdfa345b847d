"""Photographs decoded once, in memory or on disk."""

import cv2
import numpy as np
import pytest
from discs import levels, write_discs

from fundus_diag.data import pipeline
from fundus_diag.data.inputs import warn_of_blank
from fundus_diag.data.pictures import load_pictures
from fundus_diag.data.pipeline import scoring_batches


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("photographs"))


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_every_cache_gives_the_same_pictures(photographs, cache, tmp_path):
    want, _ = load_pictures(photographs, 32)
    pictures, bad = load_pictures(photographs, 32, cache=cache, cache_dir=tmp_path)
    assert bad == []
    rows = np.arange(7)
    got = np.concatenate([x.numpy() for x in scoring_batches(pictures, rows, 3)])
    np.testing.assert_array_equal(got, want.array)
    assert got.dtype == np.float32
    pairs = np.array([[0, 3], [-1, 2], [5, -1]])
    for batch in scoring_batches(pictures, pairs, 3):
        images, mask = batch["images"].numpy(), batch["mask"].numpy()
    np.testing.assert_array_equal(mask, [[1, 1], [0, 1], [1, 0]])
    np.testing.assert_array_equal(images[0], want.array[[0, 3]])
    # In place of a missing eye its fellow, mirrored: never black.
    np.testing.assert_array_equal(images[1, 0], want.array[2][:, ::-1])
    np.testing.assert_array_equal(images[2, 1], want.array[5][:, ::-1])


def test_the_disk_cache_is_used_again_and_notices_a_changed_file(
    photographs, tmp_path, monkeypatch
):
    load_pictures(photographs, 32, cache="disk", cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    read = []
    real = pipeline.preprocess.look_at
    monkeypatch.setattr(
        pipeline.preprocess, "look_at", lambda *args: read.append(args[0]) or real(*args)
    )
    load_pictures(photographs, 32, cache="disk", cache_dir=tmp_path)
    assert read == []
    photographs[0].touch()
    load_pictures(photographs, 32, cache="disk", cache_dir=tmp_path)
    assert len(read) == 7
    load_pictures(photographs, 48, cache="disk", cache_dir=tmp_path)  # another size: another file
    assert len(read) == 14


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_unreadable_photographs_are_named_and_never_cached(photographs, cache, tmp_path):
    broken, text = tmp_path / "broken.png", tmp_path / "text.jpg"
    broken.write_bytes(photographs[0].read_bytes()[:100])
    text.write_text("not a picture")
    paths = [photographs[1], broken, photographs[2], text, tmp_path / "gone.jpg"]
    folder = tmp_path / "cache"
    pictures, bad = load_pictures(paths, 32, cache=cache, cache_dir=folder)
    assert [path.name for path, _ in bad] == ["broken.png", "text.jpg", "gone.jpg"]
    assert all(reason and str(path) not in reason for path, reason in bad)
    assert not folder.exists() or list(folder.iterdir()) == []
    good = [x.numpy() for x in scoring_batches(pictures, np.array([0, 2]), 2)][0]
    np.testing.assert_array_equal(levels(good), [1, 2])


@pytest.mark.parametrize("cache", ["ram", "none"])
def test_photographs_that_show_nothing_are_counted_in_one_line(
    photographs, cache, tmp_path, capsys
):
    """A white one that is no square has black beside it in its picture: still it shows nothing."""
    for name, level in {"white": 255, "black": 0, "gray": 128}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((40, 90), level, np.uint8))
    paths = [photographs[0], *sorted(tmp_path.glob("*.png"))]
    pictures, bad = load_pictures(paths, 32, cache=cache, title=None)
    fine, _ = load_pictures(photographs, 32, cache=cache, title=None)
    assert bad == []
    assert [path.name for path in pictures.blank] == ["black.png", "gray.png", "white.png"]
    assert fine.blank == ()
    capsys.readouterr()
    warn_of_blank(fine)
    assert capsys.readouterr().err == ""
    warn_of_blank(pictures, fine)
    assert capsys.readouterr().err == (
        "warning: 3 of 11 photographs show nothing (black, white or of one colour): "
        "black.png, gray.png, white.png\n"
    )
