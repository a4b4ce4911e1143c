"""Month close: book the totals of a month, under the account's lock, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import Final

from sqlalchemy import Connection, Engine

from etl.config.schema import Settings
from etl.date_ranges import DateRange, split_into_windows
from etl.db.accounts import require_account
from etl.db.bindings import PriceTerms
from etl.db.closed_months import (
    BookedVat,
    Closing,
    MonthTotals,
    insert_closing,
    month_days,
    read_booked_vat,
    read_day_states,
    read_last_closing,
    read_terms,
    store_terms,
)
from etl.db.days import sum_days
from etl.db.migrate import require_schema
from etl.db.run_store import lock_account
from etl.db.store import Store
from etl.services.account_writer import locked_accounts
from etl.services.context import price_terms, utc_now
from etl.services.database import pooled_engine

NOT_OVER: Final = "not over"
"""State of a day that has not been fetched because it is today or later; the others are those of `calendar`."""

NOTHING_STORED: Final = "no day of it is stored"


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """The request to book a month.

    Attributes:
        month: First day of the month.
        provisional: Book a month some of whose days may still change.
        again: Book a month again although its last booking is final.
    """

    month: date
    provisional: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class CloseResult:
    """The result for one account.

    Attributes:
        account: Label of the account.
        month: First day of the month.
        outcome: `booked`, `unchanged` (the last booking is still true) or `refused`.
        reason: Why it was refused; None otherwise.
        totals: The current totals of the month.
        closing: The booking that is valid now; None if the month was never booked.
        replaced: The booking that this one replaces; None unless there was one.
        booked_vat: VAT of the valid booking; None where no rate is set.
        unsettled: Ranges of days that are not closed, by state.
    """

    account: str
    month: date
    outcome: str
    reason: str | None
    totals: MonthTotals
    closing: Closing | None
    replaced: Closing | None
    booked_vat: BookedVat | None
    unsettled: Mapping[str, list[DateRange]] = field(default_factory=dict)


def close_month(
    settings: Settings,
    request: CloseRequest,
    *,
    is_configured: bool,
    wait: float,
    clock: Callable[[], datetime] = utc_now,
) -> CloseResult:
    """Book a month of an account, unless there is a reason against it.

    Args:
        settings: Settings of the account.
        request: The month, and what may be booked.
        is_configured: Whether currency and VAT of the settings are those of this account; otherwise the stored ones
            count.
        wait: Seconds to wait for a run of the account.
        clock: The present time, aware.

    Raises:
        ConfigError: The account does not exist.
        ConcurrentRunError: A run of the account is in progress.
        DatabaseError: Nothing is booked.
    """
    now = clock()
    today = settings.today(now)
    terms = price_terms(settings) if is_configured else None
    with pooled_engine(settings.database_url) as engine, locked_accounts(engine, [settings.account], wait=wait):
        return _book(engine, settings.account, request, terms, today, now)


def _book(
    engine: Engine, label: str, request: CloseRequest, terms: PriceTerms | None, today: date, now: datetime
) -> CloseResult:
    month = request.month

    def transaction(connection: Connection) -> CloseResult:
        require_schema(connection)
        account_id = require_account(connection, label)
        # The amount and the last line of the journal are of one moment: no run stores a day until this is committed.
        lock_account(connection, account_id)
        states = read_day_states(connection, label, month)
        unsettled = _unsettled_days(month, states, today)
        totals = MonthTotals(
            "provisional" if unsettled else "final",
            *sum_days(connection, account_id, [month_days(month)]),
            terms or read_terms(connection, account_id),
        )
        last = read_last_closing(connection, account_id, month)
        result = partial(CloseResult, label, month, totals=totals, unsettled=unsettled)
        if reason := _find_reason(request, totals, last, unsettled, stored=bool(states)):
            vat = read_booked_vat(connection, label, month) if last else None
            return result("refused", reason, closing=last, replaced=None, booked_vat=vat)
        unchanged = last is not None and last.totals == totals
        closing = last
        if not unchanged:
            store_terms(connection, account_id, totals.terms)
            closing = insert_closing(connection, account_id, month, totals, after=last, now=now)
        return result(
            "unchanged" if unchanged else "booked",
            None,
            closing=closing,
            replaced=None if unchanged else last,
            booked_vat=read_booked_vat(connection, label, month),
        )

    return Store(engine).write(transaction)


def _unsettled_days(month: date, states: Mapping[date, str], today: date) -> dict[str, list[DateRange]]:
    """Ranges of the days of a month that are not closed, by state."""
    days: dict[str, list[date]] = {}
    for day in month_days(month).days():
        state = states.get(day, "missing" if day < today else NOT_OVER)
        if state != "closed":
            days.setdefault(state, []).append(day)
    return {state: split_into_windows(None, found, size=len(found)) for state, found in days.items()}


def _find_reason(
    request: CloseRequest,
    totals: MonthTotals,
    last: Closing | None,
    unsettled: Mapping[str, list[DateRange]],
    *,
    stored: bool,
) -> str | None:
    """Return why a month is not booked; None if it may be, or if its last booking is still true."""
    if not stored:
        return NOTHING_STORED
    if unsettled and not request.provisional:
        return "; ".join(f"{state}: {', '.join(map(str, ranges))}" for state, ranges in unsettled.items())
    if last is None or last.totals == totals or last.totals.kind == "provisional" or request.again:
        return None
    if last.totals.spend != totals.spend or last.totals.records != totals.records:
        return "it is closed already and has changed since"
    if last.totals.terms != totals.terms:
        return f"it is closed already, with {last.totals.terms}; the account has {totals.terms} now"
    return "it is closed already"
