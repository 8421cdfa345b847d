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
from rich.table import Column

LOG_EVERY = 60.0  # s between lines where there is no terminal


def bar():
    """A progress bar with counts, time spent and time left; nothing where stderr is a file.

    Where a line is short it is the description that is cut, and at the end the bar goes.
    """
    console = Console(stderr=True)
    return Progress(
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
        console=console,
        expand=True,
        transient=True,
        disable=not console.is_terminal,
    )


def track(items, description, total):
    """Yields from `items` while a bar counts them; a line at the end, in a log one a minute too."""
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
    progress.console.print(f"{description}: {total} in {time.monotonic() - started:.0f} s")
