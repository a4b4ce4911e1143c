"""Balance snapshots, taken before and after a run and by the command `balance`: the balance and the recorded spend.

A run does not depend on them: each request has one attempt with a short timeout, and errors are logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Final

from sqlalchemy import Engine

from etl import signals
from etl.date_ranges import ONE_DAY, DateRange, split_into_windows
from etl.db.balance import (
    first_snapshot_at,
    load_periods,
    read_unproven_days,
    recorded_spend_at,
    restated_on_record,
    write_snapshots,
)
from etl.db.engine import read_connection
from etl.db.errors import translate_errors
from etl.errors import AuthenticationError, BillingError, InvalidResponse, VendorError
from etl.extract.client import Client
from etl.extract.source import Source
from etl.model import WindowData
from etl.reconcile import BalanceSnapshot, BalanceSummary, ReconciliationPeriod, open_periods, summarise_balance
from etl.transform.fields import FieldError, parse_price
from etl.transform.snapshots import snapshot_days

SHORT_TIMEOUT_SECONDS: Final = 5.0
"""Timeout and deadline of a request for the balance during a run."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BalanceReading:
    """A balance that the vendor reported; `moment` is `before` or `after` the run, None for the command `balance`."""

    taken_at: datetime
    balance: Decimal
    moment: str | None = None


@dataclass(frozen=True, slots=True)
class SpendLedger:
    """The recorded spend of an account, and the source of its days that are not recorded yet.

    Attributes:
        engine: Engine of the database.
        account_id: `accounts.id`.
        source: Source of the days that are not recorded yet.
        zone: Zone of the vendor's wall clock.
        watermark: The last day up to which all days are recorded; None if there is none.
        window_days: Maximum days of a request.
    """

    engine: Engine
    account_id: int
    source: Source
    zone: tzinfo
    watermark: date | None
    window_days: int

    @property
    def today(self) -> date:
        """The present day in the vendor's wall clock."""
        return self.source.today

    def first_day(self) -> date:
        """The day of the first snapshot, today without one; earlier charges do not change a later balance."""
        with read_connection(self.engine) as connection:
            first = first_snapshot_at(connection, self.account_id)
        return first.astimezone(self.zone).date() if first else self.today

    def unrecorded_windows(self, since: date, fetched: Iterable[DateRange]) -> list[DateRange]:
        """Windows of the days from `since` to today that are neither recorded nor fetched by this run."""
        first = max(since, self.watermark + ONE_DAY) if self.watermark else since
        days = DateRange(first, self.today).days() if first <= self.today else []
        fetched_days = {day for window in fetched for day in window.days()}
        return split_into_windows(None, set(days) - fetched_days, size=self.window_days)

    def fetch_spend(self, windows: Iterable[DateRange]) -> dict[date, Decimal]:
        """Fetch the present spend of days, without storing their records.

        Raises:
            VendorError: The request failed, or its answer is incomplete.
        """
        spend: dict[date, Decimal] = {}
        for window in windows:
            data = self.source.fetch_json(window)
            if incomplete := [
                day for day in window.days() if day in data.unresolved_days or self._is_missing(day, data)
            ]:
                days = ", ".join(map(str, incomplete))
                raise InvalidResponse(f"no complete answer for {days}; the balance proof is pending")
            spend |= {snapshot.day: snapshot.totals.spend for snapshot in snapshot_days(data.days)}
        return spend

    def _is_missing(self, day: date, data: WindowData) -> bool:
        # An answer often ends before today: then the ledger's spend of today is used.
        return day < self.today and day not in data.days

    def store_snapshots(
        self, readings: Sequence[BalanceReading], since: date, fresh: dict[date, Decimal], run_id: int | None = None
    ) -> tuple[list[ReconciliationPeriod], tuple[date, ...]]:
        """Store readings as snapshots with the recorded spend, in one transaction that is not retried.

        Args:
            readings: Readings, in ascending order of time; at least one.
            since: Day of the first snapshot.
            fresh: Spend by day, fetched after the ledger was written.
            run_id: `sync_runs.id`; None for the command `balance`.

        Returns:
            The open periods that end with these snapshots, and the unproven days.
        """
        with signals.deferred(), self.engine.begin() as connection:
            spend = recorded_spend_at(connection, self.account_id, since, fresh)
            restated = restated_on_record(connection, self.account_id)
            unproven = read_unproven_days(connection, self.account_id, self.zone)
            snapshots = [
                BalanceSnapshot(
                    reading.taken_at, reading.balance, spend, run_id, reading.moment, restated, len(unproven)
                )
                for reading in readings
            ]
            write_snapshots(connection, self.account_id, snapshots)
            periods = load_periods(connection, self.account_id, readings[-1].taken_at)
            new = periods[-len(readings) :]
            return [period for period in open_periods(periods) if period in new], unproven


@dataclass(slots=True)
class BalanceMonitor:
    """Takes the balance snapshots of one run and reconciles the periods that they close.

    Attributes:
        client: Client with one attempt and SHORT_TIMEOUT_SECONDS.
        clock: The present time, aware.
        enabled: Whether to request and store balances; an `accept` and a dry run do not.
        readings: Balances of this run so far.
        open_periods: The open periods that end with the snapshots of this run.
        unproven_days: Days without which the proof is pending.
    """

    client: Client
    clock: Callable[[], datetime]
    enabled: bool = True
    readings: list[BalanceReading] = field(default_factory=list)
    open_periods: list[ReconciliationPeriod] = field(default_factory=list)
    unproven_days: tuple[date, ...] = ()

    def read(self, moment: str) -> None:
        """Request the balance and keep the reading; an error is logged."""
        if not self.enabled:
            return
        try:
            balance = fetch_balance(self.client)
        except AuthenticationError:
            return  # the request for the records raises the same error
        except VendorError as error:
            log.warning(
                "the balance %s this run is unknown: the only attempt, of at most %g s, failed (%s)",
                moment, SHORT_TIMEOUT_SECONDS, error,
            )  # fmt: skip
        else:
            self.readings.append(BalanceReading(self.clock(), balance, moment))

    def record(self, ledger: SpendLedger, fetched: Sequence[DateRange], run_id: int) -> None:
        """At the end of a successful run, request the balance again and store both readings as snapshots.

        None is stored if the records do not reach the present: the snapshots would prove nothing. An error is logged.
        """
        if not self.enabled:
            return
        try:
            with translate_errors():
                since = ledger.first_day()
                windows = ledger.unrecorded_windows(since, fetched)
                if len(windows) > 1:
                    log.info("no balance snapshot is stored: the records are too far behind for a comparison")
                    return
                # Before the balance: a charge between the two requests then looks like a charge without a record, and
                # a later period offsets it.
                fresh = ledger.fetch_spend(windows)
                self.read("after")
                if self.readings:
                    self.open_periods, self.unproven_days = ledger.store_snapshots(self.readings, since, fresh, run_id)
        except BillingError as error:
            log.warning("the balance of this run is not stored (%s)", error)

    def summary(self, limit: Decimal | None, waits_for: Iterable[date] = ()) -> BalanceSummary | None:
        """The summary of the newest balance; None if the vendor reported none.

        Args:
            limit: The setting BILLING_LOW_BALANCE.
            waits_for: Days of the run that are suspect or incomplete.
        """
        if not self.readings:
            return None
        newest = self.readings[-1]
        unproven = {*self.unproven_days, *waits_for}
        return summarise_balance(newest.taken_at, newest.balance, limit, self.open_periods, unproven)


def fetch_balance(client: Client) -> Decimal:
    """The account's exact balance.

    Raises:
        VendorError: The request failed, or the balance is not an amount of money.
    """
    raw = client.get_balance()["balance"]
    try:
        return parse_price(raw)
    except (FieldError, TypeError, ValueError):
        pass
    # Outside the except block: the original, which quotes the vendor's value, must not be chained.
    raise InvalidResponse("an answer whose balance is not an amount of money")
