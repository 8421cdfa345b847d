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
    """Yields from `items` while a bar counts them; in a log, one line at the end."""
    started = time.monotonic()
    with bar() as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task)
    if progress.disable:
        progress.console.print(f"{description}: {total} in {time.monotonic() - started:.0f} s")
