"""The charts of a page with its data: axes, colours and the rows as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from etl.amounts import exact_sum
from etl.reports.charts.amount_specs import Grain, clipped_label_layer
from etl.reports.charts.catalog import Chart, all_charts
from etl.reports.charts.palette import Palette
from etl.reports.charts.parts import Spec
from etl.reports.html.formatting import format_amount
from etl.reports.html.periods import axis_limit, choose_grain, group_days
from etl.reports.html.totals import ReportTotals

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows by the name of their query in `charts.queries.QUERIES`; amounts are exact."""

PALETTE: Final = Palette(
    main="var(--main)",
    accounts=tuple(f"var(--account-{index})" for index in range(1, 9)),
    states=("var(--closed)", "var(--settling)", "var(--open)", "var(--suspect)", "var(--missing)"),
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
        "labelColor": "var(--soft)", "labelFontSize": 12, "symbolType": "circle", "symbolSize": 80, "offset": 20,
        "titleColor": "var(--soft)", "titleFontSize": 12,
    },
    "text": {"color": "var(--ink)", "fontSize": 12},
}  # fmt: skip
_DAY: Final = timedelta(days=1)
_END_OF_DAY: Final = {"hours": 23, "minutes": 59}
"""The axis ends before the next day, which would have a label."""
_MAX_SPACED_DAYS: Final = 120
"""Longer periods are drawn without gaps between the bars."""
_MAX_LABELS: Final = 5


@dataclass(frozen=True, slots=True)
class PageCharts:
    """The charts of a page.

    Attributes:
        grain: Period of a bar of spend.
        charts: All charts, adapted to the rows.
        drawn_rows: Rows by dataset that the charts draw; the tables have those of the queries.
    """

    grain: Grain
    charts: Sequence[Chart]
    drawn_rows: Rows

    def as_json(self, names: set[str]) -> dict[str, Any]:
        """The JSON document that page.js reads, with the named charts."""
        charts = [chart for chart in self.charts if chart.name in names]
        days = {row["day"] for row in self.drawn_rows["days"]}
        spacing = {"binSpacing": 1 if len(days) <= _MAX_SPACED_DAYS else 0}
        return {
            "charts": [{"name": chart.name, "rows": chart.dataset, "spec": chart.spec} for chart in charts],
            "rows": {name: _transpose(self.drawn_rows[name]) for name in sorted({chart.dataset for chart in charts})},
            "config": {**_CONFIG, "bar": spacing, "rect": spacing},
        }


def adapt_charts(totals: ReportTotals, rows: Rows, currency: str, known_accounts: Sequence[str]) -> PageCharts:
    """Adapt the charts to the rows of the page.

    Args:
        totals: Totals of the rows.
        rows: Rows of every query.
        currency: Code of the currency of all amounts.
        known_accounts: Labels of all accounts of the database: each has the same colour whichever of them are shown.
    """
    colors = {label: PALETTE.accounts[n % len(PALETTE.accounts)] for n, label in enumerate(known_accounts)}
    shown = {label: colors[label] for label in totals.by_account}
    days = [row["day"] for row in rows["days"]]
    grain = choose_grain(days)
    drawn = dict(rows)
    if grain is not Grain.DAY:
        periods = group_days(rows["days"], grain, totals.since or min(days), totals.until or max(days))
        drawn["periods"] = periods
    charts = [_adapt(chart, shown, drawn) for chart in all_charts(PALETTE, currency=currency, grain=grain)]
    return PageCharts(grain, charts, drawn)


def domain_days(chart: Chart, rows: Rows) -> tuple[date, date] | None:
    """First and last day of a chart's time axis; None without an axis, or without rows."""
    if chart.spec["encoding"].get("x", {}).get("type") != "temporal":
        return None
    days = [row["day"] for name in ("days", "calendar", "balances", "restatements") for row in rows[name]]
    if chart.dataset == "periods":
        days += [day for row in rows["periods"] for day in (row["day"], row["end"] - _DAY)]
    return (min(days), max(days)) if days else None


def json_default(value: object) -> float | str:
    """Encode what JSON lacks; a binary float is exact enough for a chart."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _adapt(chart: Chart, colors: Mapping[str, str], rows: Rows) -> Chart:
    spec = _with_colors(chart.spec, colors)
    if domain := domain_days(chart, rows):
        spec = _with_scale(spec, "x", {"domain": [_date_time(domain[0]), _date_time(domain[1]) | _END_OF_DAY]})
    if chart.name == "spend_by_day":
        spec = _limit_spend(spec, rows[chart.dataset])
    elif chart.name == "restatements":
        spec = _limit_restatements(spec, rows["restatements"])
    elif chart.name == "weekday_and_hour":
        averages = [Decimal(row["records"]) / row["days"] for row in rows["hours"]]
        if limit := axis_limit(averages):
            spec = _with_scale(spec, "opacity", {"domainMax": limit})
    return replace(chart, spec=spec)


def _date_time(day: date) -> dict[str, Any]:
    return {"year": day.year, "month": day.month, "date": day.day, "utc": True}


def _with_scale(spec: Spec, channel: str, scale: Mapping[str, Any]) -> Spec:
    encoding = spec["encoding"]
    field = encoding[channel]
    return {**spec, "encoding": {**encoding, channel: {**field, "scale": {**field.get("scale", {}), **scale}}}}


def _with_colors(spec: Spec, colors: Mapping[str, str]) -> Spec:
    """Set the colour of each account; drop the legend of a single one."""
    if "layer" in spec:
        spec = {**spec, "layer": [_with_colors(layer, colors) for layer in spec["layer"]]}
    color = spec.get("encoding", {}).get("color", {})
    if color.get("field") != "account":
        return spec
    color = {**color, "scale": {"domain": list(colors), "range": list(colors.values())}}
    if len(colors) == 1:
        color["legend"] = None
    return {**spec, "encoding": {**spec["encoding"], "color": color}}


def _limit_spend(spec: Spec, rows: Sequence[Mapping[str, Any]]) -> Spec:
    """End the axis before outliers, whose amounts are written at its ends instead."""
    above: dict[date, list[Decimal]] = {}
    below: dict[date, list[Decimal]] = {}
    for row in rows:
        (above if row["spend"] >= 0 else below).setdefault(row["day"], []).append(abs(row["spend"]))
    heights = {day: exact_sum(amounts) for day, amounts in above.items()}
    depths = {day: exact_sum(amounts) for day, amounts in below.items()}
    limit, bottom = axis_limit(heights.values()), axis_limit(depths.values())
    if limit:
        spec = _with_scale(spec, "y", {"domainMax": limit, "nice": False})
        beyond = {day: height for day, height in heights.items() if height > limit}
        spec = _with_labels(spec, beyond)
    if bottom:
        spec = _with_scale(spec, "y", {"domainMin": -bottom, "nice": False})
    return spec


def _limit_restatements(spec: Spec, rows: Sequence[Mapping[str, Any]]) -> Spec:
    deltas = [row["delta"] for row in rows]
    limit, bottom = axis_limit(deltas), axis_limit(-delta for delta in deltas)
    if limit or bottom:
        spec = {**spec, "layer": [{**layer, "mark": {**layer["mark"], "clip": True}} for layer in spec["layer"]]}
    if limit:
        spec = _with_scale(spec, "y", {"domainMax": limit, "nice": False})
        spec = _with_labels(spec, {row["day"]: row["delta"] for row in rows if row["delta"] > limit})
    if bottom:
        spec = _with_scale(spec, "y", {"domainMin": -bottom, "nice": False})
    return spec


def _with_labels(spec: Spec, amounts: Mapping[date, Decimal]) -> Spec:
    largest = sorted(amounts, key=lambda day: amounts[day], reverse=True)[:_MAX_LABELS]
    labels = [{"day": day, "label": f"▲ {format_amount(amounts[day])}"} for day in largest]
    return {**spec, "layer": [*spec["layer"], clipped_label_layer(labels)]}


def _transpose(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Transpose rows to columns, which take a third of the space in JSON."""
    return {name: [row[name] for row in rows] for name in rows[0]}
