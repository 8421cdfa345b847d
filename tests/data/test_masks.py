"""Masks go to their own photographs, whatever files and folders are called, and to no other."""

import re
from pathlib import PurePosixPath

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fundus_diag.data import masks
from fundus_diag.imaging import image_file
from fundus_diag.utils.errors import DataError, UsageError

LESION = "3. Hard Exudates"
FOLDERS = ("", "a", "b", "x/a")
STEMS = ("p", "p1", "p1_2", "p1_left", "p12", "p1_2-3", "1", "p1_EX")
TAILS = ("", "_EX", "_EX_2", "_2", "-2_EX", "_hard exudates", "_3. hard Exudates",
         "_hard-exudates_7", "b", "_",
         "_left_EX", "2", ".jpg")  # fmt: skip
AFTER = re.compile(  # what may follow a stem, of the tails above
    r"[_.-]*|_(?i:3\. hard exudates)|(?:[_.-][A-Za-z]+|_(?i:hard[ -]exudates))(?:_[0-9]+)?[_.-]*"
)


def drawn(folder, names, value=255):
    for k, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((40, 60), np.uint8)
        mask[k] = value
        assert cv2.imwrite(str(path.with_suffix(".png")), mask)
        path.with_suffix(".png").rename(path)


def owners(images, file):
    """Photographs of the longest stem that fits, of those in the mask's folders."""
    below, name = str(file.parent), file.stem
    end = "" if below == "." else f"/{below}"
    near = [x for x in images if f"/{PurePosixPath(x).parent}".endswith(end)]
    own = {x: PurePosixPath(x).stem for x in near}
    own = {x: s for x, s in own.items() if name.startswith(s) and AFTER.fullmatch(name[len(s) :])}
    return [x for x, stem in own.items() if len(stem) == max(map(len, own.values()))]


paths = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(STEMS)).map("/".join)
files = st.tuples(paths, st.sampled_from(TAILS)).map("".join)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(paths.map(lambda x: x.strip("/") + ".jpg"), min_size=1, max_size=5, unique=True),
    st.lists(files.map(lambda x: x.strip("/") + ".PNG"), min_size=1, max_size=6, unique=True),
)
@example(["a/p1_EX.jpg", "b/p1.jpg"], ["b/p1_EX.PNG"])  # the longest stem is in another folder
def test_every_mask_goes_where_a_search_through_all_pairs_says(images, names):
    with pytest.MonkeyPatch.context() as patch:
        folder = PurePosixPath("masks") / LESION
        patch.setattr(masks, "_files", lambda path: [path / name for name in sorted(names)])
        own = {name: owners(images, PurePosixPath(name)) for name in names}
        twice = [name for name in sorted(names) if len(own[name]) > 1]
        if twice:
            with pytest.raises(DataError, match="is it a mask of ") as error:
                masks.find_masks("masks", {"D": [LESION]}, images)
            assert twice[0] in str(error.value)
            assert sum(image in str(error.value) for image in own[twice[0]]) >= 2
            return
        found, others = masks.find_masks("masks", {"D": [LESION]}, images)
    assert sorted(map(str, others)) == sorted(str(folder / x) for x in names if not own[x])
    for image in images:
        mine = [x for x in names if own[x] == [image]]
        deepest = max((x.count("/") for x in mine), default=0)
        want = sorted(str(folder / x) for x in mine if x.count("/") == deepest)
        assert sorted(map(str, found[image].get(LESION, []))) == want


def test_the_next_photograph_of_a_patient_keeps_its_mask(tmp_path):
    drawn(tmp_path / "EX", ["P1_EX.png", "P1_2_EX.png", "P1-3_EX.png", "P12_EX.png"])
    found, others = masks.find_masks(tmp_path, {"D": ["EX"]}, ["i/P1.jpg", "i/P1_2.jpg"])
    for image, name in (("i/P1.jpg", "P1_EX.png"), ("i/P1_2.jpg", "P1_2_EX.png")):
        assert found[image] == {"EX": [tmp_path / "EX" / name]}
    assert [x.name for x in others] == ["P1-3_EX.png", "P12_EX.png"]
    drawn(tmp_path / "EX", ["P1_left.png"])  # a word behind P1, or a photograph's whole name
    for images in (["P1.jpg", "P1_left.jpg"], ["P1_left.jpg", "P1.jpg"]):
        own = masks.find_masks(tmp_path, {"D": ["EX"]}, images)[0]
        assert own["P1_left.jpg"]["EX"] == [tmp_path / "EX" / "P1_left.png"]
        assert own["P1.jpg"]["EX"] == [tmp_path / "EX" / "P1_EX.png"]
    (tmp_path / "EX" / "P1_left.png").unlink()
    alone, _ = masks.find_masks(tmp_path, {"D": ["EX"]}, ["i/P1.jpg"])  # the other not in the table
    assert alone["i/P1.jpg"] == {"EX": [tmp_path / "EX" / "P1_EX.png"]}


def test_photographs_of_one_name_have_masks_in_folders_of_their_names(tmp_path):
    drawn(tmp_path / "EX", ["siteA/1.png", "siteB/1_EX.png"])
    images = ["/data/siteA/1.jpg", "/data/siteB/1.jpg"]
    found, others = masks.find_masks(tmp_path, {"D": ["EX"]}, images)
    assert [x.parent.name for image in images for x in found[image]["EX"]] == ["siteA", "siteB"]
    assert not others
    drawn(tmp_path / "EX", ["1.png"])
    with pytest.raises(DataError, match=r"EX/1\.png: .* /data/siteA/1\.jpg .* /data/siteB/1\.jpg"):
        masks.find_masks(tmp_path, {"D": ["EX"]}, images)
    found, _ = masks.find_masks(tmp_path, {"D": ["EX"]}, images[:1])
    assert found[images[0]]["EX"] == [tmp_path / "EX" / "siteA" / "1.png"]  # the nearer one


def test_two_spellings_of_an_accent_are_one_name(tmp_path):
    drawn(tmp_path / "EX", ["e\u0301te\u0301_EX.png"])
    found, _ = masks.find_masks(tmp_path, {"D": ["EX"]}, ["\u00e9t\u00e9.jpg"])
    assert len(found["\u00e9t\u00e9.jpg"]["EX"]) == 1


@pytest.mark.parametrize("name", ["p_EX.tif", "p_EX.TIFF", "p_EX.PNG", "p_EX.bmp"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_all_that_photographs_are_read_from_but_jpeg_is_read(tmp_path, name, depth):
    if name.endswith("bmp") and depth == np.uint16:
        return
    mask = np.zeros((9, 14), depth)  # smaller than any photograph
    mask[2, 3:8] = 1  # nothing of it is left in the upper 8 of 16 bits
    (tmp_path / LESION).mkdir()
    _, data = cv2.imencode(f".{name.rsplit('.', 1)[1].lower()}", mask)
    (tmp_path / LESION / name).write_bytes(data.tobytes())
    found, _ = masks.find_masks(tmp_path, {"D": [LESION]}, ["p.jpg"])
    masks.check_masks(found, ["p.jpg"])
    got, resized = masks.read_mask(found["p.jpg"][LESION], "p.jpg", (9, 14))
    np.testing.assert_array_equal(got, mask > 0)
    assert not resized


def test_files_that_are_no_masks_are_named(tmp_path):
    folder = tmp_path / "EX"
    drawn(folder, ["p.png", ".p.txt", ".hidden/q.txt", "Thumbs.db"])
    masks.find_masks(tmp_path, {"D": ["EX"]}, ["p.jpg"])
    for name in ("p_EX.jpg", "notes.txt", "p.nii.gz"):  # also where a mask stands beside it
        (folder / name).write_bytes(b"x")
        with pytest.raises(DataError, match=rf"{name}: no mask; masks are PNG, TIFF, BMP"):
            masks.find_masks(tmp_path, {"D": ["EX"]}, ["p.jpg"])
        (folder / name).unlink()


def test_files_that_cannot_be_read_are_named_before_any_is_decoded(tmp_path, monkeypatch, capsys):
    drawn(tmp_path / "EX", ["a.png", "b.png"])
    good = (tmp_path / "EX" / "a.png").read_bytes()
    found, _ = masks.find_masks(tmp_path, {"D": ["EX"]}, ["a.jpg", "b.jpg"])
    huge = good[:16] + (40_000).to_bytes(4, "big") * 2 + good[24:]
    jpeg = cv2.imencode(".jpg", np.zeros((40, 60), np.uint8))[1].tobytes()
    for content, text in (
        (b"text", "no mask"),
        (b"", "no mask"),
        (jpeg, "no mask; masks are PNG"),
        (huge, "40000x40000 pixels; a mask has 1 to 100 million"),
    ):
        (tmp_path / "EX" / "b.png").write_bytes(content)
        masks.check_masks(found, ["a.jpg"])
        with pytest.raises(DataError, match=rf"b\.png: {text}"):
            masks.check_masks(found, ["a.jpg", "b.jpg"])
        with pytest.raises(DataError, match=rf"b\.png: {text}"):
            masks.read_mask(found["b.jpg"]["EX"], "b.jpg", (40, 60))
    assert "looking at masks" in capsys.readouterr().err
    (tmp_path / "EX" / "b.png").write_bytes(good[:60] + b"\xff" * 40)
    with pytest.raises(DataError, match=r"b\.png: damaged or unusual PNG"):
        masks.read_mask(found["b.jpg"]["EX"], "b.jpg", (40, 60))
    cv2.imwrite(str(tmp_path / "f.tif"), np.ones((4, 4), np.float32))
    with pytest.raises(DataError, match=r"f\.tif: damaged or unusual TIFF"):
        masks.read_mask([tmp_path / "f.tif"], "f.jpg", (4, 4))
    monkeypatch.setattr(image_file, "MAX_BYTES", 10)
    with pytest.raises(DataError, match=r"a\.png: .* MB, more than"):
        masks.check_masks(found, ["a.jpg"])


def test_a_mask_of_the_photograph_before_it_was_turned_is_refused_and_another_size_is_not(tmp_path):
    drawn(tmp_path, ["p.png"])  # 40 rows, 60 columns
    for shape in ((60, 40), (90, 60), (600, 599)):
        with pytest.raises(DataError, match=rf"p\.png: 60x40 pixels, but p\.jpg .* {shape[1]}x"):
            masks.read_mask([tmp_path / "p.png"], "p.jpg", shape)
    for shape in ((80, 120), (50, 50)):
        got, resized = masks.read_mask([tmp_path / "p.png"], "p.jpg", shape)
        assert resized
        assert got[0].all()
        assert not got[2:].any()


def test_a_mask_is_what_several_files_show_in_any_colour(tmp_path):
    drawn(tmp_path, ["p.png", "p_EX.png"], 76)  # the gray of pure red
    got, _ = masks.read_mask([tmp_path / "p.png", tmp_path / "p_EX.png"], "p.jpg", (40, 60))
    assert got.any(axis=1).sum() == 2
    colour = np.zeros((4, 4, 4), np.uint8)
    colour[..., 3] = 255  # opaque everywhere, a trace of blue in one corner
    colour[0, 0, 0] = 1
    cv2.imwrite(str(tmp_path / "two.png"), colour)
    assert masks.read_mask([tmp_path / "two.png"], "two.jpg", (4, 4))[0].sum() == 1
    assert not masks.read_mask([], "none.jpg", (4, 4))[0].any()


def test_folders_may_have_any_name_but_none_that_leaves_the_masks(tmp_path):
    lesions = masks.read_lesions([f"D={LESION},MA", "G=患者 %s"], ("D", "G"))
    assert lesions == {"D": (LESION, "MA"), "G": ("患者 %s",)}
    for name in ("..", "../x", "/x", "a/b", "a\\b", "", "."):
        with pytest.raises(UsageError, match="LABEL=NAME,NAME is asked for"):
            masks.read_lesions([f"D={name}"], ("D",))
    (tmp_path / "MA").mkdir()
    masks.check_folders(tmp_path, lesions)  # one of them is enough where nobody named them
    with pytest.raises(DataError, match=r"no folder 3\. Hard Exudates, 患者 %s in it"):
        masks.check_folders(tmp_path, lesions, every=True)
    with pytest.raises(DataError, match="no such folder of masks"):
        masks.check_folders(tmp_path / "none", lesions)


def test_what_is_transparent_is_not_drawn(tmp_path):
    """As drawing programs save a layer: white all over, and seen where something was drawn."""
    layer = np.full((8, 8, 4), 255, np.uint8)
    layer[..., 3] = 0
    layer[2:4, 3:6, 3] = 200
    cv2.imwrite(str(tmp_path / "a.png"), layer)
    mask, _ = masks.read_mask([tmp_path / "a.png"], "a.jpg", (8, 8))
    assert mask.sum() == 6
    assert mask[2:4, 3:6].all()
