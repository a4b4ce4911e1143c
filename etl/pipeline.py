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
from etl.db.engine import read_connection
from etl.db.ledger import RunHandle, read_progress, verify_fence, write_progress
from etl.db.retry import retry_transaction
from etl.extract.source import Source
from etl.extract.worker import Fetched, fetch_in_worker
from etl.load.loader import DayOutcome, LoadPolicy, compare_window, summarise_window, write_window
from etl.log import log_context
from etl.model import DateRange, DaySnapshot, RunCounts, WindowData
from etl.transform.snapshots import snapshot_day, snapshot_days

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PipelineContext:
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
    run: RunHandle | None
    rules: LoadPolicy
    concurrency: int
    clock: Callable[[], datetime]
    progress: Callable[[DateRange, RunCounts], None]


def transfer_windows(job: PipelineContext, windows: Sequence[DateRange], total: RunCounts, sources: set[str]) -> None:
    """Fetch, transform and load window by window. What is complete stays, whatever happens to the next.

    Args:
        job: What to work with.
        windows: In ascending order.
        total: Counts, also where an error ends the run early.
        sources: Gets the names of the sources used.

    Raises:
        SourceUnavailable: The vendor did not answer for a window.
        AuthenticationError: The vendor refused the token.
        ConcurrentRunError: A newer run has begun.
        SQLAlchemyError: The database failed; nothing of that window is stored.
        BillingError: There is no room for temporary files, or the process that fetches was ended from outside.
    """
    asked_before: DateRange | None = None
    ahead = job.concurrency - 1
    with closing(fetch_in_worker(partial(_fetch_window, job.source), windows, ahead=ahead)) as fetched:
        for batch, snapshots in fetched:
            used = batch.sources
            with log_context(window=batch.window):
                tally = _load_window(job, batch, snapshots, asked_before, total, sources | used)
                total.merge(tally)
                sources |= used
                asked_before = batch.requested if batch.days else asked_before
                log.info(
                    "%s: %d new, %d changed, %d withdrawn, %d unchanged, from %s",
                    batch.window, tally.new, tally.changed, tally.withdrawn, tally.unchanged,
                    " and ".join(sorted(used)) or "no source",
                )  # fmt: skip
            job.progress(batch.window, tally)
            del batch, snapshots  # what was loaded does not wait in memory for the next window


def _fetch_window(source: Source, window: DateRange) -> Fetched:
    with log_context(window=window):
        batch = source.fetch(window)
    return batch, snapshot_days(batch.days)


def _load_window(
    job: PipelineContext,
    batch: WindowData,
    snapshots: Iterable[DaySnapshot],
    asked_before: DateRange | None,
    total: RunCounts,
    sources: set[str],
) -> RunCounts:
    """One window, one transaction; a deadlock or a lost connection is answered by doing all of it again."""
    written: list[DayOutcome] = []
    days_written = 0

    def compare_and_store() -> list[DayOutcome]:
        nonlocal written, days_written
        run = job.run
        if run is None:
            with signals.deferred(), read_connection(job.engine) as connection, connection.begin():
                days = compare_window(connection, job.account_id, batch, snapshots, job.rules, snapshot_day)
                return [day.outcome() for day in days]
        with signals.deferred(), job.engine.begin() as connection:
            verify_fence(connection, run)
            if written and read_progress(connection, run) == days_written:
                return written  # it was committed, only the server's word of it was lost
            days = compare_window(connection, run.account_id, batch, snapshots, job.rules, snapshot_day)
            outcomes = write_window(connection, run, batch, days, job.rules, asked_before=asked_before, now=job.clock())
            so_far = RunCounts()
            so_far.merge(total)
            so_far.merge(summarise_window(outcomes, batch, job.rules))
            write_progress(connection, run, so_far, sources)
            written, days_written = outcomes, so_far.days
        return outcomes

    return summarise_window(retry_transaction(compare_and_store), batch, job.rules)
