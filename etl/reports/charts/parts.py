"""Parts that the specifications of several charts share: fields, axes and formats."""

from __future__ import annotations

from typing import Any, Final

from etl.reports.charts.palette import Palette

Spec = dict[str, Any]
"""A Vega-Lite specification without data, or a part of one."""

SCHEMA: Final = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "width": "container"}
# Days are parsed and formatted as UTC: the time zone of the reader would shift them.
DAY: Final = {"field": "day", "type": "temporal", "timeUnit": "utcyearmonthdate", "title": None}
NAMED_DAY: Final = {**DAY, "title": "day", "format": "%a %-d %b %Y"}
MONTH: Final = {"field": "day", "type": "ordinal", "timeUnit": "utcyearmonth", "title": None}
NAMED_MONTH: Final = {**MONTH, "title": "month", "format": "%b %Y"}
ACCOUNT: Final = {"field": "account", "type": "nominal", "title": "account"}
ROW_HEIGHT: Final = 28
"""Pixels."""
_DAY_LABEL: Final = (
    "utcmonth(datum.value) == 0 && utcdate(datum.value) == 1 ? utcFormat(datum.value, '%-d %b %Y')"
    " : utcFormat(datum.value, '%-d %b')"
)
_AMOUNT_LABEL: Final = (
    "abs(datum.value) >= 1e9 ? format(datum.value / 1e9, '{sign},~f') + ' bn'"
    " : abs(datum.value) >= 1e6 ? format(datum.value / 1e6, '{sign},~f') + ' m'"
    " : format(datum.value, '{sign},~f')"
)


def amount_field(field: str, title: str, currency: str) -> Spec:
    """A tooltip's line with an amount."""
    return {"field": field, "type": "quantitative", "title": f"{title}, {currency}", "format": ",.2f"}


def count_field(field: str, title: str) -> Spec:
    """A tooltip's line with a count."""
    return {"field": field, "type": "quantitative", "title": title, "format": ",d"}


def amount_axis(field: str, *, signed: bool = False) -> Spec:
    """A vertical axis of amounts; millions are abbreviated."""
    return {
        "field": field,
        "type": "quantitative",
        "title": None,
        "axis": {"labelExpr": amount_label(signed=signed), "tickCount": 5},
    }


def amount_label(*, signed: bool = False) -> str:
    """The expression of an axis label with an amount; millions are abbreviated."""
    label = _AMOUNT_LABEL.format(sign="+" if signed else "")
    return f"datum.value == 0 ? '0' : {label}" if signed else label


def account_color(palette: Palette) -> Spec:
    """Colours of accounts, with a legend; the domain, where it is known, is set with the data."""
    return {
        **ACCOUNT,
        "title": None,
        "scale": {"range": list(palette.accounts)},
        "legend": {"orient": "top", "columns": 4},
    }


def day_axis() -> Spec:
    """A horizontal axis of days."""
    return {**DAY, "axis": {"grid": False, "labelOverlap": True, "tickCount": 8, "labelExpr": _DAY_LABEL}}


def month_axis() -> Spec:
    """A horizontal axis of months."""
    return {**MONTH, "axis": {"labelAngle": 0, "labelOverlap": True, "format": "%b %Y"}}
