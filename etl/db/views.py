"""Views: the stable interface for BI tools, with equal results on the three databases.

Every migration drops and recreates them, so a change of a view needs a revision, an empty one if no table changes.
The statements consist of constant SQL chosen by database; they contain no values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from etl.db.dialects import dialect_for
from etl.db.dialects.expressions import SqlExpressions, expressions_for
from etl.db.focus_view import focus_charges_query
from etl.db.month_views import calendar_query, monthly_close_query, restatement_lines_query
from etl.db.time_travel import point_in_time_records
from etl.db.view_columns import VIEW_COLUMNS
from etl.db.view_parts import DAY_STATE, amount_column_names, amount_columns, join_account
from etl.model import DELIVERED
from etl.reconcile import WAITS


def view_queries(backend: str) -> dict[str, str]:
    """Return the query of each view by name, in the order of creation.

    Args:
        backend: `sqlite`, `postgresql`, `mysql` or `mariadb`.
    """
    sql = expressions_for(backend)
    return {name: query(sql) for name, query in _QUERIES.items()}


def point_in_time_query(backend: str, moment: str = ":moment", since: str = "", until: str = "") -> str:
    """Return the query of the `billing` view as of a time, for the days that were closed then.

    `day_state` is the current one; `updated_at` is NULL for records that changed after that time.

    Args:
        backend: `sqlite`, `postgresql`, `mysql` or `mariadb`.
        moment: SQL expression of the time: UTC without a zone.
        since: SQL expression of the first day; all days if it is empty.
        until: SQL expression of the last day.
    """
    sql = expressions_for(backend)
    query = _billing_query(sql, point_in_time_records(sql, moment))
    if not since:
        return query
    return f"{query}\n  AND r.created_at >= {since} AND r.created_at < {sql.next_day.format(until)}"


def create_view_statements(backend: str) -> list[str]:
    """Return the statements that create all views; on PostgreSQL also `billing_asof` and the column comments."""
    dialect = dialect_for(backend)
    views = [f"CREATE VIEW {name} AS\n{query}" for name, query in view_queries(backend).items()]
    function = dialect.create_function_statements("billing_asof", "billing", partial(point_in_time_query, backend))
    comments = (
        dialect.comment_statement(view, column.name, column.meaning)
        for view, columns in VIEW_COLUMNS.items()
        for column in columns
    )
    return [*views, *function, *filter(None, comments)]


def drop_view_statements(backend: str) -> list[str]:
    """Return the statements that drop everything that `create_view_statements` creates."""
    dialect = dialect_for(backend)
    functions = (statement for name in FUNCTIONS for statement in dialect.drop_function_statements(name))
    return [*functions, *(f"DROP VIEW IF EXISTS {name}" for name in reversed(VIEWS))]


def _join_day(sql: SqlExpressions, records: str = "billing_records") -> str:
    # The range is redundant: with it, a query for a day reads that day of the primary key.
    return f"""FROM {records} r
{join_account("r")}
LEFT JOIN synced_days d ON d.account_id = a.id AND d.day = {sql.day_of.format("r.created_at")}
  AND r.created_at >= d.day AND r.created_at < {sql.next_day.format("d.day")}
LEFT JOIN sync_state s ON s.account_id = r.account_id
LEFT JOIN channels k ON k.id = r.channel
WHERE r.withdrawn_at IS NULL AND d.purged_at IS NULL"""


def numbering_lookup(sql: SqlExpressions, column: str) -> str:
    """A column of the numbering plan's range for the phone of a row `r`; NULL for a number outside the plan."""
    # Not a join: the lookup is skipped when the column is not selected.
    return f"""(SELECT n.{column} FROM numbering_ranges n
    WHERE n.block = substr(r.phone, 1, 7) AND n.first_phone <= r.phone AND n.last_phone >= r.phone
      AND {sql.full_number.format("r.phone")})"""


def _billing_query(sql: SqlExpressions, records: str = "billing_records") -> str:
    return f"""SELECT a.label AS account, r.created_at,
  {sql.to_utc.format(time="r.created_at", offset="r.utc_offset")} AS created_at_utc, d.day,
  r.phone, r.code_auth, r.status, r.status_info,
  {sql.total("r.price")} AS price, r.repeats,
  {sql.total("r.price", "r.repeats")} AS amount,
  {sql.is_true(f"r.status = {DELIVERED}")} AS delivered,
  {numbering_lookup(sql, "operator")} AS operator,
  {numbering_lookup(sql, "region")} AS region,
  {DAY_STATE} AS day_state,
  r.first_seen_at, COALESCE(r.updated_at, r.first_seen_at) AS updated_at, k.name AS channel
{_join_day(sql, records)}"""


def _daily_spend_query(sql: SqlExpressions) -> str:
    return f"""SELECT a.label AS account, d.day, d.records, d.delivered, d.records - d.delivered AS failed,
  {sql.total("d.spend")} AS spend,
  {sql.total("d.repeated_spend")} AS repeated_spend,
  {DAY_STATE} AS day_state, a.currency
FROM synced_days d
{join_account("d")}
LEFT JOIN sync_state s ON s.account_id = d.account_id
WHERE d.records > 0 AND d.purged_at IS NULL"""


def _monthly_spend_query(sql: SqlExpressions) -> str:
    month, restated_month = sql.month_of.format("d.day"), sql.month_of.format("j.day")
    spent, delta = sql.split_amount("d.spend"), sql.split_amount("j.delta")
    spend, restated = (
        sql.join_amount(*(f"SUM({part})" for part in amount_column_names(sql, name)))
        for name in ("m.spend", "m.restated")
    )
    return f"""SELECT a.label AS account, m.month,
  {sql.integer.format("SUM(m.records)")} AS records,
  {sql.integer.format("SUM(m.delivered)")} AS delivered,
  {sql.integer.format("SUM(m.records) - SUM(m.delivered)")} AS failed,
  {spend} AS spend,
  {restated} AS restated, a.currency
FROM (
  SELECT d.account_id, {month} AS month, SUM(d.records) AS records, SUM(d.delivered) AS delivered,
    {amount_columns("SUM({part}) AS spend_{}", spent)}, {amount_columns("0 AS restated_{}", delta)}
  FROM synced_days d
  WHERE d.records > 0 AND d.purged_at IS NULL
  GROUP BY d.account_id, {month}
  UNION ALL
  SELECT j.account_id, {restated_month}, 0, 0, {amount_columns("0", spent)}, {amount_columns("SUM({part})", delta)}
  FROM restatements j
  GROUP BY j.account_id, {restated_month}
  UNION ALL
  SELECT p.account_id, p.month, p.records, p.delivered, {amount_columns("{part}", sql.split_amount("p.spend"))},
    {amount_columns("{part}", sql.split_amount("p.restated"))}
  FROM purged_months p
) m
{join_account("m")}
GROUP BY a.label, a.currency, m.month"""


def _delivery_by_operator_query(sql: SqlExpressions) -> str:
    return f"""SELECT a.label AS account, t.day, NULLIF(t.operator, '') AS operator, {_delivery_columns(sql)}
FROM {_totals_in_parts(sql, "operator_totals", "operator")}
{join_account("t")}"""


def _daily_channels_query(sql: SqlExpressions) -> str:
    return f"""SELECT a.label AS account, t.day, k.name AS channel, {_delivery_columns(sql)}
FROM {_totals_in_parts(sql, "channel_totals", "channel")}
JOIN channels k ON k.id = t.channel
{join_account("t")}"""


def _delivery_columns(sql: SqlExpressions) -> str:
    """Counts and spend of a row `t` of totals, of an account `a`, with the cost of a delivery."""
    spend = amount_column_names(sql, "t.spend")
    return f"""t.records, t.delivered,
  {sql.ratio("t.delivered", "t.records")} AS delivery_rate,
  {sql.join_amount(*spend)} AS spend,
  {sql.cast_amount(f"CASE WHEN t.delivered > 0 THEN {sql.divide(spend, 't.delivered')} END")} AS cost_per_delivery,
  a.currency"""


def _totals_in_parts(sql: SqlExpressions, table: str, key: str) -> str:
    """A table of totals as `t`, with its spend in parts: every connection to SQLite parses all views."""
    parts = amount_columns("{part} AS spend_{}", sql.split_amount("o.spend"))
    return f"(SELECT o.account_id, o.day, o.{key}, o.records, o.delivered, {parts} FROM {table} o) t"


def _hourly_spend_query(sql: SqlExpressions) -> str:
    return f"""SELECT a.label AS account, h.day, h.hour, h.records, h.delivered, h.records - h.delivered AS failed,
  {sql.total("h.spend")} AS spend
FROM hourly_totals h
{join_account("h")}"""


def _restated_days_query(sql: SqlExpressions) -> str:
    return f"""SELECT a.label AS account, d.day, d.first_closed_at, d.restated_at,
  {sql.total("d.first_closed_spend")} AS spend_before,
  {sql.total("d.spend")} AS spend_after,
  {sql.subtract("d.spend", "d.first_closed_spend")} AS delta
FROM synced_days d
{join_account("d")}
WHERE d.restated_at IS NOT NULL"""


def _balance_proof_query(sql: SqlExpressions) -> str:
    """Pairs of consecutive snapshots; differences count from the last snapshot without unproven days.

    `etl.reconcile.reconcile` computes the same for the warnings of a run, from fewer snapshots and with the runs that
    took them; `tests/integration/test_balance_proof.py` checks that both are equal.
    """
    indices = range(len(sql.split_amount("")))

    def parts(expression: Callable[[int], str]) -> tuple[str, ...]:
        return tuple(expression(index) for index in indices)

    def paid_in(since: str, name: str) -> str:
        between = f"t.account_id = p.account_id AND t.at > p.{since} AND t.at <= p.closed_at"
        return amount_columns(
            f"COALESCE((SELECT SUM({{part}}) FROM balance_top_ups t WHERE {between}), 0) AS {name}_{{}}",
            sql.split_amount("t.amount"),
        )

    def restated_since(column: str, name: str) -> str:
        ends = (sql.split_amount(f"p.{end}_{column}") for end in ("closing", "since"))
        changes = tuple(f"{closing} - {since}" for closing, since in zip(*ends, strict=True))
        return amount_columns(f"COALESCE({{part}}, 0) AS {name}_{{}}", changes)

    amounts = ("opening", "closing", "opening_spend", "closing_spend", "since_balance", "since_spend")
    charged = parts(lambda n: f"(q.closing_spend_{n} - q.opening_spend_{n})")
    own = parts(lambda n: f"(q.closing_{n} - q.opening_{n} - q.top_ups_{n} + {charged[n]})")
    left = parts(
        lambda n: f"(q.closing_{n} - q.since_balance_{n} - q.paid_in_{n} + q.closing_spend_{n} - q.since_spend_{n})"
    )
    difference, rose, fell = (amount_column_names(sql, f"d.{name}") for name in ("difference", "rose", "fell"))

    def above_zero(amount: tuple[str, ...]) -> str:
        return sql.is_positive(*amount)

    def negative(amount: tuple[str, ...]) -> tuple[str, ...]:
        return parts(lambda n: f"(0 - {amount[n]})")

    def twice_minus(amount: tuple[str, ...], subtrahend: tuple[str, ...]) -> tuple[str, ...]:
        return parts(lambda n: f"(2 * {amount[n]} - {subtrahend[n]})")

    # Restated spend that the balance did not follow: the difference is nearer to it than to zero.
    credit = f"{above_zero(twice_minus(difference, rose))} AND {above_zero(twice_minus(rose, difference))}"
    charge = f"{above_zero(negative(twice_minus(difference, fell)))} AND {above_zero(negative(fell))}"
    beyond = above_zero(parts(lambda n: f"({difference[n]} - {rose[n]})"))
    below = above_zero(parts(lambda n: f"({fell[n]} - {difference[n]})"))
    restated = parts(
        lambda n: (
            f"""CASE
      WHEN {credit} THEN CASE WHEN {beyond} THEN {rose[n]} ELSE {difference[n]} END
      WHEN {charge} THEN CASE WHEN {below} THEN {fell[n]} ELSE {difference[n]} END
      ELSE 0
    END AS restated_{n}"""
        )
    )
    unexplained = parts(lambda n: f"(e.difference_{n} - e.restated_{n})")

    def forwarded(alias: str, *names: str) -> str:
        return ", ".join(f"{alias}.{name}_{index}" for name in names for index in indices)

    def conclusive(amount: str) -> str:
        return sql.cast_amount(f"CASE WHEN e.waits = 0 THEN {amount} END")

    return f"""SELECT a.label AS account, e.opened_at, e.closed_at,
  {sql.join_amount(*amount_column_names(sql, "e.opening"))} AS opening,
  {sql.join_amount(*amount_column_names(sql, "e.closing"))} AS closing,
  {sql.join_amount(*amount_column_names(sql, "e.charged"))} AS charged,
  {sql.join_amount(*amount_column_names(sql, "e.top_ups"))} AS top_ups,
  {conclusive(sql.join_amount(*amount_column_names(sql, "e.carried")))} AS carried,
  {conclusive(sql.join_amount(*amount_column_names(sql, "e.restated")))} AS restated,
  {conclusive(sql.join_amount(*unexplained))} AS unexplained,
  CASE
    WHEN e.waits = 1 THEN '{WAITS}'
    WHEN {above_zero(unexplained)} THEN 'unexplained credit'
    WHEN {above_zero(negative(unexplained))} THEN 'unexplained charge'
    WHEN {" OR ".join(f"e.restated_{n} <> 0" for n in indices)} THEN 'restated'
    ELSE 'explained'
  END AS finding
FROM (
  SELECT d.account_id, d.opened_at, d.closed_at, d.waits,
    {forwarded("d", "opening", "closing", "charged", "top_ups", "carried", "difference")},
    {", ".join(restated)}
  FROM (
    SELECT q.account_id, q.opened_at, q.closed_at, q.waits,
      {forwarded("q", "opening", "closing", "top_ups", "rose", "fell")},
      {amount_columns("{part} AS charged_{}", charged)},
      {amount_columns("{part} AS difference_{}", left)},
      {amount_columns("{part} AS carried_{}", parts(lambda n: f"({left[n]} - {own[n]})"))}
    FROM (
      SELECT p.account_id, p.opened_at, p.closed_at,
        CASE WHEN p.unproven_days = 0 AND p.since IS NOT NULL THEN 0 ELSE 1 END AS waits,
        {", ".join(amount_columns(f"{{part}} AS {name}_{{}}", sql.split_amount(f"p.{name}")) for name in amounts)},
        {restated_since("up", "rose")}, {restated_since("down", "fell")},
        {paid_in("opened_at", "top_ups")}, {paid_in("since", "paid_in")}
      FROM (
        SELECT b.account_id, b.unproven_days, b.taken_at AS closed_at, b.balance AS closing,
          b.recorded_spend AS closing_spend, b.restated_up AS closing_up, b.restated_down AS closing_down,
          LAG(b.taken_at) OVER w AS opened_at, LAG(b.balance) OVER w AS opening,
          LAG(b.recorded_spend) OVER w AS opening_spend,
          LAG(b.taken_at) OVER k AS since, LAG(b.balance) OVER k AS since_balance,
          LAG(b.recorded_spend) OVER k AS since_spend, LAG(b.restated_up) OVER k AS since_up,
          LAG(b.restated_down) OVER k AS since_down
        FROM balance_snapshots b
        WINDOW w AS (PARTITION BY b.account_id ORDER BY b.taken_at, b.id),
          k AS (
            PARTITION BY b.account_id, CASE WHEN b.unproven_days = 0 THEN 1 ELSE 0 END ORDER BY b.taken_at, b.id
          )
      ) p
      WHERE p.opened_at IS NOT NULL
    ) q
  ) d
) e
{join_account("e")}"""


def _freshness_query(sql: SqlExpressions) -> str:
    hours_behind = f"CASE WHEN a.retired_at IS NULL THEN {sql.hours_since.format('s.synced_until_utc')} END"
    return f"""SELECT a.label AS account, s.last_synced_date, s.last_success_at,
  {sql.cast_hours(hours_behind)} AS hours_behind,
  COALESCE(s.open_days, 0) AS open_days, COALESCE(s.suspect_days, 0) AS suspect_days, a.retired_at,
  a.currency, {sql.hundredths("a.vat_basis_points")} AS vat_rate, a.vat
FROM accounts a
LEFT JOIN sync_state s ON s.account_id = a.id
WHERE a.deletion_started_at IS NULL"""


_QUERIES: Final[dict[str, Callable[[SqlExpressions], str]]] = {
    "billing": _billing_query,
    "daily_spend": _daily_spend_query,
    "monthly_spend": _monthly_spend_query,
    "delivery_by_operator": _delivery_by_operator_query,
    "daily_channels": _daily_channels_query,
    "hourly_spend": _hourly_spend_query,
    "restated_days": _restated_days_query,
    "balance_proof": _balance_proof_query,
    "monthly_close": monthly_close_query,
    "restatement_lines": restatement_lines_query,
    "calendar": calendar_query,
    "focus_charges": focus_charges_query,
    "freshness": _freshness_query,
}
VIEWS: Final = tuple(_QUERIES)
"""Names of the views, in the order of creation."""
FUNCTIONS: Final = ("billing_asof",)
"""Functions that accompany the views on PostgreSQL."""
