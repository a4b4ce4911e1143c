"""Specifications of the charts of amounts over time: spend, months, balance, restatements."""

from __future__ import annotations

from enum import Enum

from etl.reports.charts.palette import Palette
from etl.reports.charts.parts import (
    ACCOUNT,
    DAY,
    NAMED_DAY,
    NAMED_MONTH,
    ROW_HEIGHT,
    SCHEMA,
    Spec,
    account_color,
    amount_axis,
    amount_field,
    amount_label,
    count_field,
    day_axis,
    month_axis,
)


class Grain(Enum):
    """Length of the period of a bar."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_PALE = 0.45
"""Opacity of a bar whose period is not over, or only in part within the page's days."""


def spend_spec(palette: Palette, currency: str, grain: Grain = Grain.DAY) -> Spec:
    """Spend as bars, stacked by account; rows of weeks and months have `end`, the day after, and `partial`."""
    x = day_axis()
    mark: Spec = {"type": "bar", "clip": True}
    encoding: Spec = {}
    named: Spec = NAMED_DAY
    if grain is not Grain.DAY:
        x.pop("timeUnit")
        x |= {"scale": {"type": "utc"}}
        encoding["x2"] = {"field": "end"}
        mark |= {"orient": "vertical", "x2Offset": -1}
        named = {"field": "day", "type": "temporal", "title": f"{grain.value} from", "format": "%a %-d %b %Y"}
    tooltip = [
        named, ACCOUNT, amount_field("spend", "spend", currency), count_field("records", "charges"),
        count_field("delivered", "delivered"),
    ]  # fmt: skip
    if grain is Grain.DAY:
        tooltip.append({"field": "day_state", "title": "state"})
    bars: Spec = {
        "mark": mark,
        "encoding": encoding
        | {
            "color": account_color(palette),
            "opacity": {
                "condition": {"test": "datum.day_state == 'open' || datum.partial", "value": _PALE},
                "value": 1,
            },
            "tooltip": tooltip,
        },
    }
    return SCHEMA | {
        "height": 260,
        "encoding": {"x": x, "y": {**amount_axis("spend"), "stack": "zero"}},
        "layer": [bars],
    }


def months_spec(palette: Palette, currency: str) -> Spec:
    """Spend of whole months as bars, stacked by account."""
    return SCHEMA | {
        "height": 200,
        "mark": {"type": "bar", "width": {"expr": "min(bandwidth('x') * 0.8, 90)"}},
        "encoding": {
            "x": month_axis(),
            "y": amount_axis("spend"),
            "color": account_color(palette),
            "tooltip": [
                NAMED_MONTH, ACCOUNT, amount_field("spend", "spend", currency),
                amount_field("restated", "of it restated", currency), count_field("records", "charges"),
                count_field("delivered", "delivered"),
            ],
        },
    }  # fmt: skip


def channels_spec(palette: Palette, currency: str) -> Spec:
    """Spend as bars by channel, with labels."""
    channel = {"field": "channel", "type": "nominal", "title": "channel"}
    spend = {"field": "spend", "type": "quantitative", "title": None}
    return SCHEMA | {
        "height": {"step": ROW_HEIGHT},
        "transform": [
            {"calculate": "datum.delivered > 0 ? datum.spend / datum.delivered : null", "as": "cost"},
        ],
        "encoding": {
            "y": {**channel, "title": None, "sort": {"op": "max", "field": "spend", "order": "descending"},
                  "axis": {"labelLimit": 180}},
        },
        "layer": [
            {
                "mark": {"type": "bar", "color": palette.main, "cornerRadiusEnd": 2, "height": {"band": 0.62}},
                "encoding": {
                    "x": {**spend, "axis": {"tickCount": 5, "labelExpr": amount_label()}},
                    "tooltip": [
                        channel, amount_field("spend", "spend", currency), count_field("records", "charges"),
                        count_field("delivered", "delivered"),
                        {**amount_field("cost", "cost per delivery", currency), "format": ",.4~f"},
                    ],
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 6},
                "encoding": {"x": spend, "text": {**spend, "format": ",.2f"}},
            },
        ],
    }  # fmt: skip


def balance_spec(palette: Palette, currency: str) -> Spec:
    """The balance as a line by account; a dot is money paid in."""
    tooltip = [
        NAMED_DAY, ACCOUNT, amount_field("balance", "balance", currency), amount_field("charged", "charged", currency),
        amount_field("top_ups", "reported top-ups", currency), amount_field("paid_in", "other payments", currency),
        amount_field("unexplained_credit", "unexplained credit", currency),
        amount_field("unexplained_charge", "unexplained charge", currency),
    ]  # fmt: skip
    return SCHEMA | {
        "height": 220,
        "encoding": {
            "x": day_axis(),
            "y": amount_axis("balance"),
            "color": account_color(palette),
            "tooltip": tooltip,
        },
        "layer": [
            {"mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2}},
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "transform": [{"filter": "datum.top_ups + datum.paid_in > 0"}],
            },
        ],
    }


def restatements_spec(palette: Palette, currency: str) -> Spec:
    """Differences of restated days as stems with a dot: bars of single days are too thin on an axis of a year."""
    return SCHEMA | {
        "height": 180,
        "encoding": {
            "x": {**day_axis(), "bandPosition": 0.5},
            "y": amount_axis("delta", signed=True),
            "color": account_color(palette),
            "tooltip": [
                NAMED_DAY, ACCOUNT,
                amount_field("spend_before", "spend before", currency),
                amount_field("spend_after", "spend now", currency),
                {**amount_field("delta", "difference", currency), "format": "+,.2f"},
            ],
        },
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {"y2": {"datum": 0}}},
            {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1}},
        ],
    }  # fmt: skip


def clipped_label_layer(labels: list[Spec]) -> Spec:
    """A layer that names the amounts of bars that reach beyond the axis.

    Args:
        labels: `day` and `label` of each; its own data, not the rows of the chart.
    """
    return {
        "data": {"values": labels},
        "mark": {"type": "text", "baseline": "bottom", "dy": -2, "fontSize": 11},
        "encoding": {
            "x": DAY,
            "y": {"value": 0},
            "text": {"field": "label"},
            # The chart's own encodings name fields that this data does not have.
            "color": {"value": "currentColor"},
            "tooltip": None,
        },
    }
