"""How far the trainings of a plan are, for who watches: a live table, or lines of a log."""

import time
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from fundus_diag.utils.progress import LOG_EVERY

ROWS = 20  # of the table: of many trainings those around the first that is not over


def time_left(found):
    """Seconds that what is left is likely to take, or None where nothing tells yet.

    By what phase 1 as a whole, and an epoch of phase 2, took of the same variant, or where it has
    none yet of all: on features that are computed once, epochs of phase 1 take no time.
    """
    heads, later = {}, {}
    for one in found:
        if one.started is None:
            continue
        epochs = one.done - max(one.first, one.done_before)
        for key in (one.name, None):
            if one.done_before < one.first <= one.done:
                heads.setdefault(key, []).append(one.head)
            if epochs > 0:
                later.setdefault(key, []).append((one.seconds - one.head, epochs))
    left = 0.0
    for one in found:
        if one.over:
            continue
        epochs = one.epochs - max(one.first, one.done)
        known = heads.get(one.name, heads.get(None))
        if one.done < one.first:
            if not known:
                return None
            left += max(0.0, np.mean(known) - one.head)
        if epochs:
            known = later.get(one.name, later.get(None))
            if not known:
                return None
            seconds, those = np.sum(known, axis=0)
            left += epochs * seconds / those
    return left


def duration(seconds):
    """As people say it: "40 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def shown(found):
    """A function that shows how far things are: as a live table, or where there is no terminal a
    line when a run begins or ends, and one a minute."""
    console = Console(stderr=True)
    if console.is_terminal:
        with Live(_rendered(found), console=console, refresh_per_second=2) as live:
            yield lambda one: live.update(_rendered(found))
        return
    said = {}

    def line(one):
        now, key = time.monotonic(), id(one)
        state, at = said.get(key, (None, -np.inf))
        if one.state == state and (one.over or now - at < LOG_EVERY):
            return
        said[key] = (one.state, now)
        left = time_left(found)
        at = f"{sum(x.over for x in found)} of {len(found)} runs"
        more = f", about {duration(left)} left" if left else ""
        console.print(f"{_described(one)} ({at}{more})", markup=False, soft_wrap=True)

    yield line


def _described(one):
    seed = f", seed {one.config.seed}"
    text = f"{one.name}{seed}: {one.state}"
    if one.state == "failed":
        return f"{text}: {one.reason} ({one.log})"
    if one.state in ("running", "scoring"):
        text += f", epoch {one.done} of {one.epochs}"
    return text + (f", {duration(one.seconds)}" if one.seconds else "")


def _rendered(found):
    left = time_left(found)
    done = sum(x.over for x in found)
    more = f", about {duration(left)} left" if left else ""
    table = Table(title=f"{done} of {len(found)} runs{more}", title_justify="left", expand=False)
    for column in ("variant", "seed", "", "epochs", "time"):
        table.add_column(column, overflow="fold")
    first = next((i for i, x in enumerate(found) if not x.over), 0)
    begin = max(0, min(first - 3, len(found) - ROWS))
    for one in found[begin : begin + ROWS]:
        epochs = f"{one.done} of {one.epochs}" if one.state != "waiting" or one.done else ""
        seconds = duration(one.seconds) if one.seconds else ""
        state = f"failed: {one.reason}" if one.state == "failed" else one.state
        table.add_row(one.name, str(one.config.seed), state, epochs, seconds)
    return table
