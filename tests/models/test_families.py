"""What an encoder needs stands in the file of its family: another one is a file and a line."""

import contextlib
import importlib.util
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from tiny import main, tiny

from fundus_diag.models import ENCODERS, build_classifier, encoders
from fundus_diag.models.classifier import cam_layers
from fundus_diag.models.family import Preset, Published
from fundus_diag.models.layers.preprocessing import LARGEST, SMALLEST
from fundus_diag.models.options import parse_options
from fundus_diag.models.weights.load import load_encoder
from fundus_diag.models.weights.port import namings
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.recipes import RECIPES
from fundus_diag.utils.errors import UsageError

FILE = '''"""A convolution of patches."""

from keras import layers

from fundus_diag.models.family import Naming, Preset

HEAD = {"hidden": 5}
PRESETS = {
    "plain": Preset(image_size=48, recipe="med_former"),
    "plain_wide": Preset({"width": 12}, image_size=64, recipe="mae"),
}


def feature_map(images, *, width=6, patch=4):
    x = layers.Rescaling(1 / 255, name="normalize")(images)
    x = layers.Conv2D(width, patch, strides=patch, name="block1")(x)
    q, k, v = (layers.Dense(width, name=f"block2.{kind}")(x) for kind in "qkv")
    return layers.Add(name="block2")([q, k, v])


def cam_layers(names):
    return tuple(x for x in names if x == "block1")


NAMINGS = (
    Naming(
        title="Somebody's Plain",
        mark=r"trunk\\.stem\\..+",
        renames=((r"^trunk\\.stem\\.", "block1."), (r"^trunk\\.", "block2.")),
        left_out=(r"fc\\.weight",),
        joint=r"(block2\\.)all(\\.\\w+)",
        note="pictures are divided by 255",
    ),
)
'''


@pytest.fixture
def unchanged():
    """What is added to the tables of encoders is taken back."""
    families = list(encoders.FAMILIES)
    with contextlib.ExitStack() as patches:
        for name in ("PRESETS", "FEATURE_MAPS", "CAM_LAYERS", "HEADS", "ENCODERS"):
            patches.enter_context(mock.patch.dict(getattr(encoders, name)))
        yield
    encoders.FAMILIES[:] = families


@pytest.fixture
def plain(tmp_path, unchanged):
    """The file, known by one line."""
    (tmp_path / "plain.py").write_text(FILE)
    spec = importlib.util.spec_from_file_location("plain", tmp_path / "plain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    encoders.add_family(module)
    return module


def resolved(**flags):
    return TrainConfig("", "", "", **flags).resolved()


def test_a_new_encoder_is_built_and_its_defaults_are_those_of_its_file(plain):
    assert ENCODERS["plain_wide"](64).output.shape == (None, 16, 16, 12)
    assert ENCODERS["plain_wide"](64, patch=8).output.shape == (None, 8, 8, 12)
    model = build_classifier("plain", 48, 3)
    assert model.get_layer("head_dense").units == 5
    assert cam_layers(model) == ("block1",)
    assert parse_options("plain_wide", ["width=3"]) == {"width": 3}
    for name, size, recipe in (("plain", 48, "med_former"), ("plain_wide", 64, "mae")):
        config = resolved(encoder=name, weights="file")
        assert (config.image_size, config.recipe) == (size, recipe)
        assert config.layer_decay == RECIPES[recipe]["layer_decay"]
        assert resolved(encoder=name, weights="none").recipe == "scratch"
    with pytest.raises(UsageError, match="there are se_xception, .*, plain, plain_wide$"):
        build_classifier("plane", 48, 3)


def test_weights_of_a_new_encoder_are_ported_by_the_names_in_its_file(plain, tmp_path, capsys):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    rng = np.random.default_rng(0)
    shapes = {
        "trunk.stem.weight": (12, 3, 4, 4),
        "trunk.stem.bias": (12,),
        "trunk.all.weight": (36, 12),
        "trunk.all.bias": (36,),
        "fc.weight": (7, 12),
    }
    state = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    source, out = tmp_path / "a.safetensors", tmp_path / "a.weights.h5"
    save_file(state, source)

    def port(name):
        return main([str(x) for x in ("port", source, "--encoder", name, "--out", out)])

    assert port("cvt_13") == 2
    assert "holds Somebody's Plain, for plain, plain_wide\n" in capsys.readouterr().err
    assert port("plain_wide") == 0
    printed = capsys.readouterr().out
    assert "left out: fc.weight\npictures are divided by 255\n" in printed
    assert "plain_wide at 64 px, of Somebody's Plain" in printed
    encoder, _ = load_encoder("plain_wide", 32, str(out))
    kernel, bias = encoder.get_layer("block1").get_weights()
    np.testing.assert_array_equal(kernel, state["trunk.stem.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(bias, state["trunk.stem.bias"])
    kernel, bias = encoder.get_layer("block2.k").get_weights()
    np.testing.assert_array_equal(kernel, state["trunk.all.weight"][12:24].T)
    np.testing.assert_array_equal(bias, state["trunk.all.bias"][12:24])


def test_imagenet_and_a_file_of_keras_are_for_the_encoders_that_say_so(unchanged, tmp_path, capsys):
    done = []
    upstream = Published(
        title="a network of Keras",
        terms="MIT",
        suffix=".h5",
        imagenet=lambda encoder: done.append(encoder.name),
        file=lambda path, encoder: done.append((path.name, encoder.name)),
    )
    family = SimpleNamespace(
        feature_map=lambda images: tiny(images),
        cam_layers=lambda names: (),
        HEAD={"hidden": 0},
        PRESETS={"one": Preset(published=upstream), "other": Preset()},
        NAMINGS=(),
    )
    encoders.add_family(family)
    path = tmp_path / "keras.h5"
    path.write_bytes(b"")
    assert load_encoder("one", 32, "imagenet")[1] is True
    assert load_encoder("one", 32, str(path))[1] is True
    out = tmp_path / "a.weights.h5"
    words = ["port", str(path), "--out", str(out), "--encoder"]
    assert main([*words, "one"]) == 0
    assert "one at 224 px, of a network of Keras" in capsys.readouterr().out
    assert done == ["one", ("keras.h5", "one"), ("keras.h5", "one")]
    with pytest.raises(UsageError, match="imagenet: there are none for --encoder other"):
        load_encoder("other", 32, "imagenet")
    assert main([*words, "other"]) == 2
    said = capsys.readouterr().err
    assert "a .h5 of Keras is for se_xception, resnet50, " in said
    assert said.endswith(", one\n")


def test_an_encoder_that_is_described_nowhere_has_the_defaults():
    config = resolved(encoder="tiny", weights="file")
    assert (config.image_size, config.recipe) == (224, "se_xception")
    assert resolved(encoder="tiny", weights="none").recipe == "scratch"
    assert build_classifier("tiny", 32, 2).get_layer("head_dense").units == 512
    with pytest.raises(UsageError, match="imagenet: there are none for --encoder tiny"):
        load_encoder("tiny", 32, "imagenet")


@pytest.mark.parametrize("family", encoders.FAMILIES, ids=lambda x: x.__name__.rpartition(".")[2])
def test_the_file_of_a_family_keeps_the_contract(family):
    assert family.HEAD.keys() <= {"hidden", "norm", "options"}
    for name, preset in family.PRESETS.items():
        assert encoders.PRESETS[name] is preset, f"{name} is the name of two encoders"
        assert preset.options.keys() <= encoders.defaults(name).keys()
        assert SMALLEST <= preset.image_size <= LARGEST
        assert preset.recipe in RECIPES
    assert set(family.PRESETS) <= set(encoders.members(family))


def test_titles_of_namings_tell_them_apart():
    titles = [naming.title for _, naming in namings()]
    assert len(set(titles)) == len(titles) > 0
