"""Specifications of the charts of counts, rates and states: operators, hours of the week, days, freshness."""

from __future__ import annotations

from typing import Final

from etl.reports.charts.palette import Palette
from etl.reports.charts.parts import (
    ACCOUNT,
    NAMED_DAY,
    ROW_HEIGHT,
    SCHEMA,
    Spec,
    amount_field,
    count_field,
    day_axis,
)

DAY_STATES: Final = ("closed", "settling", "open", "suspect", "missing")
"""States of a day in display order."""
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
OPERATORS_SHOWN: Final = 15
"""Bars in the chart of operators; its table has all operators."""


def operators_spec(palette: Palette, currency: str) -> Spec:
    """Delivery rates as bars by operator, with labels."""
    operator = {"field": "name", "type": "nominal", "title": "operator"}
    rate = {"field": "rate", "type": "quantitative", "title": None}
    return SCHEMA | {
        "height": {"step": ROW_HEIGHT},
        "transform": [
            {"filter": "datum.records > 0"},
            {"window": [{"op": "row_number", "as": "rank"}], "sort": [{"field": "records", "order": "descending"}]},
            {"filter": f"datum.rank <= {OPERATORS_SHOWN}"},
            {"calculate": "datum.delivered / datum.records", "as": "rate"},
            {"calculate": "datum.operator || 'not in the plan'", "as": "name"},
        ],
        "encoding": {
            "y": {**operator, "title": None, "sort": {"op": "min", "field": "rank"}, "axis": {"labelLimit": 180}},
            # The axis extends beyond 100 % for the labels after the bars.
            "x": {
                **rate, "scale": {"domain": [0, 1.2]},
                "axis": {"format": ".0%", "values": [0, 0.25, 0.5, 0.75, 1]},
            },
        },
        "layer": [
            {
                "mark": {"type": "bar", "color": palette.main, "cornerRadiusEnd": 2, "height": {"band": 0.62}},
                "encoding": {
                    "tooltip": [
                        operator, {**rate, "title": "delivery rate", "format": ".1%"},
                        count_field("records", "charges"), count_field("delivered", "delivered"),
                        amount_field("spend", "spend", currency),
                    ],
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 6},
                "encoding": {"text": {**rate, "format": ".1%"}},
            },
        ],
    }  # fmt: skip


def hours_spec(palette: Palette) -> Spec:
    """Charges an hour as a map of weekdays and hours, on average over the weekdays of the page."""
    names = "[" + ", ".join(f"'{name}'" for name in WEEKDAYS) + "]"
    plain_axis = {"ticks": False, "domain": False}
    every_third = "datum.value % 3 ? '' : pad(datum.value, 2, '0', 'left')"
    return SCHEMA | {
        "height": {"step": ROW_HEIGHT},
        "transform": [
            {"calculate": f"{names}[datum.weekday - 1]", "as": "name"},
            {"calculate": "pad(datum.hour, 2, '0', 'left') + ':00'", "as": "from"},
            {"calculate": "datum.records / datum.days", "as": "average"},
        ],
        # The opacity of a single colour suits light and dark pages.
        "mark": {"type": "rect", "color": palette.main, "cornerRadius": 2},
        "encoding": {
            "x": {
                "field": "hour", "type": "ordinal", "title": None,
                "scale": {"domain": list(range(24)), "padding": 0.06},
                "axis": plain_axis | {"labelAngle": 0, "labelExpr": every_third},
            },
            "y": {
                "field": "weekday", "type": "ordinal", "title": None,
                "scale": {"domain": list(range(1, 8)), "padding": 0.06},
                "axis": plain_axis | {"labelExpr": f"{names}[datum.value - 1]"},
            },
            "opacity": {
                "field": "average", "type": "quantitative", "title": "charges an hour",
                "scale": {"domainMin": 0, "range": [0.05, 1], "clamp": True},
                "legend": {
                    "orient": "top", "titleOrient": "left", "titleFontWeight": 400, "symbolType": "square",
                    "symbolFillColor": palette.main, "symbolStrokeWidth": 0, "tickCount": 4, "format": ",~f",
                },
            },
            "tooltip": [
                {"field": "name", "title": "weekday"}, {"field": "from", "title": "hour from"},
                {"field": "average", "type": "quantitative", "title": "charges on average", "format": ",.1~f"},
                count_field("records", "charges in all"), count_field("delivered", "delivered"),
            ],
        },
    }  # fmt: skip


def day_states_spec(palette: Palette, currency: str) -> Spec:
    """The state of each day as a strip by account."""
    return SCHEMA | {
        "height": {"step": ROW_HEIGHT},
        "mark": {"type": "rect", "cornerRadius": 1},
        "encoding": {
            "x": day_axis(),
            "y": {**ACCOUNT, "title": None, "scale": {"padding": 0.2}, "axis": {"labelLimit": 120}},
            "color": {
                "field": "day_state", "type": "nominal", "title": None,
                "scale": {"domain": list(DAY_STATES), "range": list(palette.states)}, "legend": {"orient": "top"},
            },
            "tooltip": [
                NAMED_DAY, ACCOUNT, {"field": "day_state", "title": "state"}, count_field("records", "charges"),
                amount_field("spend", "spend", currency),
            ],
        },
    }  # fmt: skip


def freshness_spec(palette: Palette) -> Spec:
    """Hours since the last complete day as bars by account."""
    return SCHEMA | {
        "height": {"step": ROW_HEIGHT},
        "mark": {"type": "bar", "color": palette.main, "cornerRadiusEnd": 2, "height": {"band": 0.62}},
        "encoding": {
            "y": {**ACCOUNT, "title": None, "axis": {"labelLimit": 170}},
            # At least 48 hours, the most a nightly job is behind, so that a short bar means fresh data.
            "x": {
                "field": "hours_behind", "type": "quantitative", "title": None,
                "scale": {"domain": {"unionWith": [0, 48]}}, "axis": {"tickMinStep": 12},
            },
            "tooltip": [
                ACCOUNT, {**count_field("hours_behind", "hours behind"), "format": ",.1f"},
                {**NAMED_DAY, "field": "last_synced_date", "title": "complete up to"},
                count_field("open_days", "open days"), count_field("suspect_days", "suspect days"),
            ],
        },
    }  # fmt: skip
