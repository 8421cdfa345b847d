"""What a training says before it begins: where, from what, how, and how much."""

import textwrap

from fundus_diag.data.columns import MASK, NO_MASK
from fundus_diag.data.labels import SPLITS
from fundus_diag.runs import directory
from fundus_diag.training import checkpoint
from fundus_diag.training.recipes import RECIPES
from fundus_diag.utils.errors import counted

WIDTH = 80
INDENT = 13
TOGETHER = "\xa0"  # a blank at which no line is broken
# Said by lines of their own.
PHASES = ("phase1_epochs", "phase2_epochs", "phase1_rate", "phase2_rate", "batch_size", "patience")


def first_screen(config, counts, model, arithmetic, rest, unit="photograph"):
    """Lines of at most 80 columns.

    Args:
        config: of the run, resolved.
        counts: {split: {"rows", "patients", "positives": {name: n}}}; positives may be missing.
        model: the network.
        arithmetic: its precision.
        rest: [(title, text)] that the kind of training adds: its recipe, phases, steps.
        unit: what a row is.
    """
    size = f"{config.image_size} px"
    if getattr(config, "patch_size", config.image_size) != config.image_size:
        size += f" in patches of {config.patch_size}"
    start = getattr(config, "weights", "")
    network = f"{config.encoder}, {size}, {model.count_params():,} parameters"
    if hasattr(config, "network"):
        network = f"{config.network} on {network}"
    lines = [
        f"run {config.run_dir}",
        *_line("device", f"{directory.device()}; {arithmetic}"),
        *_line("network", network + (f"; starts from {start}" if start else "")),
        *_line("table", str(config.manifest)),
    ]
    for split in (x for x in (*SPLITS, "all") if x in counts):
        part = counts[split]
        text = f"{_many(part['rows'], unit)} of {_many(part['patients'], 'patient')}"
        if part.get("positives"):
            text += ": " + ", ".join(
                f"{name}{TOGETHER}{n:,}" for name, n in part["positives"].items()
            )
        lines += _line(f"  {split}", text)
    for title, text in rest:
        lines += _line(title, text)
    done = checkpoint.epochs_kept(config.run_dir / "checkpoint") if config.resume else 0
    if done:
        lines += _line("done", f"{counted(done, 'epoch')}, which are not learned again")
    return lines


def mask_counts(table, classes):
    """`counts` of a table with masks; positives: photographs whose mask is not `none`."""
    counts = {}
    for split, rows in table.groupby("split"):
        positives = {x: int((~rows[MASK + x].isin(("", NO_MASK))).sum()) for x in classes}
        patients = int(rows["patient"].nunique())
        counts[split] = {"rows": len(rows), "patients": patients, "positives": positives}
    return counts


def two_phases(config, steps, judged, how):
    """Lines of `rest` for a run in two phases.

    Args:
        config: on `schedule.Schedule`, resolved.
        steps: of an epoch.
        judged: what people call the score that chooses the epoch.
        how: (what phase 1 trains, what phase 2 trains).
    """
    known = [x for x in RECIPES[config.recipe] if hasattr(config, x) and x not in PHASES]
    values = ", ".join(f"{x}{TOGETHER}{_short(getattr(config, x))}" for x in known)
    values = values.replace("_", TOGETHER)
    lines = [("recipe", f"{config.recipe}: {values}")]
    for phase, what in enumerate(how, start=1):
        epochs = getattr(config, f"phase{phase}_epochs")
        rate = _short(getattr(config, f"phase{phase}_rate"))
        text = f"{counted(epochs, 'epoch')} of {what}, rate {rate}" if epochs else "none"
        lines.append((f"phase {phase}", text))
    epochs = config.phase1_epochs + config.phase2_epochs
    lines.append(("steps", steps_of(steps, epochs, config.batch_size)))
    patience = f"; a phase ends after {counted(config.patience, 'epoch')} without a better one"
    lines.append(
        ("kept", f"the epoch of the best {judged} on val{patience * bool(config.patience)}")
    )
    return lines


def steps_of(steps, epochs, batch_size):
    """How many steps a training takes, in words."""
    return f"{steps:,} an epoch, batches of {batch_size}; {steps * epochs:,} in all"


def _line(title, text):
    lines = textwrap.wrap(
        text, WIDTH, initial_indent=f"  {title}".ljust(INDENT), subsequent_indent=" " * INDENT,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [x.replace(TOGETHER, " ") for x in lines]


def _many(number, noun):
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _short(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)
