"""Reads and writes closed_months: the totals of months when they were booked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, func, insert, select, text, update

from etl.date_ranges import ONE_DAY, DateRange, next_month
from etl.db.bindings import PriceTerms
from etl.db.tables import accounts, closed_months, restatements


@dataclass(frozen=True, slots=True)
class MonthTotals:
    """The totals of a month and its price terms; equal values are the same booking.

    Attributes:
        kind: `final` if every day is closed, else `provisional`.
        records: Number of charges, repeats included.
        spend: Their sum.
    """

    kind: str
    records: int
    spend: Decimal
    terms: PriceTerms


@dataclass(frozen=True, slots=True)
class Closing:
    """One booking of a month.

    Attributes:
        closing: From 1, ascending within a month; the last one counts.
        closed_at: When it was made.
    """

    closing: int
    closed_at: datetime
    totals: MonthTotals


@dataclass(frozen=True, slots=True)
class BookedVat:
    """A booked amount without VAT, its VAT, and with it."""

    net: Decimal
    vat: Decimal
    gross: Decimal


def month_days(month: date) -> DateRange:
    """The days of a month, given its first day."""
    return DateRange(month, next_month(month) - ONE_DAY)


def read_day_states(connection: Connection, label: str, month: date) -> dict[date, str]:
    """State of each day of a month, as the view `calendar` has it; days outside of the account's range are absent."""
    days = month_days(month)
    query = text("SELECT day, day_state FROM calendar WHERE account = :label AND day BETWEEN :first AND :last")
    rows = connection.execute(query, {"label": label, "first": str(days.first), "last": str(days.last)})
    return {date.fromisoformat(str(day)): state for day, state in rows}


def store_terms(connection: Connection, account_id: int, terms: PriceTerms) -> None:
    """Store currency and VAT of an account."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(terms._asdict()))


def read_terms(connection: Connection, account_id: int) -> PriceTerms:
    """Currency and VAT of an account."""
    query = select(*(accounts.c[name] for name in PriceTerms._fields)).where(accounts.c.id == account_id)
    return PriceTerms(*connection.execute(query).one())


def read_last_closing(connection: Connection, account_id: int, month: date) -> Closing | None:
    """The last booking of a month; None if it was never booked."""
    column = closed_months.c
    query = (
        select(closed_months)
        .where(column.account_id == account_id, column.month == month)
        .order_by(column.closing.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    terms = PriceTerms(row.currency, row.vat_basis_points, row.vat)
    return Closing(row.closing, row.closed_at, MonthTotals(row.kind, row.records, row.booked, terms))


def insert_closing(
    connection: Connection, account_id: int, month: date, totals: MonthTotals, *, after: Closing | None, now: datetime
) -> Closing:
    """Book a month.

    Args:
        connection: Connection in a transaction that holds the account's row of `sync_state`.
        account_id: `accounts.id`.
        month: First day of the month.
        totals: Totals of the month.
        after: The last booking so far, which is kept.
        now: The present time.
    """
    line = restatements.c
    last_line, last_change = connection.execute(
        select(func.coalesce(func.max(line.id), 0), func.max(line.restated_at)).where(line.account_id == account_id)
    ).one()
    # The clock of the machine that stored the last change may be ahead of this one: that change was before the closing.
    closing = Closing(after.closing + 1 if after else 1, max(now, last_change or now), totals)
    connection.execute(
        insert(closed_months).values(
            account_id=account_id,
            month=month,
            closing=closing.closing,
            kind=totals.kind,
            closed_at=closing.closed_at,
            records=totals.records,
            booked=totals.spend,
            **totals.terms._asdict(),
            journal_id=last_line,
        )
    )
    return closing


def read_booked_vat(connection: Connection, label: str, month: date) -> BookedVat | None:
    """VAT of the last booking of a month, as the view `monthly_close` has it; None where no rate is set."""
    query = text(
        "SELECT booked_net, booked_vat, booked_gross FROM monthly_close WHERE account = :label AND month = :month"
    )
    amounts = connection.execute(query, {"label": label, "month": str(month)}).one()
    if amounts[0] is None:
        return None
    # On SQLite a number below a billion, where six decimal places are exact.
    return BookedVat(*(Decimal(f"{value:.6f}") if isinstance(value, float) else Decimal(value) for value in amounts))
