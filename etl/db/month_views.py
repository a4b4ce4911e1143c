"""Views for the close of a month, from the totals of the day ledger: calendar, monthly_close, restatement_lines."""

from __future__ import annotations

from typing import Final

from etl.db.dialects.expressions import SqlExpressions
from etl.db.view_parts import DAY_STATE, amount_column_names, amount_columns, join_account

SINCE_CLOSE: Final = "(j.id > c.journal_id OR j.restated_at > c.closed_at)"
"""Whether a line of the journal came after a closing. Up to revision 0010, SQLite used ids of purged lines again."""


def _missing_days(sql: SqlExpressions) -> str:
    """A subquery of the days between those of the ledger: each gap is halved until its parts are single days.

    Halving takes few steps: MariaDB ends a recursion after 1,000.
    """
    gap = sql.days_between.format(start="l.day", end="l.next_day")
    half = "((g.length + 1) >> 1)"
    return f"""(
  WITH RECURSIVE gaps (account_id, day, length) AS (
    SELECT l.account_id, {sql.next_day.format("l.day")}, {gap} - 1
    FROM (
      SELECT account_id, day, LEAD(day) OVER (PARTITION BY account_id ORDER BY day) AS next_day FROM synced_days
    ) l
    WHERE {gap} > 1
    UNION ALL
    SELECT g.account_id, {sql.add_days.format(day="g.day", days=f"part.n * {half}")},
      CASE WHEN part.n = 0 THEN {half} ELSE g.length - {half} END
    FROM gaps g
    CROSS JOIN (SELECT 0 AS n UNION ALL SELECT 1) part
    WHERE g.length > 1
  )
  SELECT account_id, day FROM gaps WHERE length = 1
)"""


def _calendar_days(sql: SqlExpressions) -> str:
    """A subquery of each account's days from the first to the last one in the ledger.

    Days that are not in the ledger have the state `missing`, and no records and no spend.
    """
    spend = sql.split_amount("d.spend")
    nothing = ", ".join("NULL" for _ in spend)
    return f"""(
  SELECT d.account_id, d.day, {DAY_STATE} AS state, d.records, {amount_columns("{part} AS spend_{}", spend)}
  FROM synced_days d
  LEFT JOIN sync_state s ON s.account_id = d.account_id
  UNION ALL
  SELECT g.account_id, g.day, 'missing', NULL, {nothing}
  FROM {_missing_days(sql)} g
)"""


def calendar_query(sql: SqlExpressions) -> str:
    """Each day since the first one, also those without a charge and those that were never stored."""
    spend = sql.join_amount(*amount_column_names(sql, "c.spend"))
    return f"""SELECT a.label AS account, c.day, c.state AS day_state, c.records,
  {sql.cast_amount(f"CASE WHEN c.state <> 'missing' THEN {spend} END")} AS spend
FROM {_calendar_days(sql)} c
{join_account("c")}"""


def join_closing(alias: str, month: str) -> str:
    """Join the last closing `c` of the month of a row."""
    return f"""LEFT JOIN closed_months c ON c.account_id = {alias}.account_id AND c.month = {month}
  AND c.closing = (
    SELECT MAX(n.closing) FROM closed_months n WHERE n.account_id = c.account_id AND n.month = c.month
  )"""


def restatement_lines_query(sql: SqlExpressions) -> str:
    """The journal without personal data."""
    return f"""SELECT a.label AS account, j.day, j.restated_at, j.kind,
  {sql.total("j.delta")} AS delta, j.run_id, j.id AS line,
  {SINCE_CLOSE} AS since_close
FROM restatements j
{join_account("j")}
{join_closing("j", sql.month_of.format("j.day"))}"""


def monthly_close_query(sql: SqlExpressions) -> str:
    """Months with the state of their days, their last closing, and the VAT of both amounts.

    Currency and VAT are those of the last closing, else those of the account.
    """
    month, next_month = sql.month_of.format("d.day"), sql.next_month.format("m.month")
    names = {name: amount_column_names(sql, name) for name in ("spend", "booked", "vat", "booked_vat")}
    indices = range(len(names["spend"]))

    def count(state: str) -> str:
        return sql.integer.format(f"SUM(CASE WHEN d.state = '{state}' THEN 1 ELSE 0 END)")

    def vat(amount: str, name: str) -> str:
        return amount_columns(f"{{part}} AS {name}_{{}}", sql.multiply(names[amount], "t.rate", "t.base"))

    def difference(minuend: str, subtrahend: str) -> str:
        return sql.join_amount(*(f"({names[minuend][n]} - {names[subtrahend][n]})" for n in indices))

    def total(first: str, second: str) -> str:
        return sql.join_amount(*(f"({names[first][n]} + {names[second][n]})" for n in indices))

    def when(condition: str, amount: str) -> str:
        return sql.cast_amount(f"CASE WHEN {condition} THEN {amount} END")

    def split(amount: str, tax: str, present: str) -> tuple[str, str, str]:
        """Net, VAT and gross of an amount."""
        own = sql.join_amount(*names[amount])
        net = f"CASE WHEN v.vat_mode = 'included' THEN {difference(amount, tax)} ELSE {own} END"
        gross = f"CASE WHEN v.vat_mode = 'included' THEN {own} ELSE {total(amount, tax)} END"
        return when(present, net), when(present, sql.join_amount(*names[tax])), when(present, gross)

    net, tax, gross = split("spend", "vat", "v.rate IS NOT NULL")
    is_booked = "v.closed_at IS NOT NULL"
    booked_net, booked_tax, booked_gross = split("booked", "booked_vat", f"v.rate IS NOT NULL AND {is_booked}")
    closed_or_own = {
        name: f"CASE WHEN c.closing IS NULL THEN a.{name} ELSE c.{name} END"
        for name in ("currency", "vat_basis_points", "vat")
    }
    rate = closed_or_own["vat_basis_points"]
    return f"""SELECT v.account, v.month, v.days = v.days_closed AS final, v.days_missing, v.days_settling, v.closed_at,
  {when(is_booked, sql.join_amount(*names["booked"]))} AS booked,
  {sql.join_amount(*names["spend"])} AS spend,
  {when(is_booked, difference("spend", "booked"))} AS changed_since_close,
  v.currency, {net} AS net, {tax} AS vat, {gross} AS gross,
  {sql.hundredths("v.rate")} AS vat_rate, v.closed_as, v.closings,
  {booked_net} AS booked_net, {booked_tax} AS booked_vat, {booked_gross} AS booked_gross,
  v.records, v.days_closed, v.days_open, v.days_suspect, v.days_ahead
FROM (
  SELECT t.*, {vat("spend", "vat")}, {vat("booked", "booked_vat")}
  FROM (
    SELECT a.label AS account, m.month, m.days_closed, m.days_settling, m.days_open, m.days_suspect, m.records,
      m.length AS days, m.days_ahead,
      m.length - m.days_ahead - m.days_closed - m.days_settling - m.days_open - m.days_suspect AS days_missing,
      c.kind AS closed_as, c.closed_at, c.closing AS closings,
      {amount_columns("m.{part} AS {part}", names["spend"])},
      {amount_columns("{part} AS booked_{}", sql.split_amount("c.booked"))},
      {closed_or_own["currency"]} AS currency,
      {rate} AS rate, {closed_or_own["vat"]} AS vat_mode,
      CASE WHEN {closed_or_own["vat"]} = 'included' THEN 10000 + {rate} ELSE 10000 END AS base
    FROM (
      SELECT m.*, {sql.days_between.format(start="m.month", end=next_month)} AS length,
        CASE WHEN l.day >= m.month AND l.day < {next_month}
          THEN {sql.days_between.format(start="l.day", end=next_month)} - 1 ELSE 0 END AS days_ahead
      FROM (
        SELECT d.account_id, {month} AS month,
          {count("closed")} AS days_closed, {count("settling")} AS days_settling,
          {count("open")} AS days_open, {count("suspect")} AS days_suspect,
          {sql.integer.format("COALESCE(SUM(d.records), 0)")} AS records,
          {amount_columns("COALESCE(SUM(d.{part}), 0) AS {part}", names["spend"])}
        FROM {_calendar_days(sql)} d
        GROUP BY d.account_id, {month}
      ) m
      JOIN (SELECT account_id, MAX(day) AS day FROM synced_days GROUP BY account_id) l ON l.account_id = m.account_id
    ) m
    {join_account("m")}
    {join_closing("m", "m.month")}
  ) t
) v"""
