"""Trials of a study: whose they are, how they stand from epoch to epoch, which end early.

Optuna's own pruners know one objective only; here a trial is ended where its best score so far lies
below the median of what the finished ones had after as many epochs (Golovin et al. 2017, section
3.2.2, https://doi.org/10.1145/3097983.3098043), of those that cost no more: a small network is not
ended because large ones do better.
"""

import contextlib
import os

import numpy as np
import pandas as pd

from fundus_diag.runs.contents import HISTORY
from fundus_diag.runs.lock import holder, locked
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.processes import alive, host, started

SCORES = {
    "roc_auc": "val_macro_roc_auc",
    "average_precision": "val_macro_average_precision",
    "f1": "val_macro_f1",
    "accuracy": "val_accuracy",
    "kappa": "val_kappa",
}
FIRST = 5  # trials that are finished before any is ended early
SPARED = 0.3  # share of a trial's phase 2 in which it is not; of phase 1 where it has no other
ALIKE = 1.05  # two costs up to this ratio are taken for the same


def owned(trial):
    """Says in the study that a trial is this process's."""
    trial.set_user_attr("owner", [host(), os.getpid(), started(os.getpid())])


@contextlib.contextmanager
def one_left_behind(study, folder):
    """A trial that a process of this machine which is gone was at, held while the block runs.

    Args:
        study: Optuna's.
        folder: in which this is held: two processes that look at once take two trials.

    Yields:
        Its number, or None where there is none.
    """
    with contextlib.ExitStack() as stack:
        for number in [x.number for x in study.trials if _is_left(x, folder)]:
            try:
                stack.enter_context(locked(folder / f"trial-{number}-{study.user_attrs['search']}"))
            except UsageError:  # another one took it
                continue
            # It may be finished by now, or another one's that began after the look at all.
            if _is_left(study.trials[number], folder):
                yield number
                return
        yield None


def _is_left(trial, folder):
    owner, run = (trial.user_attrs.get(x) for x in ("owner", "run"))
    mine = trial.state.name == "RUNNING" and owner and owner[0] == host()
    if not mine or alive(owner[1], owner[2]):
        return False
    return run is None or holder(folder / run) is None  # its training may have outlived it


def others_at_work(study):
    """[line]: trials that other processes have begun, and not finished so far."""
    found = []
    for trial in study.trials:
        if trial.state.name == "RUNNING":
            place, pid, _ = trial.user_attrs.get("owner") or ("a machine unknown", "unknown", "")
            found.append(f"trial {trial.number}: begun by process {pid} on {place}, not finished")
    return found


def scores_so_far(run_dir, objective, second):
    """The best value of a score so far, epoch by epoch of the phase that trials are compared in.

    Args:
        run_dir: folder of the run.
        objective: of the search.
        second: whether it has a phase 2.

    Returns:
        A list, of phase 2 if the run is to have one; [] of what is no score, or not begun.
    """
    column, path = SCORES.get(objective), run_dir / HISTORY
    if column is None or not path.is_file():
        return []
    history = pd.read_csv(path)
    if column not in history:
        return []
    best = np.fmax.accumulate(history[column].to_numpy("float64"))  # some may be undefined
    return [float(x) for x in best[history["phase"] == (2 if second else 1)]]


def poor(study, number, objective, costs, config):
    """Whether a training is worth no more epochs, as a function of its `Training`.

    Args:
        study: Optuna's.
        number: of the trial.
        objective: that it is held against the others by; nothing is ended by what is no score.
        costs: {objective: value} of its network.
        config: `TrainConfig`, resolved.
    """
    first, second = config.phase1_epochs, config.phase2_epochs
    # Phase 1 is cheap, and tells little of phase 2: epochs of phase 2 are compared, each with
    # those of the others, whatever phase 1 they have had.
    spared, whole = max(1, SPARED * (second or first)), second or first
    seen = {"epochs": 0}

    def cheaper(other):
        theirs = other.user_attrs.get("costs", {})
        return all(theirs.get(x, np.inf) <= ALIKE * value for x, value in costs.items())

    def is_poor(one):
        if one.done == seen["epochs"] or one.done < spared:
            return False
        seen["epochs"] = one.done
        curve = scores_so_far(one.run_dir, objective, second)
        if not spared <= len(curve) < whole:  # what is trained is scored
            return False
        others = [
            other.user_attrs["curve"]
            for other in study.trials
            if other.number != number
            and other.state.name == "COMPLETE"
            and len(other.user_attrs.get("curve", ())) >= len(curve)
            and cheaper(other)
        ]
        if len(others) < FIRST:
            return False
        return curve[-1] < float(np.median([x[len(curve) - 1] for x in others]))

    return is_poor
