"""What every training does with an epoch: its random numbers, its bar, its state on disk.

Every random number is drawn anew at the start of an epoch from numbers such as (seed, epoch), so
the state of a finished epoch is all that an interrupted run needs to go on.
"""

import math
import sys

import pandas as pd

from fundus_diag.runs.contents import HISTORY
from fundus_diag.training import checkpoint
from fundus_diag.training.callbacks import EpochBar
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import write_csv
from fundus_diag.utils.flags import flag
from fundus_diag.utils.variables import assign, reseed, values


def take_up(folder, model, state):
    """Sets model and `state` to the newest state in the folder.

    Returns its arrays, the optimizer's among them, or None where there is none.

    Raises:
        DataError: the state is damaged, or of another model.
    """
    saved = checkpoint.load_state(folder)
    if saved is None:
        return None
    arrays, facts = saved
    state.update(facts)
    assign(model.variables, arrays["model"], "model")
    say(f"going on after epoch {len(state['history'])}")
    return arrays


def fit_epoch(model, batches, numbers, title, steps, scores="", told=None):
    """Fits one epoch behind a bar and returns its mean loss, of a batch that is not finite on.

    Args:
        numbers: that the random state of every layer is drawn from.
        title, steps, scores, told: see `callbacks.EpochBar`.
    """
    reseed(model, numbers)
    bar = EpochBar(title, steps, scores, told)
    try:
        fitted = model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[bar])
    finally:
        bar.progress.stop()  # else Ctrl-C would leave a terminal without its cursor
    return float(fitted.history["loss"][-1])


def stop_unless_finite(value, what, epoch, config, rate):
    """Ends a training whose numbers are none any more, before it writes them anywhere.

    Args:
        value: a loss.
        what: name of the value.
        epoch: it is of, from 1.
        config: of the run.
        rate: the field of the learning rate.

    Raises:
        UsageError: the value is NaN or infinite; says what is kept and what to try.
    """
    if math.isfinite(value):
        return
    tries = [f"a lower {flag(rate)}"]
    if getattr(config, "clip_norm", 1) == 0:
        tries.append("--clip-norm 1")
    if config.precision != "float32":
        tries.append("--precision float32")
    kept = f"epoch {epoch - 1} is kept in {config.run_dir / 'checkpoint'}" if epoch > 1 else ""
    raise UsageError(
        f"{flag(rate)} {getattr(config, rate):g}: the {what} of epoch {epoch} is {value}: "
        f"{kept or 'no epoch is finished'}; start again (another --run-dir, or --overwrite) with "
        + " or ".join(tries)
    )


def keep(folder, model, optimizer, state, others=None, files=()):
    """Writes the state of a finished epoch in place of the one before.

    Args:
        model: whose variables are kept, all of them.
        optimizer: of what was fitted, which may be a part of it.
        others: {group: list of arrays} beside those of model and optimizer.
        files: names of files of the folder that stay.
    """
    arrays = {
        "model": values(model.variables),
        "optimizer": values(optimizer.variables),
        **(others or {}),
    }
    checkpoint.save_state(folder, len(state["history"]), arrays, state, files)


def write_history(run_dir, history):
    """history.csv: a row an epoch."""
    write_csv(run_dir / HISTORY, pd.DataFrame(history))


def say(line):
    print(line, file=sys.stderr)
