"""`--resume`: what is not said again is as it was when the run was started."""

import dataclasses
from pathlib import Path

from fundus_diag.runs.contents import CONFIG
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.pretraining.config import PretrainConfig
from fundus_diag.training.segment_config import SegmentConfig
from fundus_diag.utils.errors import DataError, UsageError

CONFIGS = {"train": TrainConfig, "pretrain": PretrainConfig, "segment train": SegmentConfig}


def resumed(argv, group=""):
    """Defaults for the flags of a run that goes on.

    Args:
        argv: words of the command line, the command first.
        group: that the command is one of, "segment" or none.

    Returns:
        {command: {"config": configuration of the run in --run-dir}}, or {} where none goes on. Its
        switches are as if they had not been given, see `with_switches`.

    Raises:
        UsageError: --run-dir holds no run, and no table to start one with is named.
        DataError: its config.json is wrong.
    """
    kind = CONFIGS.get(" ".join([group, *argv[:1]]).strip())
    folder = _value(argv, "--run-dir")
    if kind is None or folder is None or "--resume" not in argv:
        return {}
    if not (Path(folder) / CONFIG).exists():
        if _value(argv, "--manifest") is None:
            raise UsageError(f"--run-dir {folder}: no run to go on with; it has no config.json")
        return {}  # killed before it began, or new
    _, known = _begun(kind, folder)
    known = {name: value for name, value in known.items() if not isinstance(value, bool)}
    try:
        return {argv[0]: {"config": kind(**known | {"run_dir": Path(folder)})}}
    except TypeError as error:
        raise DataError(f"{folder}/config.json: {error}") from error


def with_switches(config):
    """A parsed configuration with the switches of the run that goes on.

    A switch on the command line says one thing only: one that is not given is as in the run.

    Args:
        config: one of `CONFIGS`, of the command line.

    Raises:
        UsageError: flags are given that are not those of the run; names all of them, before
            anything heavy is imported.
        DataError: config.json is wrong.
    """
    if not config.resume or not (config.run_dir / CONFIG).exists():
        return config
    from fundus_diag.runs.same_flags import check_same

    before, then = _begun(type(config), config.run_dir)
    usual = {x.name: x.default for x in dataclasses.fields(config) if isinstance(x.default, bool)}
    for name in ("resume", "overwrite"):
        del usual[name]
    untouched = {x: then[x] for x in usual if x in then and getattr(config, x) == usual[x]}
    config = dataclasses.replace(config, **untouched)
    # What `auto` is becomes known later, and is looked at then.
    auto = getattr(config, "recipe", "") == "auto" and "recipe" in then
    check_same(dataclasses.replace(config, recipe=then["recipe"]) if auto else config, before)
    return config


def _begun(kind, folder):
    """(config.json of the run in a folder, {field: value} as a command line would give it)."""
    from fundus_diag.runs.run_files import (
        CLASSIFIER,
        PRETRAINING,
        SEGMENTER,
        all_flags,
        read_config,
    )
    from fundus_diag.runs.schema import values_of

    kinds = {TrainConfig: CLASSIFIER, PretrainConfig: PRETRAINING, SegmentConfig: SEGMENTER}
    before = read_config(folder, kinds[kind], finished=False)
    return before, values_of(Path(folder) / CONFIG, kind, all_flags(before))


def _value(argv, flag):
    """What follows a flag on the command line, or None."""
    for at, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == flag:
            return value if equals else next(iter(argv[at + 1 :]), None)
    return None
