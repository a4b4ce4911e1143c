"""The way of the data, on one screen: the only place where the stages meet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Engine

from etl import signals
from etl.db.engine import reading
from etl.db.ledger import Run, hold_fence, read_progress, write_progress
from etl.db.retry import try_again
from etl.extract.source import Source
from etl.extract.worker import Fetched, fetch_beside
from etl.load.loader import DayOutcome, Rules, compare_window, count, store_window
from etl.log import telling_of
from etl.model import Batch, DaySnapshot, Tally, Window
from etl.transform.snapshots import identify_day, identify_days

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """What one run works with.

    Attributes:
        run: None in a dry run: then everything is compared and nothing written.
        concurrency: How many windows are under way at once: one is loaded, the others are fetched.
        clock: The present moment, aware.
        progress: Called after each window.
    """

    source: Source
    engine: Engine
    account_id: int | None
    run: Run | None
    rules: Rules
    concurrency: int
    clock: Callable[[], datetime]
    progress: Callable[[Window, Tally], None]


def sync_windows(job: Job, windows: Sequence[Window], total: Tally, sources: set[str]) -> None:
    """Fetch, transform and load window by window. What is complete stays, whatever happens to the next.

    Args:
        job: What to work with.
        windows: In ascending order.
        total: Counts, also where an error ends the run early.
        sources: Gets the names of the sources used.

    Raises:
        VendorUnavailable: The vendor did not answer for a window.
        TokenRefused: The vendor refused the token.
        RunElsewhere: A newer run has begun.
        SQLAlchemyError: The database failed; nothing of that window is stored.
        BillingError: There is no room for temporary files, or the process that fetches was ended from outside.
    """
    asked_before: Window | None = None
    ahead = job.concurrency - 1
    with closing(fetch_beside(partial(_fetch, job.source), windows, ahead=ahead)) as fetched:
        for batch, snapshots in fetched:
            used = batch.sources
            with telling_of(window=batch.window):
                tally = _load(job, batch, snapshots, asked_before, total, sources | used)
                total.add(tally)
                sources |= used
                asked_before = batch.asked if batch.days else asked_before
                log.info(
                    "%s: %d new, %d changed, %d withdrawn, %d unchanged, from %s",
                    batch.window, tally.new, tally.changed, tally.withdrawn, tally.unchanged,
                    " and ".join(sorted(used)) or "no source",
                )  # fmt: skip
            job.progress(batch.window, tally)
            del batch, snapshots  # what was loaded does not wait in memory for the next window


def _fetch(source: Source, window: Window) -> Fetched:
    with telling_of(window=window):
        batch = source.fetch(window)
    return batch, identify_days(batch.days)


def _load(
    job: Job,
    batch: Batch,
    snapshots: Iterable[DaySnapshot],
    asked_before: Window | None,
    total: Tally,
    sources: set[str],
) -> Tally:
    """One window, one transaction; a deadlock or a lost connection is answered by doing all of it again."""
    written: list[DayOutcome] = []
    days_written = 0

    def compare_and_store() -> list[DayOutcome]:
        nonlocal written, days_written
        run = job.run
        if run is None:
            with signals.held_back(), reading(job.engine) as connection, connection.begin():
                days = compare_window(connection, job.account_id, batch, snapshots, job.rules, identify_day)
                return [day.outcome() for day in days]
        with signals.held_back(), job.engine.begin() as connection:
            hold_fence(connection, run)
            if written and read_progress(connection, run) == days_written:
                return written  # it was committed, only the server's word of it was lost
            days = compare_window(connection, run.account_id, batch, snapshots, job.rules, identify_day)
            outcomes = store_window(connection, run, batch, days, job.rules, asked_before=asked_before, now=job.clock())
            so_far = Tally()
            so_far.add(total)
            so_far.add(count(outcomes, batch, job.rules))
            write_progress(connection, run, so_far, sources)
            written, days_written = outcomes, so_far.days
        return outcomes

    return count(try_again(compare_and_store), batch, job.rules)
