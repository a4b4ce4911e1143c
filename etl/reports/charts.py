"""The charts as data: what each shows, the query that gives its rows, and its picture in Vega-Lite.

Who draws them fills in the rows: the report into its page, a dashboard by asking the database. The queries stand on the
views alone and say the same on the three databases; the pictures hold no data, no colours of their own and no title.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from etl.db.dialects.expressions import expressions_for
from etl.reports.columns import ColumnType

NO_FILTER: Final = "1 = 1"
"""A condition that leaves nothing out."""
DAY_STATES: Final = ("closed", "settling", "open", "suspect")
"""Of a day, in the order in which they are shown."""
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
OPERATORS_SHOWN: Final = 15
"""Bars in the picture of operators; the rows have all of them."""

Spec = dict[str, Any]
"""A Vega-Lite specification without data."""


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by what they mean: hexadecimal for whoever draws on a canvas, `var(--…)` where CSS has the last word.

    Attributes:
        main: Where one colour does.
        accounts: One after another; from the first again where there are more accounts.
        increase: Of what adds to a bill or a balance.
        decrease: Of what takes from it.
        states: As DAY_STATES.
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
"""For a light page; each is told from its neighbours by people who see fewer colours."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture.

    Attributes:
        name: In addresses and identifiers: small letters and underscores.
        title: A few words.
        description: A sentence or two on how to read it, plain text.
        dataset: Whose rows it shows: a name in QUERIES. Several pictures may show the same ones.
        spec: How, in Vega-Lite, to be drawn as wide as its place; amounts in the rows may be floats.
    """

    name: str
    title: str
    description: str
    dataset: str
    spec: Spec


@dataclass(frozen=True, slots=True)
class Query:
    """Rows of the views, aggregated by the database: never more than days times accounts, or operators, or hours.

    Attributes:
        columns: Their names and kinds, in their order.
        build: The statement on a backend, given the condition on `account` and `day`.
        has_days: Whether days can be selected.
    """

    columns: Mapping[str, ColumnType]
    build: Callable[[str, str], str]
    has_days: bool = True


def build_query(name: str, backend: str, *, accounts: str = NO_FILTER, days: str = NO_FILTER) -> str:
    """The statement that gives a chart's rows.

    Args:
        name: In QUERIES.
        backend: `sqlite`, `postgresql`, `mysql` or `mariadb`.
        accounts: A condition on the column `account`.
        days: A condition on the column `day`; what has no days leaves it out.
    """
    query = QUERIES[name]
    return query.build(backend, f"{accounts} AND {days}" if query.has_days else accounts)


def all_charts(palette: Palette = PLAIN) -> tuple[Chart, ...]:
    """All charts, in the order in which they are shown."""
    return (
        Chart(
            "spend_by_day",
            "Spend by day",
            "What each day's charges cost, repeats included, stacked by account.",
            "days",
            _spend_by_day(palette),
        ),
        Chart(
            "delivery_by_operator",
            "Delivery rate by operator",
            "Delivered charges of all charges, by the operator the number's range was given to; numbers are ported, so "
            f"the subscriber's own may be another. The {OPERATORS_SHOWN} operators with the most charges are drawn.",
            "operators",
            _delivery_by_operator(palette),
        ),
        Chart(
            "weekday_and_hour",
            "Charges by weekday and hour",
            "How many charges fall into each hour of the week, in the vendor's wall clock: stronger is more.",
            "hours",
            _weekday_and_hour(palette),
        ),
        Chart(
            "balance",
            "Balance and top-ups",
            "The account's balance at the last look of each day (UTC). A dot is money paid in: a top-up that was "
            "told, or a rise that nothing else explains.",
            "balances",
            _balance(palette),
        ),
        Chart(
            "restatements",
            "Restated days",
            "By how much a day's spend differs now from what it was when the day was first complete.",
            "restatements",
            _restatements(palette),
        ),
        Chart(
            "day_states",
            "State of each day",
            "Closed: final. Settling: still compared with the vendor every night. Open: not over yet. Suspect: the "
            "vendor's latest answer was implausible, and the last good figures are shown. A day without charges is "
            "blank.",
            "days",
            _day_states(palette),
        ),
        Chart(
            "freshness",
            "Freshness",
            "Hours since the end of the last day up to which all days are complete. A job that runs every night stays "
            "below 48.",
            "freshness",
            _freshness(palette),
        ),
    )


# The queries ----------------------------------------------------------------------------------------------------------


def _sum(backend: str, amount: str) -> str:
    """The exact sum of amounts as a view shows them."""
    if backend == "sqlite":  # a number or a text: as text of six places it is added exactly
        amount = f"(CASE typeof({amount}) WHEN 'text' THEN {amount} ELSE printf('%.6f', {amount}) END)"
    return expressions_for(backend).total(amount, total=True)


def _count(backend: str, number: str) -> str:
    return expressions_for(backend).integer.format(f"SUM({number})")


_WEEKDAY: Final = {
    "sqlite": "((CAST(strftime('%w', created_at) AS INTEGER) + 6) % 7 + 1)",
    "postgresql": "CAST(EXTRACT(ISODOW FROM created_at) AS INTEGER)",
    "mysql": "(WEEKDAY(created_at) + 1)",
}
_HOUR: Final = {
    "sqlite": "CAST(strftime('%H', created_at) AS INTEGER)",
    "postgresql": "CAST(EXTRACT(HOUR FROM created_at) AS INTEGER)",
    "mysql": "HOUR(created_at)",
}
for _word in (_WEEKDAY, _HOUR):
    _word["mariadb"] = _word["mysql"]


def _query_days(_backend: str, selected: str) -> str:
    return f"""SELECT account, day, records, delivered, failed, spend, repeated_spend, day_state
FROM daily_spend
WHERE {selected}
ORDER BY day, account"""


def _query_operators(backend: str, selected: str) -> str:
    return f"""SELECT operator, {_count(backend, "records")} AS records, {_count(backend, "delivered")} AS delivered,
  {_sum(backend, "spend")} AS spend
FROM delivery_by_operator
WHERE {selected}
GROUP BY operator
ORDER BY 2 DESC, operator"""


def _query_hours(backend: str, selected: str) -> str:
    return f"""SELECT {_WEEKDAY[backend]} AS weekday, {_HOUR[backend]} AS hour, {_count(backend, "repeats")} AS records,
  {_count(backend, "CASE WHEN delivered THEN repeats ELSE 0 END")} AS delivered
FROM billing
WHERE {selected}
GROUP BY {_WEEKDAY[backend]}, {_HOUR[backend]}
ORDER BY 1, 2"""


def _query_balances(backend: str, selected: str) -> str:
    def found(finding: str) -> str:
        return _sum(backend, f"CASE WHEN finding = '{finding}' THEN unexplained ELSE 0 END")

    return f"""SELECT account, day, MAX(CASE WHEN newest = 1 THEN closing END) AS balance,
  {_sum(backend, "charged")} AS charged, {_sum(backend, "top_ups")} AS top_ups,
  {found("unexplained credit")} AS unexplained_credit, {found("unexplained charge")} AS unexplained_charge
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
"""By name."""


# The pictures ---------------------------------------------------------------------------------------------------------

_SCHEMA: Final = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "width": "container"}
# Days are parsed as UTC, so everything of them is UTC: a reader's own zone would move them.
_DAY: Final = {"field": "day", "type": "temporal", "timeUnit": "utcyearmonthdate", "title": None}
_NAMED_DAY: Final = {**_DAY, "title": "day", "format": "%a %-d %b %Y"}
_ACCOUNT: Final = {"field": "account", "type": "nominal", "title": "account"}
_PER_ACCOUNT: Final = 28
"""Pixels of height a row."""


def _amount(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "format": ",.2f"}


def _number(field: str, title: str) -> Spec:
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


def _spend_by_day(palette: Palette) -> Spec:
    return _SCHEMA | {
        "height": 260,
        "mark": {"type": "bar"},
        "encoding": {
            "x": _day_axis(),
            "y": {"field": "spend", "type": "quantitative", "title": None, "axis": {"format": ",~f", "tickCount": 5}},
            "color": _by_account(palette),
            "tooltip": [
                _NAMED_DAY, _ACCOUNT, _amount("spend", "spend"), _number("records", "charges"),
                _number("delivered", "delivered"), {"field": "day_state", "title": "state"},
            ],
        },
    }  # fmt: skip


def _delivery_by_operator(palette: Palette) -> Spec:
    operator = {"field": "name", "type": "nominal", "title": "operator"}
    rate = {"field": "rate", "type": "quantitative", "title": None}
    return _SCHEMA | {
        "height": {"step": _PER_ACCOUNT},
        "transform": [
            {"filter": "datum.records > 0"},
            {"window": [{"op": "row_number", "as": "place"}], "sort": [{"field": "records", "order": "descending"}]},
            {"filter": f"datum.place <= {OPERATORS_SHOWN}"},
            {"calculate": "datum.delivered / datum.records", "as": "rate"},
            {"calculate": "datum.operator || 'not in the plan'", "as": "name"},
        ],
        "encoding": {
            "y": {**operator, "title": None, "sort": {"op": "min", "field": "place"}, "axis": {"labelLimit": 180}},
            # Beyond the whole there is room for what stands behind a bar.
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
                        operator, {**rate, "title": "delivery rate", "format": ".1%"}, _number("records", "charges"),
                        _number("delivered", "delivered"), _amount("spend", "spend"),
                    ],
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 6},
                "encoding": {"text": {**rate, "format": ".1%"}},
            },
        ],
    }  # fmt: skip


def _weekday_and_hour(palette: Palette) -> Spec:
    names = "[" + ", ".join(f"'{name}'" for name in WEEKDAYS) + "]"
    bare = {"ticks": False, "domain": False}
    every_third = "datum.value % 3 ? '' : pad(datum.value, 2, '0', 'left')"
    return _SCHEMA | {
        "height": {"step": _PER_ACCOUNT},
        "transform": [
            {"calculate": f"{names}[datum.weekday - 1]", "as": "name"},
            {"calculate": "pad(datum.hour, 2, '0', 'left') + ':00'", "as": "from"},
        ],
        # One colour, more or less of it, so that it needs no other scale on a dark page.
        "mark": {"type": "rect", "color": palette.main, "cornerRadius": 2},
        "encoding": {
            "x": {
                "field": "hour", "type": "ordinal", "title": None,
                "scale": {"domain": list(range(24)), "padding": 0.06},
                "axis": bare | {"labelAngle": 0, "labelExpr": every_third},
            },
            "y": {
                "field": "weekday", "type": "ordinal", "title": None,
                "scale": {"domain": list(range(1, 8)), "padding": 0.06},
                "axis": bare | {"labelExpr": f"{names}[datum.value - 1]"},
            },
            "opacity": {
                "field": "records", "type": "quantitative", "legend": None,
                "scale": {"domainMin": 0, "range": [0.05, 1]},
            },
            "tooltip": [
                {"field": "name", "title": "weekday"}, {"field": "from", "title": "hour from"},
                _number("records", "charges"), _number("delivered", "delivered"),
            ],
        },
    }  # fmt: skip


def _balance(palette: Palette) -> Spec:
    paid = "datum.top_ups + datum.unexplained_credit"
    tooltip = [
        _NAMED_DAY, _ACCOUNT, _amount("balance", "balance"), _amount("charged", "charged"),
        _amount("top_ups", "top-ups told"), _amount("unexplained_credit", "unexplained credit"),
        _amount("unexplained_charge", "unexplained charge"),
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
                "transform": [{"filter": f"{paid} > 0"}],
            },
        ],
    }


def _restatements(palette: Palette) -> Spec:
    signed = "datum.value == 0 ? '0' : format(datum.value, '+,~f')"
    return _SCHEMA | {
        "height": 180,
        "mark": {"type": "bar", "width": {"expr": "min(bandwidth('x') * 0.7, 40)"}},
        "encoding": {
            # One place a restated day: among all the days of a year they could not be seen.
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
                _NAMED_DAY, _ACCOUNT, _amount("spend_before", "spend before"), _amount("spend_after", "spend now"),
                {**_amount("delta", "difference"), "format": "+,.2f"},
            ],
        },
    }  # fmt: skip


def _day_states(palette: Palette) -> Spec:
    return _SCHEMA | {
        "height": {"step": _PER_ACCOUNT},
        "mark": {"type": "rect", "cornerRadius": 1},
        "encoding": {
            "x": _day_axis(),
            "y": {**_ACCOUNT, "title": None, "scale": {"padding": 0.2}, "axis": {"labelLimit": 120}},
            "color": {
                "field": "day_state", "type": "nominal", "title": None,
                "scale": {"domain": list(DAY_STATES), "range": list(palette.states)}, "legend": {"orient": "top"},
            },
            "tooltip": [
                _NAMED_DAY, _ACCOUNT, {"field": "day_state", "title": "state"}, _number("records", "charges"),
                _amount("spend", "spend"),
            ],
        },
    }  # fmt: skip


def _freshness(palette: Palette) -> Spec:
    return _SCHEMA | {
        "height": {"step": _PER_ACCOUNT},
        "mark": {"type": "bar", "color": palette.main, "cornerRadiusEnd": 2, "height": {"band": 0.62}},
        "encoding": {
            "y": {**_ACCOUNT, "title": None, "axis": {"labelLimit": 170}},
            # Two days at least: a night's job is never further behind, and a short bar is then a good sign.
            "x": {
                "field": "hours_behind", "type": "quantitative", "title": None,
                "scale": {"domain": {"unionWith": [0, 48]}}, "axis": {"tickMinStep": 12},
            },
            "tooltip": [
                _ACCOUNT, {**_amount("hours_behind", "hours behind"), "format": ",.1f"},
                {**_NAMED_DAY, "field": "last_synced_date", "title": "complete up to"},
                _number("open_days", "open days"), _number("suspect_days", "suspect days"),
            ],
        },
    }  # fmt: skip
