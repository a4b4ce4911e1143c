"""The tables of the report: what each picture shows, to the last digit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from typing import Any, Final, NamedTuple

from etl.reports.charts import DAY_STATES, WEEKDAYS
from etl.reports.html.formatting import (
    decimal_places,
    format_amount,
    format_count,
    format_day,
    format_month,
    format_rate,
    format_time,
    label_html,
)
from etl.reports.html.totals import ReportTotals, Totals, exact_sum

Rows = Sequence[Mapping[str, Any]]
PRINTED_ROWS: Final = 100
"""A longer table is for the screen alone."""
_COUNTED_ROWS: Final = 10
"""From here on a table says how many rows it has before it is opened."""


class _Column(NamedTuple):
    """A column of a table.

    Attributes:
        cells: In HTML.
        total: What stands under them.
        css: Numbers have no class; `plain` is what stands to the left, `words` what may be broken into lines.
    """

    title: str
    cells: Sequence[str]
    total: str = ""
    css: str = ""


def render_tables(name: str, figures: ReportTotals, rows: Rows, *, opened: bool) -> list[str]:
    """The tables under a chart, in HTML.

    Args:
        name: The chart's.
        figures: The head of the report.
        rows: The chart's; one at least.
        opened: Whether all of them are to be seen at once, where there is no picture.
    """
    return _TABLES[name](figures, rows, opened=opened)


def _spend_by_day(figures: ReportTotals, rows: Rows, *, opened: bool) -> list[str]:
    tables = []
    if len(figures.by_account) > 1:
        accounts = _labels("Account", figures.by_account, "All")
        balance = _amounts("Balance", [figures.balances.get(label) for label in figures.by_account], figures.balance)
        tables.append(_table("Accounts", [accounts, *_sums(figures.by_account.values(), figures.total), balance]))
    if len(figures.by_month) > 1:
        months = _Column("Month", [format_month(month) for month in figures.by_month], "All")
        tables.append(_table("Months", [months, *_sums(figures.by_month.values(), figures.total)]))
    days = [
        *_days_and_accounts(figures, rows, "Total"),
        _counts("Charges", _column(rows, "records"), figures.total.records),
        _counts("Delivered", _column(rows, "delivered"), figures.total.delivered),
        _rates([_sum_of(row).delivery_rate for row in rows], figures.total),
        _amounts("Spend", _column(rows, "spend"), figures.total.spend),
    ]
    if figures.total.repeated_spend:
        days.append(_amounts("of it repeats", _column(rows, "repeated_spend"), figures.total.repeated_spend))
    states = [f'<span class="state {state}">{state}</span>' for state in _column(rows, "day_state")]
    days.append(_Column("State", states, css="plain"))
    return [*tables, _details("Figures of each day", days, opened=opened)]


def _delivery_by_operator(_figures: ReportTotals, rows: Rows, *, opened: bool) -> list[str]:
    sums = [_sum_of(row) for row in rows]
    operators = [label_html(name) if name else "not in the plan" for name in _column(rows, "operator")]
    columns = [_Column("Operator", operators, "All", "words"), *_sums(sums, _sum_all(sums))]
    return [_details("Figures of each operator", columns, opened=opened)]


def _weekday_and_hour(_figures: ReportTotals, rows: Rows, *, opened: bool) -> list[str]:
    charges = {(row["weekday"], row["hour"]): row["records"] for row in rows}
    weekdays = range(1, 8)
    columns = [_Column("", WEEKDAYS, "All")]
    for hour in range(24):
        of_hour = [charges.get((weekday, hour), 0) for weekday in weekdays]
        columns.append(_counts(f"{hour:02}", of_hour, sum(of_hour)))
    of_day = [sum(charges.get((weekday, hour), 0) for hour in range(24)) for weekday in weekdays]
    columns.append(_counts("All", of_day, sum(of_day)))
    return [_details("Charges of each hour", columns, opened=opened, css="hours")]


def _balance(figures: ReportTotals, rows: Rows, *, opened: bool) -> list[str]:
    columns = [*_days_and_accounts(figures, rows, "Total", "Day (UTC)"), _amounts("Balance", _column(rows, "balance"))]
    for title, name in (
        ("Charged", "charged"),
        ("Top-ups told", "top_ups"),
        ("Unexplained credit", "unexplained_credit"),
        ("Unexplained charge", "unexplained_charge"),
    ):
        amounts = _column(rows, name)
        columns.append(_amounts(title, amounts, exact_sum(amounts)))
    return [_details("Balances and top-ups", columns, opened=opened)]


def _restatements(figures: ReportTotals, rows: Rows, *, opened: bool) -> list[str]:
    columns = [
        *_days_and_accounts(figures, rows, "Total"),
        _moments("First complete (UTC)", _column(rows, "first_closed_at")),
        _moments("Last changed (UTC)", _column(rows, "restated_at")),
        *(
            _amounts(title, _column(rows, name), exact_sum(_column(rows, name)), signed=name == "delta")
            for title, name in (("Spend before", "spend_before"), ("Spend now", "spend_after"), ("Difference", "delta"))
        ),
    ]
    return [_details("Figures of each restated day", columns, opened=opened)]


def _day_states(figures: ReportTotals, rows: Rows, *, opened: bool) -> list[str]:
    by_account = {label: [row for row in rows if row["account"] == label] for label in figures.by_account}
    columns = [_labels("Account", by_account, "All" if len(by_account) > 1 else "")]
    for state in DAY_STATES:
        counts = [_column(of, "day_state").count(state) for of in by_account.values()]
        total = sum(counts) if len(by_account) > 1 else None
        columns.append(_counts(f"{state.capitalize()} days", counts, total))
    suspect = [
        ", ".join(format_day(row["day"]) for row in of if row["day_state"] == "suspect") for of in by_account.values()
    ]
    if any(suspect):
        columns.append(_Column("Suspect", suspect, css="words"))
    return [_details("Days in each state", columns, opened=opened)]


def _freshness(_figures: ReportTotals, rows: Rows, **_: bool) -> list[str]:
    columns = [
        _labels("Account", _column(rows, "account")),
        _Column("Complete up to", [format_day(day) for day in _column(rows, "last_synced_date")], css="plain"),
        _Column("Hours behind", ["–" if hours is None else f"{hours:,.1f}" for hours in _column(rows, "hours_behind")]),
        _moments("Last success (UTC)", _column(rows, "last_success_at")),
        _counts("Open days", _column(rows, "open_days")),
        _counts("Suspect days", _column(rows, "suspect_days")),
    ]
    return [_table("Freshness", columns)]


_TABLES: Final[dict[str, Callable[..., list[str]]]] = {
    "spend_by_day": _spend_by_day,
    "delivery_by_operator": _delivery_by_operator,
    "weekday_and_hour": _weekday_and_hour,
    "balance": _balance,
    "restatements": _restatements,
    "day_states": _day_states,
    "freshness": _freshness,
}
"""By the chart's name."""


# Columns --------------------------------------------------------------------------------------------------------------


def _column(rows: Rows, name: str) -> list[Any]:
    return [row[name] for row in rows]


def _sum_of(row: Mapping[str, Any]) -> Totals:
    return Totals(row["records"], row["delivered"], row["spend"])


def _sum_all(sums: Sequence[Totals]) -> Totals:
    return Totals(
        sum(one.records for one in sums), sum(one.delivered for one in sums), exact_sum(one.spend for one in sums)
    )


def _sums(sums: Iterable[Totals], total: Totals) -> list[_Column]:
    sums = list(sums)
    return [
        _counts("Charges", [one.records for one in sums], total.records),
        _counts("Delivered", [one.delivered for one in sums], total.delivered),
        _rates([one.delivery_rate for one in sums], total),
        _amounts("Spend", [one.spend for one in sums], total.spend),
        _amounts("Cost per delivery", [one.cost_per_delivery for one in sums], total.cost_per_delivery),
    ]


def _days_and_accounts(figures: ReportTotals, rows: Rows, total: str, title: str = "Day") -> list[_Column]:
    days = _Column(title, [format_day(day) for day in _column(rows, "day")], total)
    return [days, _labels("Account", _column(rows, "account"))] if len(figures.by_account) > 1 else [days]


def _labels(title: str, labels: Iterable[str], total: str = "") -> _Column:
    return _Column(title, [label_html(label) for label in labels], total, "words")


def _counts(title: str, counts: Sequence[int], total: int | None = None) -> _Column:
    return _Column(title, [format_count(count) for count in counts], "" if total is None else format_count(total))


def _rates(rates: Sequence[Decimal | None], total: Totals) -> _Column:
    return _Column("Delivery rate", [format_rate(rate) for rate in rates], format_rate(total.delivery_rate))


def _amounts(
    title: str, amounts: Sequence[Decimal | None], total: Decimal | None = None, *, signed: bool = False
) -> _Column:
    """In as many places for all as one of them needs."""
    places = decimal_places([*amounts, total])
    cells = [format_amount(amount, places, signed=signed) for amount in amounts]
    return _Column(title, cells, "" if total is None else format_amount(total, places, signed=signed))


def _moments(title: str, moments: Sequence[datetime | None]) -> _Column:
    return _Column(title, [format_time(moment) for moment in moments], css="plain")


# Tables ---------------------------------------------------------------------------------------------------------------


def _details(caption: str, columns: Sequence[_Column], *, opened: bool, css: str = "") -> str:
    count = len(columns[0].cells)
    attributes = (' class="long"' if count > PRINTED_ROWS else "") + (" open" if opened else "")
    summary = caption if count < _COUNTED_ROWS else f"{caption} · {count:,} rows"
    return f"<details{attributes}>\n<summary>{escape(summary)}</summary>\n{_table(caption, columns, css)}\n</details>"


def _table(caption: str, columns: Sequence[_Column], css: str = "") -> str:
    classes = [f' class="{column.css}"' if column.css else "" for column in columns]
    head = "".join(
        f'<th scope="col"{of}>{escape(column.title)}</th>' for column, of in zip(columns, classes, strict=True)
    )
    body = "\n".join(
        "<tr>" + _cells(cells, classes) + "</tr>" for cells in zip(*(column.cells for column in columns), strict=True)
    )
    totals = [column.total for column in columns]
    foot = f"\n<tfoot><tr>{_cells(totals, classes)}</tr></tfoot>" if any(totals) else ""
    named = escape(caption)
    attributes = f' class="{css}"' if css else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{named}"><table{attributes}>'
        f"<caption>{named}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>{foot}</table></div>"
    )


def _cells(cells: Iterable[str], classes: Iterable[str]) -> str:
    first, *rest = zip(cells, classes, strict=True)
    return f'<th scope="row"{first[1]}>{first[0]}</th>' + "".join(f"<td{of}>{cell}</td>" for cell, of in rest)
