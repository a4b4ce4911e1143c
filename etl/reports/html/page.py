"""The report as one HTML page that needs nothing else: tables, and the same in pictures.

All text that is not ours is escaped here: as HTML in the tables, as JSON in the data of the charts. The page's policy
lets its own script run and nothing load, so that a text that slipped through would still do nothing.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

import etl
from etl.reports.charts import Chart, Palette, all_charts
from etl.reports.html.formatting import (
    format_amount,
    format_count,
    format_day,
    format_period,
    format_rate,
    format_time,
    label_html,
)
from etl.reports.html.tables import render_tables
from etl.reports.html.totals import ReportTotals

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""The rows of each of `charts.QUERIES`, by its name; amounts are exact."""

_FILES: Final = Path(__file__).parent
PALETTE: Final = Palette(
    main="var(--main)",
    accounts=tuple(f"var(--account-{number})" for number in range(1, 9)),
    increase="var(--rise)",
    decrease="var(--fall)",
    states=("var(--closed)", "var(--settling)", "var(--open)", "var(--suspect)"),
)
"""The page's own colours, light, dark or on paper: page.css says which."""
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
_SPACED_DAYS: Final = 120
"""Days up to which bars have a gap."""
_NAMED_ACCOUNTS: Final = 6
_NAMED_DAYS: Final = 3
_EMPTY: Final = {
    "balances": "No balance is on record for this period.",
    "restatements": "No day changed after it was first complete.",
    "freshness": "Nothing was ever fetched. <code>billing-etl sync</code> begins.",
}
"""What to say where a query has no rows; without charges the others are not spoken of at all."""


def render_page(figures: ReportTotals, rows: Rows, renderer: str, now: datetime) -> str:
    """The page.

    Args:
        figures: Its head.
        rows: Of the charts.
        renderer: JavaScript that leaves `vegaEmbed` in the window.
        now: When the page is made, in the zone in which that is to be told.
    """
    charts = [
        chart for chart in all_charts(PALETTE) if rows["days"] or rows[chart.dataset] or chart.name == "freshness"
    ]
    drawn = [_set_domain(chart, figures, rows) for chart in charts if _empty_message(chart, rows) is None]
    script = f"(() => {{{renderer}\n{_read('js')}}})();"
    period = format_period(figures.since, figures.until, empty=not rows["days"])
    return Template(_read("html")).substitute(
        hash=_hash(script),
        style=_read("css"),
        period=period,
        unbroken=" – ".join(f"<span>{day}</span>" for day in period.split(" – ")),
        scope=_scope(figures),
        body="\n".join([_tiles(figures), *_warnings(figures), *(_section(chart, figures, rows) for chart in charts)]),
        made=f"{format_time(now)} ({escape(str(now.tzinfo))})",
        version=etl.__version__,
        data=_data(drawn, rows, _config(figures)),
        script=script,
    )


def _read(ending: str) -> str:
    return (_FILES / f"page.{ending}").read_text("utf-8")


def _hash(script: str) -> str:
    return b64encode(sha256(script.encode()).digest()).decode()


# The data of the charts -----------------------------------------------------------------------------------------------


def _data(charts: Sequence[Chart], rows: Rows, config: Mapping[str, Any]) -> str:
    """JSON that no browser takes for anything else: without a single character that HTML or old JavaScript knows."""
    document = {
        "charts": [{"name": chart.name, "rows": chart.dataset, "spec": chart.spec} for chart in charts],
        "rows": {name: _columns(rows[name]) for name in sorted({chart.dataset for chart in charts})},
        "config": config,
    }
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"), default=_plain)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A list a column: a third of the size of an object a row."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def _plain(value: Any) -> Any:
    """Of a value for a picture, where a binary float will do."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _config(figures: ReportTotals) -> dict[str, Any]:
    spacing = {"binSpacing": 1 if figures.days <= _SPACED_DAYS else 0}
    return {**_CONFIG, "bar": spacing, "rect": spacing}


def _set_domain(chart: Chart, figures: ReportTotals, rows: Rows) -> Chart:
    """The same with all of the page's days on its axis, and without a legend of one account."""
    encoding = dict(chart.spec["encoding"])
    if _has_days(chart):
        days = [row["day"] for name in ("days", "balances") for row in rows[name]]
        ends = (min(days), min(max(days), date.max - _DAY) + _DAY)
        domain = [{"year": day.year, "month": day.month, "date": day.day, "utc": True} for day in ends]
        encoding["x"] = {**encoding["x"], "scale": {"domain": domain}}
    if encoding.get("color", {}).get("field") == "account" and len(figures.by_account) == 1:
        encoding["color"] = {**encoding["color"], "legend": None}
    return replace(chart, spec={**chart.spec, "encoding": encoding})


def _has_days(chart: Chart) -> bool:
    """Whether time goes from left to right in it."""
    kind: str = chart.spec["encoding"]["x"]["type"]
    return kind == "temporal"


# The page -------------------------------------------------------------------------------------------------------------


def _scope(figures: ReportTotals) -> str:
    labels = list(figures.by_account)
    if not labels:
        return "No account was ever fetched."
    days = f"{figures.days:,} days · " if figures.days > 1 else ""
    if len(labels) == 1:
        return f"{days}account {label_html(labels[0])}"
    named = f": {', '.join(map(label_html, labels))}" if len(labels) <= _NAMED_ACCOUNTS else ""
    return f"{days}{len(labels):,} accounts{named}"


def _tiles(figures: ReportTotals) -> str:
    total = figures.total
    if not total.records:
        return ""
    repeated = total.repeated_spend
    known = len(figures.balances)
    of_accounts = f"{known} of {len(figures.by_account)} accounts, " if known < len(figures.by_account) else ""
    tiles = [
        (
            "Spend",
            format_amount(total.spend),
            f"{format_amount(repeated)} of it for charges listed more than once"
            if repeated
            else "no charge is listed twice",
        ),
        ("Delivered", format_count(total.delivered), f"of {format_count(total.records)} charges"),
        (
            "Delivery rate",
            format_rate(total.delivery_rate),
            f"{format_count(total.records - total.delivered)} not delivered",
        ),
        (
            "Cost per delivery",
            format_amount(total.cost_per_delivery),
            "spend ÷ delivered" if total.delivered else "nothing was delivered",
        ),
        (
            "Balance",
            format_amount(figures.balance),
            f"{of_accounts}on {format_day(figures.balance_day)}" if figures.balance_day else "not known for these days",
        ),
    ]
    cells = "\n".join(
        f'<div><dt>{name}</dt><dd>{value}<div class="more">{more}</div></dd></div>' for name, value, more in tiles
    )
    return f'<dl class="headline">\n{cells}\n</dl>'


def _warnings(figures: ReportTotals) -> list[str]:
    notes = []
    if suspect := figures.suspect:
        named = ", ".join(map(format_day, suspect)) if len(suspect) <= _NAMED_DAYS else f"{len(suspect):,} days"
        notes.append(
            f'<p class="note"><strong>Suspect: {named}.</strong> The vendor’s latest answer was implausible, so the '
            "last good figures are shown. <code>billing-etl status</code> tells why. The balance proof waits for "
            f"{'it' if len(suspect) == 1 else 'them'}.</p>"
        )
    if unsettled := len(figures.unsettled):
        final = f"Final through {format_day(figures.closed_through)}." if figures.closed_through else "Not final yet."
        later = "later " if figures.closed_through else ""
        days = f"1 {later}day" if unsettled == 1 else f"{unsettled:,} {later}days"
        notes.append(f'<p class="note calm"><strong>{final}</strong> {days} may still change.</p>')
    return notes


def _empty_message(chart: Chart, rows: Rows) -> str | None:
    """What to say where there is no picture; None where there is one."""
    of = rows[chart.dataset]
    if not of:
        return _EMPTY[chart.dataset]
    if chart.dataset == "operators" and all(row["operator"] is None for row in of):
        return (
            "The operators are not known. The public numbering plan tells them of plain phones: "
            "<code>billing-etl numbering import DEF-9xx.csv</code> takes it in."
        )
    if _has_days(chart) and len({row["day"] for row in of}) == 1:
        return "A single day makes no picture: its figures stand in the table."
    if chart.name == "freshness" and all(row["hours_behind"] is None for row in of):
        return "No day is complete yet."
    return None


def _section(chart: Chart, figures: ReportTotals, rows: Rows) -> str:
    empty = _empty_message(chart, rows)
    parts = [
        f'<section aria-labelledby="{chart.name}-title">',
        f'<h2 id="{chart.name}-title">{escape(chart.title)}</h2>',
    ]
    if empty:
        parts.append(f'<p class="empty">{empty}</p>')
    else:
        picture = f'<div class="picture" id="{chart.name}"></div>'
        label = f"{escape(chart.title)}; the table below has its figures"
        parts += [f"<p>{escape(chart.description)}</p>", f'<figure role="img" aria-label="{label}">{picture}</figure>']
    if rows[chart.dataset]:
        parts += render_tables(chart.name, figures, rows[chart.dataset], opened=empty is not None)
    return "\n".join([*parts, "</section>"])
