"""Looks for settings: trials drawn by Optuna, each a training of its own, poor ones ended early.

The study lies in a database, so that several machines may share it: each runs the same command.
A trial that was killed goes on where its training stopped. Optuna's own pruners know one objective
only; here a trial is ended where its best score so far lies below the median of what the finished
ones had after as many epochs (Golovin et al. 2017, section 3.2.2,
https://doi.org/10.1145/3097983.3098043), of those that cost no more: a small network is not ended
because large ones do better.
"""

import hashlib
import json
import os
import subprocess
import time
from contextlib import contextmanager

import numpy as np
import pandas as pd

from fundus_diag.data.manifest import read_manifest
from fundus_diag.runs.contents import HISTORY
from fundus_diag.runs.run import OWN_FLAGS
from fundus_diag.runs.run_files import read_config
from fundus_diag.runs.speed import costs_apart
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.search_plan import OBJECTIVES
from fundus_diag.training.trainings import Training, last_line, look, placed, waited, with_weights
from fundus_diag.training.watch import shown
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import make_folder
from fundus_diag.utils.flags import words_of
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


def open_study(plan, storage):
    """The Optuna study of a plan, made or gone on with.

    Args:
        plan: `search_plan.SearchPlan`.
        storage: URL of a database, such as sqlite:///study.db.

    Raises:
        UsageError: Optuna is not installed.
        DataError: the database cannot be used now, or holds a study of this name that looks for
            something else.
    """
    optuna = import_optuna()
    directions = ["maximize" if OBJECTIVES[x][1] else "minimize" for x in plan.objectives]
    with _said(storage, RuntimeError):  # a database of another version, or none at all
        study = optuna.create_study(
            storage=storage,
            study_name=plan.title,
            directions=directions,
            load_if_exists=True,
            # Of each process another: machines that share a study must not draw the same.
            sampler=optuna.samplers.TPESampler(seed=None, multivariate=True, constant_liar=True),
        )
        known = study.user_attrs.get("search")
        if known is None and not study.trials:
            study.set_user_attr("search", plan.digest)
        elif known != plan.digest:
            raise DataError(
                f"{storage}: the study {plan.title!r} in it looks for something else "
                f"(other objectives, flags, space or seed than {plan.path}); give another title"
            )
    return study


def search(plan, out, storage):
    """Runs trials until the study has as many as the plan wants; returns the study.

    Args:
        plan: `search_plan.SearchPlan`.
        out: folder of the runs.
        storage: see `open_study`.

    Raises:
        DataError: the table is not fit to train on, or the database cannot be used.
    """
    optuna = import_optuna()
    table = read_manifest(plan.manifest, need_split=True)
    study = open_study(plan, storage)
    found = []
    with shown(found) as show, _said(storage):
        for left in _left_behind(study):  # what they drew stands in the study
            again = optuna.trial.Trial(study, left._trial_id)
            _trial(plan, out, table, study, again, found, show)
        while True:
            counted = [x for x in study.trials if x.state.name != "FAIL"]
            failed = len(study.trials) - len(counted)
            if len(counted) >= plan.trials or failed >= plan.trials:
                return study
            _trial(plan, out, table, study, study.ask(), found, show)


def _trial(plan, out, table, study, trial, found, show):
    """Trains what a trial says, and tells the study."""
    optuna = import_optuna()
    # First of all: what is nobody's when it is killed is never gone on with.
    trial.set_user_attr("owner", [host(), os.getpid(), started(os.getpid())])
    drawn = {name: _drawn(trial, name, space) for name, space in plan.space.items()}
    flags, facts = with_weights({**plan.flags, **drawn}, plan.path.parent, plan.title)
    config = TrainConfig(plan.manifest, plan.image_root, out, seed=plan.seed, **flags)
    config = placed(config, out, {"table": table.sha256, **facts}, config.encoder)
    full = config.resolved()
    epochs = full.phase1_epochs + full.phase2_epochs
    one = Training(f"trial {trial.number}", config, epochs, first=full.phase1_epochs)
    found.append(one)
    trial.set_user_attr("run", config.run_dir.name)
    make_folder(one.log.parent)
    look(one)
    one.started, one.done_before = time.monotonic(), one.done
    costs = _costs(plan, full, len(table.labels), study, trial)
    status, poor = 0, _pruning(study, trial, plan.objectives[0], costs, full)
    if one.state != "reused":
        one.state = "running"
        with one.log.open("ab") as log:
            status = waited(one, ["train", *words_of(config)], log, show, poor)
    one.seconds = time.monotonic() - one.started
    look(one)
    trial.set_user_attr("curve", _curve(one.run_dir, plan.objectives[0]))
    if status is None:
        one.state = "ended early"
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return show(one)
    reached = [_reached(one.run_dir, x, costs) for x in plan.objectives] if status == 0 else []
    undefined = [x for x, v in zip(plan.objectives, reached, strict=False) if np.isnan(v)]
    if status or undefined:
        missing = ", ".join(OBJECTIVES[x][0] for x in undefined)
        one.reason = f"undefined: {missing}" if missing else last_line(one.log)
        one.state = "failed"
        trial.set_user_attr("reason", one.reason or f"status {status}")
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        one.state = "done"
        study.tell(trial, reached)
    return show(one)


def _drawn(trial, name, space):
    """The value of a flag in a trial; lists of choices may hold anything that TOML has."""
    if isinstance(space, list):
        return trial.suggest_categorical(name, space)
    low, high, log = space["low"], space["high"], space.get("log", False)
    whole = all(isinstance(x, int) for x in (low, high, space.get("step", 1)))
    if whole:
        step = {} if log else {"step": space.get("step", 1)}
        return trial.suggest_int(name, low, high, log=log, **step)
    return trial.suggest_float(name, low, high, step=space.get("step"), log=log)


def _costs(plan, config, labels, study, trial):
    """{objective: value} of those that are the network's alone: the same for the same network.

    Measured in a process of its own (this one must not hold the device), once on each machine,
    before anything else keeps it busy. {} of a network that there is not: its training says why.
    """
    wanted = [x for x in plan.objectives if x not in SCORES]
    if not wanted:
        return {}
    names = ("encoder", "image_size", "unit", *OWN_FLAGS)
    # What is for training alone changes neither.
    network = {x: getattr(config, x) for x in names if x not in ("dropout", "drop_path", "recipe")}
    network["num_labels"] = labels
    text = json.dumps([host(), network], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    trial.set_user_attr("network", digest)
    known = [x for x in study.trials if x.user_attrs.get("network") == digest]
    found = [x.user_attrs["costs"] for x in known if x.user_attrs.get("costs")]
    if not found:
        try:
            found = [costs_apart(network)]
        except subprocess.CalledProcessError:
            return {}
    trial.set_user_attr("costs", found[0])
    return {x: found[0][x] for x in wanted}


def _reached(run_dir, objective, costs):
    """What a finished run reached in an objective."""
    if objective not in SCORES:
        return costs.get(objective, np.nan)
    config = read_config(run_dir)
    history = pd.read_csv(run_dir / HISTORY)
    kept = history[history["epoch"] == config["best_epoch"]].iloc[0]
    return float(kept[SCORES[objective]])


def _curve(run_dir, objective):
    """The best value of a score so far, epoch by epoch; [] of what is no score, or not begun."""
    column, path = SCORES.get(objective), run_dir / HISTORY
    if column is None or not path.is_file():
        return []
    history = pd.read_csv(path)
    if column not in history:
        return []
    return [float(x) for x in np.maximum.accumulate(history[column].to_numpy("float64"))]


def _pruning(study, trial, objective, costs, config):
    """Whether a training is worth no more epochs, as a function of its `Training`."""
    # Phase 1 is cheap, and tells little of phase 2.
    first, second = config.phase1_epochs, config.phase2_epochs
    spared = first + SPARED * second if second else SPARED * first

    def cheaper(other):
        theirs = other.user_attrs.get("costs", {})
        return all(theirs.get(x, np.inf) <= ALIKE * value for x, value in costs.items())

    seen = {"epochs": 0}

    def poor(one):
        if one.done == seen["epochs"] or one.done < max(1, spared):
            return False
        seen["epochs"] = one.done
        curve = _curve(one.run_dir, objective)
        if not curve:
            return False
        others = [
            other.user_attrs["curve"]
            for other in study.trials
            if other.number != trial.number
            and other.state.name == "COMPLETE"
            and len(other.user_attrs.get("curve", ())) >= len(curve)
            and cheaper(other)
        ]
        if len(others) < FIRST:
            return False
        return curve[-1] < float(np.median([x[len(curve) - 1] for x in others]))

    return poor


def _left_behind(study):
    """Trials that processes of this machine which are gone were at."""
    for trial in study.trials:
        owner = trial.user_attrs.get("owner")
        if trial.state.name == "RUNNING" and owner and owner[0] == host():
            if not alive(owner[1], owner[2]):
                yield trial


def import_optuna():
    """The module. Raises UsageError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise UsageError("search needs Optuna; pip install '.[search]' in the clone") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def _said(storage, *more):
    """Turns what a database complains of into one line."""
    import sqlalchemy
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, *more) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(getattr(cause, "orig", None) or cause).split())[:200]
        raise DataError(f"{storage}: the database cannot be used: {reason}") from error


def best_configuration(plan, study, number=None):
    """TOML of the flags of a trial: the one that is named, or the best in the first objective.

    Raises:
        UsageError: there is no such finished trial.
    """
    finished = {x.number: x for x in study.trials if x.state.name == "COMPLETE"}
    if number is None and finished:
        better = 1 if OBJECTIVES[plan.objectives[0]][1] else -1
        number = max(finished, key=lambda n: better * finished[n].values[0])
    if number not in finished:
        raise UsageError(f"trial {number}: not one of the {len(finished)} finished ones")
    chosen = finished[number]
    reached = zip(plan.objectives, chosen.values, strict=True)
    said = ", ".join(f"{name} {value:.4g}" for name, value in reached)
    flags = {**plan.flags, "seed": plan.seed, **chosen.params}
    flags, _ = with_weights(flags, plan.path.parent, plan.title)
    lines = [f"# Trial {number} of {plan.title!r}: {said}"]
    for name, value in flags.items():
        # Texts, numbers and lists of JSON are those of TOML.
        lines.append(f"{name} = {json.dumps(value, ensure_ascii=False, default=str)}")
    return "\n".join(lines) + "\n"
