"""The report as one self-contained HTML page: a table under each chart, and the charts as JSON for the page's script.

The templates escape every value (autoescape), and the page's Content-Security-Policy allows no script but its own: a
script in a value would not run even without the escaping.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import etl
from etl.reports.charts.catalog import DEFAULT_CURRENCY, Chart
from etl.reports.html.chart_data import Rows, adapt_charts, domain_days, json_default
from etl.reports.html.comparison import BudgetState, Comparison, Forecast
from etl.reports.html.formatting import format_count, format_day, format_period, format_time
from etl.reports.html.headline import SPARK_SIZE, build_tiles, describe_excess, unexplained_charges
from etl.reports.html.tables import Table, chart_tables
from etl.reports.html.totals import ReportTotals

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER: Final = Path(__file__).parent
_MAX_NAMED_ACCOUNTS: Final = 6
_MAX_NAMED_DAYS: Final = 3

EmptyReason = Literal[
    "no balances",
    "no restatements",
    "never fetched",
    "unknown operators",
    "single day",
    "single month",
    "no complete day",
    "no months",
    "not classified",
    "no totals",
]
_NO_ROWS: Final[dict[str, EmptyReason]] = {
    "calendar": "never fetched",
    "balances": "no balances",
    "restatements": "no restatements",
    "months": "no months",
    "channels": "not classified",
    "operators": "no totals",
    "hours": "no totals",
    "freshness": "never fetched",
}
"""Reasons for a query without rows; `days`, the other one, has rows wherever there are charges."""


@dataclass(frozen=True, slots=True)
class Section:
    """A chart with its tables.

    Attributes:
        dataset: Name of the query with the rows of the tables.
        empty_reason: Why there is no chart; its tables are then expanded.
    """

    name: str
    title: str
    unit: str
    description: str
    dataset: str
    empty_reason: EmptyReason | None
    tables: Sequence[Table]


@dataclass(frozen=True, slots=True)
class ReportData:
    """The content of a page.

    Attributes:
        rows: Rows of every query.
        currency: Code of the currency of all amounts.
        other_currencies: Requested accounts that the page leaves out, by their currency.
        comparison: The page's days and those before them; None if an account lacks one of them.
        forecast: Expected spend of the current month; None without recent days.
        budget: The current month and its budget; None without one.
        unexplained: Rows of unexplained amounts of the balance proof.
    """

    totals: ReportTotals
    rows: Rows
    currency: str = DEFAULT_CURRENCY
    other_currencies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    comparison: Comparison | None = None
    forecast: Forecast | None = None
    budget: BudgetState | None = None
    unexplained: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Controls:
    """Filters of a page that is served, and links to the rows of its charts.

    Attributes:
        accounts: Labels to choose from.
        account: The chosen label; empty for all.
        since: The chosen first day; empty for the first stored one.
        until: The chosen last day; empty for the last stored one.
        rows_urls: URLs of the rows by dataset; `{}` stands for the extension.
    """

    accounts: Sequence[str]
    account: str
    since: str
    until: str
    rows_urls: Mapping[str, str]


def render_page(
    report: ReportData,
    renderer: str,
    now: datetime,
    *,
    known_accounts: Sequence[str] = (),
    controls: Controls | None = None,
) -> str:
    """Render the page.

    Args:
        report: What it shows.
        renderer: JavaScript that sets `window.vegaEmbed`.
        now: Creation time, in the time zone that the page shows it in.
        known_accounts: Labels of all accounts of the database, which determine their colours; if empty, those of the
            page.
        controls: Filters; a page in a file has none.
    """
    totals, rows, comparison, currency = report.totals, report.rows, report.comparison, report.currency
    page_charts = adapt_charts(totals, rows, currency, known_accounts or list(totals.by_account))
    charts = [
        chart
        for chart in page_charts.charts
        if rows["days"] or page_charts.drawn_rows[chart.dataset] or chart.name == "freshness"
    ]
    drawn = {chart.name for chart in charts if _empty_reason(chart, page_charts.drawn_rows) is None}
    tiles = build_tiles(totals, rows, page_charts.grain, comparison, report.forecast, report.budget, currency)
    script = f"(() => {{{renderer}\n{_read_file('page.js')}}})();"
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            style=_read_file("page.css"),
            script=script,
            script_hash=b64encode(sha256(script.encode()).digest()).decode(),
            chart_data=page_charts.as_json(drawn),
            period=format_period(totals.since, totals.until, empty=not (rows["days"] or totals.purged)),
            day_count=totals.days,
            account_count=len(totals.by_account),
            accounts=list(totals.by_account) if len(totals.by_account) <= _MAX_NAMED_ACCOUNTS else [],
            tiles=list(tiles) if totals.total.records else [],
            comparison_name=comparison.name if comparison else "",
            spark_size=SPARK_SIZE,
            other_currencies=report.other_currencies,
            budget_notice=report.budget and describe_excess(report.budget, currency),
            unexplained=unexplained_charges(report.unexplained, currency),
            suspect_count=len(totals.suspect),
            suspect_days=_name_days(totals.suspect),
            missing_count=len(totals.missing),
            missing_days=_name_days(totals.missing),
            missing_since=str(totals.missing[0]) if totals.missing else "",
            missing_until=str(totals.missing[-1]) if totals.missing else "",
            purged_days=_name_days(totals.purged),
            open_days=_name_days(totals.open),
            unsettled_count=len(totals.unsettled),
            closed_through=totals.closed_through and format_day(totals.closed_through),
            sections=[_chart_section(chart, totals, page_charts.drawn_rows, rows, currency) for chart in charts],
            controls=controls,
            currency=currency,
            created_at=format_time(now),
            time_zone=str(now.tzinfo),
            version=etl.__version__,
        )
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # part of the extra `report`

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = format_count
    environment.policies["json.dumps_kwargs"] = {
        "ensure_ascii": True,
        "separators": (",", ":"),
        "default": json_default,
    }
    return environment


def _read_file(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


# The page -------------------------------------------------------------------------------------------------------------


def _name_days(days: Sequence[date]) -> str:
    return ", ".join(map(format_day, days)) if len(days) <= _MAX_NAMED_DAYS else f"{len(days):,} days"


def _chart_section(chart: Chart, totals: ReportTotals, drawn_rows: Rows, rows: Rows, currency: str) -> Section:
    dataset = rows["days"] if chart.name == "spend_by_day" else rows[chart.dataset]
    return Section(
        name=chart.name,
        title=chart.title,
        unit=chart.unit,
        description=chart.description,
        dataset="days" if chart.name == "spend_by_day" else chart.dataset,
        empty_reason=_empty_reason(chart, drawn_rows),
        tables=chart_tables(chart.name, totals, dataset, currency) if dataset else [],
    )


def _empty_reason(chart: Chart, rows: Rows) -> EmptyReason | None:
    """Why a chart cannot be drawn; None where it can."""
    dataset = rows[chart.dataset]
    if not dataset:
        return _NO_ROWS[chart.dataset]
    if chart.dataset == "operators" and all(row["operator"] is None for row in dataset):
        return "unknown operators"
    if chart.name == "months" and len({row["day"] for row in dataset}) == 1:
        return "single month"
    domain = domain_days(chart, rows)
    is_line = chart.name == "balance"
    if domain and (domain[0] == domain[1] or (is_line and len({row["day"] for row in dataset}) == 1)):
        return "single day"
    if chart.name == "freshness" and all(row["hours_behind"] is None for row in dataset):
        return "no complete day"
    return None
