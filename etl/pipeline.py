"""The sync pipeline: plan, fetch, transform, diff, load, reconcile, finish.

`SyncRun.execute` runs one account through all of it. Each window of days is fetched and transformed in a worker while
the one before is compared with the stored rows and loaded, in one transaction (`services.run_writer`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from etl import signals
from etl.config.schema import Settings
from etl.date_ranges import DateRange, split_into_windows
from etl.db.days import purged_days, stored_counts
from etl.db.errors import describe_error
from etl.db.store import Store
from etl.errors import BillingError, DatabaseError, Interrupted, SourceUnavailable
from etl.extract.client import Client
from etl.extract.source import LACKS_NEWEST, Source
from etl.extract.spool import RecordSpool
from etl.extract.worker import Fetched, fetch_in_worker
from etl.load.policy import LoadPolicy
from etl.log import log_context
from etl.services.balance import BalanceMonitor, SpendLedger
from etl.services.context import AccountHistory, open_source, read_account_history
from etl.services.plan import (
    describe_cure,
    describe_plan,
    describe_purged,
    first_served_day,
    plan_load,
    plan_request,
    plan_resync,
    require_active,
    require_suspect,
    without_purged,
)
from etl.services.prune import prune_history
from etl.services.run import ProgressListener, RunRequest, SyncResult
from etl.services.run_writer import DryRun, RunWriter, Writer
from etl.transform.snapshots import snapshot_days
from etl.unreadable_days import accept_unreadable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SyncRun:
    """One run of one account.

    Attributes:
        result: The result, filled phase by phase.
        client: The vendor's API.
        quick_client: The vendor's API with one attempt of a few seconds, for the balance.
        clock: The present time, aware.
        redact: Removes secrets from a text.
        open_spool: Creates the storage of an answer's records.
    """

    settings: Settings
    request: RunRequest
    result: SyncResult
    store: Store
    client: Client
    quick_client: Client
    listener: ProgressListener
    clock: Callable[[], datetime]
    redact: Callable[[str], str]
    open_spool: Callable[[], RecordSpool]

    def execute(self) -> None:
        """Run all phases in order. An error after `begin` is recorded in the result and in `sync_runs`."""
        today = self.settings.today(self.clock())
        account = self.read_account()
        if self.result.retired_at:
            return
        policy = self.plan(account, today)
        takes_snapshots = self.request.command != "accept" and not self.request.dry_run
        monitor = BalanceMonitor(self.quick_client, self.clock, enabled=takes_snapshots)
        writer: Writer = DryRun(self.store, account.id)  # until the run has begun
        try:
            with signals.deferred():  # to the end of this block: then its row can be marked as stopped
                writer = self.begin(account)
            writer.prepare(self.result.windows, account.unclassified, self._report)
            if self.result.windows:
                monitor.read("before")
                source = self.open_source(account, writer, today)
                self.transfer(source, writer, policy)
                self.require_complete(account, policy)
                self.reconcile(account, source, writer, monitor)
        except BillingError as error:
            self.result.error = error
        except SQLAlchemyError as error:
            self.result.error = DatabaseError(describe_error(error))
        except Interrupted as interrupt:
            self.record_interrupt(writer, interrupt.exit_code)
            raise
        self.finish(writer, monitor)

    # --- plan ---------------------------------------------------------------------------------------------------------

    def read_account(self) -> AccountHistory:
        """Read what the database has of the account."""
        account = self.store.read(partial(read_account_history, settings=self.settings))
        self.result.watermark = account.state.watermark
        require_active(self.settings.account, self.request, account.state)
        self.result.retired_at = account.state.retired_at
        return account

    def plan(self, account: AccountHistory, today: date) -> LoadPolicy:
        """Choose the windows to fetch, and report what is unusual about them."""
        settings, request, state = self.settings, self.request, account.state
        if notice := account.remarks.notice:
            self._report(notice)
        if warning := account.remarks.warning:
            log.warning("%s", warning)
        windows, self.result.besides = plan_request(settings, request, state, today, account.complete)
        windows = self.result.windows = self._without_purged(account, windows)
        require_suspect(settings.account, request, state)
        for message in describe_plan(settings, request, state, today, windows, account.complete):
            self.listener.message(message)
        self.listener.total(len(windows))
        return plan_load(settings, request, state, today)

    def begin(self, account: AccountHistory) -> Writer:
        """Begin the run in the database; a dry run does not."""
        if self.request.dry_run:
            return DryRun(self.store, account.id)
        return RunWriter.begin(
            self.store, self.settings, self.request.command, self.result.windows, is_first=account.id is None,
            clock=self.clock,
        )  # fmt: skip

    # --- fetch, transform, diff, load ---------------------------------------------------------------------------------

    def open_source(self, account: AccountHistory, writer: Writer, today: date) -> Source:
        """Open the vendor's two sources of days; for a deep sync, also choose the stored days that they still serve."""
        source = open_source(
            self.settings, self.client, today=today, last=self.result.windows[-1].last, account=account,
            accepted_days=self.request.accepted_days, open_spool=self.open_spool,
        )  # fmt: skip
        if self.request.deep:
            self._extend_to_stored_days(source, writer)
        return source

    def transfer(self, source: Source, writer: Writer, policy: LoadPolicy) -> None:
        """Fetch, transform, diff and load one window after another.

        Raises:
            SourceUnavailable: The vendor did not answer for a window. Those before it are kept, here and below.
            AuthenticationError: The vendor refused the token.
            ConcurrentRunError: A newer run has begun.
            SQLAlchemyError: The database failed.
            BillingError: No space for temporary files, or the process that fetches was killed.
        """
        fetch = partial(fetch_and_transform, source, accepted=policy.accepted_days)
        with closing(fetch_in_worker(fetch, self.result.windows, depth=self.settings.concurrency - 1)) as fetched:
            for data, snapshots in fetched:
                with log_context(window=data.window):
                    counts = writer.load(data, snapshots, policy)
                    log.info(
                        "%s: %d new, %d changed, %d withdrawn, %d unchanged, from %s",
                        data.window, counts.new, counts.changed, counts.withdrawn, counts.unchanged,
                        " and ".join(sorted(data.sources)) or "no source",
                    )  # fmt: skip
                self.result.add(data.window, counts, data.sources)
                self.listener.advance(data.window, counts)
                del data, snapshots  # what is loaded does not stay in memory until the next window is fetched

    # --- reconcile, finish --------------------------------------------------------------------------------------------

    def require_complete(self, account: AccountHistory, policy: LoadPolicy) -> None:
        """Require that a source had every requested day.

        Raises:
            SourceUnavailable: Some days stay open.
        """
        if policy.begins_where_served:
            self._begin_where_served(account)
        if missing := self.result.counts.missing_days:
            days = ", ".join(map(str, split_into_windows(None, missing, size=len(missing))))
            reason = next(iter(missing.values()))
            problem = f"no source shows that these days are complete; they stay open: {days} ({reason})"
            if lacking := next((day for day, reason in missing.items() if reason == LACKS_NEWEST), None):
                problem += describe_cure(self.settings, lacking)
            raise SourceUnavailable(problem)

    def reconcile(self, account: AccountHistory, source: Source, writer: Writer, monitor: BalanceMonitor) -> None:
        """Compare the balance with the recorded spend."""
        if writer.run is not None:
            ledger = SpendLedger(
                self.store.engine, writer.run.account_id, source.with_client(self.quick_client),
                self.settings.timezone, account.state.watermark, self.settings.window_days,
            )  # fmt: skip
            monitor.record(ledger, self.result.windows, writer.run.id)

    def finish(self, writer: Writer, monitor: BalanceMonitor) -> None:
        """Complete the result and the run's row, and prune the history."""
        result = self.result
        result.run_id = writer.run.id if writer.run else None
        waits_for = (*result.counts.suspect_days, *result.counts.missing_days)
        result.balance = monitor.summary(self.settings.low_balance, waits_for)
        # The vendor's message may repeat the URL, and with it the token, which no table may hold.
        error = self.redact(str(result.error)) if result.error else None
        try:
            result.watermark, result.ledger = writer.finish(
                result.outcome, result.exit_code, error, result.requested_windows,
                retry=not isinstance(result.error, DatabaseError),  # its transaction was retried for long enough
            )  # fmt: skip
        except SQLAlchemyError as failure:
            if result.error is None:
                result.error = _not_recorded(failure)
            elif not isinstance(result.error, DatabaseError):
                log.error("%s", _not_recorded(failure))
            return
        if writer.run is not None:
            prune_history(self.store.engine, writer.run.account_id, self.settings, self.clock())

    def record_interrupt(self, writer: Writer, exit_code: int) -> None:
        """Record that a signal ended the run."""
        try:
            writer.record_interrupt(exit_code)
        except SQLAlchemyError as failure:
            log.error("%s", _not_recorded(failure))

    # --- special cases of the plan ------------------------------------------------------------------------------------

    def _report(self, message: str) -> None:
        self.listener.message(f"{self.settings.account}: {message}")

    def _without_purged(self, account: AccountHistory, windows: list[DateRange]) -> list[DateRange]:
        if account.id is None or not windows:
            return windows
        span = DateRange(windows[0].first, windows[-1].last)
        purged = self.store.read(partial(purged_days, account_id=account.id, window=span))
        if purged := purged & {day for window in windows for day in window.days()}:
            windows = without_purged(windows, purged, self.request)
            self.listener.message(f"{describe_purged(purged)}; they are left out")
        return windows

    def _begin_where_served(self, account: AccountHistory) -> None:
        counts, windows = self.result.counts, self.result.windows
        first = account.state.first_day or windows[0].first
        begins = first_served_day(windows, first, counts.refused_days)
        if begins is not None:
            counts.missing_days = {day: reason for day, reason in counts.missing_days.items() if day >= begins}
            self._report(f"the vendor serves no day before {begins}: the history begins there")

    def _extend_to_stored_days(self, source: Source, writer: Writer) -> None:
        stored = self.store.read(partial(stored_counts, account_id=writer.account_id))
        plan = plan_resync(stored, self.result.windows, source.days_still_listed, size=self.settings.window_days)
        self.result.windows = plan.windows
        self.listener.total(len(plan.windows))
        if skipped := plan.skipped_days:
            self._report(
                f"{len(skipped)} stored days up to {skipped[-1]} are left as they are: the vendor does not serve them "
                "any more, or only in part"
            )
        writer.set_windows(plan.windows)


def fetch_and_transform(source: Source, window: DateRange, accepted: Collection[date] = ()) -> Fetched:
    """Fetch the days of a window, and transform their records into snapshots."""
    with log_context(window=window):
        data = accept_unreadable(source.fetch(window), accepted)
    return data, snapshot_days(data.days)


def _not_recorded(error: SQLAlchemyError) -> DatabaseError:
    problem = describe_error(error)
    return DatabaseError(f"the records are stored, but the end of the run could not be recorded: {problem}")
