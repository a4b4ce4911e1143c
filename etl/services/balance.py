"""The balance at both ends of a run, and whenever a person asks: read from the vendor, kept with the spend on record.

A run does not depend on it: it tries once, in a hurry, and whatever goes wrong is a line in the log.
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
from etl.date_ranges import ONE_DAY, split_into_windows
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
from etl.model import DateRange, WindowData
from etl.reconcile import BalanceSnapshot, BalanceSummary, ReconciliationPeriod, open_periods, summarise_balance
from etl.transform.fields import FieldError, parse_price
from etl.transform.snapshots import snapshot_days

SHORT_TIMEOUT_SECONDS: Final = 5.0
"""For an answer about the balance, however it drips: a run does not wait longer for one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BalanceReading:
    """What the vendor said of the balance, and when; `moment` is as in a snapshot."""

    taken_at: datetime
    balance: Decimal
    moment: str | None = None


@dataclass(frozen=True, slots=True)
class SpendLedger:
    """What the spend on record is read from.

    Attributes:
        account_id: Of the account.
        source: Asked for days that are not on record yet.
        today: In the vendor's wall clock.
        zone: Of that clock.
        watermark: Days up to here are on record.
        window_days: Days a request.
    """

    engine: Engine
    account_id: int
    source: Source
    today: date
    zone: tzinfo
    watermark: date | None
    window_days: int

    def since(self) -> date:
        """The day of the first snapshot: what was charged before it is nothing to a later balance."""
        with read_connection(self.engine) as connection:
            first = first_snapshot_at(connection, self.account_id)
        return first.astimezone(self.zone).date() if first else self.today

    def days_left(self, since: date, fetched: Iterable[DateRange]) -> list[DateRange]:
        """The days up to today that are not on record whole, nor fetched just now."""
        first = max(since, self.watermark + ONE_DAY) if self.watermark else since
        days = DateRange(first, self.today).days() if first <= self.today else []
        known = {day for window in fetched for day in window.days()}
        return split_into_windows(None, set(days) - known, size=self.window_days)

    def fetch_spend(self, windows: Iterable[DateRange]) -> dict[date, Decimal]:
        """What days amount to as the vendor has them now. Nothing of them is stored.

        Raises:
            VendorError: No answer shows these days.
        """
        spend: dict[date, Decimal] = {}
        for window in windows:
            batch = self.source.fetch_json(window)
            if unknown := [
                day for day in window.days() if day in batch.unconfirmed_days or self._is_missing(day, batch)
            ]:
                days = ", ".join(map(str, unknown))
                raise InvalidResponse(f"no answer shows {days} whole, and the balance proof waits for it")
            spend |= {snapshot.day: snapshot.spend for snapshot in snapshot_days(batch.days)}
        return spend

    def _is_missing(self, day: date, batch: WindowData) -> bool:
        # That today is out of an answer's reach is usual: then the ledger's figure stands.
        return day < self.today and day not in batch.days

    def keep(
        self, readings: Sequence[BalanceReading], since: date, fresh: dict[date, Decimal], run_id: int | None = None
    ) -> tuple[list[ReconciliationPeriod], tuple[date, ...]]:
        """Store readings as snapshots, with what is on record now.

        Returns:
            The pairs that they close and a person should know of, and the days that the proof waits for.
        """
        with signals.deferred(), self.engine.begin() as connection:
            spend = recorded_spend_at(connection, self.account_id, since, fresh)
            restated = restated_on_record(connection, self.account_id)
            unproven = read_unproven_days(connection, self.account_id, self.zone)
            snapshots = [
                BalanceSnapshot(one.taken_at, one.balance, spend, run_id, one.moment, restated, len(unproven))
                for one in readings
            ]
            write_snapshots(connection, self.account_id, snapshots)
            pairs = load_periods(connection, self.account_id, readings[-1].taken_at)
            own = pairs[-len(readings) :]
            return [pair for pair in open_periods(pairs) if pair in own], unproven


@dataclass(slots=True)
class BalanceMonitor:
    """Weighs one run.

    Attributes:
        client: A hurried one.
        clock: The present moment, aware.
        is_wanted: Else nothing is asked and nothing kept.
        readings: What the vendor said so far.
        found: The pairs that they close and a person should know of.
        waits_for: Days that the proof waits for.
    """

    client: Client
    clock: Callable[[], datetime]
    is_wanted: bool = True
    readings: list[BalanceReading] = field(default_factory=list)
    found: list[ReconciliationPeriod] = field(default_factory=list)
    waits_for: tuple[date, ...] = ()

    def read(self, moment: str) -> None:
        """Read the balance, if it can be read."""
        if not self.is_wanted:
            return
        try:
            balance = fetch_balance(self.client)
        except AuthenticationError:
            return  # the call for the records says so
        except VendorError as error:
            log.warning(
                "the balance %s this run is not known: asked once, for %g s at the most (%s)",
                moment, SHORT_TIMEOUT_SECONDS, error,
            )  # fmt: skip
        else:
            self.readings.append(BalanceReading(self.clock(), balance, moment))

    def record(self, books: SpendLedger, fetched: Sequence[DateRange], run_id: int) -> None:
        """At the end of a run that did what it was asked for: read the balance again, and keep both readings.

        Nothing is kept where the records do not reach up to now: they would prove nothing.
        """
        if not self.is_wanted:
            return
        try:
            with translate_errors():
                since = books.since()
                left = books.days_left(since, fetched)
                if len(left) > 1:
                    log.info("no balance is kept: the records are too far behind to be held against it")
                    return
                # Before the balance: what is charged in between is then missing on the side where it is looked for.
                fresh = books.fetch_spend(left)
                self.read("after")
                if self.readings:
                    self.found, self.waits_for = books.keep(self.readings, since, fresh, run_id)
        except BillingError as error:
            log.warning("the balance of this run is not kept (%s)", error)

    def summary(self, limit: Decimal | None, waits_for: Iterable[date] = ()) -> BalanceSummary | None:
        """What is to be said of it; None where the vendor said nothing.

        Args:
            limit: BILLING_LOW_BALANCE.
            waits_for: Days of the run that are suspect or that no source could show whole.
        """
        if not self.readings:
            return None
        newest = self.readings[-1]
        return summarise_balance(newest.taken_at, newest.balance, limit, self.found, {*self.waits_for, *waits_for})


def fetch_balance(client: Client) -> Decimal:
    """The account's balance, exact.

    Raises:
        VendorError: The vendor did not tell it, or it is no amount of money.
    """
    told = client.get_balance()["balance"]
    try:
        return parse_price(told)
    except (FieldError, TypeError, ValueError):
        pass
    # Outside of the block: nothing may stand on an error that holds the vendor's own words.
    raise InvalidResponse("a balance that is no amount of money")
