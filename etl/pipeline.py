"""The sync pipeline: plan, fetch, transform, diff, load, reconcile, finish.

`SyncRun.execute` runs one account through all of it; `Transfer` moves the days, window by window.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

import etl
from etl import signals
from etl.config.schema import Settings
from etl.date_ranges import split_into_windows
from etl.db.bindings import store_fingerprint
from etl.db.channels import Channels, load_channels
from etl.db.days import purged_days, stored_counts, sum_days
from etl.db.engine import read_connection
from etl.db.errors import describe_error
from etl.db.lock import advisory_lock
from etl.db.partitions import create_partitions
from etl.db.retry import retry_transaction
from etl.db.run_store import (
    RunHandle,
    SyncState,
    begin_run,
    finish_run,
    read_position,
    read_progress,
    set_range,
    verify_fence,
    write_progress,
)
from etl.db.store import Store
from etl.errors import BillingError, DatabaseError, Interrupted, SourceUnavailable
from etl.extract.client import Client
from etl.extract.source import Source
from etl.extract.spool import RecordSpool
from etl.extract.worker import Fetched, fetch_in_worker
from etl.load.loader import WindowOutcome, compare_window, preview_window, summarise_window, write_window
from etl.load.policy import LoadPolicy
from etl.log import log_context
from etl.model import DateRange, DaySnapshot, Outcome, RunCounts, WindowData
from etl.services.balance import BalanceMonitor
from etl.services.channels import classify_stored_days
from etl.services.context import (
    SCHEMA_LOCK_TIMEOUT,
    AccountHistory,
    account_binding,
    build_load_policy,
    build_spend_ledger,
    channel_rules,
    load_account_state,
    open_source,
)
from etl.services.history import prune_history
from etl.services.plan import (
    begins_where_served,
    describe_plan,
    describe_purged,
    first_served_day,
    plan_request,
    plan_resync,
    require_active,
    require_suspect,
    without_purged,
)
from etl.services.run import ProgressListener, RunRequest, SyncResult
from etl.services.setting_errors import named_settings
from etl.transform.snapshots import snapshot_day, snapshot_days

log = logging.getLogger(__name__)


@dataclass(slots=True)
class SyncRun:
    """One run of one account: the request, the components, and the results of each phase.

    Attributes:
        result: Filled phase by phase.
        client: The vendor's API.
        quick_client: The same with one attempt of a few seconds, for the balance.
        clock: The present time, aware.
        exit_code_of: The exit code of a result, for `sync_runs`.
        redact: Removes secrets from a text.
        open_spool: Creates the storage of an answer's records.
        account_id: None before the account's first run.
        handle: The run's row in `sync_runs`; None in a dry run, which writes nothing. So is `channels`.
    """

    settings: Settings
    request: RunRequest
    result: SyncResult
    store: Store
    client: Client
    quick_client: Client
    listener: ProgressListener
    clock: Callable[[], datetime]
    exit_code_of: Callable[[SyncResult], int]
    redact: Callable[[str], str]
    open_spool: Callable[[], RecordSpool]
    today: date = field(init=False)
    account_id: int | None = field(init=False)
    state: SyncState = field(init=False)
    history: AccountHistory = field(init=False)
    policy: LoadPolicy = field(init=False)
    monitor: BalanceMonitor = field(init=False)
    handle: RunHandle | None = field(init=False, default=None)
    channels: Channels | None = field(init=False, default=None)

    def execute(self) -> None:
        """Run all phases in order. An error after `begin` is recorded in the result and in `sync_runs`."""
        self.prepare()
        if self.result.retired_at:
            return
        self.plan()
        try:
            self.begin()
            if self.handle is not None and self.channels is not None:
                classify_stored_days(
                    self.store, self.handle, self.channels, self.history.unclassified, self._say, self.clock()
                )
            self.transfer()
            self.reconcile()
        except BillingError as error:
            self.result.error = error
        except SQLAlchemyError as error:
            self.result.error = DatabaseError(describe_error(error))
        except Interrupted as interrupt:
            self.finish_interrupted(128 + interrupt.signal_number)
            raise
        self.finish()

    def prepare(self) -> None:
        """Load the account's position and history."""
        self.today = self.clock().astimezone(self.settings.timezone).date()
        self.account_id, self.state, self.history = self.store.read(partial(load_account_state, settings=self.settings))
        self.result.watermark = self.state.watermark
        require_active(self.settings.account, self.request, self.state)
        self.result.retired_at = self.state.retired_at

    def plan(self) -> None:
        """Choose the windows to fetch, and report what is unusual about them."""
        settings, request, state = self.settings, self.request, self.state
        if notice := self.history.remarks.notice:
            self._say(notice)
        if warning := self.history.remarks.warning:
            log.warning("%s", warning)
        windows, self.result.also_fetched = plan_request(settings, request, state, self.today, self.history.complete)
        windows = self.result.windows = self._without_purged(windows)
        require_suspect(settings.account, request, state)
        for message in describe_plan(settings, request, state, self.today, windows, self.history.complete):
            self.listener.message(message)
        self.policy = build_load_policy(
            settings, self.today, full_compare=request.command == "backfill", accepted_days=request.accepted_days,
            begins_where_served=begins_where_served(settings, request, state),
        )  # fmt: skip
        enabled = request.command != "accept" and not request.dry_run
        self.monitor = BalanceMonitor(self.quick_client, self.clock, enabled=enabled)
        self.listener.total(len(windows))

    def begin(self) -> None:
        """Write the run's row, and with it the fence that ends every older run."""
        if self.request.dry_run:
            return

        def start() -> RunHandle:
            with self.store.engine.begin() as connection:
                self.channels = load_channels(connection, channel_rules(self.settings))
                return begin_run(
                    connection, label=self.settings.account, command=self.request.command, version=etl.__version__,
                    windows=self.result.windows, now=self.clock(), binding=account_binding(self.settings),
                )  # fmt: skip

        # Two first runs of one token under two labels do not see each other's account: one waits for the other.
        is_first = self.account_id is None
        alone = advisory_lock(self.store.engine, "schema", wait=SCHEMA_LOCK_TIMEOUT) if is_first else nullcontext()
        with named_settings(), signals.deferred(), alone:
            # Two first runs insert the same account or channel without a lock between them: one finds it on retry.
            self.handle = retry_transaction(start, also_on=(IntegrityError,))
        self.account_id, self.result.run_id = self.handle.account_id, self.handle.id
        if windows := self.result.windows:
            self.store.write(partial(create_partitions, first=windows[0].first, last=windows[-1].last))

    def transfer(self) -> None:
        """Fetch, transform, diff and load one window after another."""
        if not self.result.windows:
            return
        self.monitor.read("before")
        last = self.result.windows[-1].last
        source = open_source(
            self.settings, self.client, today=self.today, last=last, history=self.history, open_spool=self.open_spool
        )
        if self.request.deep:
            self._extend_to_stored_days(source)
        transfer = Transfer(
            source, self.store, self.account_id, self.handle, self.policy, self.channels, self.settings.concurrency,
            self.clock, self.result.tally, self.result.sources,
        )  # fmt: skip
        with closing(transfer.run(self.result.windows)) as transferred:
            for window, counts in transferred:
                self.result.add(window, counts)
                self.listener.advance(window, counts)
        if self.policy.begins_where_served:
            self._begin_where_served()

    def reconcile(self) -> None:
        """Compare the balance with the spend on record, unless a day is missing."""
        if missing := self.result.tally.missing_days:
            days = ", ".join(map(str, split_into_windows(None, missing, size=len(missing))))
            reason = next(iter(missing.values()))
            raise SourceUnavailable(f"no source shows that these days are complete; they stay open: {days} ({reason})")
        if self.handle is not None and self.result.windows:
            ledger = build_spend_ledger(
                self.store.engine, self.settings, self.handle.account_id, self.quick_client, self.today,
                self.state.watermark,
            )  # fmt: skip
            self.monitor.record(ledger, self.result.windows, self.handle.id)

    def finish(self) -> None:
        """Complete the result and the run's row, and prune the history."""
        result = self.result
        waits_for = (*result.tally.suspect_days, *result.tally.missing_days)
        result.balance = self.monitor.summary(self.settings.low_balance, waits_for)
        # The vendor's message may repeat the URL, and with it the token, which no table may hold.
        error = self.redact(str(result.error)) if result.error else None
        exit_code = self.exit_code_of(result)

        def end() -> None:
            self._write_end(result.outcome, exit_code, error)
            with read_connection(self.store.engine) as connection:
                result.watermark = read_position(connection, self.account_id).watermark
                if self.handle is not None:
                    result.ledger = sum_days(connection, self.handle.account_id, result.own_windows)

        try:
            with signals.deferred():
                if isinstance(result.error, DatabaseError):
                    end()  # the transaction that failed was retried for long enough
                else:
                    retry_transaction(end)
        except SQLAlchemyError as failure:
            if result.error is None:
                result.error = _not_recorded(failure)
            elif not isinstance(result.error, DatabaseError):
                log.error("%s", _not_recorded(failure))
            return
        if self.handle is not None:
            prune_history(self.store.engine, self.handle.account_id, self.settings, self.clock())

    def finish_interrupted(self, exit_code: int) -> None:
        """Record that a signal ended the run."""
        try:
            self._write_end("stopped", exit_code, None)
        except SQLAlchemyError as failure:
            log.error("%s", _not_recorded(failure))

    def _write_end(self, outcome: Outcome, exit_code: int, error: str | None) -> None:
        if self.handle is not None:
            with self.store.engine.begin() as connection:
                finish_run(connection, self.handle, outcome=outcome, exit_code=exit_code, error=error, now=self.clock())

    def _say(self, message: str) -> None:
        self.listener.message(f"{self.settings.account}: {message}")

    def _without_purged(self, windows: list[DateRange]) -> list[DateRange]:
        if self.account_id is None or not windows:
            return windows
        span = DateRange(windows[0].first, windows[-1].last)
        purged = self.store.read(partial(purged_days, account_id=self.account_id, window=span))
        if purged := purged & {day for window in windows for day in window.days()}:
            windows = without_purged(windows, purged, self.request)
            self.listener.message(f"{describe_purged(purged)}; they are left out")
        return windows

    def _begin_where_served(self) -> None:
        counts, windows = self.result.tally, self.result.windows
        begins = first_served_day(windows, self.state.first_day or windows[0].first, counts.refused_days)
        if begins is not None:
            counts.missing_days = {day: reason for day, reason in counts.missing_days.items() if day >= begins}
            self._say(f"the vendor serves no day before {begins}: the history begins there")

    def _extend_to_stored_days(self, source: Source) -> None:
        stored = self.store.read(partial(stored_counts, account_id=self.account_id))
        plan = plan_resync(stored, self.result.windows, source.has_data_for, size=self.settings.window_days)
        self.result.windows = plan.windows
        self.listener.total(len(plan.windows))
        if skipped := plan.skipped_days:
            self._say(
                f"{len(skipped)} stored days up to {skipped[-1]} are left as they are: the vendor does not serve them "
                "any more, or only in part"
            )
        if self.handle is not None:
            self.store.write(partial(set_range, run=self.handle, windows=plan.windows))


@dataclass(slots=True)
class Transfer:
    """Moves windows of days from the vendor into the database.

    Attributes:
        handle: None in a dry run, which compares and writes nothing; so is `channels`.
        concurrency: Windows in progress at once: one is loaded, the others are fetched.
        clock: The present time, aware.
        counts: Totals of the completed windows.
        sources: Names of the sources used so far.
    """

    source: Source
    store: Store
    account_id: int | None
    handle: RunHandle | None
    policy: LoadPolicy
    channels: Channels | None
    concurrency: int
    clock: Callable[[], datetime]
    counts: RunCounts = field(default_factory=RunCounts)
    sources: set[str] = field(default_factory=set)

    def run(self, windows: Sequence[DateRange]) -> Generator[tuple[DateRange, RunCounts]]:
        """Transfer one window after another; each is yielded once it is committed, with its counts.

        Raises:
            SourceUnavailable: The vendor did not answer for a window. Those before it are kept, here and below.
            AuthenticationError: The vendor refused the token.
            ConcurrentRunError: A newer run has begun.
            SQLAlchemyError: The database failed.
            BillingError: No space for temporary files, or the process that fetches was killed.
        """
        previous_request: DateRange | None = None
        fetch = partial(_fetch_window, self.source)
        with closing(fetch_in_worker(fetch, windows, depth=self.concurrency - 1)) as fetched:
            for data, snapshots in fetched:
                window, used = data.window, data.sources
                with log_context(window=window):
                    counts = self._load_window(data, snapshots, previous_request)
                    log.info(
                        "%s: %d new, %d changed, %d withdrawn, %d unchanged, from %s",
                        window, counts.new, counts.changed, counts.withdrawn, counts.unchanged,
                        " and ".join(sorted(used)) or "no source",
                    )  # fmt: skip
                self.counts.merge(counts)
                self.sources |= used
                previous_request = data.requested if data.days else previous_request
                del data, snapshots  # what is loaded does not stay in memory until the next window is fetched
                yield window, counts

    def _load_window(
        self, data: WindowData, snapshots: Iterable[DaySnapshot], previous_request: DateRange | None
    ) -> RunCounts:
        """Diff and write one window in one transaction, which is retried whole."""
        handle, channels, committed = self.handle, self.channels, list[tuple[WindowOutcome, int]]()
        compare = partial(
            compare_window, account_id=self.account_id, data=data, snapshots=snapshots, policy=self.policy,
            build_snapshot=snapshot_day,
        )  # fmt: skip
        if handle is None or channels is None:
            with signals.deferred():
                preview = self.store.read(
                    lambda connection: preview_window(connection, self.account_id, data, compare(connection))
                )
            return summarise_window(preview, data, self.policy)

        def diff_and_write(connection: Connection) -> WindowOutcome:
            verify_fence(connection, handle)
            for earlier, days in committed:
                if read_progress(connection, handle) == days:
                    return earlier  # the attempt before was committed; only the server's reply was lost
            outcome = write_window(
                connection, handle, data, compare(connection), self.policy, channels,
                asked_before=previous_request, now=self.clock(),
            )  # fmt: skip
            if handle.fingerprint and data.sources:
                store_fingerprint(connection, handle.account_id, handle.fingerprint)
            counts = RunCounts()
            counts.merge(self.counts)
            counts.merge(summarise_window(outcome, data, self.policy))
            write_progress(connection, handle, counts, self.sources | data.sources)
            committed[:] = [(outcome, counts.days)]
            return outcome

        return summarise_window(self.store.write(diff_and_write), data, self.policy)


def _fetch_window(source: Source, window: DateRange) -> Fetched:
    with log_context(window=window):
        data = source.fetch(window)
    return data, snapshot_days(data.days)


def _not_recorded(error: SQLAlchemyError) -> DatabaseError:
    problem = describe_error(error)
    return DatabaseError(f"the records are stored, but the end of the run could not be recorded: {problem}")
