"""Our own `.weights.h5`: loaded whole or not at all, positions resized, nothing followed."""

import json

import h5py
import numpy as np
import pytest
import tensorflow as tf
from narrow import SIZE, golden, narrow_presets, perturbed
from PIL import Image
from tiny import main, make_photographs, train_flags, train_only

from fundus_diag.models import build_classifier, build_encoder
from fundus_diag.models.weights.h5 import save
from fundus_diag.models.weights.load import load_classifier, load_encoder, weights_record
from fundus_diag.runs.run import load_run
from fundus_diag.utils.errors import DataError

CVT = {"depths": (1, 1, 2), "widths": (8, 12, 18), "heads": (1, 2, 3)}
VIT = {"width": 24, "depth": 2, "heads": 3}
pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module", autouse=True)
def presets():
    with narrow_presets():
        yield


def load(path, name, size=SIZE, **options):
    return load_encoder(name, size, str(path), **options)[0]


def write(folder, name, size=SIZE, **options):
    encoder = perturbed(build_encoder(name, size, **options))
    encoder.save_weights(folder / "a.weights.h5")
    return encoder, folder / "a.weights.h5"


def equal(one, other, but=()):
    arrays = {x.name: x.get_weights() for x in one.layers if x.weights and x.name not in but}
    for layer in other.layers:
        if layer.weights and layer.name not in but:
            for a, b in zip(arrays.pop(layer.name), layer.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)
    assert not arrays


@pytest.mark.parametrize(("name", "options"), [("cvt_13", CVT), ("mae_vit_tiny", VIT)])
def test_weights_of_the_same_size_are_loaded_exactly(tmp_path, name, options):
    encoder, path = write(tmp_path, name, **options)
    equal(encoder, load(path, name, **options))


@pytest.mark.parametrize(
    ("name", "one", "other", "part"),
    [
        # Keras itself loads the first three without a word: it pairs layers in order.
        ("cvt_13", {**CVT, "depths": (1, 1, 3)}, CVT, "stage2.blocks.2.norm1/0 (18,) is not used"),
        ("mae_vit_tiny", {**VIT, "depth": 4}, VIT, "blocks.2.norm1/0 (24,) is not used"),
        ("mae_vit_tiny", VIT, {**VIT, "final_norm": False}, "norm/0 (24,) is not used"),
        ("mae_vit_tiny", VIT, {**VIT, "depth": 4}, "blocks.2.norm1/0 (24,) is missing"),
        ("mae_vit_tiny", VIT, {**VIT, "width": 48}, "is (16, 16, 3, 24), not (16, 16, 3, 48)"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, name, one, other, part):
    _, path = write(tmp_path, name, **one)
    with pytest.raises(DataError, match=f"^{path}: does not fit --encoder {name}: ") as caught:
        load(path, name, **other)
    assert part in str(caught.value)
    assert len(str(caught.value)) < 1000  # of hundreds of arrays the first few are named


def test_what_keras_would_overlook(tmp_path):
    """Why loading is not left to Keras; when this fails, it may be."""
    _, path = write(tmp_path, "mae_vit_tiny", **{**VIT, "depth": 4})
    build_encoder("mae_vit_tiny", SIZE, **VIT).load_weights(path)


def test_states_that_are_no_weights_do_not_matter(tmp_path):
    encoder, path = write(tmp_path, "mae_vit_tiny", **VIT, drop_path=0.2)
    equal(encoder, load(path, "mae_vit_tiny", **VIT))
    encoder, path = write(tmp_path, "mae_vit_tiny", **VIT)
    equal(encoder, load(path, "mae_vit_tiny", **VIT, drop_path=0.2))
    encoder.compile("adam", "mse")
    encoder.optimizer.build(encoder.trainable_variables)
    encoder.save_weights(path)
    with h5py.File(path) as file:
        assert "optimizer" in file
    equal(encoder, load(path, "mae_vit_tiny", **VIT))


@pytest.mark.parametrize("unit", ["eye", "patient"])
def test_a_trained_network_is_written_without_its_optimizer(tmp_path, unit):
    model = build_classifier("tiny", 32, 2, unit=unit)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    new, old = tmp_path / "new.weights.h5", tmp_path / "old.weights.h5"
    save(model, new)
    model.save_weights(old)  # as runs were written before
    with h5py.File(new) as file, h5py.File(old) as before:
        assert "optimizer" in before
        assert set(file) == set(before) - {"optimizer"}
        assert set(file["layers"]) == set(before["layers"])
    sizes = [4 * int(np.prod(w.shape)) for w in model.weights]
    assert new.stat().st_size - sum(sizes) < 0.5 * (old.stat().st_size - sum(sizes))
    want = [w.numpy() for w in model.weights]
    for path in (new, old):
        other = build_classifier("tiny", 32, 2, unit=unit)
        load_classifier(path, other)
        for a, b in zip(want, other.weights, strict=True):
            np.testing.assert_array_equal(a, b)
    build_classifier("tiny", 32, 2, unit=unit).load_weights(new)  # Keras itself


def test_a_file_without_the_final_norm_gives_an_encoder_without(tmp_path):
    encoder, path = write(tmp_path, "mae_vit_tiny", **VIT, final_norm=False)
    model = load(path, "mae_vit_tiny", **VIT)
    equal(encoder, model)
    classifier = build_classifier("mae_vit_tiny", SIZE, 2, weights=model, **VIT)
    np.testing.assert_array_equal(
        classifier.get_layer("blocks.1.norm2").get_weights()[0],
        encoder.get_layer("blocks.1.norm2").get_weights()[0],
    )


@pytest.mark.parametrize("wanted", [96, 112, 48])
def test_positions_of_another_grid_are_resized(tmp_path, wanted):
    encoder, path = write(tmp_path, "mae_vit_tiny", 64, **VIT)
    model = load(path, "mae_vit_tiny", wanted, **VIT)
    equal(encoder, model, but=("pos_embed",))
    before, after = (x.get_layer("pos_embed").get_weights()[0] for x in (encoder, model))
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    side = wanted // 16
    table = before[0, 1:].reshape(4, 4, 24)
    got = after[0, 1:].reshape(side, side, 24)
    # TensorFlow looks the kernel up in a table of 1024 values.
    want = tf.image.resize(table, (side, side), "bicubic", antialias=True)
    np.testing.assert_allclose(got, want, atol=1e-3)
    plain = tf.image.resize(table, (side, side), "bilinear", antialias=True)
    assert np.abs(got - plain).max() > 0.02
    size, kind = (side, side), Image.Resampling.BICUBIC
    channels = [Image.fromarray(table[..., k]).resize(size, kind) for k in range(24)]
    np.testing.assert_allclose(got, np.stack(channels, axis=-1), atol=1e-5)


def test_rows_and_columns_keep_their_places(tmp_path):
    encoder = build_encoder("mae_vit_tiny", 64, **VIT)
    table = np.zeros((1, 17, 24), "float32")
    table[0, 1:, 0] = np.repeat(np.arange(4), 4)  # rows
    encoder.get_layer("pos_embed").set_weights([table])
    encoder.save_weights(tmp_path / "a.weights.h5")
    model = load(tmp_path / "a.weights.h5", "mae_vit_tiny", 128, **VIT)
    got = model.get_layer("pos_embed").get_weights()[0][0, 1:, 0].reshape(8, 8)
    assert (np.diff(got, axis=0) > 0).all()
    np.testing.assert_allclose(np.diff(got, axis=1), 0, atol=1e-5)


def test_the_port_resizes_positions_as_loading_does(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    _, state = golden("vit_timm")
    save_file({k: np.ascontiguousarray(x) for k, x in state.items()}, tmp_path / "a.safetensors")
    words = ["port", tmp_path / "a.safetensors", "--encoder", "mae_vit_narrow", "--out"]
    small, large = tmp_path / "small.weights.h5", tmp_path / "large.weights.h5"
    assert main([str(x) for x in (*words, small)]) == 0
    assert main([str(x) for x in (*words, large, "--image-size", 96)]) == 0
    assert weights_record(large)["image_size"] == 96
    equal(load(small, "mae_vit_narrow", 96), load(large, "mae_vit_narrow", 96))


def external_link(file, elsewhere):
    del file["layers/layer_normalization/vars/0"]
    file["layers/layer_normalization/vars/0"] = h5py.ExternalLink(elsewhere, "secret")


def soft_link(file, elsewhere):
    del file["layers/layer_normalization/vars/0"]
    file["layers/layer_normalization/vars/0"] = h5py.SoftLink("/layers/dense/vars/1")


def external_storage(file, elsewhere):
    del file["layers/layer_normalization/vars/0"]
    file.create_dataset("layers/layer_normalization/vars/0", (24,), "f4", external=str(elsewhere))


def virtual(file, elsewhere):
    del file["layers/layer_normalization/vars/0"]
    layout = h5py.VirtualLayout((24,), "f4")
    layout[:] = h5py.VirtualSource(elsewhere, "secret", (24,))
    file.create_virtual_dataset("layers/layer_normalization/vars/0", layout)


def loop(file, elsewhere):
    file["layers/dense/again"] = file["layers"]


def same_name(file, elsewhere):
    file["layers/dense_1/vars"].attrs["name"] = file["layers/dense/vars"].attrs["name"]


def not_a_number(file, elsewhere):
    file["layers/dense/vars/1"][3] = np.nan


def text(file, elsewhere):
    del file["layers/layer_normalization/vars/0"]
    file["layers/layer_normalization/vars/0"] = "words"


def stranger(file, elsewhere):
    file["vars/0"] = np.zeros(3, "f4")


HOSTILE = {
    external_link: "link to another place",
    soft_link: "link to another place",
    external_storage: "lies in another file",
    virtual: "lies in another file",
    loop: "too many or too deep groups",
    same_name: "two layers are called 'blocks.0.attn.q'",
    not_a_number: "blocks.0.attn.q/1 holds NaN",
    text: "blocks.0.norm1/0 is (), not (24,)",
    stranger: "vars/0 (3,) is not used",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda x: x.__name__)
def test_a_file_that_leads_elsewhere_or_is_broken_is_refused(tmp_path, change):
    _, path = write(tmp_path, "mae_vit_tiny", **VIT)
    elsewhere = tmp_path / "elsewhere.h5"
    with h5py.File(elsewhere, "w") as file:
        file["secret"] = np.zeros(24, "f4")
    with h5py.File(path, "r+") as file:
        change(file, elsewhere)
    with pytest.raises(DataError, match=HOSTILE[change].replace("(", r"\(").replace(")", r"\)")):
        load(path, "mae_vit_tiny", **VIT)


def test_half_a_file_is_refused(tmp_path):
    _, path = write(tmp_path, "mae_vit_tiny", **VIT)
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], b"", b"text"):
        path.write_bytes(part)
        with pytest.raises(DataError, match="a.weights.h5: cannot be read"):
            load(path, "mae_vit_tiny", **VIT)
        with pytest.raises(DataError, match="a.weights.h5: cannot be read"):
            weights_record(path)


def test_a_record_that_is_none_is_refused(tmp_path):
    encoder = build_encoder("mae_vit_tiny", SIZE, **VIT)
    path = tmp_path / "a.weights.h5"
    save(encoder, path, {"naming": "x"})
    assert weights_record(path) == {"naming": "x"}
    for value in ("[1]", 3, "{"):
        with h5py.File(path, "r+") as file:
            file.attrs["fundus_diag"] = value
        with pytest.raises(DataError, match="a.weights.h5"):
            weights_record(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae_vit_narrow", "mae_vit_tiny"])
def test_training_starts_from_ported_weights_and_keeps_their_record(tmp_path, name):
    encoder = perturbed(build_encoder(name, 48))
    weights = tmp_path / "mae.weights.h5"
    save(encoder, weights, {"sha256": "0" * 64, "naming": "timm's ViT, MAE or RETFound"})
    manifest = make_photographs(tmp_path / "photographs", patients=10)
    run = tmp_path / "run"
    flags = {"encoder": name, "weights": weights, "phase1_epochs": 1, "phase2_epochs": 0}
    assert train_only(manifest, run, **flags) == 0
    config = json.loads((run / "config.json").read_text())
    assert config["pretrained"] is True
    assert config["weights_record"]["sha256"] == "0" * 64
    # Phase 2 did not run, so the blocks are still the ones that were given.
    model = load_run(run).model
    for one, other in zip(
        encoder.get_layer("blocks.2.mlp.fc2").get_weights(),
        model.get_layer("blocks.2.mlp.fc2").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_training_on_weights_of_another_encoder_stops_before_it_writes(tmp_path, capsys):
    _, path = write(tmp_path, "mae_vit_tiny", **VIT)
    manifest = make_photographs(tmp_path / "photographs", patients=10)
    words = train_flags(manifest, tmp_path / "run", encoder="mae_vit_narrow", weights=path)
    assert main(words) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "a.weights.h5: does not fit --encoder mae_vit_narrow: blocks.2.norm1/0 (24,) is" in line
    assert not (tmp_path / "run").exists()


def test_without_a_file_there_is_no_record():
    assert weights_record("none") is None
    assert weights_record("imagenet") is None
