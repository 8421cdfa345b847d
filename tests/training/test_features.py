"""Phase 1 on features computed once is phase 1 of the whole network, for less."""

import dataclasses

import keras
import numpy as np
import pandas as pd
import pytest
from fitted import config
from tiny import make_photographs, train_only

from fundus_diag.data.pictures import Pictures
from fundus_diag.models import ENCODERS, build_classifier
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.training import classify, features, loop

PLAIN = {"cutmix": 0.0, "mixup": 0.0, "colour": True, "geometry": True, "rand_augment": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs, and weights of an encoder that depends on its input."""
    folder = tmp_path_factory.mktemp("features")
    make_photographs(folder / "photographs", patients=24)
    keras.utils.set_random_seed(3)
    encoder = ENCODERS["tiny"](32)
    noise = np.random.default_rng(0).uniform(0, 255, (32, 32, 32, 3)).astype("float32")
    calibrate_batch_norm(encoder, [noise])
    encoder.save_weights(folder / "encoder.weights.h5")
    return folder


def history(folder, name, **flags):
    flags = {"phase1_epochs": 4, "phase2_epochs": 0, "patience": 0, "phase1_rate": 0.01, **flags}
    weights = {"weights": folder / "encoder.weights.h5"}
    manifest = folder / "photographs" / "manifest.csv"
    assert train_only(manifest, folder / name, **weights, **flags) == 0
    return pd.read_csv(folder / name / "history.csv")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "more"),
    [
        ("patient", {}),
        pytest.param("eye", {}, marks=pytest.mark.slow),
        *(
            pytest.param(x, {"ema": 1.0, "layer_decay": 0.5}, marks=pytest.mark.slow)
            for x in ("eye", "patient")
        ),
    ],
)
def test_it_is_the_same_training_where_nothing_is_augmented(folder, unit, more):
    flags = {"unit": unit, "no_augment": True, "dropout": 0.3, **more}
    name = f"{unit}{len(more)}"
    want = history(folder, f"{name}_whole", phase1_views=0, **flags)
    got = history(folder, f"{name}_features", **flags)
    assert want["loss"].iloc[0] - want["loss"].iloc[-1] > 0.01  # it learns
    pd.testing.assert_frame_equal(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_encoder_looks_once_at_each_row_whatever_the_epochs(folder, monkeypatch):
    looked, real = [], features.inference_frozen

    def counting(model):
        ask = real(model)

        def asked(images):
            looked.append(len(images))
            return ask(images)

        return asked

    monkeypatch.setattr(features, "inference_frozen", counting)
    history(folder, "counted", phase1_epochs=5)
    table = pd.read_csv(folder / "photographs" / "manifest.csv")
    train, val = (int((table["split"] == x).sum()) for x in ("train", "val"))
    assert sum(looked) == train + val
    looked.clear()
    history(folder, "views", phase1_epochs=2, phase1_views=3)
    assert sum(looked) == 3 * train + val


@pytest.mark.slow
def test_runs_of_the_same_encoder_share_them_on_disk_and_others_do_not(folder, tmp_path, capsys):
    cache = {"cache": "disk", "cache_dir": tmp_path}

    def files():
        return sorted(x.name for x in tmp_path.glob("features-*"))

    first = history(folder, "disk", **cache)
    made = files()
    assert len(made) == 2  # of train and of val
    assert all(x.endswith(".npy") for x in made)
    capsys.readouterr()
    again = history(folder, "disk_again", **cache)
    assert "features of" not in capsys.readouterr().err
    pd.testing.assert_frame_equal(first, again)
    assert files() == made
    history(folder, "disk_seed", seed=1, **cache)  # the photographs as they are know no seed
    assert files() == made
    history(folder, "disk_views", phase1_views=2, **cache)
    assert len(files()) == 3  # other ones of train, the same of val
    encoder = ENCODERS["tiny"](32)
    encoder.load_weights(folder / "encoder.weights.h5")
    encoder.get_layer("conv1").set_weights([1.01 * encoder.get_layer("conv1").get_weights()[0]])
    encoder.save_weights(tmp_path / "other.weights.h5")
    manifest = folder / "photographs" / "manifest.csv"
    flags = {"weights": tmp_path / "other.weights.h5", "phase2_epochs": 0, **cache}
    assert train_only(manifest, folder / "disk_other", **flags) == 0
    assert len(files()) == 5


def of(model, rows, views=1, **settings):
    """Features of four noisy pictures."""
    array = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    pictures = Pictures((), 32, "none", array)
    run_dir = settings.pop("run_dir", None)
    settings = config(batch_size=3, **settings)
    if run_dir is not None:
        settings = dataclasses.replace(settings, run_dir=run_dir)
    ask = features.asking(model)
    found = features.of_rows(settings, model, ask, pictures, np.array(rows), views, PLAIN, "x")
    return array, found


@pytest.mark.usefixtures("eager")
def test_the_head_alone_answers_from_features_as_the_classifier_from_pictures():
    keras.utils.set_random_seed(0)
    model = build_classifier("tiny", 32, 3, hidden=8)
    array, found = of(model, [0, 1, 2, 3, 0])
    want = model(array[[0, 1, 2, 3, 0]].astype("float32"))
    assert found.array.shape == (5, 1, 16)
    head = features.head_alone(model)
    (first, second) = features.scoring(found, 3)
    got = np.concatenate([head(first), head(second)])
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert {id(v) for v in head.trainable_variables} <= {id(v) for v in model.trainable_variables}


@pytest.mark.usefixtures("eager")
def test_of_pairs_both_eyes_are_looked_at_and_a_missing_one_is_not_heard():
    keras.utils.set_random_seed(0)
    model = build_classifier("tiny", 32, 3, unit="patient", hidden=8)
    rows = [[0, 1], [2, -1], [-1, 3]]
    array, found = of(model, rows)
    assert found.array.shape == (3, 1, 2, 16)
    np.testing.assert_array_equal(found.mask, [[1, 1], [1, 0], [0, 1]])
    images = array[[[0, 1], [2, 0], [0, 3]]].astype("float32")  # what stands there is not heard
    want = model({"images": images, "mask": found.mask})
    (batch,) = features.scoring(found, 3)
    np.testing.assert_allclose(features.head_alone(model)(batch), want, atol=1e-5)


@pytest.mark.usefixtures("eager")
def test_the_first_view_is_the_photograph_and_the_others_are_views_of_it():
    keras.utils.set_random_seed(0)
    model = build_classifier("tiny", 32, 3, hidden=8)
    _, one = of(model, [0, 1, 2, 3])
    _, found = of(model, [0, 1, 2, 3], views=3, seed=5)
    np.testing.assert_allclose(found.array[:, 0], one.array[:, 0], atol=1e-5)
    for view in (1, 2):
        assert (np.abs(found.array[:, view] - one.array[:, 0]).max(axis=1) > 1e-3).all()
    _, again = of(model, [0, 1, 2, 3], views=3, seed=5)
    np.testing.assert_array_equal(again.array, found.array)
    _, other = of(model, [0, 1, 2, 3], views=3, seed=6)
    assert np.abs(other.array[:, 1] - found.array[:, 1]).max() > 1e-3


def test_batches_hold_the_labels_of_their_rows_and_all_views():
    array = np.arange(12, dtype=np.float32).reshape(4, 3, 1)  # rows 0 to 3, views 0 to 2
    found = features.Features(array, None)
    y = np.arange(4, dtype=np.float32)[:, None]
    seen = set()
    for epoch in range(20):
        batches = list(features.batches(found, y, [3, 0, 1, 2, 2], 2, [0, epoch]))
        assert [len(x) for x, _ in batches] == [2, 2]  # the incomplete one is left out
        for x, labels in batches:
            np.testing.assert_array_equal(x.numpy() // 3, labels)
            seen |= set(x.numpy().ravel().tolist())
    assert seen == set(range(12))
    first = [x.numpy() for x, _ in features.batches(found, y, [3, 0, 1, 2], 2, [0, 1])]
    again = [x.numpy() for x, _ in features.batches(found, y, [3, 0, 1, 2], 2, [0, 1])]
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("flags", "alone"),
    [
        ({"pretrained": True}, True),
        ({"pretrained": True, "phase1_views": 0}, False),
        ({"pretrained": False}, False),  # as it always was
        ({"pretrained": True, "phase": 2}, False),
    ],
)
def test_who_trains_on_features(flags, alone, monkeypatch):
    monkeypatch.setattr(classify, "_head", lambda classes: "head")
    monkeypatch.setattr(classify, "_whole", lambda classes: "whole")
    views = {k: x for k, x in flags.items() if k == "phase1_views"}
    classes = classify.Classes(config(**views), None, None, [], flags["pretrained"], None, None)
    assert classify._learner(classes, flags.get("phase", 1)) == ("head" if alone else "whole")


@pytest.mark.slow
def test_an_interruption_in_phase_1_leaves_no_trace(folder, monkeypatch):
    flags = {"unit": "patient", "phase1_epochs": 4, "phase1_views": 2, "deterministic": True}
    want = history(folder, "whole", **flags)
    real = loop._run_epoch

    def two(fitting, learner, phase, pace):
        if len(fitting.state["history"]) == 2:
            raise KeyboardInterrupt
        real(fitting, learner, phase, pace)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_run_epoch", two)
        with pytest.raises(AssertionError):
            history(folder, "interrupted", **flags)
    assert len(pd.read_csv(folder / "interrupted" / "history.csv")) == 2
    got = history(folder, "interrupted", resume=True, **flags)
    pd.testing.assert_frame_equal(got, want)


@pytest.mark.usefixtures("eager")
def test_without_a_cache_they_lie_in_a_file_that_nobody_sees(tmp_path):
    keras.utils.set_random_seed(0)
    model = build_classifier("tiny", 32, 3, hidden=8)
    (tmp_path / "run").mkdir()
    _, found = of(model, [0, 1, 2, 3], cache="none", run_dir=tmp_path / "run")
    _, want = of(model, [0, 1, 2, 3])
    np.testing.assert_array_equal(found.array, want.array)
    assert isinstance(found.array, np.memmap)
    assert list((tmp_path / "run").iterdir()) == []
