"""Looks for settings: trials drawn by Optuna, each a training of its own, poor ones ended early.

The study lies in a database, so that several machines may share it: each runs the same command.
A trial that was killed goes on where its training stopped.
"""

import hashlib
import json
import re
import subprocess
import time
from contextlib import contextmanager

import numpy as np
import pandas as pd

from fundus_diag.data.manifest import read_manifest
from fundus_diag.runs import photographs
from fundus_diag.runs.contents import HISTORY
from fundus_diag.runs.run import OWN_FLAGS
from fundus_diag.runs.run_files import read_config
from fundus_diag.runs.speed import costs_apart
from fundus_diag.training import trials
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.epochs import say
from fundus_diag.training.search_plan import OBJECTIVES
from fundus_diag.training.trainings import (
    Training,
    is_finished,
    last_line,
    look,
    placed,
    waited,
    with_weights,
)
from fundus_diag.training.trials import SCORES
from fundus_diag.training.watch import shown
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import make_folder
from fundus_diag.utils.flags import words_of
from fundus_diag.utils.processes import host


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
    # A database of another version, one without its driver, or none at all.
    with _said(storage, RuntimeError, ImportError, ValueError):
        study = optuna.create_study(
            storage=storage,
            study_name=plan.title,
            directions=directions,
            load_if_exists=True,
            # Of each process another: machines that share a study must not draw the same.
            sampler=optuna.samplers.TPESampler(seed=None, multivariate=True, constant_liar=True),
        )
    with _said(storage):
        known = study.user_attrs.get("search")
        if known is None and not study.trials:
            study.set_user_attr("search", plan.digest)
        elif known != plan.digest:
            raise DataError(
                f"{_without_password(storage)}: the study {plan.title!r} in it looks for something "
                f"else (other objectives, flags, space, seed, table or weights than {plan.path}), "
                "or an earlier version began it; give another title"
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
    table = read_manifest(plan.manifest, need_split=True)
    study = open_study(plan, storage)
    made = [out / "runs" / str(x.user_attrs.get("run")) for x in study.trials]
    for run_dir in [x for x in made if is_finished(x)][:1]:
        photographs.check_place(run_dir, plan.image_root)
    found = []
    with shown(found) as show, _said(storage):
        while _one_more(plan, out, table, study, found, show):
            pass
    for line in trials.others_at_work(study):
        say(line)
    return study


def _one_more(plan, out, table, study, found, show):
    """Trains a trial that was left behind, or another one; False where there are enough."""
    optuna = import_optuna()
    with trials.one_left_behind(study, out / "runs") as number:
        if number is not None:  # what it has drawn stands in the study
            left = optuna.trial.Trial(study, study.trials[number]._trial_id)
            _trial(plan, out, table, study, left, found, show)
            return True
    states = [x.state.name for x in study.trials]
    failed = states.count("FAIL")
    if len(states) - failed >= plan.trials or failed >= plan.trials:
        return False
    _trial(plan, out, table, study, study.ask(), found, show)
    return True


def _trial(plan, out, table, study, trial, found, show):
    """Trains what a trial says, and tells the study."""
    optuna = import_optuna()
    # First of all: what is nobody's when it is killed is never gone on with.
    trials.owned(trial)
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
    status, poor = 0, trials.poor(study, trial.number, plan.objectives[0], costs, full)
    if one.state != "reused":
        one.state = "running"
        with one.log.open("ab") as log:
            status = waited(one, ["train", *words_of(config)], log, show, poor)
    one.seconds = time.monotonic() - one.started
    look(one)
    curve = trials.scores_so_far(one.run_dir, plan.objectives[0], full.phase2_epochs)
    trial.set_user_attr("curve", curve)
    trial.set_user_attr("epochs", one.done)
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
        name = _without_password(storage)
        raise DataError(f"{name}: the database cannot be used: {reason}") from error


def _without_password(storage):
    hidden = re.sub(r"(//[^:/@]*):.*@", r"\1:..@", storage)
    return re.sub(r"(password=)[^&]*", r"\1..", hidden)


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
