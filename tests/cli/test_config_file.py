"""`train --config FILE`: flags of a file, under those of the command line."""

import json

import pytest

from fundus_diag.cli.config_file import expanded
from fundus_diag.cli.parsing import parse
from fundus_diag.cli.train import train
from fundus_diag.utils.errors import DataError, UsageError

PLACES = ["--manifest", "m.csv", "--image-root", "r", "--run-dir", "run"]


def parsed(*words):
    """The `TrainConfig` of a command line."""
    args, kwargs = parse(train, expanded(["train", *words])[1:], "x train")
    return [*args, *kwargs.values()][0]


def written(tmp_path, text, name="best.toml"):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return str(path)


def test_flags_of_toml_count_less_than_those_that_are_given(tmp_path):
    path = written(
        tmp_path,
        'encoder = "cvt_13"\nimage-size = 64\nphase2_rate = 3e-5\naugment = false\n'
        'encoder_options = ["depths=1,1,4", "heads=1,3,6"]\n',
    )
    for words in (["--config", path, *PLACES], [*PLACES, f"--config={path}"]):
        config = parsed(*words, "--image-size", "96")
        assert (config.encoder, config.image_size, config.phase2_rate) == ("cvt_13", 96, 3e-5)
        assert config.encoder_options == ("depths=1,1,4", "heads=1,3,6")
        assert config.augment is False
        assert (str(config.manifest), str(config.run_dir)) == ("m.csv", "run")
    places = written(tmp_path, 'manifest = "a/t.csv"\nimage_root = "/pictures"\n', "x.toml")
    config = parsed("--config", places, "--run-dir", "run")
    assert config.manifest == tmp_path / "a" / "t.csv"
    assert str(config.image_root) == "/pictures"
    with pytest.raises(UsageError, match="run-dir"):
        parsed("--config", places)


def test_the_config_of_a_run_makes_another_of_the_same_flags(tmp_path):
    content = {
        "encoder": "efficientnet_lite0", "image_size": 48, "unit": "patient", "seed": 5,
        "weights": "none", "parameters": 7, "labels": ["A"],
        "flags": {
            "manifest": "/data/m.csv", "image_root": "/data", "run_dir": "/old", "resume": True,
            "overwrite": True, "dropout": 0.3, "mixup": None, "deterministic": True, "later": 1,
        },
    }  # fmt: skip
    path = written(tmp_path, json.dumps(content), "config.json")
    config = parsed("--config", path, "--run-dir", "new", "--seed", "6")
    assert (config.encoder, config.image_size, config.unit) == ("efficientnet_lite0", 48, "patient")
    assert (config.seed, config.dropout, config.mixup) == (6, 0.3, None)
    # Of flags that there were not: what such a run did.
    assert (config.select, config.most_repeats, config.phase1_views) == ("composite", 0, 0)
    assert (str(config.manifest), str(config.run_dir)) == ("/data/m.csv", "new")
    assert (config.resume, config.overwrite, config.deterministic) == (False, False, True)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("encoders = 'x'", "a.toml", "encoders is no flag of train"),
        ("run_dir = 'x'", "a.toml", "run_dir is no flag of train"),
        ("seed = 1\nseed = 2", "a.toml", "neither JSON nor TOML"),
        ("seed = 'one'", "a.toml", "flag seed: "),
        ("seed = {a = 1}", "a.toml", "seed: not a number"),
        ("image_size = 2.5", "a.toml", "flag image_size: "),
        ("[]", "a.json", "not the config.json of a run"),
        ("{", "a.json", "neither JSON nor TOML"),
        ("[" * 99999, "a.json", "neither JSON nor TOML"),
    ],
)
def test_a_file_that_is_wrong_is_said_in_a_line(tmp_path, text, name, said):
    path = written(tmp_path, text, name)
    with pytest.raises(DataError) as caught:
        expanded(["train", "--config", path])
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_config_has_to_name_one_file(tmp_path):
    for words in (["--config"], ["--config", "--seed", "1"], ["--config="]):
        with pytest.raises(UsageError, match="^--config: a file has to follow$"):
            expanded(["train", *words])
    with pytest.raises(UsageError, match="^--config stands twice$"):
        expanded(["train", "--config", "a", "--config=b"])
    assert expanded(["report", "--config", "x"]) == ["report", "--config", "x"]
    with pytest.raises(OSError, match="nowhere"):
        expanded(["train", "--config", str(tmp_path / "nowhere.toml")])
