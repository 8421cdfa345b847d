"""Whether the flags of a command are those that the run to go on with was started with."""

import csv
import dataclasses
from pathlib import Path

from fundus_diag.runs.contents import HISTORY
from fundus_diag.runs.run_files import all_flags
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.flags import flag

# May differ between an interrupted run and the command that goes on with it: a run may be moved,
# and its table and photographs too, as long as they are the same ones.
FREE_FLAGS = {
    "resume", "overwrite", "cache", "cache_dir", "run_dir", "manifest", "image_root",
}  # fmt: skip
PHASE1 = ("phase1_epochs", "phase1_rate", "phase1_views")


def check_same(config, before):
    """Refuses flags that are not those of the run to go on with.

    Args:
        config: of the command, with the run's `run_dir`.
        before: the run's `config.json`.

    Raises:
        UsageError: names all that differ, what they were and are, and which of them are of a
            phase that is finished.
    """
    then, wrong = all_flags(before), []
    if "weights" in then:
        then["weights"] = _placed(then["weights"])  # an older run has it as it was typed
    over = _phase1_over(config.run_dir, then)
    for name, value in flags(config).items():
        # A flag that a later version brought is in no older run.
        if name not in FREE_FLAGS and name in then and then[name] != value:
            more = "; phase 1 is finished" if over and name in PHASE1 else ""
            wrong.append(f"{_differs(config, name, then[name], value)}{more})")
    if wrong:
        how = "is finished, and was" if before.get("finished") else "was"
        raise UsageError(
            f"the run in {config.run_dir} {how} started with other flags: {', '.join(wrong)}"
        )


def _differs(config, name, then, now):
    """A flag with what it was and is, up to the closing bracket; a switch is given or not."""
    if not isinstance(now, bool):
        return f"{flag(name)} ({then}, not {now}"
    (usual,) = [x.default for x in dataclasses.fields(config) if x.name == name]
    return f"{flag(f'no_{name}' if usual else name)} ({'' if then != usual else 'not '}given then"


def _phase1_over(folder, then):
    """Whether a run has all of its phase 1, by its history as far as that can be read."""
    try:
        with (Path(folder) / HISTORY).open(encoding="utf-8", newline="") as file:
            phases = [row.get("phase") for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error):
        return False
    epochs = then.get("phase1_epochs")
    return "2" in phases or (bool(phases) and phases.count("1") == epochs)


def flags(config):
    """Every flag of a configuration as a JSON value; files by their absolute path."""
    found = {name: _plain(value) for name, value in dataclasses.asdict(config).items()}
    if "weights" in found:
        found["weights"] = _placed(found["weights"])
    return found


def _placed(weights):
    """`--weights`, a file by its absolute path: a run goes on from whatever folder."""
    return weights if weights in ("none", "imagenet") else str(Path(weights).resolve())


def _plain(value):
    if isinstance(value, Path):
        return str(value.resolve())
    return list(value) if isinstance(value, tuple) else value
