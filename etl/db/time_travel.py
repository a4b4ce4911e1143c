"""Point-in-time query: the rows of billing_records as they were stored at an earlier time.

The journal has a line with the previous state for every change of a closed day. The state of a record at an earlier
time is therefore the previous state of its first journal line after that time, or its current state if there is no such
line. Changes of open days leave no lines: days that were not closed at that time are excluded. A channel is that of the
present rules; of a record whose text or price has changed since, it is empty.
"""

from __future__ import annotations

from etl.db.dialects.expressions import SqlExpressions


def point_in_time_records(sql: SqlExpressions, moment: str) -> str:
    """Build a subquery that replaces `billing_records`: its current rows as of a time.

    Args:
        sql: SQL expressions of the database.
        moment: SQL expression of the time: UTC without a zone.
    """
    day = sql.day_of.format("r.created_at")
    # Scalar subqueries, not joins: without statistics the planners choose slow join orders.
    return f"""(
  SELECT r.account_id, r.created_at, r.phone, r.code_auth, r.ordinal,
    CASE WHEN l.id IS NULL THEN r.status ELSE l.status_before END AS status,
    CASE WHEN l.id IS NULL THEN r.status_info ELSE l.status_info_before END AS status_info,
    CASE WHEN l.id IS NULL THEN r.price ELSE l.price_before END AS price,
    CASE WHEN l.id IS NULL THEN r.repeats ELSE l.repeats_before END AS repeats,
    r.utc_offset, r.first_seen_at,
    CASE WHEN l.id IS NULL THEN COALESCE(r.updated_at, r.first_seen_at) END AS updated_at,
    NULL AS withdrawn_at,
    CASE WHEN l.id IS NULL OR (l.status_info_before = r.status_info AND l.price_before = r.price)
      THEN r.channel END AS channel
  FROM billing_records r
  LEFT JOIN restatements l ON l.id = (
    SELECT MIN(j.id) FROM restatements j
    WHERE j.account_id = r.account_id AND j.created_at = r.created_at AND j.phone = r.phone
      AND j.code_auth = r.code_auth AND j.ordinal = r.ordinal AND j.restated_at > {moment}
  )
  WHERE CASE WHEN l.id IS NULL THEN r.withdrawn_at IS NULL ELSE l.repeats_before > 0 END
    AND (SELECT c.first_closed_at FROM synced_days c WHERE c.account_id = r.account_id AND c.day = {day}) <= {moment}
)"""
