"""Pictures of maps hold the values that they show, whatever the photograph, map or name."""

import cv2
import numpy as np
import pytest
from matplotlib import colormaps

from fundus_diag.data.synthetic.eye import draw_eye
from fundus_diag.explain import overlay
from fundus_diag.explain.overlay import blend, explanation_png, methods_png
from fundus_diag.utils import picture_grid

LAYERS = ("block1_sepconv2_act", "block12_sepconv2_act")


@pytest.fixture(scope="module")
def photograph():
    return draw_eye(3, {"D"}, "right", 200)[0]


@pytest.fixture
def words(monkeypatch):
    """Every text written on a page, in the order of writing."""
    written = []
    original = picture_grid._write

    def write(canvas, x, y, text, *more):
        written.append(text)
        return original(canvas, x, y, text, *more)

    monkeypatch.setattr(picture_grid, "_write", write)
    return written


@pytest.fixture
def placed(monkeypatch):
    """Every picture placed on a page: (left, top, picture)."""
    pictures = []
    original = picture_grid._paste

    def paste(canvas, x, y, picture):
        pictures.append((x, y, np.array(picture)))
        return original(canvas, x, y, picture)

    monkeypatch.setattr(picture_grid, "_paste", paste)
    return pictures


def row(label="D", factor=1.0, names=LAYERS, **more):
    rng = np.random.default_rng(len(label))
    layers = [(name, factor * rng.random((12 + k, 12 + k))) for k, name in enumerate(names)]
    fused = rng.random((24, 24)) * 0.9
    fused[5, 5] = 1
    out = {"label": label, "text": "diabetic retinopathy", "probability": 0.873, "threshold": 0.31}
    return out | {"layers": layers, "fused": fused, "level": 0.5, "note": ""} | more


def decoded(png):
    """(height, width, 3) uint8 RGB of PNG bytes."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("count", [1, 5, 8])
def test_a_page_has_a_row_for_each_label(photograph, count):
    layers = [f"block{k}_sepconv2_act" for k in range(5)]
    rows = [row(label, names=layers) for label in "NDGCAHMO"[:count]]
    page = decoded(explanation_png(photograph, rows, "drawn.jpg"))
    assert 1500 < page.shape[1] <= 1600
    assert count * 180 < page.shape[0] < count * 210 + 180


def test_the_photograph_and_the_maps_stand_on_the_page_as_they_are(photograph, placed):
    one, two = row("D"), row("GG", factor=0.01)
    page = decoded(explanation_png(photograph, [one, two], "drawn.jpg"))
    for left, top, picture in placed:
        height, width = picture.shape[:2]
        np.testing.assert_array_equal(page[top : top + height, left : left + width], picture)
    pictures = [picture for _, _, picture in placed]
    assert len(pictures) == 2 * 5 + 3
    wide, narrow = pictures[0].shape[1], pictures[1].shape[1]
    small = cv2.resize(photograph, (wide, wide), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(pictures[0], small)
    # A layer's scale is that of its highest value in all rows: the second row is nearly dark.
    for k in (0, 1):
        top = one["layers"][k][1].max()
        for shown, r in ((pictures[1 + k], one), (pictures[6 + k], two)):
            map = cv2.resize(r["layers"][k][1].astype("float32"), (narrow, narrow))
            want = 255 * colormaps["viridis"](map / top)[..., :3]
            assert np.abs(shown - want).max() < 3
    map = cv2.resize(two["fused"].astype("float32"), (wide, wide))
    np.testing.assert_array_equal(pictures[8], blend(small, map))


@pytest.mark.parametrize("shape", [(300, 100), (100, 300)])
def test_pictures_stand_in_the_middle_of_their_row_and_column(shape, placed):
    explanation_png(np.zeros((*shape, 3), np.uint8), [row()], "")
    own, layer, _, fused, _, layer_bar, _, fused_bar = placed

    def middle(picture):
        left, top, pixels = picture
        return left + pixels.shape[1] / 2, top + pixels.shape[0] / 2

    for picture, bar in ((layer, layer_bar), (fused, fused_bar)):
        assert middle(picture)[0] == pytest.approx(middle(bar)[0], abs=0.5)
        assert middle(picture)[1] == pytest.approx(middle(own)[1], abs=1)
        assert bar[1] > own[1] + len(own[2])


def test_the_outline_follows_the_level_and_nothing_else_changes(photograph, placed):
    fused = np.zeros((50, 50))
    fused[20:30, 10:30] = 0.6
    fused[22, 12] = 1
    explanation_png(photograph, [row(fused=fused, level=0.5)], "")
    plain, outlined = placed[0][2], placed[4][2]
    side = len(plain)
    changed = (plain != outlined).any(axis=2)
    y, x = np.nonzero(changed)
    assert np.allclose([y.min(), y.max()], [0.4 * side, 0.6 * side], atol=5)
    assert np.allclose([x.min(), x.max()], [0.2 * side, 0.6 * side], atol=5)
    inner = [round(share * side) for share in (0.45, 0.55, 0.27, 0.53)]
    assert not changed[inner[0] : inner[1], inner[2] : inner[3]].any()


def test_words_say_what_is_shown(photograph, words):
    rows = [
        row("D", factor=4e-5),
        row("G", probability=0.1, threshold=0.1, text="", level=0.25),
        row("C", probability=0.1, threshold=0.4, note=overlay.TOP_LABEL),
        row("A", probability=None, threshold=np.nan),
    ]
    explanation_png(photograph, rows, "drawn_0003.jpg")
    assert words[0] == "drawn_0003.jpg"
    assert words[1:6] == ["photograph", *LAYERS, "fused", "outline of fused"]
    page = " ".join(words)
    for text in (
        "D diabetic retinopathy probability 0.873 threshold 0.310 above threshold outline",
        "G probability 0.100 threshold 0.100 above threshold outline: fused from 0.25 up",
        "threshold 0.400 below threshold (below its threshold: shown as the top label) outline",
        "no probability no threshold outline",
    ):
        assert text in page
    tops = [max(r["layers"][k][1].max() for r in rows) for k in (0, 1)]
    assert [f"{top:.2g}" for top in tops] == [words[words.index("0") + 1], words[-5]]
    assert words[-3:-2] == ["1"]
    assert words[-2].startswith("Single layers: raw values")
    assert words[-1].startswith("Fused, and its outline: relative to this picture")


def test_eyes_stand_under_each_other_with_their_own_photographs(photograph, words, placed):
    photographs = {"left": photograph[:, ::-1].copy(), "right": photograph[20:170].copy()}
    rows = [row(label, eye=eye) for eye in ("left", "right") for label in ("D", "G")]
    explanation_png(photographs, rows, "both eyes")
    names = [word for word in words if word.endswith(" eye")]
    assert names == ["D, left eye", "D, right eye", "G, left eye", "G, right eye"]
    shapes = [picture.shape for _, _, picture in placed[::5][:4]]
    assert shapes[0] == shapes[2] != shapes[1] == shapes[3]
    with pytest.raises(ValueError, match="no photograph of the right eye"):
        explanation_png({"left": photograph}, rows, "one eye")


def test_maps_of_zeros_are_said_to_be_zero(photograph, words, placed):
    zero = row(fused=np.zeros((9, 9)), layers=[("a", np.zeros((9, 9))), ("b", np.zeros((3, 3)))])
    explanation_png(photograph, [zero], "drawn.jpg")
    assert words.count("nothing\nspeaks for\nit") == 4
    pictures = [picture for _, _, picture in placed]
    for shown in pictures[1:3]:
        assert np.unique(shown.reshape(-1, 3), axis=0).tolist() == [[68, 1, 84]]  # viridis at 0
    for shown in pictures[3:5]:
        np.testing.assert_array_equal(shown, pictures[0])
    words.clear()
    explanation_png(photograph, [row(fused=np.full((9, 9), 0.4))], "drawn.jpg")
    assert "nothing from\n0.5 up" in words
    assert "nothing\nspeaks for\nit" not in words


def test_letters_stand_where_they_are_written_and_words_can_be_read_on_a_picture(
    photograph, placed
):
    page = decoded(explanation_png(photograph, [row(fused=np.zeros((9, 9)))], "drawn.jpg"))
    margin = picture_grid.MARGIN
    title = page[margin : margin + picture_grid.TITLE, margin : margin + 200].min(axis=2)
    rows, columns = np.nonzero(title < 128)
    assert rows.min() <= 2  # the top of the d
    assert 15 < rows.max() < picture_grid.TITLE  # the foot of the g
    assert columns.min() <= 2
    assert (page[: margin - 1] == 255).all()
    assert (page[:, -margin:] == 255).all()
    left, top, fused = placed[3]
    y, x = top + len(fused) // 2, left + fused.shape[1] // 2
    words = page[y - 24 : y + 24, x - 35 : x + 35].min(axis=2)  # white letters on dark ground
    assert (words > 200).sum() > 100
    assert (words < 90).sum() > 1000


@pytest.mark.parametrize("shape", [(60, 400), (400, 60), (31, 17), (1, 1)])
@pytest.mark.parametrize("count", [0, 1, 12])
def test_photographs_of_any_shape_fit(shape, count):
    odd = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    rows = [row(names=[f"layer{k}" for k in range(count)])]
    page = decoded(explanation_png(odd, rows, "odd"))
    assert 100 < page.shape[0] < 700
    assert 900 < page.shape[1] < 2100


def test_a_black_photograph_has_a_page():
    decoded(explanation_png(np.zeros((50, 50, 3), np.uint8), [row()], "black"))


def test_names_of_any_length_and_script_fit(photograph, words):
    name = "encoder/stage_3/block_11/attention/output_projection_with_a_long_name"
    long = row("a_label_of_forty_letters_and_even_more_of_them", names=[name, "x" * 40, "y" * 30])
    explanation_png(photograph, [long], "患者 $\\nosuch$ \x00\n" + "photograph " * 40)
    # Where no font has them, letters stand by number: names stay different, and can be found.
    shown = (r"\u60a3\u8005 $\nosuch$ \u0000 photograph", "患者 $\\nosuch$ \\u0000 photograph")
    assert words[0].startswith(shown)
    headings = [word for word in words if word.startswith(("encoder", "xx", "yy"))]
    assert len(headings) == 3
    assert all(word.count("\n") == 1 for word in headings)
    assert headings[0].endswith("_long_name")
    _, width = picture_grid.widths(3, 3)
    longest = max(len(line) for word in headings for line in word.split("\n"))
    assert longest * picture_grid._LETTER <= width


def test_wrong_rows_are_refused(photograph):
    with pytest.raises(ValueError, match="no row"):
        explanation_png(photograph, [], "")
    with pytest.raises(ValueError, match="same layers"):
        explanation_png(photograph, [row(), row(names=LAYERS[:1])], "")
    for wrong in (np.full((9, 9), np.nan), np.full((9, 9), -1.0), np.ones(9), np.full((9, 9), 2.0)):
        with pytest.raises(ValueError, match="map"):
            explanation_png(photograph, [row(fused=wrong)], "")
    with pytest.raises(ValueError, match="uint8"):
        explanation_png(photograph / 255, [row()], "")


def test_methods_stand_side_by_side(photograph, words, placed):
    maps = {label: row(label)["fused"] for label in ("D", "GG")}
    panels = [("layer_cam", maps), ("grad_cam", {"D": np.zeros((9, 9))})]
    page = decoded(methods_png(photograph, panels, "drawn.jpg"))
    assert words[:4] == ["drawn.jpg", "photograph", "layer_cam", "grad_cam"]
    assert words.count("nothing\nspeaks for\nit") == words.count("no map") == 1
    assert 1000 < page.shape[1] <= 1600
    own, side = placed[0][2], placed[0][2].shape[1]
    for at, label in ((1, "D"), (4, "GG")):
        map = cv2.resize(maps[label].astype("float32"), (side, side))
        np.testing.assert_array_equal(placed[at][2], blend(own, map))
    np.testing.assert_array_equal(placed[2][2], own)
    with pytest.raises(ValueError, match="no map to show"):
        methods_png(photograph, [("layer_cam", {})], "")
