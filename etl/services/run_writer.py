"""What a run writes: its row in `sync_runs`, its windows, one transaction each, and its outcome; a dry run nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import NamedTuple, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

import etl
from etl import signals
from etl.config.schema import Settings
from etl.date_ranges import DateRange
from etl.day_totals import LedgerTotals
from etl.db.bindings import store_fingerprint
from etl.db.channels import Channels, classify_day, load_channels
from etl.db.days import raise_revision, sum_days
from etl.db.lock import advisory_lock
from etl.db.partitions import create_partitions
from etl.db.retry import retry_transaction
from etl.db.run_store import (
    RunHandle,
    begin_run,
    finish_run,
    read_progress,
    read_sync_state,
    set_range,
    verify_fence,
    write_progress,
)
from etl.db.store import Store
from etl.db.totals import refresh_channels
from etl.load.compare import compare_window
from etl.load.outcome import WindowOutcome, summarise_window
from etl.load.policy import LoadPolicy
from etl.load.write import WindowWriter, preview_window
from etl.model import DaySnapshot, WindowData
from etl.run_counts import Outcome, RunCounts
from etl.services.context import SCHEMA_LOCK_TIMEOUT, account_binding, channel_rules
from etl.services.setting_errors import named_settings


class StoredResult(NamedTuple):
    """The database after a run.

    Attributes:
        watermark: The account's last synced day.
        totals: Totals of the requested days; None after a dry run.
    """

    watermark: date | None
    totals: LedgerTotals | None = None


class Writer(Protocol):
    """Takes the windows of a run, in order, and its outcome.

    Attributes:
        run: The run in `sync_runs`; None for a dry run.
        account_id: `accounts.id`; None for a dry run before the account's first run.
    """

    @property
    def run(self) -> RunHandle | None: ...

    @property
    def account_id(self) -> int | None: ...

    def prepare(
        self, windows: Sequence[DateRange], unclassified: Mapping[date, int], report: Callable[[str], None]
    ) -> None:
        """Create the partitions for the windows, and classify the days that were stored under other channel rules.

        Args:
            windows: The planned windows, in order.
            unclassified: These days, with their number of records.
            report: Receives a message before and after a classification.
        """

    def set_windows(self, windows: Sequence[DateRange]) -> None:
        """Record other windows than the planned ones as the range of the run."""

    def load(self, data: WindowData, snapshots: Iterable[DaySnapshot], policy: LoadPolicy) -> RunCounts:
        """Diff a window with the stored rows, load the differences, and return the counts of the window.

        Raises:
            ConcurrentRunError: A newer run has begun.
            SQLAlchemyError: The database failed; the windows before are kept.
        """

    def finish(
        self, outcome: Outcome, exit_code: int, error: str | None, requested: Sequence[DateRange], *, retry: bool
    ) -> StoredResult:
        """Record how the run ended.

        Args:
            outcome: The outcome.
            exit_code: The exit code of the command.
            error: The message of the error that ended the run, without secrets.
            requested: The ranges of `StoredResult.totals`.
            retry: Whether to retry the transaction after transient errors.

        Raises:
            SQLAlchemyError: The database failed.
        """

    def record_interrupt(self, exit_code: int) -> None:
        """Record that a signal ended the run, in one transaction that is neither deferred nor retried.

        Raises:
            SQLAlchemyError: The database failed.
        """


@dataclass(slots=True)
class RunWriter:
    """Writes a run under its fence.

    Attributes:
        clock: The present time, aware.
        counts: Totals of the loaded windows.
        sources: Names of the sources of their days.
    """

    store: Store
    run: RunHandle
    channels: Channels
    clock: Callable[[], datetime]
    counts: RunCounts = field(default_factory=RunCounts)
    sources: set[str] = field(default_factory=set)
    _previous_request: DateRange | None = None

    @classmethod
    def begin(
        cls,
        store: Store,
        settings: Settings,
        command: str,
        windows: Sequence[DateRange],
        *,
        is_first: bool,
        clock: Callable[[], datetime],
    ) -> RunWriter:
        """Write the run's row, and with it the fence that ends every older run. The caller defers signals.

        Args:
            store: The database.
            settings: The settings of the account.
            command: `sync`, `backfill` or `accept`.
            windows: The planned windows.
            is_first: The account is not in the database.
            clock: The present time, aware.

        Raises:
            ConfigError: The account is bound to other settings.
        """

        def transaction() -> tuple[RunHandle, Channels]:
            with store.engine.begin() as connection:
                channels = load_channels(connection, channel_rules(settings))
                run = begin_run(
                    connection, label=settings.account, command=command, version=etl.__version__, windows=windows,
                    now=clock(), binding=account_binding(settings),
                )  # fmt: skip
            return run, channels

        # Two first runs of one token under two labels do not see each other's account: one waits for the other.
        alone = advisory_lock(store.engine, "schema", wait=SCHEMA_LOCK_TIMEOUT) if is_first else nullcontext()
        with named_settings(), alone:
            # Two first runs insert the same account or channel without a lock between them: one finds it on retry.
            run, channels = retry_transaction(transaction, also_on=(IntegrityError,))
        return cls(store, run, channels, clock)

    @property
    def account_id(self) -> int:
        return self.run.account_id

    def prepare(
        self, windows: Sequence[DateRange], unclassified: Mapping[date, int], report: Callable[[str], None]
    ) -> None:
        if windows:
            self.store.write(partial(create_partitions, first=windows[0].first, last=windows[-1].last))
        if unclassified:
            self._classify(unclassified, report, self.clock())

    def _classify(self, days: Mapping[date, int], report: Callable[[str], None], now: datetime) -> None:
        """Classify days that were stored under other channel rules, or before there were any: one transaction a day.

        A run that is stopped leaves the remaining days to the next one.
        """
        count = "1 stored day is" if len(days) == 1 else f"{len(days):,} stored days are"
        report(f"the rules for channels are new: {count} classified again, up to {max(days)}")
        changed = 0

        def classify(connection: Connection, day: date, records: int) -> int:
            verify_fence(connection, self.run)
            rows = classify_day(connection, self.account_id, day, records, self.channels, now)
            refresh_channels(connection, self.account_id, day)
            if rows:
                raise_revision(connection, self.account_id, [day])
            return rows

        for day, records in days.items():
            signals.raise_if_interrupted()
            changed += self.store.write(partial(classify, day=day, records=records))
        report(f"{changed:,} records have another channel")

    def set_windows(self, windows: Sequence[DateRange]) -> None:
        self.store.write(partial(set_range, run=self.run, windows=windows))

    def load(self, data: WindowData, snapshots: Iterable[DaySnapshot], policy: LoadPolicy) -> RunCounts:
        """Diff and load a window in one transaction, which is retried whole.

        If the server's reply to a commit is lost, the next attempt recognises the commit by the run's row.
        """
        committed: list[tuple[WindowOutcome, int]] = []

        def transaction(connection: Connection) -> WindowOutcome:
            verify_fence(connection, self.run)
            for outcome, days in committed:
                if read_progress(connection, self.run) == days:
                    return outcome
            comparisons = compare_window(connection, self.account_id, data, snapshots, policy)
            window_writer = WindowWriter(connection, self.run, policy, self.channels, self.clock())
            outcome = window_writer.write(data, comparisons, self._previous_request)
            if self.run.fingerprint and data.sources:
                store_fingerprint(connection, self.account_id, self.run.fingerprint)
            counts = RunCounts()
            counts.merge(self.counts)
            counts.merge(summarise_window(outcome, data, policy))
            write_progress(connection, self.run, counts, self.sources | data.sources)
            committed[:] = [(outcome, counts.days)]
            return outcome

        counts = summarise_window(self.store.write(transaction), data, policy)
        self.counts.merge(counts)
        self.sources |= data.sources
        self._previous_request = data.requested if data.days else self._previous_request
        return counts

    def finish(
        self, outcome: Outcome, exit_code: int, error: str | None, requested: Sequence[DateRange], *, retry: bool
    ) -> StoredResult:
        def transaction(connection: Connection) -> StoredResult:
            finish_run(connection, self.run, outcome=outcome, exit_code=exit_code, error=error, now=self.clock())
            state = read_sync_state(connection, self.account_id)
            return StoredResult(state.watermark, sum_days(connection, self.account_id, requested))

        with signals.deferred():
            return self.store.write(transaction, retry=retry)

    def record_interrupt(self, exit_code: int) -> None:
        with self.store.engine.begin() as connection:
            finish_run(connection, self.run, outcome="stopped", exit_code=exit_code, error=None, now=self.clock())


@dataclass(frozen=True, slots=True)
class DryRun:
    """Compares the windows with the stored rows, and writes nothing.

    Attributes:
        account_id: `accounts.id`; None if the account is not in the database.
    """

    store: Store
    account_id: int | None
    run: None = None

    def prepare(
        self, windows: Sequence[DateRange], unclassified: Mapping[date, int], report: Callable[[str], None]
    ) -> None:
        pass

    def set_windows(self, windows: Sequence[DateRange]) -> None:
        pass

    def load(self, data: WindowData, snapshots: Iterable[DaySnapshot], policy: LoadPolicy) -> RunCounts:
        def transaction(connection: Connection) -> WindowOutcome:
            comparisons = compare_window(connection, self.account_id, data, snapshots, policy)
            return preview_window(connection, self.account_id, data, comparisons)

        with signals.deferred():
            return summarise_window(self.store.read(transaction), data, policy)

    def finish(
        self, outcome: Outcome, exit_code: int, error: str | None, requested: Sequence[DateRange], *, retry: bool
    ) -> StoredResult:
        state = self.store.read(partial(read_sync_state, account_id=self.account_id))
        return StoredResult(state.watermark)

    def record_interrupt(self, exit_code: int) -> None:
        pass
