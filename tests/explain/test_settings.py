"""The flags of maps stand once, for both commands."""

import dataclasses

import pytest

from fundus_diag.cli import explain as commands
from fundus_diag.cli.main import COMMANDS
from fundus_diag.cli.parsing import parse
from fundus_diag.explain.settings import Settings
from fundus_diag.utils.flags import flag

OTHERS = {
    "methods": ("rollout", "LayerCAM"),
    "layers": ("a", "b"),
    "median": 0,
    "adaptive": True,
    "adaptive_block": 5,
    "adaptive_offset": 0.1,
    "aug_smooth": True,
    "eigen_smooth": True,
    "head_fusion": "min",
    "discard_ratio": 0.25,
    "engine": "tf_keras_vis",
    "level": 0.75,
    "batch_size": 3,
}


def parsed(command, *words):
    needed = ["--masks", "m"] if command == "explain-eval" else []
    args, kwargs = parse(COMMANDS[command], ["run", *needed, *words], f"fundus-diag {command}")
    assert str(args[0]) == "run"
    return COMMANDS[command], kwargs["settings"]


@pytest.mark.parametrize("command", ["explain", "explain-eval"])
def test_every_setting_is_a_flag_of_both_commands(command):
    words = []
    for name, value in OTHERS.items():
        values = value if isinstance(value, tuple) else () if value is True else (value,)
        words += [flag(name), *map(str, values)]
    _, settings = parsed(command, *words)
    assert dataclasses.asdict(settings) == OTHERS
    assert {x.name for x in dataclasses.fields(Settings)} == set(OTHERS)


def test_the_defaults_are_those_of_the_settings_but_all_methods_are_scored():
    assert parsed("explain") == (commands.explain, Settings())
    assert parsed("explain-eval") == (commands.explain_eval, Settings(methods=()))
