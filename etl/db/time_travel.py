"""The records as they were known at a moment, told by the journal.

The journal has a line for every change of a day after it was closed, with what the record was before. To undo all lines
after a moment, the newest first, leaves of each record what the oldest of them says it was before; one without such a
line was what it is now. Of a day that was still open nobody can say: its changes left no line. It is left out whole.
"""

from __future__ import annotations

from etl.db.dialects.expressions import SqlExpressions


def point_in_time_records(words: SqlExpressions, moment: str) -> str:
    """What takes the place of `billing_records` in a query: its current rows as of a moment.

    Args:
        words: Of the database.
        moment: What stands for it in the query: UTC without a zone.
    """
    day = words.day_of.format("r.created_at")
    # Lines and days are looked up, not joined: without statistics no planner knows how to join them.
    return f"""(
  SELECT r.account_id, r.created_at, r.phone, r.code_auth, r.ordinal,
    CASE WHEN l.id IS NULL THEN r.status ELSE l.status_before END AS status,
    CASE WHEN l.id IS NULL THEN r.status_info ELSE l.status_info_before END AS status_info,
    CASE WHEN l.id IS NULL THEN r.price ELSE l.price_before END AS price,
    CASE WHEN l.id IS NULL THEN r.repeats ELSE l.repeats_before END AS repeats,
    r.created_at_utc, r.first_seen_at, CASE WHEN l.id IS NULL THEN r.updated_at END AS updated_at,
    NULL AS withdrawn_at
  FROM billing_records r
  LEFT JOIN restatements l ON l.id = (
    SELECT MIN(j.id) FROM restatements j
    WHERE j.account_id = r.account_id AND j.created_at = r.created_at AND j.phone = r.phone
      AND j.code_auth = r.code_auth AND j.ordinal = r.ordinal AND j.restated_at > {moment}
  )
  WHERE CASE WHEN l.id IS NULL THEN r.withdrawn_at IS NULL ELSE l.repeats_before > 0 END
    AND (SELECT c.first_closed_at FROM synced_days c WHERE c.account_id = r.account_id AND c.day = {day}) <= {moment}
)"""
