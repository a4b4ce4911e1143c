"""The tables of the report: the exact figures of each chart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from etl.amounts import exact_sum
from etl.reports.charts.count_specs import DAY_STATES, WEEKDAYS
from etl.reports.html.formatting import (
    EMPTY,
    decimal_places,
    format_amount,
    format_count,
    format_day,
    format_month,
    format_rate,
    format_time,
)
from etl.reports.html.totals import ReportTotals, Totals

Rows = Sequence[Mapping[str, Any]]
MAX_PRINTED_ROWS: Final = 100
"""Longer tables are shown on screen only."""
MAX_NAMED_DAYS: Final = 20
"""Days that a cell names."""
_MIN_COUNTED_ROWS: Final = 10
"""Row count from which the summary of a collapsed table includes it."""

CellKind = Literal["number", "text", "long text", "label", "day state"]
_CSS: Final[dict[CellKind, str]] = {
    "number": "",
    "text": "plain",
    "long text": "wrap",
    "label": "wrap",
    "day state": "plain",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        cells: Formatted values; None is a missing label.
        total: The value in the table's last row.
        kind: How the template renders and aligns the cells.
        missing: Text of a missing label.
    """

    title: str
    cells: Sequence[str | None]
    total: str = ""
    kind: CellKind = "number"
    missing: str = ""

    @property
    def css(self) -> str:
        """CSS class of the cells; numbers have none."""
        return _CSS[self.kind]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the template `tables.html.j2` renders it.

    Attributes:
        css: CSS class of the table.
        collapsible: Hidden under its summary until the reader opens it.
    """

    caption: str
    columns: Sequence[Column]
    css: str = ""
    collapsible: bool = True

    @property
    def rows(self) -> Iterable[Iterable[tuple[Column, str | None]]]:
        """The cells by row, each with its column."""
        return (
            zip(self.columns, cells, strict=True)
            for cells in zip(*(column.cells for column in self.columns), strict=True)
        )

    @property
    def row_count(self) -> int:
        """Rows without the totals."""
        return len(self.columns[0].cells)

    @property
    def long(self) -> bool:
        """Whether the table is left out on paper."""
        return self.row_count > MAX_PRINTED_ROWS

    @property
    def summary(self) -> str:
        """The caption, with the row count of a longer table."""
        return self.caption if self.row_count < _MIN_COUNTED_ROWS else f"{self.caption} · {self.row_count:,} rows"

    @property
    def has_totals(self) -> bool:
        """Whether the table ends with a row of totals."""
        return any(column.total for column in self.columns)


def chart_tables(chart: str, totals: ReportTotals, rows: Rows, currency: str) -> list[Table]:
    """The tables under a chart.

    Args:
        chart: Name of the chart.
        totals: Totals of the report.
        rows: Rows of the chart's dataset; not empty.
        currency: Code that is shown beside the title of each column of amounts.
    """
    return _TABLES[chart](totals, rows, currency)


def _spend_by_day_tables(totals: ReportTotals, rows: Rows, currency: str) -> list[Table]:
    tables = []
    if len(totals.by_account) > 1:
        accounts = _label_column("Account", totals.by_account, "All")
        balances = [totals.balances.get(label) for label in totals.by_account]
        columns = [
            accounts,
            *_total_columns(totals.by_account.values(), totals.total, currency),
            _amount_column("Balance", balances, totals.balance, currency=currency),
        ]
        tables.append(Table("Accounts", columns, collapsible=False))
    days = [
        *_key_columns(totals, rows),
        _count_column("Charges", _values(rows, "records"), totals.total.records),
        _count_column("Delivered", _values(rows, "delivered"), totals.total.delivered),
        _rate_column([_row_totals(row).delivery_rate for row in rows], totals.total),
        _amount_column("Spend", _values(rows, "spend"), totals.total.spend, currency=currency),
    ]
    if totals.total.repeated_spend:
        days.append(
            _amount_column(
                "of it repeats", _values(rows, "repeated_spend"), totals.total.repeated_spend, currency=currency
            )
        )
    days.append(Column("State", _values(rows, "day_state"), kind="day state"))
    return [*tables, Table("Figures of each day", days)]


def _months_tables(totals: ReportTotals, rows: Rows, currency: str) -> list[Table]:
    by_month = [_row_totals(row) for row in rows]
    restated = _values(rows, "restated")
    columns = [Column("Month", [format_month(month) for month in _values(rows, "day")], "Total")]
    if len(totals.by_account) > 1:
        columns.append(_label_column("Account", _values(rows, "account")))
    total = _add_totals(by_month)
    columns += [
        _count_column("Charges", _values(rows, "records"), total.records),
        _count_column("Delivered", _values(rows, "delivered"), total.delivered),
        _rate_column([month.delivery_rate for month in by_month], total),
        _amount_column("Spend", _values(rows, "spend"), total.spend, currency=currency),
        _amount_column("of it restated", restated, exact_sum(restated), currency=currency, signed=True),
    ]
    if any(booked is not None for booked in _values(rows, "booked")):
        columns += [
            _booking_column("Booked", rows, "booked"),
            _booking_column("Changed since", rows, "changed_since_close", signed=True),
        ]
    return [Table("Figures of each month", columns, collapsible=False)]


def _booking_column(title: str, rows: Rows, name: str, *, signed: bool = False) -> Column:
    """Amounts of bookings, which keep the currency of the account at their time."""
    amounts = _values(rows, name)
    currencies = [None if row[name] is None else row["closed_in"] for row in rows]
    known = {currency for currency in currencies if currency}
    if len(known) == 1:
        return _amount_column(title, amounts, currency=known.pop(), signed=signed)
    places = decimal_places(amounts)
    cells = [
        f"{format_amount(amount, places, signed=signed)} {currency}" if currency else EMPTY
        for amount, currency in zip(amounts, currencies, strict=True)
    ]
    return Column(title, cells)


def _delivery_by_operator_tables(_totals: ReportTotals, rows: Rows, currency: str) -> list[Table]:
    operators = [name or None for name in _values(rows, "operator")]
    by_operator = [_row_totals(row) for row in rows]
    columns = [
        Column("Operator", operators, "All", "label", missing="not in the plan"),
        *_total_columns(by_operator, _add_totals(by_operator), currency),
    ]
    return [Table("Figures of each operator", columns)]


def _spend_by_channel_tables(_totals: ReportTotals, rows: Rows, currency: str) -> list[Table]:
    by_channel = [_row_totals(row) for row in rows]
    columns = [
        Column("Channel", _values(rows, "channel"), "All", "label"),
        *_total_columns(by_channel, _add_totals(by_channel), currency),
    ]
    return [Table("Figures of each channel", columns, collapsible=False)]


def _weekday_and_hour_tables(_totals: ReportTotals, rows: Rows, _currency: str) -> list[Table]:
    charges = {(row["weekday"], row["hour"]): row["records"] for row in rows}
    weekdays, hours = range(1, 8), range(24)
    columns = [Column("", WEEKDAYS, "All")]
    for hour in hours:
        counts = [charges.get((weekday, hour), 0) for weekday in weekdays]
        columns.append(_count_column(f"{hour:02}", counts, sum(counts)))
    counts = [sum(charges.get((weekday, hour), 0) for hour in hours) for weekday in weekdays]
    columns.append(_count_column("All", counts, sum(counts)))
    return [Table("Charges of each hour", columns, css="hours")]


def _balance_tables(totals: ReportTotals, rows: Rows, currency: str) -> list[Table]:
    columns = [
        *_key_columns(totals, rows, "Day (UTC)"),
        _amount_column("Balance", _values(rows, "balance"), currency=currency),
    ]
    for title, name in (
        ("Charged", "charged"),
        ("Reported top-ups", "top_ups"),
        ("Unexplained credit", "unexplained_credit"),
        ("Unexplained charge", "unexplained_charge"),
    ):
        amounts = _values(rows, name)
        columns.append(_amount_column(title, amounts, exact_sum(amounts), currency=currency))
    return [Table("Balances and top-ups", columns)]


def _restatements_tables(totals: ReportTotals, rows: Rows, currency: str) -> list[Table]:
    columns = [
        *_key_columns(totals, rows),
        _time_column("First complete (UTC)", _values(rows, "first_closed_at")),
        _time_column("Last changed (UTC)", _values(rows, "restated_at")),
    ]
    for title, name in (("Spend before", "spend_before"), ("Spend now", "spend_after"), ("Difference", "delta")):
        amounts = _values(rows, name)
        columns.append(_amount_column(title, amounts, exact_sum(amounts), currency=currency, signed=name == "delta"))
    return [Table("Figures of each restated day", columns)]


def _day_states_tables(totals: ReportTotals, rows: Rows, _currency: str) -> list[Table]:
    by_account = {label: [row for row in rows if row["account"] == label] for label in totals.by_account}
    columns = [_label_column("Account", by_account, "All" if len(by_account) > 1 else "")]
    for state in DAY_STATES:
        counts = [_values(days, "day_state").count(state) for days in by_account.values()]
        total = sum(counts) if len(by_account) > 1 else None
        columns.append(_count_column(f"{state.capitalize()} days", counts, total))
    for state in ("suspect", "missing"):
        named = [_name_days(row["day"] for row in days if row["day_state"] == state) for days in by_account.values()]
        if any(named):
            columns.append(Column(state.capitalize(), named, kind="long text"))
    return [Table("Days in each state", columns)]


def _freshness_tables(_totals: ReportTotals, rows: Rows, _currency: str) -> list[Table]:
    hours = [EMPTY if hours is None else f"{hours:,.1f}" for hours in _values(rows, "hours_behind")]
    columns = [
        _label_column("Account", _values(rows, "account")),
        Column("Complete up to", [format_day(day) for day in _values(rows, "last_synced_date")], kind="text"),
        Column("Hours behind", hours),
        _time_column("Last success (UTC)", _values(rows, "last_success_at")),
        _count_column("Open days", _values(rows, "open_days")),
        _count_column("Suspect days", _values(rows, "suspect_days")),
    ]
    return [Table("Freshness of each account", columns, collapsible=False)]


_TABLES: Final[dict[str, Callable[[ReportTotals, Rows, str], list[Table]]]] = {
    "spend_by_day": _spend_by_day_tables,
    "months": _months_tables,
    "spend_by_channel": _spend_by_channel_tables,
    "delivery_by_operator": _delivery_by_operator_tables,
    "weekday_and_hour": _weekday_and_hour_tables,
    "balance": _balance_tables,
    "restatements": _restatements_tables,
    "day_states": _day_states_tables,
    "freshness": _freshness_tables,
}
"""Functions that build the tables, by chart name."""


def _name_days(days: Iterable[date]) -> str:
    days = list(days)
    more = f" and {len(days) - MAX_NAMED_DAYS:,} more" if len(days) > MAX_NAMED_DAYS else ""
    return ", ".join(map(format_day, days[:MAX_NAMED_DAYS])) + more


# Columns --------------------------------------------------------------------------------------------------------------


def _values(rows: Rows, name: str) -> list[Any]:
    return [row[name] for row in rows]


def _row_totals(row: Mapping[str, Any]) -> Totals:
    return Totals(row["records"], row["delivered"], row["spend"])


def _add_totals(totals: Sequence[Totals]) -> Totals:
    return Totals(
        records=sum(part.records for part in totals),
        delivered=sum(part.delivered for part in totals),
        spend=exact_sum(part.spend for part in totals),
    )


def _total_columns(parts: Iterable[Totals], total: Totals, currency: str) -> list[Column]:
    parts = list(parts)
    return [
        _count_column("Charges", [part.records for part in parts], total.records),
        _count_column("Delivered", [part.delivered for part in parts], total.delivered),
        _rate_column([part.delivery_rate for part in parts], total),
        _amount_column("Spend", [part.spend for part in parts], total.spend, currency=currency),
        _amount_column(
            "Cost per delivery", [part.cost_per_delivery for part in parts], total.cost_per_delivery, currency=currency
        ),
    ]


def _key_columns(totals: ReportTotals, rows: Rows, title: str = "Day") -> list[Column]:
    """The day, and the account where the report has several."""
    days = Column(title, [format_day(day) for day in _values(rows, "day")], "Total")
    return [days, _label_column("Account", _values(rows, "account"))] if len(totals.by_account) > 1 else [days]


def _label_column(title: str, labels: Iterable[str], total: str = "") -> Column:
    return Column(title, list(labels), total, "label")


def _count_column(title: str, counts: Sequence[int], total: int | None = None) -> Column:
    return Column(title, [format_count(count) for count in counts], "" if total is None else format_count(total))


def _rate_column(rates: Sequence[Decimal | None], total: Totals) -> Column:
    return Column("Delivery rate", [format_rate(rate) for rate in rates], format_rate(total.delivery_rate))


def _amount_column(
    title: str,
    amounts: Sequence[Decimal | None],
    total: Decimal | None = None,
    *,
    currency: str,
    signed: bool = False,
) -> Column:
    """A column of amounts with the same number of decimal places in every cell."""
    places = decimal_places([*amounts, total])
    cells = [format_amount(amount, places, signed=signed) for amount in amounts]
    title = f"{title}, {currency}"
    return Column(title, cells, "" if total is None else format_amount(total, places, signed=signed))


def _time_column(title: str, times: Sequence[datetime | None]) -> Column:
    return Column(title, [format_time(time) for time in times], kind="text")
