"""Whole pretraining runs, on a network and photographs that take seconds."""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import narrow_vit
import numpy as np
import pandas as pd
import pytest
from narrow_vit import NAME, SETTINGS, pretrain_flags, register
from tiny import killed_in_a_write, main, make_photographs, train_flags

from fundus_diag import models
from fundus_diag.data.manifest import read_photographs
from fundus_diag.imaging.preprocess import load_picture
from fundus_diag.models import masked_autoencoder
from fundus_diag.models.classifier import encoder_layers
from fundus_diag.models.weights.load import weights_record
from fundus_diag.runs import run
from fundus_diag.runs.run_files import leaks
from fundus_diag.training import checkpoint, train
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.pretraining import loop, pretrain
from fundus_diag.training.pretraining.config import PretrainConfig
from fundus_diag.training.pretraining.reconstructions import reconstruct
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.variables import assign, reseed

pytestmark = pytest.mark.slow

PROGRAM = Path(narrow_vit.__file__)
FLAGS = {"epochs": 4, "pictures_every": 3, "val_loss": True, "seed": 3}


@pytest.fixture(scope="module", autouse=True)
def _encoder():
    """The narrow encoder, for this file alone: other tests count the presets."""
    with pytest.MonkeyPatch.context() as patch:
        register(patch.setitem)
        yield


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def run_dir(manifest, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "pretrained"
    assert main(pretrain_flags(manifest, run, **FLAGS)) == 0
    return run


def copy_of(manifest, folder, change=lambda table: table, only=("train", "val", "test")):
    """The photographs of some splits and a changed table, in a folder of their own."""
    folder.mkdir()
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    for image, split in zip(table["image"], table["split"], strict=True):
        if split in only:
            (folder / image).symlink_to(manifest.parent / image)
    change(table).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def test_a_dry_run_says_what_would_be_learned_from_and_writes_nothing(manifest, tmp_path, capsys):
    assert main([*pretrain_flags(manifest, tmp_path / "run", **FLAGS), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert not (tmp_path / "run").exists()
    table = pd.read_csv(manifest)
    train = table[table["split"] == "train"]
    assert f"train    {len(train)} photographs of {train['patient'].nunique()} patients\n" in err
    assert f"{FLAGS['epochs']} epochs, rate " in err
    assert "; starts from" not in err


def loaded(config, table):
    return pretrain.load_photographs(config, table, pretrain.wanted_splits(config, table))


def complain(words, capsys, status):
    """Runs a command that must fail; returns its complaint."""
    assert main(words) == status
    err = [x for x in capsys.readouterr().err.splitlines() if x.startswith("fundus-diag: ")]
    assert len(err) == 1, err
    return err[0]


def restored(run_dir):
    """The network after its last epoch."""
    model = masked_autoencoder.masked_autoencoder(32, **SETTINGS, decoder_depth=1, decoder_width=32)
    arrays, _ = checkpoint.load_state(run_dir / "checkpoint")
    assign(model.variables, arrays["model"], "model")
    return model


def test_a_run_leaves_what_it_learned_and_how(run_dir, manifest):
    names = {str(x.relative_to(run_dir)) for x in run_dir.rglob("*") if x.is_file()}
    pages = {f"reconstructions/epoch-{epoch:04d}.png" for epoch in (3, 4)}
    files = {"config.json", "history.csv", "loss.png", "encoder.weights.h5", "photographs.csv"}
    assert names == files | pages | {"checkpoint/epoch-00004.npz", "log.txt"}
    history = pd.read_csv(run_dir / "history.csv")
    assert history.columns.tolist() == ["epoch", "learning_rate", "loss", "val_loss"]
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    # Six steps of eight: after the first epoch the rate is at its highest, at the end 0.
    cosine = 0.5 * (1 + np.cos(np.pi * np.arange(4) / 3))
    np.testing.assert_allclose(history["learning_rate"], 1.5e-3 * cosine, atol=1e-9)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    config = json.loads((run_dir / "config.json").read_text())
    table = pd.read_csv(manifest)
    rows = {x: int((table["split"] == x).sum()) for x in ("train", "val")}
    assert {x: part["rows"] for x, part in config["data"]["splits"].items()} == rows
    assert config["finished"]
    assert config["precision"] == "float32"
    assert config["flags"]["splits"] == ["train"]
    assert config["flags"]["mask_ratio"] == 0.75


def test_the_held_out_loss_is_that_of_val_by_hand(run_dir, manifest):
    table = pd.read_csv(manifest)
    files = [manifest.parent / x for x in table["image"][table["split"] == "val"]]
    images = np.stack([load_picture(x, 32) for x in files]).astype("float32")
    model = restored(run_dir)
    reseed(model, [3, 0])
    losses = []
    for at in range(0, len(images), 8):
        batch = images[at : at + 8]
        out = {k: v.numpy() for k, v in model(batch, training=False).items()}
        target = masked_autoencoder.patchify(masked_autoencoder.standardised(batch), 8).numpy()
        spread = np.sqrt(target.var(axis=-1, ddof=1, keepdims=True) + 1e-6)
        target = (target - target.mean(axis=-1, keepdims=True)) / spread
        errors = ((out["patches"] - target) ** 2).mean(axis=-1)
        losses += [e[m > 0].mean() for e, m in zip(errors, out["mask"], strict=True)]
    history = pd.read_csv(run_dir / "history.csv")
    assert history["val_loss"].iloc[-1] == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_weights_are_the_networks_and_a_classifier_starts_from_them(
    run_dir, manifest, tmp_path, monkeypatch
):
    encoder = models.build_encoder(NAME, 32)
    encoder.load_weights(run_dir / "encoder.weights.h5")
    source = restored(run_dir)
    for layer in encoder.layers:
        want = source.get_layer(layer.name).get_weights() if layer.weights else []
        for got, array in zip(layer.get_weights(), want, strict=True):
            np.testing.assert_array_equal(got, array)
    started = {}

    def build(*args, **kwargs):
        model = run.build_model(*args, **kwargs)
        started.update({x.name: x.get_weights() for x in encoder_layers(model)})
        return model

    monkeypatch.setattr(train, "build_model", build)
    flags = {"encoder": NAME, "weights": str(run_dir / "encoder.weights.h5"), "image_size": 32}
    flags |= {"phase1_epochs": 0, "phase2_epochs": 1, "batch_size": 15, "precision": "float32"}
    train.train(TrainConfig(manifest, manifest.parent, tmp_path / "run", **flags))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["pretrained"] is True
    assert set(started) == {x.name for x in encoder.layers if x.weights} - {"norm"}
    for name, arrays in started.items():
        for got, array in zip(arrays, source.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(got, array)


def test_pictures_of_the_reconstruction_show_four_columns_and_are_not_blank(run_dir):
    pages = [cv2.imread(str(x)) for x in sorted((run_dir / "reconstructions").iterdir())]
    for page in [*pages, cv2.imread(str(run_dir / "loss.png"))]:
        assert page.std() > 20
    assert pages[0].shape == pages[1].shape
    # Six rows of cells 290 px wide: three quarters of the second column are grey.
    grey = (np.abs(pages[0].astype(int) - 128).max(axis=-1) <= 3).sum()
    assert 0.65 < grey / (6 * 290 * 290) < 0.85
    # Photographs and masks are the same in both epochs, what is painted is not.
    differ = (pages[0] != pages[1]).any(axis=2)
    columns = [differ[60:-60, left : left + 290] for left in (209, 507, 805, 1103)]
    assert [x.any() for x in columns] == [False, False, True, True]
    assert columns[2].mean() > 0.7


def test_the_masks_shown_are_those_of_the_seed_and_stay(run_dir):
    """Grey patches of both pages, looked for at their middles."""
    model = restored(run_dir)
    reseed(model, [3, 0])
    mask = model(np.zeros((6, 32, 32, 3)), training=False)["mask"].numpy().reshape(6, 4, 4)
    for path in (run_dir / "reconstructions").iterdir():
        page = cv2.imread(str(path)).astype(int)
        for (row, y, x), hidden in np.ndenumerate(mask):
            # Rows of 290 px and 8 between begin 58 px from the top; the second column at 507 px.
            place = 58 + 298 * row + int(72.5 * (y + 0.5)), 507 + int(72.5 * (x + 0.5))
            assert (np.abs(page[place] - 128).max() <= 1) == hidden


@pytest.mark.parametrize("normalise", [True, False])
def test_a_perfect_painter_gives_the_picture_back(normalise):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 24, 24, 3)).astype("float32")
    loss = masked_autoencoder.PatchLoss(8, normalise)
    painted = masked_autoencoder.patchify(masked_autoencoder.standardised(images), 8).numpy()
    if normalise:
        spread = np.sqrt(painted.var(axis=-1, ddof=1, keepdims=True) + 1e-6)
        painted = (painted - painted.mean(axis=-1, keepdims=True)) / spread
    mask = (rng.permuted(np.tile(np.arange(9), (2, 1)), axis=1) < 6).astype("float32")
    masked, whole, filled = reconstruct(images, {"patches": painted, "mask": mask}, loss)
    np.testing.assert_array_equal(whole, images)
    np.testing.assert_array_equal(filled, images)
    hidden = mask.reshape(2, 3, 3).repeat(8, axis=1).repeat(8, axis=2) > 0
    assert (masked[hidden] == 128).all()
    np.testing.assert_array_equal(masked[~hidden], images[~hidden])
    _, whole, filled = reconstruct(images, {"patches": painted + 0.3, "mask": mask}, loss)
    assert (np.abs(whole - images).mean(axis=-1) > 5).mean() > 0.9
    np.testing.assert_array_equal(filled[~hidden], images[~hidden])
    np.testing.assert_array_equal(filled[hidden], whole[hidden])


def configure(manifest, **flags):
    given = {"encoder": NAME, "image_size": 32, "epochs": 20, **flags}
    return PretrainConfig(manifest, manifest.parent, Path("run"), **given).resolved()


def load(manifest, **flags):
    """({split: number of photographs read}, the table) of a run with these flags."""
    table = read_photographs(manifest)
    _, splits, _ = loaded(configure(manifest, **flags), table)
    return {x: len(rows.pictures) for x, rows in splits.items()}, table.table


def test_only_the_photographs_of_train_are_opened(manifest, tmp_path, capsys):
    alone = copy_of(manifest, tmp_path / "alone", only=("train",))
    count = pd.read_csv(manifest)["split"].value_counts()
    assert load(alone)[0] == {"train": count["train"]}
    assert "warning" not in capsys.readouterr().err
    for flags in ({"splits": ("train", "val")}, {"val_loss": True}):
        with pytest.raises(DataError, match="no such file"):
            load(alone, **flags)
    both = load(manifest, splits=("val", "train", "val"))[0]
    assert both == {x: count[x] for x in ("train", "val")}
    assert "warning: learning from val or test" in capsys.readouterr().err
    unknown = copy_of(manifest, tmp_path / "unknown", lambda t: t.replace({"split": "val"}, ""))
    assert load(unknown)[0] == {"train": count["train"]}
    assert f"{count['val']} rows without a split left out" in capsys.readouterr().err
    empty = copy_of(manifest, tmp_path / "empty", lambda t: t[t["split"] != "train"])
    with pytest.raises(DataError, match="no readable photograph in split 'train'"):
        load(empty)


def test_what_is_held_out_is_not_learned_from_nor_shown(manifest):
    config = configure(manifest, val_loss=True)
    pictures, splits, _ = loaded(config, read_photographs(manifest))
    run = loop.prepare(config, None, pictures, splits)
    table = pd.read_csv(manifest)
    for split, numbers in (("train", run.rows), ("val", run.val)):
        names = [pictures.paths[i].name for i in numbers]
        assert names == table["image"][table["split"] == split].tolist()
    assert set(run.shown[1]) <= set(table["image"][table["split"] == "train"])
    assert len(run.shown[1]) == 6


def test_a_table_without_splits_and_with_odd_labels_is_taken_whole(manifest, tmp_path, capsys):
    def change(table):
        return table.drop(columns="split").assign(D="perhaps", grade_0="x", B="2")

    plain = copy_of(manifest, tmp_path / "plain", change)
    rows = len(pd.read_csv(manifest))
    read, table = load(plain)
    assert read == {"all": rows}
    assert not {"A", "B", "D", "grade_0"} & set(table.columns)
    assert f"no column split, all {rows} rows taken" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--val-loss: .* no column split"):
        load(plain, val_loss=True)


def test_an_epoch_shows_every_row_once_at_the_size_of_the_network(manifest):
    """Without augmentation the pictures of an epoch are those of the rows, in another order."""

    def batches(epoch, **flags):
        config = configure(manifest, batch_size=9, **flags)
        table = read_photographs(manifest)
        pictures, splits, _ = loaded(config, table)
        run = loop.prepare(config, None, pictures, splits)
        got = [x.numpy() for x in loop.epoch_batches(run, epoch)]
        assert {x.shape for x in got} == {(9, 32, 32, 3)}
        return np.concatenate(got), pictures.array

    first, stored = batches(1, augment=False)
    second, _ = batches(2, augment=False)
    known = [x.astype("float32").tobytes() for x in stored]
    orders = [[known.index(x.tobytes()) for x in got] for got in (first, second)]
    assert all(len(set(order)) == len(order) for order in orders)
    assert len(known) - 9 < len(orders[0]) <= len(known)
    assert orders[0] != orders[1]
    crops, source = batches(1, source_size=64)
    assert source.shape[1:] == (64, 64, 3)
    assert not {x.tobytes() for x in crops} & set(known)
    np.testing.assert_array_equal(batches(1, source_size=64)[0], crops)


def test_every_epoch_draws_masks_of_its_own(manifest, tmp_path, monkeypatch):
    """What is drawn for val and for the pictures in between changes nothing."""
    seen = []

    def fit(model, batches, **_):
        seen.append(model(next(iter(batches)))["mask"].numpy())
        return SimpleNamespace(history={"loss": [1.0]})

    monkeypatch.setattr(masked_autoencoder.MaskedAutoencoder, "fit", fit)
    run, flags = tmp_path / "run", {"val_loss": True, "pictures_every": 2, "epochs": 4, "seed": 5}
    assert main(pretrain_flags(manifest, run, **flags)) == 0
    model = restored(run)
    for epoch, got in enumerate(seen, start=1):
        reseed(model, [5, epoch])
        want = model(np.zeros((len(got), 32, 32, 3)))["mask"].numpy()
        np.testing.assert_array_equal(got, want)
    assert len({x.tobytes() for x in seen}) == 4


def start(words, program=(str(PROGRAM),)):
    return subprocess.Popen([sys.executable, *program, *words], stderr=subprocess.PIPE, text=True)


def test_a_kill_leaves_no_trace(manifest, tmp_path):
    flags = {**FLAGS, "epochs": 9, "deterministic": True, "resume": True}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(pretrain_flags(manifest, whole, **flags))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    words = pretrain_flags(manifest, killed, **flags)
    process = start(words, ("-c", killed_in_a_write(PROGRAM, 5)))
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert list((killed / "checkpoint").glob(".partial-*")), "the kill did not hit a write"
    process = start(words)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "going on after epoch" in err
    pages = [str(x.relative_to(whole)) for x in (whole / "reconstructions").iterdir()]
    assert len(pages) == 3
    for name in ("history.csv", "loss.png", *pages):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    ours, theirs = (checkpoint.load_state(x / "checkpoint")[0] for x in (killed, whole))
    for group, arrays in theirs.items():
        for array, want in zip(ours[group], arrays, strict=True):
            np.testing.assert_array_equal(array, want)


def test_a_run_goes_on_only_as_it_was_started_and_is_finished_once(
    run_dir, manifest, tmp_path, capsys
):
    weights = run_dir / "encoder.weights.h5"
    before = weights.stat().st_mtime_ns
    assert main(pretrain_flags(manifest, run_dir, **FLAGS, resume=True)) == 0
    assert "finished" in capsys.readouterr().err
    assert weights.stat().st_mtime_ns == before
    words = pretrain_flags(manifest, run_dir, **{**FLAGS, "mask_ratio": 0.5}, resume=True)
    line = complain(words, capsys, status=2)
    assert "--mask-ratio" in line
    assert "(0.75, not 0.5)" in line
    words = pretrain_flags(manifest, run_dir, **FLAGS)
    assert "--resume or --overwrite" in complain(words, capsys, status=2)


def test_a_pretraining_and_a_classifier_do_not_replace_each_other(
    run_dir, manifest, tmp_path, capsys
):
    words = train_flags(manifest, run_dir, overwrite=True)
    assert "of a pretraining; `train --weights` takes" in complain(words, capsys, status=1)
    assert "of a pretraining" in complain(["report", str(run_dir)], capsys, status=1)
    classifier = tmp_path / "classifier"
    classifier.mkdir()
    (classifier / "config.json").write_text('{"encoder": "tiny", "data": {}, "flags": {}}')
    words = pretrain_flags(manifest, classifier, overwrite=True)
    assert "not of a pretraining" in complain(words, capsys, status=1)
    assert len(list(classifier.iterdir())) == 1


def test_overwrite_and_skipped_photographs(run_dir, manifest, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pretrain, "fit", lambda run: None)  # all but the epochs
    broken = copy_of(manifest, tmp_path / "broken")
    table = pd.read_csv(broken)
    victim = table["image"][table["split"] == "train"].iloc[2]
    (broken.parent / victim).unlink()
    (broken.parent / victim).write_bytes(b"no picture")
    run = tmp_path / "run"
    words = pretrain_flags(broken, run)
    assert victim in complain(words, capsys, status=1)
    assert not run.exists()
    assert main([*words, "--on-bad-image", "skip"]) == 0
    config = json.loads((run / "config.json").read_text())
    assert [image for image, _ in config["data"]["bad_images"]] == [victim]
    (run / "loss.png").write_text("old")
    (run / "mine.txt").write_text("mine")
    assert main(pretrain_flags(manifest, run, overwrite=True)) == 0
    assert not (run / "loss.png").exists()
    assert (run / "mine.txt").read_text() == "mine"
    assert json.loads((run / "config.json").read_text())["data"]["bad_images"] == []


def test_weights_say_what_they_were_learned_from(run_dir, manifest):
    record = weights_record(run_dir / "encoder.weights.h5")
    assert record["pretrained_on"]["splits"] == ["train"]
    assert record["pretrained_on"]["sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert leaks(record) == []
    record["pretrained_on"]["splits"] = ["train", "test"]
    assert "pretrained on rows of test" in leaks(record)[0]
    for odd in (None, {}, {"pretrained_on": 3}, {"pretrained_on": {"splits": 3}}):
        assert leaks(odd) == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"mask_ratio": 0}, "--mask-ratio 0.0: must lie from 0.05 to 0.95"),
        ({"mask_ratio": 1}, "--mask-ratio 1.0: must lie from 0.05 to 0.95"),
        ({"mask_ratio": 0.95}, "leaves none of 16 patches to see; at most 0.937"),
        ({"image_size": 60}, "--image-size 60: must be a multiple of 8; nearest 64"),
        ({"image_size": 8}, "--image-size 8: must lie from 32 to 2048"),
        ({"decoder_width": 100}, "--decoder-width 100: must be a multiple of 32"),
        ({"encoder": "cvt_13"}, "--encoder cvt_13: pretraining is for mae_vit_tiny"),
        ({"encoder": "resnet900"}, "--encoder resnet900"),
        ({"warmup_epochs": 2}, "--warmup-epochs 2: not below --epochs"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"smallest_crop": 0}, "--smallest-crop 0"),
        ({"splits": ("every",)}, "--splits"),
        ({"splits": ("val",), "val_loss": True}, "--val-loss: val is not held out"),
        ({"source_size": 64, "no_augment": True}, "--source-size: only with random crops"),
        ({"resume": True, "overwrite": True}, "--resume and --overwrite"),
        ({"colour": "blue"}, "--colour"),
    ],
)
def test_a_wrong_flag_is_named(manifest, tmp_path, capsys, flags, expected):
    line = complain(pretrain_flags(manifest, tmp_path / "run", **flags), capsys, status=2)
    assert expected in line
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_run(manifest, tmp_path, capsys, monkeypatch):
    fitted = SimpleNamespace(history={"loss": [0.9, float("nan")]})
    monkeypatch.setattr(masked_autoencoder.MaskedAutoencoder, "fit", lambda *_, **__: fitted)
    line = complain(pretrain_flags(manifest, tmp_path / "run"), capsys, status=2)
    assert "--rate 0.0015: the loss of epoch 1 is nan" in line
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_the_decoder_follows_the_encoder():
    def decoder(**flags):
        config = PretrainConfig("", "", "", **flags).resolved()
        return config.decoder_depth, config.decoder_width

    assert decoder(encoder="mae_vit_tiny") == (4, 128)
    assert decoder(encoder="mae_vit_base") == decoder(encoder="retfound") == (8, 512)
    assert decoder(encoder="mae_vit_base", decoder_depth=2, decoder_width=64) == (2, 64)


def test_the_command_has_help(capsys):
    assert main(["pretrain", "--help"]) == 0
    assert "--mask-ratio" in capsys.readouterr().out


TWO_DEVICES = f"""
import sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from fundus_diag.training import devices
devices.device_strategy = lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from narrow_vit import main, register
register(lambda table, key, value: table.__setitem__(key, value))
sys.exit(main(sys.argv[1:]))
"""


def test_two_devices_learn_as_one_does(manifest, tmp_path):
    """Masks differ, so the losses agree only about; half the rate would show."""
    flags = {"epochs": 4, "no_augment": True, "mask_ratio": 0.5}
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(pretrain_flags(manifest, one, **flags)) == 0
    words = pretrain_flags(manifest, two, **flags)
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    single, mirrored = (pd.read_csv(run / "history.csv")["loss"] for run in (one, two))
    np.testing.assert_allclose(mirrored, single, rtol=0.03)


@pytest.mark.usefixtures("eager")
def test_a_training_takes_the_weights_of_a_real_preset(manifest, tmp_path):
    flags = {"encoder": "mae_vit_tiny", "epochs": 1, "warmup_epochs": 0}
    assert main(pretrain_flags(manifest, tmp_path / "pre", **flags)) == 0
    weights = tmp_path / "pre" / "encoder.weights.h5"
    flags = {"encoder": "mae_vit_tiny", "weights": weights, "phase2_epochs": 0, "batch_size": 15}
    assert main(train_flags(manifest, tmp_path / "run", **flags)) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["pretrained"] is True
    assert config["weights"] == str(weights)
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 1
