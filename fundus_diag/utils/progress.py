"""Progress of long work, on stderr, so that stdout stays for results."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LOG_EVERY = 60.0  # s between lines where there is no terminal


def bar():
    """A progress bar with counts, time spent and time left; nothing where stderr is a file."""
    console = Console(stderr=True)
    return Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        disable=not console.is_terminal,
    )


def track(items, description, total):
    """Yields from `items` while a bar counts them; in a log, a line a minute and one at the end."""
    started = said = time.monotonic()
    with bar() as progress:
        task = progress.add_task(description, total=total)
        for done, item in enumerate(items):
            now = time.monotonic()
            if progress.disable and now - said >= LOG_EVERY:
                said = now
                progress.console.print(f"{description}: {done} of {total}, {now - started:.0f} s")
            yield item
            progress.advance(task)
    if progress.disable:
        progress.console.print(f"{description}: {total} in {time.monotonic() - started:.0f} s")
