"""The report as one self-contained HTML page: a table under each chart, and the charts as JSON for the page's script.

The templates escape every value (autoescape), and the page's Content-Security-Policy runs no script but its own, so
that markup that escaped the escaping would still do nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import etl
from etl.reports.charts import Chart, Palette, all_charts
from etl.reports.html.formatting import (
    format_amount,
    format_count,
    format_day,
    format_period,
    format_rate,
    format_time,
)
from etl.reports.html.tables import Table, chart_tables
from etl.reports.html.totals import ReportTotals

if TYPE_CHECKING:
    from jinja2 import Environment

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows by the name of their query in `charts.QUERIES`; amounts are exact."""

_FOLDER: Final = Path(__file__).parent
PALETTE: Final = Palette(
    main="var(--main)",
    accounts=tuple(f"var(--account-{index})" for index in range(1, 9)),
    increase="var(--rise)",
    decrease="var(--fall)",
    states=("var(--closed)", "var(--settling)", "var(--open)", "var(--suspect)"),
)
"""Colours that page.css defines for light and dark screens and for paper."""
_FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'
_CONFIG: Final = {
    "background": None,
    "font": _FONT,
    "padding": 0,
    "autosize": {"type": "fit-x", "contains": "padding"},
    "aria": False,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)", "labelFontSize": 12, "labelPadding": 6, "gridColor": "var(--line)",
        "domainColor": "var(--line)", "tickColor": "var(--line)", "ticks": False, "titleColor": "var(--soft)",
    },
    "axisY": {"domain": False},
    "legend": {
        "labelColor": "var(--soft)", "labelFontSize": 12, "symbolType": "circle", "symbolSize": 80, "offset": 12,
    },
    "text": {"color": "var(--ink)", "fontSize": 12},
}  # fmt: skip
_DAY: Final = timedelta(days=1)
_MAX_SPACED_DAYS: Final = 120
"""Longer periods are drawn without gaps between the bars."""
_MAX_NAMED_ACCOUNTS: Final = 6
_MAX_NAMED_DAYS: Final = 3

EmptyReason = Literal[
    "no balances", "no restatements", "never fetched", "unknown operators", "single day", "no complete day"
]
_NO_ROWS: Final[dict[str, EmptyReason]] = {
    "balances": "no balances",
    "restatements": "no restatements",
    "freshness": "never fetched",
}
"""Reasons for a query without rows; the other queries have rows wherever there are charges."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A headline figure with a note below it."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Section:
    """A chart with its tables.

    Attributes:
        empty_reason: Why there is no chart; its tables are then expanded.
    """

    name: str
    title: str
    description: str
    empty_reason: EmptyReason | None
    tables: Sequence[Table]


def render_page(totals: ReportTotals, rows: Rows, renderer: str, now: datetime) -> str:
    """Render the page.

    Args:
        totals: Totals of the rows.
        rows: Rows of every query.
        renderer: JavaScript that sets `window.vegaEmbed`.
        now: Creation time, in the time zone that the page shows it in.
    """
    charts = [
        chart for chart in all_charts(PALETTE) if rows["days"] or rows[chart.dataset] or chart.name == "freshness"
    ]
    drawn = [_set_domain(chart, totals, rows) for chart in charts if _empty_reason(chart, rows) is None]
    script = f"(() => {{{renderer}\n{_read_file('page.js')}}})();"
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            style=_read_file("page.css"),
            script=script,
            script_hash=b64encode(sha256(script.encode()).digest()).decode(),
            chart_data=_chart_data(drawn, rows, _chart_config(totals)),
            period=format_period(totals.since, totals.until, empty=not rows["days"]),
            day_count=totals.days,
            account_count=len(totals.by_account),
            accounts=list(totals.by_account) if len(totals.by_account) <= _MAX_NAMED_ACCOUNTS else [],
            tiles=list(_tiles(totals)) if totals.total.records else [],
            suspect_count=len(totals.suspect),
            suspect_days=_name_days(totals.suspect),
            unsettled_count=len(totals.unsettled),
            closed_through=totals.closed_through and format_day(totals.closed_through),
            sections=[_chart_section(chart, totals, rows) for chart in charts],
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
        "default": _json_default,
    }
    return environment


def _read_file(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


# The data of the charts -----------------------------------------------------------------------------------------------


def _chart_data(charts: Sequence[Chart], rows: Rows, config: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON document that page.js reads."""
    return {
        "charts": [{"name": chart.name, "rows": chart.dataset, "spec": chart.spec} for chart in charts],
        "rows": {name: _transpose(rows[name]) for name in sorted({chart.dataset for chart in charts})},
        "config": config,
    }


def _transpose(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Transpose rows to columns, which take a third of the space in JSON."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def _json_default(value: object) -> float | str:
    """Encode what JSON lacks; a binary float is exact enough for a chart."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _chart_config(totals: ReportTotals) -> dict[str, Any]:
    spacing = {"binSpacing": 1 if totals.days <= _MAX_SPACED_DAYS else 0}
    return {**_CONFIG, "bar": spacing, "rect": spacing}


def _set_domain(chart: Chart, totals: ReportTotals, rows: Rows) -> Chart:
    """Extend the time axis to all days of the page; drop the legend of a single account."""
    encoding = dict(chart.spec["encoding"])
    if _has_time_axis(chart):
        days = [row["day"] for name in ("days", "balances") for row in rows[name]]
        ends = (min(days), min(max(days), date.max - _DAY) + _DAY)
        domain = [{"year": day.year, "month": day.month, "date": day.day, "utc": True} for day in ends]
        encoding["x"] = {**encoding["x"], "scale": {"domain": domain}}
    if encoding.get("color", {}).get("field") == "account" and len(totals.by_account) == 1:
        encoding["color"] = {**encoding["color"], "legend": None}
    return replace(chart, spec={**chart.spec, "encoding": encoding})


def _has_time_axis(chart: Chart) -> bool:
    axis_type: str = chart.spec["encoding"]["x"]["type"]
    return axis_type == "temporal"


# The page -------------------------------------------------------------------------------------------------------------


def _tiles(totals: ReportTotals) -> Iterator[Tile]:
    total = totals.total
    repeated = total.repeated_spend
    yield Tile(
        "Spend",
        format_amount(total.spend),
        f"{format_amount(repeated)} of it for charges listed more than once"
        if repeated
        else "no charge is listed twice",
    )
    yield Tile("Delivered", format_count(total.delivered), f"of {format_count(total.records)} charges")
    yield Tile(
        "Delivery rate",
        format_rate(total.delivery_rate),
        f"{format_count(total.records - total.delivered)} not delivered",
    )
    yield Tile(
        "Cost per delivery",
        format_amount(total.cost_per_delivery),
        "spend ÷ delivered" if total.delivered else "nothing was delivered",
    )
    known, accounts = len(totals.balances), len(totals.by_account)
    coverage = f"{known} of {accounts} accounts, " if known < accounts else ""
    yield Tile(
        "Balance",
        format_amount(totals.balance),
        f"{coverage}on {format_day(totals.balance_day)}" if totals.balance_day else "not known for these days",
    )


def _name_days(days: Sequence[date]) -> str:
    return ", ".join(map(format_day, days)) if len(days) <= _MAX_NAMED_DAYS else f"{len(days):,} days"


def _chart_section(chart: Chart, totals: ReportTotals, rows: Rows) -> Section:
    dataset = rows[chart.dataset]
    return Section(
        name=chart.name,
        title=chart.title,
        description=chart.description,
        empty_reason=_empty_reason(chart, rows),
        tables=chart_tables(chart.name, totals, dataset) if dataset else [],
    )


def _empty_reason(chart: Chart, rows: Rows) -> EmptyReason | None:
    """Why a chart cannot be drawn; None where it can."""
    dataset = rows[chart.dataset]
    if not dataset:
        return _NO_ROWS[chart.dataset]
    if chart.dataset == "operators" and all(row["operator"] is None for row in dataset):
        return "unknown operators"
    if _has_time_axis(chart) and len({row["day"] for row in dataset}) == 1:
        return "single day"
    if chart.name == "freshness" and all(row["hours_behind"] is None for row in dataset):
        return "no complete day"
    return None
