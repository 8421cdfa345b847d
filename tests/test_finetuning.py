"""Fine-tuning as published: a rate for every layer, what decays, ordinal grades, options."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special
from test_models import NARROW
from tiny import make_photographs, train_only

from fundus_diag.models import FEATURE_MAPS, build_classifier
from fundus_diag.models.classifier import block_of
from fundus_diag.models.layers.ordinal import OrdinalLogits
from fundus_diag.models.options import parse_options
from fundus_diag.runs.run import load_run
from fundus_diag.training import phases
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.losses import WeightedBinaryCrossentropy
from fundus_diag.training.optimizers import TenthSteps, layer_rates
from fundus_diag.training.recipes import IMAGE_SIZES, RECIPES
from fundus_diag.utils.errors import UsageError

HERE = pathlib.Path()


def config(**flags):
    flags = {"weights": "none", "image_size": 32, "schedule": "steps", **flags}
    return TrainConfig(manifest=HERE, image_root=HERE, run_dir=HERE, **flags).resolved()


def compiled(name, unit="eye", steps=1, **flags):
    keras.utils.set_random_seed(0)
    model = build_classifier(name, 32, 2, unit=unit, **NARROW[name])
    loss = WeightedBinaryCrossentropy(np.ones(2))
    phases.compile_phase(model, 2, config(**flags), loss, steps, pretrained=False)
    return model


def moves(model, gradient):
    """{path: change of each variable} by one step along a gradient of one value everywhere."""
    before = [v.numpy() for v in model.trainable_variables]
    model.optimizer.apply([tf.fill(v.shape, gradient) for v in model.trainable_variables])
    return {v.path: v.numpy() - a for v, a in zip(model.trainable_variables, before, strict=True)}


def test_each_layer_of_a_vit_moves_at_its_own_rate():
    flags = {"layer_decay": 0.5, "weight_decay": 0.0, "phase2_rate": 1e-3, "phase2_epochs": 4}
    # The first step of Adam moves every weight by the rate itself.
    moved = moves(compiled("mae_vit_tiny", clip_norm=0, warmup=0, **flags), 1.0)
    want = {"head": 1, "blocks.2": 0.5, "blocks.1": 0.25, "blocks.0": 0.125, "embed": 0.0625}
    seen = set()
    for path, change in moved.items():
        block = block_of(path.split("/")[0])
        np.testing.assert_allclose(change, -1e-3 * want[block], rtol=1e-3, err_msg=path)
        seen.add(block)
    assert seen == set(want)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("cvt_13", ["stage2.blocks.1", "stage2.blocks.0", "stage2", "stage1.blocks.0", "stage1",
                    "stage0.blocks.0", "stage0"]),
        ("se_xception", ["block14", "block13", "block5", "block4", "block3", "block2", "block1"]),
    ],
)  # fmt: skip
def test_rates_fall_from_block_to_block_in_every_family(name, blocks):
    model = build_classifier(name, 32, 2, **NARROW[name])
    rates = layer_rates(model, 0.75)
    assert {v.path for v in model.trainable_variables} <= rates.keys()
    for path, rate in rates.items():
        block = block_of(path.split("/")[0])
        power = 0 if block == "head" else 1 + blocks.index(block)
        assert rate == pytest.approx(0.75**power), path


def test_kernels_decay_at_their_own_rate_and_nothing_else_does():
    flags = {"layer_decay": 0.5, "weight_decay": 0.1, "phase2_rate": 1e-2, "phase2_epochs": 4}
    model = compiled("mae_vit_tiny", clip_norm=0, warmup=0, **flags)
    before = {v.path: v.numpy() for v in model.trainable_variables}
    rates = layer_rates(model, 0.5)
    decayed = set()
    for path, change in moves(model, 0.0).items():  # no gradient: only the decay moves
        kernel = path.endswith("kernel")
        want = -before[path] * 1e-2 * rates[path] * 0.1 if kernel else 0
        np.testing.assert_allclose(change, want, atol=2e-8, err_msg=path)
        decayed |= {path.split("/")[-1]} if kernel else set()
    assert decayed == {"kernel"}
    spared = {p.split("/")[-1] for p in before} - decayed
    assert spared == {"bias", "gamma", "beta", "token", "embedding"}


def test_separable_kernels_decay_too():
    model = compiled("se_xception", weight_decay=0.1, clip_norm=0)
    optimizer = model.optimizer
    decays = dict(zip((v.path for v in model.trainable_variables), optimizer._decays, strict=True))
    assert decays["block5_sepconv1/depthwise_kernel"] == 0.1
    assert decays["block5_sepconv1/pointwise_kernel"] == 0.1
    assert decays["block5_sepconv1_bn/gamma"] == 0


def test_the_rate_falls_by_a_tenth_after_each_quarter():
    model = compiled("mae_vit_tiny", steps=5, phase2_epochs=8, phase2_rate=1e-3, warmup=0)
    schedule = model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(40)]
    np.testing.assert_allclose(rates, np.repeat([1e-3, 1e-4, 1e-5, 1e-6], 10), rtol=1e-5)


@pytest.mark.parametrize(("warmup", "total"), [(0, 2), (4, 40), (3, 5)])
def test_steps_have_their_tenths_whatever_the_length_and_the_warm_up(warmup, total):
    schedule = TenthSteps(0.5, total, warmup)
    for step in range(total):
        want = 0.5 * 0.1 ** (step * 4 // total) * (min(step / warmup, 1) if warmup else 1)
        assert float(schedule(step)) == pytest.approx(want, rel=1e-5)


# Wu et al. 2021, section 4.1; the command in RETFound's repository; Chowdary and Yin 2024.
PUBLISHED = {
    "cvt": {
        "phase2_rate": 2.5e-4, "batch_size": 256, "schedule": "cosine", "weight_decay": 0.05,
        "drop_path": 0.1, "label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0, "clip_norm": 0.0,
        "layer_decay": 1.0, "patience": 0,
    },
    "mae": {
        "phase2_rate": 5e-3 * 16 / 256, "phase2_epochs": 50, "batch_size": 16, "warmup": 10 / 50,
        "layer_decay": 0.65, "weight_decay": 0.05, "drop_path": 0.2, "label_smoothing": 0.1,
        "mixup": 0.0, "cutmix": 0.0, "clip_norm": 0.0, "patience": 0,
    },
    "med_former": {
        "phase2_rate": 1e-3, "phase2_epochs": 400, "batch_size": 16, "schedule": "steps",
        "warmup": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "mixup": 0.0, "cutmix": 0.0,
        "patience": 0,
    },
    "se_xception": {"phase1_rate": 1e-3, "phase2_rate": 1e-5, "schedule": "cosine", "dropout": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_recipes_hold_the_published_values(recipe):
    resolved = config(recipe=recipe, schedule=None)
    for name, value in PUBLISHED[recipe].items():
        assert getattr(resolved, name) == pytest.approx(value), name


def test_a_recipe_is_that_of_the_encoder_and_gives_way_to_flags():
    of = {"retfound": "mae", "mae_vit_tiny": "mae", "cvt_13": "cvt", "med_former": "med_former"}
    for encoder, recipe in {**of, "se_xception": "se_xception"}.items():
        assert config(encoder=encoder, weights="file").recipe == recipe
        assert config(encoder=encoder, weights="none").recipe == "scratch"
    assert len({tuple(sorted(r)) for r in RECIPES.values()}) == 1  # the same flags in each
    assert config(recipe="cvt", mixup=0.3).mixup == 0.3
    assert config(encoder="retfound", image_size=None).image_size == 224
    for name, size in IMAGE_SIZES.items():
        assert config(encoder=name, image_size=None).image_size == size
    assert IMAGE_SIZES.keys() <= FEATURE_MAPS.keys()


def test_smoothed_targets_equal_the_sum_done_by_hand():
    rng = np.random.default_rng(0)
    z, w = rng.normal(size=(5, 3)).astype("float32"), np.array([1.0, 2.0, 5.0])
    y = (rng.random((5, 3)) < 0.5).astype("float32")
    y[1, 2] = np.nan
    got = WeightedBinaryCrossentropy(w, 0.2).call(tf.constant(y), tf.constant(z)).numpy()
    for row in range(5):
        total = 0
        for k in range(3):
            if not np.isnan(y[row, k]):
                t, p = 0.8 * y[row, k] + 0.1, 1 / (1 + np.exp(-z[row, k]))
                total -= w[k] * t * np.log(p) + (1 - t) * np.log(1 - p)
        assert got[row] == pytest.approx(total / 3, rel=1e-4)


# Ordinal grades


def test_ordinal_logits_are_the_log_probabilities_of_a_cut_score():
    layer = OrdinalLogits(5)
    layer.build((None, 4))
    rng = np.random.default_rng(0)
    gaps = rng.normal(size=3).astype("float32")
    layer.set_weights([rng.normal(size=(4, 1)).astype("float32"), np.array([-0.7]), gaps])
    x = rng.normal(size=(6, 4)).astype("float32")
    score = x @ layer.kernel.numpy()
    cuts = -0.7 + np.concatenate([[0], np.cumsum(np.log1p(np.exp(gaps)))])
    or_more = np.concatenate([np.ones((6, 1)), special.expit(score - cuts), np.zeros((6, 1))], 1)
    got = layer(x).numpy()
    np.testing.assert_allclose(np.exp(got), or_more[:, :-1] - or_more[:, 1:], atol=1e-6)
    np.testing.assert_allclose(special.softmax(got, axis=1), np.exp(got), atol=1e-5)


def test_ordinal_logits_are_finite_far_from_the_cuts_and_start_evenly():
    layer = OrdinalLogits(4)
    layer.build((None, 1))
    layer.kernel.assign([[1.0]])
    np.testing.assert_allclose(layer.first + np.arange(3), [-1, 0, 1], atol=1e-6)
    for score, grade in ((-500.0, 0), (500.0, 3)):
        with tf.GradientTape() as tape:
            got = layer(tf.constant([[score]]))
        assert np.isfinite(got).all()
        assert got.numpy().argmax() == grade
        assert all(np.isfinite(g).all() for g in tape.gradient(got, [
            w.value for w in layer.weights
        ]))  # fmt: skip


def test_two_grades_have_one_cut():
    layer = OrdinalLogits(2)
    layer.build((None, 1))
    got = layer(tf.constant([[0.3]])).numpy()
    assert np.exp(got).sum() == pytest.approx(1)


def test_an_ordinal_run_trains_is_scored_by_kappa_and_loads_again(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", grades=True)
    flags = {"task": "grade", "grade_head": "ordinal", "label_smoothing": 0.1}
    assert train_only(manifest, tmp_path / "run", **flags) == 0
    run = load_run(tmp_path / "run")
    assert isinstance(run.model.get_layer("head_logits"), OrdinalLogits)
    files = sorted((tmp_path / "photographs").glob("*_left.png"))[:5]
    np.testing.assert_allclose(run.predict(files).sum(axis=1), 1, atol=1e-6)
    head, *lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    for line in lines:
        row = dict(zip(head.split(","), line.split(","), strict=True))
        judged = (float(row["val_accuracy"]) + float(row["val_kappa"])) / 2
        assert float(row["val_composite"]) == pytest.approx(judged)


def test_an_ordinal_head_is_for_grades_alone():
    with pytest.raises(UsageError, match="--grade-head: only for --task grade"):
        config(grade_head="ordinal")


# Options of encoders


def test_options_are_read_from_words():
    assert parse_options("cvt_13", ["depths=1,1,4", "widths=8,16,24"]) == {
        "depths": (1, 1, 4), "widths": (8, 16, 24),
    }  # fmt: skip
    assert parse_options("mae_vit_tiny", ["patch=8"]) == {"patch": 8}
    assert parse_options("med_former", ["windows=4,2", "fusion=none"]) == {
        "windows": (4, 2), "fusion": "none",
    }  # fmt: skip
    assert parse_options("se_xception", ["se_ratio=none", "width=0.5"]) == {
        "se_ratio": None, "width": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("encoder", "word", "message"),
    [
        ("cvt_13", "depth=3", "cvt_13 has depths, widths, heads"),
        ("cvt_13", "depths=3", "such as depths=1,2,10"),
        ("cvt_13", "depths", "NAME=VALUE"),
        ("mae_vit_tiny", "patch=1e9", "such as patch=16"),
        ("mae_vit_tiny", "patch=x", "such as patch=16"),
        ("mae_vit_tiny", "depth=1.5", "such as depth=12"),
        ("mae_vit_tiny", "width=none", "such as width=192"),
        ("cvt_13", "depths=none,1,1", "such as depths=1,2,10"),
        ("med_former", "windows=.5,4", "such as windows=8,4"),
        ("mae_vit_tiny", "final_norm=true", "mae_vit_tiny has width, depth, heads, patch"),
        ("mae_vit_none", "patch=8", "unknown; there are"),
    ],
)
def test_wrong_options_are_one_line(encoder, word, message):
    with pytest.raises(UsageError, match=message):
        parse_options(encoder, [word])


def test_a_run_keeps_its_options_and_its_drop_path(tmp_path):
    manifest = make_photographs(tmp_path / "photographs")
    flags = {"encoder": "mae_vit_tiny", "image_size": 32, "drop_path": 0.1, "recipe": "mae",
             "phase2_epochs": 1, "batch_size": 8,
             "encoder_options": ("width=24", "depth=2", "patch=8")}  # fmt: skip
    assert train_only(manifest, tmp_path / "run", **flags) == 0
    model = load_run(tmp_path / "run").model
    assert model.get_layer("head_pool").input.shape[1:] == (4, 4, 24)
    assert model.get_layer("blocks.1.mlp.drop_path").rate == 0.1


def test_what_an_encoder_does_not_have_is_said(tmp_path, capsys):
    manifest = make_photographs(tmp_path / "photographs")
    for flags, expected in (
        ({"drop_path": 0.1}, "--drop-path 0.1 (given, or of --recipe scratch): --encoder tiny"),
        ({"pool": "class_token"}, "--pool class_token: --encoder tiny has none"),
    ):
        assert train_only(manifest, tmp_path / "run", **flags) == 2
        assert expected in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_class_token_can_be_pooled():
    model = build_classifier("cvt_13", 64, 2, pool="class_token", **NARROW["cvt_13"])
    assert model.get_layer("head_pool").output.shape == (None, 24)
    assert model.get_layer("head_norm").output.shape == (None, 24)
