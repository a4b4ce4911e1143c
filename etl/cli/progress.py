"""The progress of a run on stderr: messages, and a bar on a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from etl.log import NOTICE_LOGGER

if TYPE_CHECKING:
    from etl.date_ranges import DateRange
    from etl.run_counts import RunCounts
    from etl.services.run import ProgressListener


@contextmanager
def progress_listener(*, quiet: bool, as_log: bool = False, bar: bool = True) -> Iterator[ProgressListener]:
    """A listener that shows messages on stderr, and a progress bar if stderr is a terminal.

    Args:
        quiet: Show nothing.
        as_log: Log the messages, even with `quiet`; show no bar.
        bar: Show a bar; several processes would overwrite each other's.
    """
    from etl.services.run import ProgressListener

    def show_message(message: str) -> None:
        if as_log:
            logging.getLogger(NOTICE_LOGGER).info(message)
        elif not quiet:
            click.echo(message, err=True)

    if quiet or as_log or not bar or not sys.stderr.isatty():
        yield ProgressListener(show_message, lambda _count: None, lambda _window, _counts: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, markup=False, emoji=False), transient=True) as progress:
        task = progress.add_task("fetching", total=None)

        def advance(window: DateRange, _counts: RunCounts) -> None:
            progress.update(task, advance=1, description=f"{window.first} to {window.last}")

        yield ProgressListener(progress.console.print, lambda count: progress.update(task, total=count), advance)
