"""`train --config FILE`: flags out of a file, before those of the command line."""

import dataclasses
import json
import tomllib
from pathlib import Path

from fundus_diag.training.config import BEFORE, TrainConfig
from fundus_diag.training.segment_config import SegmentConfig
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.flags import words_of

MAX_BYTES = 10_000_000
NOT_TAKEN = ("run_dir", "resume", "overwrite")  # of a run's config.json: this is another run
PLACES = ("manifest", "image_root", "cache_dir")
KINDS = {"": TrainConfig, "segment": SegmentConfig}  # of `train` in each group of commands


def expanded(argv, group=""):
    """The words of a command line with those of its `--config FILE` in front of them.

    The file is the `config.json` of a run, or TOML of flags such as `search` writes. What is said
    on the command line counts more than the file.

    Args:
        argv: words, the command first.
        group: that the command is one of, "segment" or none.

    Raises:
        DataError: the file cannot be read, or holds what is no flag of `train`.
        UsageError: `--config` without a file, or twice.
    """
    at = [i for i, x in enumerate(argv) if x == "--config" or x.startswith("--config=")]
    if argv[:1] != ["train"] or not at or group not in KINDS:
        return argv
    if len(at) > 1:
        raise UsageError("--config stands twice")
    (at,) = at
    _, equals, name = argv[at].partition("=")
    rest = argv[at + 1 :] if equals else argv[at + 2 :]
    if not equals:
        name = argv[at + 1] if at + 1 < len(argv) else ""
    if not name or name.startswith("--"):
        raise UsageError("--config: a file has to follow")
    return ["train", *_words(Path(name), KINDS[group]), *argv[1:at], *rest]


def _words(path, kind):
    from fundus_diag.runs.schema import values_of

    flags = _flags(path, kind)
    known = {x.name for x in dataclasses.fields(kind)} - set(NOT_TAKEN)
    values = values_of(path, kind, {k: x for k, x in flags.items() if k in known})
    places = {"manifest": Path(), "image_root": Path(), "run_dir": Path()}
    config = kind(**{**places, **values})
    words = words_of(config)
    for name in places:  # they have no defaults: what the file does not say is not said
        if name not in values:
            at = words.index("--" + name.replace("_", "-"))
            del words[at : at + 2]
    return words


def _flags(path, kind):
    """{field: value} that a file says; the places of a TOML are from its folder."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: larger than a configuration may be")
        text = path.read_text("utf-8")
        if path.suffix != ".toml":
            content = json.loads(text)
            if not isinstance(content, dict) or not isinstance(content.get("flags"), dict):
                raise DataError(f"{path}: not the config.json of a run")
            from fundus_diag.runs.run_files import FIRST_FLAGS

            first = {name: content[name] for name in FIRST_FLAGS if name in content}
            before = BEFORE if kind is TrainConfig else {}  # of runs older than these flags
            return {**before, **first, **content["flags"]}
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, no TOML
        raise DataError(f"{path}: neither JSON nor TOML: {error}") from error
    known = {x.name for x in dataclasses.fields(kind)} - set(NOT_TAKEN)
    found = {}
    for name, value in content.items():
        short = name.removeprefix("--").replace("-", "_")
        if short not in known or short in found:
            raise DataError(f"{path}: {name} is no flag of train, or stands twice")
        if not isinstance(value, (str, int, float, bool, list)):
            raise DataError(f"{path}: {name}: not a number, text, true, false or list")
        found[short] = str(path.parent / value) if short in PLACES else value
    return found
