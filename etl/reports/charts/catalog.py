"""The charts in display order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from etl.reports.charts.amount_specs import (
    Grain,
    balance_spec,
    channels_spec,
    months_spec,
    restatements_spec,
    spend_spec,
)
from etl.reports.charts.count_specs import OPERATORS_SHOWN, day_states_spec, freshness_spec, hours_spec, operators_spec
from etl.reports.charts.palette import PLAIN, Palette
from etl.reports.charts.parts import Spec

DEFAULT_CURRENCY: Final = "RUB"
"""ISO 4217; a label, nothing is converted."""

_PALE: Final = {
    Grain.DAY: "Pale: not over yet.",
    Grain.WEEK: "Pale: not over yet, or only in part within these days.",
    Grain.MONTH: "Pale: not over yet, or only in part within these days.",
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        name: Identifier in URLs and HTML: lower-case letters and underscores.
        title: Short title, plain text.
        description: How to read the chart in a sentence or two, plain text.
        dataset: Name in QUERIES of the query with its rows, which charts may share; or `periods`, rows that are grouped
            from those of `days`.
        unit: Unit of the vertical axis, shown beside the title; may be empty.
        spec: Vega-Lite specification that fills the width of its container; amounts in the rows may be floats.
    """

    name: str
    title: str
    description: str
    dataset: str
    unit: str
    spec: Spec


def all_charts(
    palette: Palette = PLAIN, *, currency: str = DEFAULT_CURRENCY, grain: Grain = Grain.DAY
) -> tuple[Chart, ...]:
    """All charts in display order.

    Args:
        palette: Colours.
        currency: Code of the currency of all amounts.
        grain: Period of a bar of spend; its rows must have the same.
    """
    return (
        Chart(
            "spend_by_day",
            f"Spend by {grain.value}",
            f"What each {grain.value}'s charges cost, repeats included, stacked by account. {_PALE[grain]}",
            "days" if grain is Grain.DAY else "periods",
            currency,
            spend_spec(palette, currency, grain),
        ),
        Chart(
            "months",
            "Months",
            "Whole months, also where these days begin or end within one. Restated: what changes after their days were "
            "closed added to the spend, so far. Booked: as of the closing of the month.",
            "months",
            currency,
            months_spec(palette, currency),
        ),
        Chart(
            "spend_by_channel",
            "Spend by channel",
            "What kind of authorisation the charges were for, by the rules of BILLING_CHANNELS; assumed rules unless "
            "others are set. Unknown: no rule matches.",
            "channels",
            currency,
            channels_spec(palette, currency),
        ),
        Chart(
            "delivery_by_operator",
            "Delivery rate by operator",
            "Delivered charges of all charges, by the operator the number's range was given to; numbers are ported, so "
            f"the subscriber's own may be another. The {OPERATORS_SHOWN} operators with the most charges are drawn.",
            "operators",
            "",
            operators_spec(palette, currency),
        ),
        Chart(
            "weekday_and_hour",
            "Charges by weekday and hour",
            "How many charges fall into each hour of the week, in the vendor's wall clock, on average over the days "
            "with charges: stronger is more.",
            "hours",
            "",
            hours_spec(palette),
        ),
        Chart(
            "balance",
            "Balance and top-ups",
            "The account's balance in the last snapshot of each day (UTC). A dot is money paid in: a reported "
            "top-up, or a rise of the balance that nothing else explains.",
            "balances",
            currency,
            balance_spec(palette, currency),
        ),
        Chart(
            "restatements",
            "Restated days",
            "By how much a day's spend differs now from what it was when the day was first complete.",
            "restatements",
            currency,
            restatements_spec(palette, currency),
        ),
        Chart(
            "day_states",
            "State of each day",
            "Closed: final. Settling: still compared with the vendor every night. Open: not over yet. Suspect: the "
            "vendor's latest answer was implausible, and the last good figures are shown. Missing: never complete.",
            "calendar",
            "",
            day_states_spec(palette, currency),
        ),
        Chart(
            "freshness",
            "Freshness",
            "Hours since the end of the last day up to which all days are complete. A job that runs every night stays "
            "below 48.",
            "freshness",
            "",
            freshness_spec(palette),
        ),
    )
