"""The charts of the report and the dashboard: titles, queries and Vega-Lite specifications.

The report embeds the rows of the queries in its page; the dashboard runs the queries itself. The queries read only the
views and return the same rows on the three databases. The specifications contain no data, no title and no colours but
those of the palette.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from etl.db.dialects.expressions import expressions_for
from etl.reports.columns import ColumnType

NO_FILTER: Final = "1 = 1"
"""SQL condition that is always true."""
DAY_STATES: Final = ("closed", "settling", "open", "suspect")
"""States of a day in display order."""
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
OPERATORS_SHOWN: Final = 15
"""Bars in the chart of operators; its table has all operators."""

Spec = dict[str, Any]
"""A Vega-Lite specification without data."""


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by meaning: hexadecimal for a canvas, `var(--…)` for SVG styled by CSS.

    Attributes:
        main: Colour of single-colour charts.
        accounts: Colours of accounts, repeated when there are more accounts.
        increase: Colour of increases of spend or balance.
        decrease: Colour of decreases.
        states: Colours of DAY_STATES.
    """

    main: str
    accounts: tuple[str, ...]
    increase: str
    decrease: str
    states: tuple[str, str, str, str]


PLAIN: Final = Palette(
    main="#2f6690",
    accounts=("#2f6690", "#d08c3f", "#4f8f6b", "#8a6fa8", "#b65c5c", "#6b7c8c", "#a3a04a", "#5aa0b0"),
    increase="#b65c5c",
    decrease="#4f8f6b",
    states=("#9fb4c4", "#2f6690", "#d9c9a3", "#c2453c"),
)
"""Colours for a light page, distinguishable with colour blindness."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        name: Identifier in URLs and HTML: lower-case letters and underscores.
        title: Short title, plain text.
        description: How to read the chart in a sentence or two, plain text.
        dataset: Name in QUERIES of the query with its rows; charts may share a query.
        spec: Vega-Lite specification that fills the width of its container; amounts in the rows may be floats.
    """

    name: str
    title: str
    description: str
    dataset: str
    spec: Spec


@dataclass(frozen=True, slots=True)
class Query:
    """A query of the views, aggregated by the database: at most a row per account and day, per operator or per hour.

    Attributes:
        columns: Types of the columns by name, in order.
        build: Function that returns the statement for a backend and a condition on `account` and `day`.
        has_days: Whether the query can be filtered by day.
    """

    columns: Mapping[str, ColumnType]
    build: Callable[[str, str], str]
    has_days: bool = True


def build_query(name: str, backend: str, *, accounts: str = NO_FILTER, days: str = NO_FILTER) -> str:
    """The statement of a query.

    Args:
        name: Name in QUERIES.
        backend: `sqlite`, `postgresql`, `mysql` or `mariadb`.
        accounts: SQL condition on the column `account`.
        days: SQL condition on the column `day`; ignored by queries without days.
    """
    query = QUERIES[name]
    return query.build(backend, f"{accounts} AND {days}" if query.has_days else accounts)


def all_charts(palette: Palette = PLAIN) -> tuple[Chart, ...]:
    """All charts in display order."""
    return (
        Chart(
            "spend_by_day",
            "Spend by day",
            "What each day's charges cost, repeats included, stacked by account.",
            "days",
            _spend_by_day_spec(palette),
        ),
        Chart(
            "delivery_by_operator",
            "Delivery rate by operator",
            "Delivered charges of all charges, by the operator the number's range was given to; numbers are ported, so "
            f"the subscriber's own may be another. The {OPERATORS_SHOWN} operators with the most charges are drawn.",
            "operators",
            _delivery_by_operator_spec(palette),
        ),
        Chart(
            "weekday_and_hour",
            "Charges by weekday and hour",
            "How many charges fall into each hour of the week, in the vendor's wall clock: stronger is more.",
            "hours",
            _weekday_and_hour_spec(palette),
        ),
        Chart(
            "balance",
            "Balance and top-ups",
            "The account's balance in the last snapshot of each day (UTC). A dot is money paid in: a reported "
            "top-up, or a rise that nothing else explains.",
            "balances",
            _balance_spec(palette),
        ),
        Chart(
            "restatements",
            "Restated days",
            "By how much a day's spend differs now from what it was when the day was first complete.",
            "restatements",
            _restatements_spec(palette),
        ),
        Chart(
            "day_states",
            "State of each day",
            "Closed: final. Settling: still compared with the vendor every night. Open: not over yet. Suspect: the "
            "vendor's latest answer was implausible, and the last good figures are shown. A day without charges is "
            "blank.",
            "days",
            _day_states_spec(palette),
        ),
        Chart(
            "freshness",
            "Freshness",
            "Hours since the end of the last day up to which all days are complete. A job that runs every night stays "
            "below 48.",
            "freshness",
            _freshness_spec(palette),
        ),
    )


# The queries ----------------------------------------------------------------------------------------------------------


def _sum_sql(backend: str, amount: str) -> str:
    """SQL of the exact sum of a view's amounts."""
    sql = expressions_for(backend)
    return sql.total(sql.view_amount(amount), total=True)


def _count_sql(backend: str, count: str) -> str:
    return expressions_for(backend).integer.format(f"SUM({count})")


def _query_days(_backend: str, selected: str) -> str:
    return f"""SELECT account, day, records, delivered, failed, spend, repeated_spend, day_state
FROM daily_spend
WHERE {selected}
ORDER BY day, account"""


def _query_operators(backend: str, selected: str) -> str:
    return f"""SELECT operator,
  {_count_sql(backend, "records")} AS records, {_count_sql(backend, "delivered")} AS delivered,
  {_sum_sql(backend, "spend")} AS spend
FROM delivery_by_operator
WHERE {selected}
GROUP BY operator
ORDER BY 2 DESC, operator"""


def _query_hours(backend: str, selected: str) -> str:
    weekday = expressions_for(backend).weekday_of.format("day")
    return f"""SELECT {weekday} AS weekday, hour,
  {_count_sql(backend, "records")} AS records, {_count_sql(backend, "delivered")} AS delivered
FROM hourly_spend
WHERE {selected}
GROUP BY {weekday}, hour
ORDER BY 1, 2"""


def _query_balances(backend: str, selected: str) -> str:
    def unexplained(finding: str) -> str:
        return _sum_sql(backend, f"CASE WHEN finding = '{finding}' THEN unexplained ELSE 0 END")

    return f"""SELECT account, day, MAX(CASE WHEN newest = 1 THEN closing END) AS balance,
  {_sum_sql(backend, "charged")} AS charged, {_sum_sql(backend, "top_ups")} AS top_ups,
  {unexplained("unexplained credit")} AS unexplained_credit, {unexplained("unexplained charge")} AS unexplained_charge
FROM (
  SELECT p.account, p.day, p.closing, p.charged, p.top_ups, p.unexplained, p.finding,
    ROW_NUMBER() OVER (PARTITION BY p.account, p.day ORDER BY p.closed_at DESC) AS newest
  FROM (
    SELECT b.account, {expressions_for(backend).day_of.format("b.closed_at")} AS day, b.closed_at, b.closing, b.charged,
      b.top_ups, b.unexplained, b.finding
    FROM balance_proof b
  ) p
  WHERE {selected}
) q
GROUP BY account, day
ORDER BY day, account"""


def _query_restatements(_backend: str, selected: str) -> str:
    return f"""SELECT account, day, first_closed_at, restated_at, spend_before, spend_after, delta
FROM restated_days
WHERE {selected}
ORDER BY day, account"""


def _query_freshness(_backend: str, selected: str) -> str:
    return f"""SELECT account, last_synced_date, last_success_at, hours_behind, open_days, suspect_days
FROM freshness
WHERE {selected}
ORDER BY account"""


QUERIES: Final[dict[str, Query]] = {
    "days": Query(
        {
            "account": ColumnType.LABEL,
            "day": ColumnType.DAY,
            "records": ColumnType.NUMBER,
            "delivered": ColumnType.NUMBER,
            "failed": ColumnType.NUMBER,
            "spend": ColumnType.AMOUNT,
            "repeated_spend": ColumnType.AMOUNT,
            "day_state": ColumnType.LABEL,
        },
        _query_days,
    ),
    "operators": Query(
        {
            "operator": ColumnType.LABEL,
            "records": ColumnType.NUMBER,
            "delivered": ColumnType.NUMBER,
            "spend": ColumnType.AMOUNT,
        },
        _query_operators,
    ),
    "hours": Query(
        {
            "weekday": ColumnType.NUMBER,
            "hour": ColumnType.NUMBER,
            "records": ColumnType.NUMBER,
            "delivered": ColumnType.NUMBER,
        },
        _query_hours,
    ),
    "balances": Query(
        {
            "account": ColumnType.LABEL,
            "day": ColumnType.DAY,
            "balance": ColumnType.AMOUNT,
            "charged": ColumnType.AMOUNT,
            "top_ups": ColumnType.AMOUNT,
            "unexplained_credit": ColumnType.AMOUNT,
            "unexplained_charge": ColumnType.AMOUNT,
        },
        _query_balances,
    ),
    "restatements": Query(
        {
            "account": ColumnType.LABEL,
            "day": ColumnType.DAY,
            "first_closed_at": ColumnType.MICROSECOND_UTC,
            "restated_at": ColumnType.MICROSECOND_UTC,
            "spend_before": ColumnType.AMOUNT,
            "spend_after": ColumnType.AMOUNT,
            "delta": ColumnType.AMOUNT,
        },
        _query_restatements,
    ),
    "freshness": Query(
        {
            "account": ColumnType.LABEL,
            "last_synced_date": ColumnType.DAY,
            "last_success_at": ColumnType.MICROSECOND_UTC,
            "hours_behind": ColumnType.AMOUNT,
            "open_days": ColumnType.NUMBER,
            "suspect_days": ColumnType.NUMBER,
        },
        _query_freshness,
        has_days=False,
    ),
}
"""Queries by name."""


# The specifications ---------------------------------------------------------------------------------------------------

_SCHEMA: Final = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "width": "container"}
# Days are parsed and formatted as UTC: the time zone of the reader would shift them.
_DAY: Final = {"field": "day", "type": "temporal", "timeUnit": "utcyearmonthdate", "title": None}
_NAMED_DAY: Final = {**_DAY, "title": "day", "format": "%a %-d %b %Y"}
_ACCOUNT: Final = {"field": "account", "type": "nominal", "title": "account"}
_ROW_HEIGHT: Final = 28
"""Pixels."""


def _amount_field(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "format": ",.2f"}


def _count_field(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "format": ",d"}


def _by_account(palette: Palette) -> Spec:
    return {
        **_ACCOUNT,
        "title": None,
        "scale": {"range": list(palette.accounts)},
        "legend": {"orient": "top", "columns": 4},
    }


def _day_axis() -> Spec:
    return {**_DAY, "axis": {"grid": False, "labelOverlap": True, "tickCount": 8, "labelExpr": _DAY_LABEL}}


_DAY_LABEL: Final = (
    "utcmonth(datum.value) == 0 && utcdate(datum.value) == 1 ? utcFormat(datum.value, '%-d %b %Y')"
    " : utcFormat(datum.value, '%-d %b')"
)


def _spend_by_day_spec(palette: Palette) -> Spec:
    return _SCHEMA | {
        "height": 260,
        "mark": {"type": "bar"},
        "encoding": {
            "x": _day_axis(),
            "y": {"field": "spend", "type": "quantitative", "title": None, "axis": {"format": ",~f", "tickCount": 5}},
            "color": _by_account(palette),
            "tooltip": [
                _NAMED_DAY, _ACCOUNT, _amount_field("spend", "spend"), _count_field("records", "charges"),
                _count_field("delivered", "delivered"), {"field": "day_state", "title": "state"},
            ],
        },
    }  # fmt: skip


def _delivery_by_operator_spec(palette: Palette) -> Spec:
    operator = {"field": "name", "type": "nominal", "title": "operator"}
    rate = {"field": "rate", "type": "quantitative", "title": None}
    return _SCHEMA | {
        "height": {"step": _ROW_HEIGHT},
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
                        _count_field("records", "charges"), _count_field("delivered", "delivered"),
                        _amount_field("spend", "spend"),
                    ],
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 6},
                "encoding": {"text": {**rate, "format": ".1%"}},
            },
        ],
    }  # fmt: skip


def _weekday_and_hour_spec(palette: Palette) -> Spec:
    names = "[" + ", ".join(f"'{name}'" for name in WEEKDAYS) + "]"
    plain_axis = {"ticks": False, "domain": False}
    every_third = "datum.value % 3 ? '' : pad(datum.value, 2, '0', 'left')"
    return _SCHEMA | {
        "height": {"step": _ROW_HEIGHT},
        "transform": [
            {"calculate": f"{names}[datum.weekday - 1]", "as": "name"},
            {"calculate": "pad(datum.hour, 2, '0', 'left') + ':00'", "as": "from"},
        ],
        # The opacity of a single colour suits light and dark pages alike.
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
                "field": "records", "type": "quantitative", "legend": None,
                "scale": {"domainMin": 0, "range": [0.05, 1]},
            },
            "tooltip": [
                {"field": "name", "title": "weekday"}, {"field": "from", "title": "hour from"},
                _count_field("records", "charges"), _count_field("delivered", "delivered"),
            ],
        },
    }  # fmt: skip


def _balance_spec(palette: Palette) -> Spec:
    payments = "datum.top_ups + datum.unexplained_credit"
    tooltip = [
        _NAMED_DAY, _ACCOUNT, _amount_field("balance", "balance"), _amount_field("charged", "charged"),
        _amount_field("top_ups", "reported top-ups"), _amount_field("unexplained_credit", "unexplained credit"),
        _amount_field("unexplained_charge", "unexplained charge"),
    ]  # fmt: skip
    return _SCHEMA | {
        "height": 220,
        "encoding": {
            "x": _day_axis(),
            "y": {"field": "balance", "type": "quantitative", "title": None, "axis": {"format": ",~f", "tickCount": 5}},
            "color": _by_account(palette),
            "tooltip": tooltip,
        },
        "layer": [
            {"mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2}},
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "transform": [{"filter": f"{payments} > 0"}],
            },
        ],
    }


def _restatements_spec(palette: Palette) -> Spec:
    signed = "datum.value == 0 ? '0' : format(datum.value, '+,~f')"
    return _SCHEMA | {
        "height": 180,
        "mark": {"type": "bar", "width": {"expr": "min(bandwidth('x') * 0.7, 40)"}},
        "encoding": {
            # An ordinal axis of restated days only: on an axis of all days of a year the bars would be invisible.
            "x": {
                **_DAY, "type": "ordinal",
                "axis": {"grid": False, "labelAngle": 0, "labelOverlap": True, "format": "%-d %b"},
            },
            "y": {
                "field": "delta", "type": "quantitative", "title": None,
                "axis": {"labelExpr": signed, "tickCount": 4},
            },
            "color": {"condition": {"test": "datum.delta < 0", "value": palette.decrease}, "value": palette.increase},
            "tooltip": [
                _NAMED_DAY, _ACCOUNT,
                _amount_field("spend_before", "spend before"), _amount_field("spend_after", "spend now"),
                {**_amount_field("delta", "difference"), "format": "+,.2f"},
            ],
        },
    }  # fmt: skip


def _day_states_spec(palette: Palette) -> Spec:
    return _SCHEMA | {
        "height": {"step": _ROW_HEIGHT},
        "mark": {"type": "rect", "cornerRadius": 1},
        "encoding": {
            "x": _day_axis(),
            "y": {**_ACCOUNT, "title": None, "scale": {"padding": 0.2}, "axis": {"labelLimit": 120}},
            "color": {
                "field": "day_state", "type": "nominal", "title": None,
                "scale": {"domain": list(DAY_STATES), "range": list(palette.states)}, "legend": {"orient": "top"},
            },
            "tooltip": [
                _NAMED_DAY, _ACCOUNT, {"field": "day_state", "title": "state"}, _count_field("records", "charges"),
                _amount_field("spend", "spend"),
            ],
        },
    }  # fmt: skip


def _freshness_spec(palette: Palette) -> Spec:
    return _SCHEMA | {
        "height": {"step": _ROW_HEIGHT},
        "mark": {"type": "bar", "color": palette.main, "cornerRadiusEnd": 2, "height": {"band": 0.62}},
        "encoding": {
            "y": {**_ACCOUNT, "title": None, "axis": {"labelLimit": 170}},
            # At least 48 hours, the most a nightly job is behind, so that a short bar means fresh data.
            "x": {
                "field": "hours_behind", "type": "quantitative", "title": None,
                "scale": {"domain": {"unionWith": [0, 48]}}, "axis": {"tickMinStep": 12},
            },
            "tooltip": [
                _ACCOUNT, {**_amount_field("hours_behind", "hours behind"), "format": ",.1f"},
                {**_NAMED_DAY, "field": "last_synced_date", "title": "complete up to"},
                _count_field("open_days", "open days"), _count_field("suspect_days", "suspect days"),
            ],
        },
    }  # fmt: skip
