"""A mark in a photograph is found again at its place, by all that lays maps on photographs.

The network is set by hand: it answers to blue, through convolutions that pad both sides at stride
2, as CvT does, so that its cells stand at .5 + 8 k of 64 px, not at 4 + 8 k.
"""

import io

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from exported import export, serve
from keras import layers
from laid import in_ellipse, placed
from PIL import Image
from tiny import make_photographs, ready_run

from fundus_diag import load_run, models
from fundus_diag.cli import main
from fundus_diag.explain import evaluate
from fundus_diag.explain.laying import reached
from fundus_diag.explain.settings import Settings
from fundus_diag.imaging.inside import picture_field
from fundus_diag.imaging.preprocess import in_field, load_photograph, to_original
from fundus_diag.models.geometry import Grid

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eager", "plain_graphs")]
SIZE, CELL = 64, np.array([5, 3])
PLACE = 0.5 + 8.0 * CELL  # of that cell, px of the picture
GRID = Grid((8, 8), (0.5, 0.5), (8.0, 8.0), SIZE)
MARK, BLOT = (60, 60, 200), (0, 0, 255)


def blue(images):
    """How blue its surroundings are: (B, S, S, 3) to (B, S / 8, S / 8, 1)."""
    x = layers.Rescaling(1 / 255, name="normalize")(images)
    x = layers.Conv2D(1, 1, activation="relu", name="colour")(x)
    for k in range(3):
        x = layers.ZeroPadding2D(1, name=f"pad{k}")(x)
        x = layers.Conv2D(1, 3, strides=2, use_bias=False, name=f"conv{k}")(x)
    return x


def write(path, shape, centre, radius, orientation=1, mark=MARK):
    """A field with a mark at `PLACE`, and a larger, bluer blot in the black beside the field."""
    image = np.zeros((*shape, 3), np.uint8)
    cv2.circle(image, centre[::-1], radius, (150, 90, 60), -1)
    Image.fromarray(image).save(path.with_suffix(".png"))
    box = load_photograph(path.with_suffix(".png"), SIZE).box
    path.with_suffix(".png").unlink()
    place = to_original(PLACE, box, SIZE)
    zoom = (box[2] - box[0]) / SIZE
    cv2.circle(image, [int(x) for x in place[::-1]], round(3 * zoom), mark, -1)
    corner = to_original(np.array([[0.5, 0.5], [7, 7]]), box, SIZE).round().astype(int)
    image[corner[0, 0] : corner[1, 0], corner[0, 1] : corner[1, 1]] = BLOT
    turned = Image.fromarray(image)
    if orientation == 6:  # to be turned clockwise to stand upright
        turned = turned.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned.save(path, quality=95, subsampling=0, exif=exif)
    mask = np.zeros(shape, np.uint8)
    cv2.circle(mask, [int(x) for x in place[::-1]], 2, 255, -1)
    beside = np.zeros(shape, np.uint8)
    beside[:9, :9] = 255  # in the corner, outside of the field
    for name, lesion in (("mark", mask), ("beside", beside)):
        (path.parent / "masks" / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path.parent / "masks" / name / f"{path.stem}.png"), lesion)
    return place, zoom


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the run, the photographs and their masks; and {stem: (place, px a pixel)}."""
    folder = tmp_path_factory.mktemp("marks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.FEATURE_MAPS, "blue", blue)
        patch.setitem(models.HEADS, "blue", {"hidden": 0})
        patch.setitem(models.CAM_LAYERS, "blue", lambda names: ("conv2",))
        manifest = make_photographs(folder / "others")
        ready_run(manifest, folder / "run", encoder="blue", image_size=SIZE)
        model = load_run(folder / "run").model
        weights = np.reshape([-1.0, 0.0, 1.0], (1, 1, 3, 1)), np.array([-0.1])
        model.get_layer("colour").set_weights(weights)
        for k in range(3):
            model.get_layer(f"conv{k}").set_weights([np.full((3, 3, 1, 1), 1 / 9)])
        weights = np.array([[50.0, -1.0]]), np.array([-1.0, 0.0])
        model.get_layer("head_logits").set_weights(weights)
        model.save_weights(folder / "run" / "model.weights.h5")
        tf.config.run_functions_eagerly(True)  # quicker, for a few photographs
        found = {
            "wide": write(folder / "wide.jpg", (300, 420), (150, 200), 140),
            "cut": write(folder / "cut.jpg", (240, 330), (120, 170), 138),
            "turned": write(folder / "turned.jpg", (420, 300), (180, 150), 130, orientation=6),
        }
        write(folder / "blot.jpg", (300, 420), (150, 200), 140, mark=(150, 90, 60))
        tf.config.run_functions_eagerly(False)
        yield folder, found


def files(folder, found):
    return [str(folder / f"{name}.jpg") for name in found]


def near(point, place, zoom):
    """Whether a point is at the mark: within a pixel of the picture, where a cell has 8."""
    return np.abs(np.array(point) - place).max() <= 1.1 * zoom


def test_explain_finds_the_mark_in_arrays_and_table(folder, tmp_path):
    folder, found = folder
    words = ["explain", str(folder / "run"), "--images", *files(folder, [*found, "blot"])]
    assert main([*words, "--labels", "A", "B", "--out", str(tmp_path), "--median", "0"]) == 0
    table = pd.read_csv(tmp_path / "explanations.csv")
    nowhere = table[table["image"] == str(folder / "blot.jpg")].set_index("label").loc["A"]
    assert nowhere["zero"] == 1  # though its map is not
    assert np.load(tmp_path / "blot.npz")["layer_cam"][0].any()
    assert nowhere[["peak_row", "peak_y", "superior_left"]].isna().all()
    for name, (place, zoom) in found.items():
        arrays = np.load(tmp_path / f"{name}.npz")
        shape = tuple(arrays["size"])
        cells = [arrays[f"layer_cam_{x}"] for x in ("offset", "stride")]
        raw = arrays["layer_cam"][0, 0]
        where = np.unravel_index(raw.argmax(), raw.shape)
        # What is raw knows no field: there the blot is higher, but where the frame cuts it off.
        assert where == ((5, 3) if name == "cut" else (0, 0)), name
        laid = placed(arrays["layer_cam_fused"][0], *cells, SIZE, arrays["box"], *shape)
        laid *= in_ellipse(arrays["field"], *shape)
        assert near(np.argwhere(laid == laid.max()).mean(axis=0) + 0.5, place, zoom), name
        assert laid.max() > 0.9  # though the blot is higher
        assert not arrays["layer_cam_fused"][0, 0, 0]
        own = table[table["image"] == str(folder / f"{name}.jpg")].set_index("label")
        assert near(own.loc["A", ["peak_row", "peak_column"]].to_list(), place, zoom), name
        shares = (own.loc["A", ["peak_y", "peak_x"]]).to_list()
        assert np.abs(np.array(shares) * SIZE - PLACE).max() <= 1.1
        quadrant = own.loc["A", [c for c in own if c.startswith(("superior", "inferior"))]].dropna()
        assert quadrant.astype(float).idxmax() == "inferior_left"
        assert own.loc["B", "zero"] == 1  # nothing speaks for it
        assert own.loc["B", ["peak_row", "superior_left"]].isna().all()


def test_explain_eval_hits_the_mark_and_nothing_outside_of_the_field(folder, tmp_path, capsys):
    folder, found = folder
    words = ["explain-eval", str(folder / "run"), "--images", *files(folder, found)]
    words += ["--masks", str(folder / "masks"), "--lesions", "A=mark", "B=beside"]
    words += ["--methods", "layer_cam"]
    words += ["--out", str(tmp_path), "--randomised", "0", "--steps", "4", "--resamples", "100"]
    assert main([*words, "--tolerance", "0.01"]) == 0
    assert "note: B: 3 lesions outside of the field of view, not scored" in capsys.readouterr().out
    scored = pd.read_csv(tmp_path / "faithfulness_images.csv").set_index("method")
    assert set(scored["label"]) == {"A"}
    assert (scored.loc["layer_cam", "pointing"] == 1).all()
    assert scored.loc["layer_cam", "energy"].min() > 3 * scored.loc["uniform", "energy"].max()
    assert scored.loc["layer_cam", "deletion"].mean() < scored.loc["uniform", "deletion"].mean()


@pytest.mark.traced
@pytest.mark.parametrize("saved", [False, True])
def test_the_exported_model_finds_the_mark(folder, tmp_path, saved):
    folder, found = folder
    model = tmp_path / "out" if saved else folder / "run"
    assert not saved or export(folder / "run", model) == 0
    for name, (place, zoom) in found.items():
        data = (folder / f"{name}.jpg").read_bytes()
        answer = serve(model, "explain", image_bytes=[data], label=[0])
        map, box = answer["map"][0], answer["map_box"][0]
        loaded = load_photograph(folder / f"{name}.jpg", SIZE)
        sides = zip(box[:2], box[2:], map.shape, strict=True)
        y, x = (low + (np.arange(n) + 0.5) / n * (high - low) for low, high, n in sides)
        seen = map * in_field(y, x, loaded.field, *loaded.photograph.shape[:2]).numpy()
        row, column = np.unravel_index(seen.argmax(), map.shape)
        assert near((y[row], x[column]), place, zoom), name
        with Image.open(io.BytesIO(answer["map_overlay_bytes"][0])) as image:
            green, cover = np.moveaxis(np.asarray(image)[..., [1, 3]].astype(int), -1, 0)
        assert cover.shape == loaded.photograph.shape[:2]
        green *= cover > 0  # the higher, the greener
        assert near(np.argwhere(green == green.max()).mean(axis=0) + 0.5, place, zoom), name
        assert not cover[~in_ellipse(loaded.field, *cover.shape)].any()


def test_random_networks_are_compared_in_the_field_alone(folder, monkeypatch):
    folder, found = folder
    run, layers = load_run(folder / "run"), {"layer_cam": ("conv2",)}
    seen = [load_photograph(folder / f"{name}.jpg", SIZE) for name in found]
    drawn = [({"": x.picture}, {"": picture_field(x)}) for x in seen]
    parts = []

    def noted(model, inputs, draws, seed):
        parts.extend(draws["layer_cam"]())
        return []

    monkeypatch.setattr(evaluate, "cascade", noted)
    evaluate._randomised(run, drawn, ["A", "B"], layers, Settings(), 0)
    counts = [int(reached(picture_field(x)[None], GRID).numpy().sum()) for x in seen]
    assert [len(part) for part in parts] == [n for n in counts for _ in range(2)]
    assert max(counts) < 64
