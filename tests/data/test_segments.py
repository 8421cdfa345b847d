"""Photographs with masks: what is outlined in a file lies on the same pixels of the picture."""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fundus_diag.data import outlined as masks_of_table
from fundus_diag.data.outlined import Outlined, classes_of, looked_at, outlined, read_masks
from fundus_diag.data.segments import load_segments, look_at
from fundus_diag.imaging import preprocess
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.utils.errors import DataError, UsageError

SIDE = 48


def table(*columns, rows=()):
    return pd.DataFrame(list(rows), columns=["image", *columns])


def write(path, levels):
    assert cv2.imwrite(str(path), levels)
    return path


def noise(side=SIDE, seed=0):
    return np.random.default_rng(seed).integers(1, 255, (side, side, 3), np.uint8)


def some(shape=(SIDE, SIDE), seed=0, share=0.3):
    return np.random.default_rng(seed).random(shape) < share


def row(image, masks, fov=None):
    return Outlined(image.name, image, masks, fov)


def square(rows, classes, size=SIDE, **options):
    """Photographs that are their own pictures."""
    return load_segments(rows, classes, size, "none", **options)


@pytest.fixture
def written(tmp_path):
    """Three photographs of noise with masks of `a`, of two also of `b`; and these masks."""
    rows, drawn = [], np.zeros((3, SIDE, SIDE, 2), bool)
    for i in range(3):
        image = write(tmp_path / f"{i}.png", noise(seed=i))
        masks = {"a": None, "b": None}
        for k, name in enumerate("ab"):
            if (i, name) != (1, "b"):
                drawn[i, ..., k] = some(seed=10 * i + k)
                file = tmp_path / f"{i}_{name}.png"
                masks[name] = write(file, np.where(drawn[i, ..., k], 255, 0).astype(np.uint8))
        rows.append(row(image, masks))
    return rows, drawn


def test_classes_are_all_masks_but_the_field_of_view_and_second_observers():
    found = table("mask_vessels_2", "A", "mask_disc", "mask_fov", "mask_vessels", "mask_cup_2")
    assert classes_of(found) == ("disc", "vessels", "cup_2")  # nobody drew cups before
    assert classes_of(table("mask_arteries", "mask_arteries_2_2")) == ("arteries", "arteries_2_2")


def test_classes_that_are_wanted_come_in_their_order_and_second_observers_too():
    found = table("mask_vessels", "mask_vessels_2", "mask_disc")
    assert classes_of(found, ("disc", "vessels_2")) == ("disc", "vessels_2")


@pytest.mark.parametrize("name", ["cup", "fov", "mask_disc"])
def test_a_class_that_there_is_not_is_refused_with_those_that_there_are(name):
    found = table("mask_disc", "mask_fov", "mask_cup_2")
    with pytest.raises(UsageError) as caught:
        classes_of(found, ("disc", name), "t.csv")
    assert str(caught.value) == f"--classes {name}: t.csv has masks of disc, cup_2"


@pytest.mark.parametrize("columns", [(), ("A", "mask"), ("mask_fov",)])
def test_a_table_without_masks_is_refused(columns):
    with pytest.raises(UsageError) as caught:
        classes_of(table(*columns), (), "t.csv")
    assert str(caught.value) == "t.csv: no column mask_<name>: a segmenter learns from masks"


def test_cells_become_files_none_or_nothing(tmp_path):
    for name in ("m/1.png", "fov.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    cells = [("p.jpg", "m/1.png", "none", "no.png", "fov.gif"), ("q/q.jpg", "none", "", "", "none"),
             ("r.jpg", "", "m/1.png", "no.png", "")]  # fmt: skip
    columns = ("mask_a", "mask_b", "mask_c", "mask_fov")
    got = outlined(table(*columns, rows=cells), str(tmp_path), ("b", "a"), "t.csv")
    file = tmp_path / "m/1.png"
    assert got == (
        Outlined("p.jpg", tmp_path / "p.jpg", {"b": "none", "a": file}, tmp_path / "fov.gif"),
        Outlined("q/q.jpg", tmp_path / "q/q.jpg", {"b": None, "a": "none"}, None),
        Outlined("r.jpg", tmp_path / "r.jpg", {"b": file, "a": None}, None),
    )
    without = outlined(table("mask_a", rows=[("p.jpg", "none")]), tmp_path, ("a",))
    assert without[0].fov is None


@pytest.mark.parametrize(("count", "end"), [(1, ""), (5, ""), (7, " and 2 more")])
def test_masks_that_are_missing_are_named_the_first_five_of_them(tmp_path, count, end):
    write(tmp_path / "there.png", np.zeros((4, 4), np.uint8))
    rows = [("p.jpg", "there.png", "there.png")]
    rows += [("p.jpg", f"{i}.png", "") for i in range(count - 1)] + [("p.jpg", "", "fov.png")]
    names = [*(f"{i}.png" for i in range(count - 1)), "fov.png"][:5]
    with pytest.raises(DataError) as caught:
        outlined(table("mask_a", "mask_fov", rows=rows), tmp_path, ("a",), "t.csv")
    want = f"t.csv: no such mask under {tmp_path}: {', '.join(names)}{end}"
    assert str(caught.value) == want


def test_a_folder_and_a_file_outside_of_the_root_are_no_masks(tmp_path):
    (tmp_path / "root" / "m.png").mkdir(parents=True)
    write(tmp_path / "x.png", np.zeros((4, 4), np.uint8))
    for cell in ("m.png", "../x.png"):
        with pytest.raises(DataError, match="no such mask"):
            outlined(table("mask_a", rows=[("p.jpg", cell)]), tmp_path / "root", ("a",))


def test_masks_of_a_photograph_that_is_its_own_picture_come_out_as_they_went_in(written):
    rows, drawn = written
    found, bad = square(rows, ("a", "b"))
    assert bad == []
    assert (found.rows, found.classes, found.image_size) == (rows, ("a", "b"), SIDE)
    assert found.array.dtype == np.uint8
    assert found.array.shape == (3, SIDE, SIDE, 6)
    for i in range(3):
        np.testing.assert_array_equal(found.array[i, ..., :3], noise(seed=i)[..., ::-1])  # RGB
    np.testing.assert_array_equal(found.array[..., 3:5], drawn * 255)
    np.testing.assert_array_equal(found.known, [[True, True], [True, False], [True, True]])
    other, _ = square(rows[:1], ("b",))
    np.testing.assert_array_equal(other.array[0, ..., 3], drawn[0, ..., 1] * 255)


def test_a_mask_lies_on_its_landmark_in_the_picture(tmp_path):
    """Red is 120 in all of the field, green is 255 on what is outlined, 0 elsewhere."""
    height, width, centre, radius = 181, 240, (97.5, 128.0), 71.0
    y, x = np.mgrid[:height, :width] + 0.5
    field = np.hypot(y - centre[0], x - centre[1]) <= radius
    landmark = np.hypot(y - 120, x - 90) <= 9.5
    photograph = np.zeros((height, width, 3), np.uint8)
    photograph[field] = (60, 0, 120)
    photograph[landmark, 1] = 255
    image = write(tmp_path / "p.png", photograph)
    mask = write(tmp_path / "m.png", np.where(landmark, 255, 0).astype(np.uint8))
    corner = np.zeros((height, width), np.uint8)
    corner[:90, :120] = 255  # of a field, what was looked at
    fov = write(tmp_path / "fov.png", corner)
    rows = [row(image, {"a": mask}), row(image, {"a": "none"}, fov)]
    found, bad = load_segments(rows, ("a",), 64, "fundus")
    assert bad == []
    first = found.array[0].astype(float)
    np.testing.assert_array_equal(first[..., 3], first[..., 1])
    assert first[..., 3].max() == 255
    # Where geometry says that it is: a square around the field is 64 pixels wide.
    scale = 64 / (2 * radius)
    rows_, columns = np.mgrid[:64, :64] + 0.5
    at = np.array([(first[..., 3] * z).sum() / first[..., 3].sum() for z in (rows_, columns)])
    want = (np.array([120, 90]) - centre + radius) * scale
    np.testing.assert_allclose(at, want, atol=0.7)
    assert first[..., 3].sum() / 255 == pytest.approx(np.pi * (9.5 * scale) ** 2, rel=0.05)
    # The last channel is the field, or of it what the mask of the field holds.
    assert set(np.unique(found.array[..., -1])) == {0, 1}
    inside = np.hypot(rows_ - 32, columns - 32) <= 32
    assert (first[..., -1] != inside).mean() < 0.02
    edge = (np.array([90, 120]) - centre + radius) * scale
    limited = (rows_ < edge[0]) & (columns < edge[1])
    assert (found.array[1, ..., -1] != limited)[inside].mean() < 0.04
    assert not found.array[1, ..., 3].any()


def test_a_mask_half_as_fine_in_the_picture_has_shares_at_its_edges(tmp_path):
    """By the triangle that pictures are reduced with: an edge between blocks is shared 7 : 1."""
    levels = np.zeros((SIDE, SIDE), np.uint8)
    levels[:, 24:] = 255
    image = write(tmp_path / "p.png", np.dstack([levels] * 3))
    found, _ = square([row(image, {"a": write(tmp_path / "m.png", levels)})], ("a",), SIDE // 2)
    line = found.array[0, 5, :, 3]
    np.testing.assert_array_equal(line[:11], 0)
    np.testing.assert_array_equal(line[13:], 255)
    np.testing.assert_array_equal(line[11:13], [32, 223])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_soft_masks_hold_shares_and_are_refused_without_the_word(tmp_path, depth):
    shares = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 256
    levels, highest = shares.astype(depth), 255
    if depth == np.uint16:  # what 8 bits more say is left out
        levels, highest = (shares * 256 + 255 - shares).astype(depth), 255 * 256
    image = write(tmp_path / "p.png", noise())
    rows = [row(image, {"a": write(tmp_path / "m.png", levels)})]
    found, bad = square(rows, ("a",), soft=True)
    assert bad == []
    np.testing.assert_array_equal(found.array[0, ..., 3], shares)
    found, bad = square(rows, ("a",))
    assert len(found.rows) == 0
    lowest = levels.min()
    reason = (
        f"m.png: 256 levels of gray ({lowest} to {highest}): a mask has two; --soft-masks reads"
    )
    assert bad == [["p.png", f"{tmp_path}/{reason} shares"]]


@pytest.mark.parametrize(("depth", "most"), [(np.uint8, 4), (np.uint16, 4), (np.uint16, 255)])
def test_counts_of_observers_are_no_shares(tmp_path, depth, most):
    levels = np.resize(np.array([0, most], depth), (SIDE, SIDE))
    with pytest.raises(DataError, match=f"levels from 0 to {most}: with --soft-masks") as caught:
        read(write(tmp_path / "m.png", levels), soft=True)
    assert f"{np.iinfo(depth).max} says that all agree" in str(caught.value)


def test_a_mask_is_measured_before_it_is_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / "m.png", np.zeros((SIDE, 2 * SIDE), np.uint8))
    monkeypatch.setattr("fundus_diag.data.outlined.read_levels", None)
    with pytest.raises(DataError, match="96x48 pixels, but p.jpg has 48x48"):
        read(path)


def test_none_and_an_all_black_file_say_that_somebody_looked_and_nothing_does_not(tmp_path):
    image = write(tmp_path / "p.png", noise())
    black = write(tmp_path / "m.png", np.zeros((SIDE, SIDE), np.uint8))
    found, bad = square([row(image, {"a": "none", "b": black, "c": None})], ("c", "a", "b"))
    assert bad == []
    np.testing.assert_array_equal(found.known, [[False, True, True]])
    assert not found.array[..., 3:6].any()


def test_what_counts_is_the_mask_of_the_field_of_view_where_there_is_one(tmp_path):
    image = write(tmp_path / "p.png", noise())
    drawn = some()
    fov = write(tmp_path / "f.png", np.where(drawn, 255, 0).astype(np.uint8))
    found, _ = square([row(image, {"a": "none"}, fov), row(image, {"a": "none"})], ("a",))
    np.testing.assert_array_equal(found.array[0, ..., -1], drawn)
    assert found.array[1, ..., -1].mean() > 0.9  # noise to the rim
    loaded = load_photograph(image, SIDE, "none")
    np.testing.assert_array_equal(looked_at(row(image, {}, fov), loaded), drawn)


def test_both_caches_give_the_same_and_a_second_load_from_disk_decodes_nothing(
    written, tmp_path, monkeypatch
):
    rows, drawn = written
    read = []
    for owner, name in ((preprocess, "load_photograph"), (masks_of_table, "read_levels")):
        real = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, real=real: read.append(args[0]) or real(*args)
        )
    want, _ = square(rows, ("a", "b"))
    assert len(read) == 3 + 5
    folder = tmp_path / "cache"

    def load(*, rows=rows, classes=("a", "b"), size=SIDE, **options):
        read.clear()
        found, bad = square(rows, classes, size, cache="disk", cache_dir=folder, **options)
        assert bad == []
        return found

    found = load()
    assert len(read) == 8
    for again in (found, load()):
        np.testing.assert_array_equal(again.array, want.array)
        np.testing.assert_array_equal(again.known, want.known)
    assert read == []
    assert isinstance(again.array, np.memmap)
    assert [x.suffix for x in folder.iterdir()] == [".npy"]
    # What gives another array is another file of the cache.
    nobody = [row(rows[0].path, {**rows[0].masks, "a": None}), *rows[1:]]
    moved = [*rows[:1], row(rows[1].path, {"a": None, "b": rows[1].masks["a"]}), *rows[2:]]
    for change in ({"classes": ("b", "a")}, {"rows": rows[::-1]}, {"size": 32}, {"soft": True},
                   {"rows": nobody}, {"rows": moved}):  # fmt: skip
        load(**change)
        assert read, change
    np.testing.assert_array_equal(load(rows=nobody).array[0, ..., 3:5] > 0,
                                  drawn[0] & [False, True])  # fmt: skip
    assert read == []
    file = rows[2].masks["a"]
    write(file, 255 - cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    os.utime(file, ns=(1, 1))  # two writes within a tick of the clock would look the same
    np.testing.assert_array_equal(load().array[2, ..., 3] > 0, ~drawn[2, ..., 0])


def test_another_field_of_view_is_not_taken_from_the_cache(written, tmp_path):
    rows, drawn = written
    options = {"cache": "disk", "cache_dir": tmp_path / "cache"}
    before, _ = square(rows[:1], ("a",), **options)
    seen = [row(rows[0].path, rows[0].masks, rows[0].masks["b"])]
    after, _ = square(seen, ("a",), **options)
    assert before.array[0, ..., -1].mean() > 0.9
    np.testing.assert_array_equal(after.array[0, ..., -1], drawn[0, ..., 1])


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_bad_photograph_and_a_bad_mask_are_listed_and_left_out(written, tmp_path, cache):
    rows, drawn = written
    torn, small = tmp_path / "torn.png", tmp_path / "small.png"
    torn.write_bytes(rows[0].path.read_bytes()[:200])
    write(small, np.zeros((40, 40), np.uint8))
    every = [rows[0], row(torn, rows[0].masks), rows[1], row(rows[2].path, {"a": small, "b": None}),
             rows[2]]  # fmt: skip
    folder = tmp_path / "cache"
    found, bad = square(every, ("a", "b"), cache=cache, cache_dir=folder)
    assert [image for image, _ in bad] == ["torn.png", "2.png"]
    assert "truncated" in bad[0][1]
    assert str(torn) not in bad[0][1]  # its name stands beside it already
    assert bad[1][1].startswith(f"{small}: 40x40 pixels")
    assert found.rows == tuple(rows)
    np.testing.assert_array_equal(found.array[..., 3:5], drawn * 255)
    np.testing.assert_array_equal(found.known, [[True, True], [True, False], [True, True]])
    if cache == "disk":  # still the file: no copy of it in memory
        assert isinstance(found.array.base, np.memmap) or isinstance(found.array, np.memmap)
    assert not folder.exists() or list(folder.iterdir()) == []  # never taken for whole


def test_none_that_can_be_read_leaves_nothing(tmp_path):
    found, bad = square([row(tmp_path / "gone.png", {"a": "none"})], ("a",))
    assert [image for image, _ in bad] == ["gone.png"]
    assert found.array.shape == (0, SIDE, SIDE, 5)
    assert found.known.shape == (0, 1)


# Masks alone, on the pixels of their photographs.


def read(path, shape=(SIDE, SIDE), **options):
    got = read_masks(Outlined("p.jpg", Path("p.jpg"), {"a": path}, None), ("a",), shape, **options)
    assert got.shape == (*shape, 1)
    assert got.dtype == np.uint8
    return got[..., 0]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((SIDE, SIDE + 3), "51x48 pixels, but p.jpg has 48x48: .* (+3 and +0)"),
        ((SIDE - 2, SIDE), "48x46 pixels, but p.jpg has 48x48: .* (+0 and -2)"),
        ((30, 40), "40x30 pixels, but p.jpg has 30x40: .* (+10 and -10)"),
    ],
)
def test_a_mask_of_another_size_is_refused_with_by_how_much(tmp_path, shape, said):
    path = write(tmp_path / "m.png", np.zeros(shape, np.uint8))
    first, last = said.split(" .* ")
    with pytest.raises(DataError) as caught:
        read(path, (40, 30) if shape == (30, 40) else (SIDE, SIDE))
    assert str(caught.value).startswith(f"{path}: {first}")
    assert str(caught.value).endswith(last)


@pytest.mark.parametrize(
    ("levels", "said"),
    [([0, 128, 255], "3 levels of gray (0 to 255)"), ([1, 2, 3, 9], "4 levels of gray (1 to 9)")],
)
def test_a_mask_of_more_than_two_levels_is_refused(tmp_path, levels, said):
    picture = np.resize(np.array(levels, np.uint8), (SIDE, SIDE))
    path = write(tmp_path / "m.png", picture)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {said}: a mask has two; --soft-masks reads shares"
    if levels[-1] == 255:
        np.testing.assert_array_equal(read(path, soft=True), picture)
        return
    # A count of observers would be taken for next to nothing everywhere.
    with pytest.raises(DataError, match="levels from 0 to 9: with --soft-masks 255 says that all"):
        read(path, soft=True)


def test_a_jpeg_and_a_torn_file_are_no_masks(tmp_path):
    drawn = np.where(some(), 255, 0).astype(np.uint8)
    jpeg = write(tmp_path / "m.jpg", drawn)
    with pytest.raises(DataError, match=r"m\.jpg: no mask; masks are PNG, TIFF, BMP, GIF, PNM$"):
        read(jpeg)
    torn = write(tmp_path / "m.png", drawn)
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(DataError, match=r"m\.png: damaged or unusual PNG$"):
        read(torn)
    torn.write_bytes(b"")
    with pytest.raises(DataError, match=r"m\.png: no mask"):
        read(torn)


@pytest.mark.parametrize(
    ("low", "high", "depth"),
    [(3, 253, np.uint8), (0, 1, np.uint8), (254, 255, np.uint8), (0, 1, np.uint16),
     (256, 257, np.uint16)],
)  # fmt: skip
def test_of_two_levels_the_brighter_is_the_class(tmp_path, low, high, depth):
    drawn = some()
    path = write(tmp_path / "m.png", np.where(drawn, high, low).astype(depth))
    np.testing.assert_array_equal(read(path), drawn * np.uint8(255))


@pytest.mark.parametrize("level", [0, 1, 255])
def test_of_one_level_all_is_of_the_class_but_where_it_is_black(tmp_path, level):
    path = write(tmp_path / "m.png", np.full((SIDE, SIDE), level, np.uint8))
    np.testing.assert_array_equal(read(path), 255 if level else 0)


def as_palette(drawn):
    """Of indices 7 and 4, which are black and dark blue."""
    picture = Image.fromarray(np.where(drawn, 4, 7).astype(np.uint8), "L")
    picture = picture.convert("P")
    colours = np.full((256, 3), 200, np.uint8)
    colours[[4, 7]] = [[0, 0, 90], [0, 0, 0]]
    picture.putdata(np.where(drawn, 4, 7).ravel().tolist())
    picture.putpalette(colours.ravel().tolist())
    return picture


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("m.gif", lambda drawn: Image.fromarray((drawn * 255).astype(np.uint8))),
        ("m.pgm", lambda drawn: Image.fromarray((drawn * 255).astype(np.uint8))),
        ("bits.png", lambda drawn: Image.fromarray(drawn)),
        ("palette.png", as_palette),
        ("m.tif", lambda drawn: Image.fromarray((drawn * 255).astype(np.uint8))),
        ("red.bmp", lambda drawn: Image.fromarray(drawn[..., None] * np.uint8([200, 0, 0]))),
    ],
)
def test_masks_come_in_the_files_that_data_sets_have(tmp_path, name, made):
    drawn = some((40, 57))
    made(drawn).save(tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name, (40, 57)), drawn * np.uint8(255))


def test_masks_keep_the_order_of_the_classes_and_nobody_looking_leaves_black(tmp_path):
    drawn = [some(seed=k) for k in range(2)]
    files = [write(tmp_path / f"{k}.png", x.astype(np.uint8)) for k, x in enumerate(drawn)]
    found = Outlined("p", Path("p"), {"a": files[0], "b": None, "c": files[1], "d": "none"}, None)
    got = read_masks(found, ("d", "c", "b", "a"), (SIDE, SIDE))
    np.testing.assert_array_equal(got[..., 1], drawn[1] * 255)
    np.testing.assert_array_equal(got[..., 3], drawn[0] * 255)
    assert not got[..., [0, 2]].any()


@pytest.mark.parametrize("read", [load_segments, look_at])
def test_photographs_that_show_nothing_or_are_one_of_several_are_counted(tmp_path, capsys, read):
    blank = write(tmp_path / "blank.png", np.full((SIDE, SIDE, 3), 255, np.uint8))
    pages, fine = tmp_path / "pages.tiff", write(tmp_path / "fine.png", noise())
    assert cv2.imwritemulti(str(pages), [noise(seed=1), noise(seed=2)])
    rows = [row(image, {"a": "none"}) for image in (blank, pages, fine)]
    read(rows, ("a",), SIDE, "none")
    said = capsys.readouterr().err
    assert "1 of 3 photographs show nothing (black, white or of one colour): blank.png\n" in said
    assert "1 of 3 photographs hold" in said
    assert ": pages.tiff\n" in said
    read(rows[2:], ("a",), SIDE, "none")
    assert "warning" not in capsys.readouterr().err
