"""The queries of the charts: the same rows from the views of the three databases.

The report embeds the rows in its page; the dashboard runs the queries itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from etl.db.dialects.expressions import expressions_for
from etl.reports.columns import ColumnType

NO_FILTER: Final = "1 = 1"
"""SQL condition that is always true."""


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
    return f"""SELECT operator, currency,
  {_count_sql(backend, "records")} AS records, {_count_sql(backend, "delivered")} AS delivered,
  {_sum_sql(backend, "spend")} AS spend
FROM delivery_by_operator
WHERE {selected}
GROUP BY operator, currency
ORDER BY 3 DESC, operator, currency"""


def _query_channels(backend: str, selected: str) -> str:
    return f"""SELECT channel, currency,
  {_count_sql(backend, "records")} AS records, {_count_sql(backend, "delivered")} AS delivered,
  {_sum_sql(backend, "spend")} AS spend
FROM daily_channels
WHERE {selected}
GROUP BY channel, currency
ORDER BY 3 DESC, channel, currency"""


def _query_months(_backend: str, selected: str) -> str:
    return f"""SELECT s.account, s.month AS day, s.records, s.delivered, s.spend, s.restated,
  c.booked, c.changed_since_close, c.currency AS closed_in
FROM (
  SELECT account, month, records, delivered, spend, restated
  FROM monthly_spend
  WHERE {selected}
) s
LEFT JOIN monthly_close c ON c.account = s.account AND c.month = s.month
ORDER BY s.month, s.account"""


def _query_calendar(_backend: str, selected: str) -> str:
    return f"""SELECT account, day, day_state, records, spend
FROM calendar
WHERE {selected}
ORDER BY day, account"""


def _query_hours(backend: str, selected: str) -> str:
    weekday = expressions_for(backend).weekday_of.format("day")
    return f"""SELECT h.weekday, h.hour, h.records, h.delivered, w.days
FROM (
  SELECT {weekday} AS weekday, hour,
    {_count_sql(backend, "records")} AS records, {_count_sql(backend, "delivered")} AS delivered
  FROM hourly_spend
  WHERE {selected}
  GROUP BY {weekday}, hour
) h
JOIN (
  SELECT {weekday} AS weekday, COUNT(DISTINCT day) AS days
  FROM hourly_spend
  WHERE {selected}
  GROUP BY {weekday}
) w ON w.weekday = h.weekday
ORDER BY 1, 2"""


def _query_balances(backend: str, selected: str) -> str:
    def unexplained(finding: str) -> str:
        return _sum_sql(backend, f"CASE WHEN finding = '{finding}' THEN unexplained ELSE 0 END")

    # Charges that the vendor settles later leave a credit first, and a charge afterwards, without a payment.
    rose = "finding = 'unexplained credit' AND closing - opening > 0"
    return f"""SELECT account, day, MAX(CASE WHEN newest = 1 THEN closing END) AS balance,
  {_sum_sql(backend, "charged")} AS charged, {_sum_sql(backend, "top_ups")} AS top_ups,
  {unexplained("unexplained credit")} AS unexplained_credit,
  {unexplained("unexplained charge")} AS unexplained_charge,
  {_sum_sql(backend, f"CASE WHEN {rose} THEN unexplained ELSE 0 END")} AS paid_in
FROM (
  SELECT p.account, p.day, p.opening, p.closing, p.charged, p.top_ups, p.unexplained, p.finding,
    ROW_NUMBER() OVER (PARTITION BY p.account, p.day ORDER BY p.closed_at DESC) AS newest
  FROM (
    SELECT b.account, {expressions_for(backend).day_of.format("b.closed_at")} AS day, b.closed_at,
      b.opening, b.closing, b.charged, b.top_ups, b.unexplained, b.finding
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
    return f"""SELECT account, last_synced_date, last_success_at, hours_behind, open_days, suspect_days, retired_at
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
    "months": Query(
        {
            "account": ColumnType.LABEL,
            "day": ColumnType.DAY,
            "records": ColumnType.NUMBER,
            "delivered": ColumnType.NUMBER,
            "spend": ColumnType.AMOUNT,
            "restated": ColumnType.AMOUNT,
            "booked": ColumnType.AMOUNT,
            "changed_since_close": ColumnType.AMOUNT,
            "closed_in": ColumnType.LABEL,
        },
        _query_months,
        has_days=False,
    ),
    "calendar": Query(
        {
            "account": ColumnType.LABEL,
            "day": ColumnType.DAY,
            "day_state": ColumnType.LABEL,
            "records": ColumnType.NUMBER,
            "spend": ColumnType.AMOUNT,
        },
        _query_calendar,
    ),
    "operators": Query(
        {
            "operator": ColumnType.LABEL,
            "currency": ColumnType.LABEL,
            "records": ColumnType.NUMBER,
            "delivered": ColumnType.NUMBER,
            "spend": ColumnType.AMOUNT,
        },
        _query_operators,
    ),
    "channels": Query(
        {
            "channel": ColumnType.LABEL,
            "currency": ColumnType.LABEL,
            "records": ColumnType.NUMBER,
            "delivered": ColumnType.NUMBER,
            "spend": ColumnType.AMOUNT,
        },
        _query_channels,
    ),
    "hours": Query(
        {
            "weekday": ColumnType.NUMBER,
            "hour": ColumnType.NUMBER,
            "records": ColumnType.NUMBER,
            "delivered": ColumnType.NUMBER,
            "days": ColumnType.NUMBER,
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
            "paid_in": ColumnType.AMOUNT,
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
            "hours_behind": ColumnType.HOURS,
            "open_days": ColumnType.NUMBER,
            "suspect_days": ColumnType.NUMBER,
            "retired_at": ColumnType.MICROSECOND_UTC,
        },
        _query_freshness,
        has_days=False,
    ),
}
"""Queries by name."""
