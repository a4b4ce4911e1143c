"""The views: the stable face for BI tools, equal on the three databases.

They are made anew after every migration. A change of a view therefore comes with a revision, an empty one if need be.
Sums are exact: NUMERIC does that on PostgreSQL and MariaDB. SQLite adds in binary floats, so there amounts are summed
as two integers, whole units and millionths, and shown as a number below a billion (where a binary float still tells
every millionth) and as text from there on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VIEWS: Final = ("billing", "daily_spend", "restated_days", "freshness")


@dataclass(frozen=True, slots=True)
class _Words:
    """How one database says what the standard leaves open."""

    day_of: str
    text: str
    integer: str
    hours_since: str

    def money(self, price: str, times: str, *, total: bool = False) -> str:
        """Price times a number, or the sum of that, exactly."""
        product = f"{price} * {times}" if times != "1" else price
        return f"SUM({product})" if total else product

    def difference(self, after: str, before: str) -> str:
        return f"{after} - {before}"

    def is_true(self, condition: str) -> str:
        return f"COALESCE({condition}, FALSE)"


class _SQLiteWords(_Words):
    def money(self, price: str, times: str, *, total: bool = False) -> str:
        units, millionths = (f"{part} * {times}" for part in _two_integers(price))
        return _shown(f"SUM({units})", f"SUM({millionths})") if total else _shown(units, millionths)

    def difference(self, after: str, before: str) -> str:
        return _shown(
            *(f"({one} - {other})" for one, other in zip(_two_integers(after), _two_integers(before), strict=True))
        )


def _two_integers(price: str) -> tuple[str, str]:
    """Whole units and millionths of an amount kept as text of six decimal places, both with its sign."""
    sign = f"(CASE WHEN {price} LIKE '-%' THEN -1 ELSE 1 END)"
    return f"CAST({price} AS INTEGER)", f"({sign} * CAST(substr({price}, -6) AS INTEGER))"


def _shown(units: str, millionths: str) -> str:
    """The amount as a number where a number is exact, as text of six decimal places elsewhere."""
    whole = f"({units} + {millionths} / 1000000)"
    rest = f"({millionths} % 1000000)"
    borrow = f"(({whole} < 0 AND {rest} > 0) - ({whole} > 0 AND {rest} < 0))"
    return (
        f"CASE WHEN abs({whole}) < 1000000000 THEN ({whole} * 1000000 + {rest}) / 1000000.0 "
        f"ELSE printf('%d.%06d', {whole} + {borrow}, abs({rest} - {borrow} * 1000000)) END"
    )


_WORDS: Final[dict[str, _Words]] = {
    "postgresql": _Words(
        day_of="CAST({} AS DATE)",
        text="TEXT",
        integer="CAST({} AS BIGINT)",
        hours_since="ROUND(CAST(EXTRACT(EPOCH FROM (now() AT TIME ZONE 'UTC') - {}) / 3600 AS NUMERIC), 1)",
    ),
    "sqlite": _SQLiteWords(
        day_of="date({})",
        text="TEXT",
        integer="CAST({} AS INTEGER)",
        hours_since="ROUND((julianday('now') - julianday({})) * 24, 1)",
    ),
    "mysql": _Words(
        day_of="CAST({} AS DATE)",
        text="CHAR(255)",
        integer="CAST({} AS SIGNED)",
        hours_since="ROUND(TIMESTAMPDIFF(SECOND, {}, UTC_TIMESTAMP()) / 3600, 1)",
    ),
}


def define_views(backend: str) -> dict[str, str]:
    """The query of each view, by name, in the order they are to be made.

    Args:
        backend: `sqlite`, `postgresql`, `mysql` or `mariadb`.
    """
    words = _WORDS["mysql" if backend == "mariadb" else backend]
    return dict(zip(VIEWS, (query(words) for query in _QUERIES), strict=True))


def make_views(backend: str) -> list[str]:
    """The statements that make all views."""
    return [f"CREATE VIEW {name} AS\n{query}" for name, query in define_views(backend).items()]


def drop_views() -> list[str]:
    """The statements that remove all views."""
    return [f"DROP VIEW IF EXISTS {name}" for name in reversed(VIEWS)]


_DAY_STATE: Final = """CASE
    WHEN d.suspect_since IS NOT NULL THEN 'suspect'
    WHEN d.first_closed_at IS NULL THEN 'open'
    WHEN s.settled_through IS NULL OR d.day > s.settled_through THEN 'settling'
    ELSE 'closed'
  END"""


def _with_its_day(words: _Words) -> str:
    return f"""FROM billing_records r
JOIN accounts a ON a.id = r.account_id
LEFT JOIN synced_days d ON d.account_id = r.account_id AND d.day = {words.day_of.format("r.created_at")}
LEFT JOIN sync_state s ON s.account_id = r.account_id
WHERE r.withdrawn_at IS NULL"""


# What goes into the statements below is our own SQL, chosen by database: there is no value in it.


def _billing(words: _Words) -> str:
    return f"""SELECT a.label AS account, r.created_at, r.created_at_utc, {words.day_of.format("r.created_at")} AS day,
  r.phone, r.code_auth, r.status, r.status_info,
  {words.money("r.price", "1")} AS price, r.repeats,
  {words.money("r.price", "r.repeats")} AS amount,
  {words.is_true("r.status = 1")} AS delivered,
  CAST(NULL AS {words.text}) AS operator, CAST(NULL AS {words.text}) AS region,
  {_DAY_STATE} AS day_state,
  r.first_seen_at, r.updated_at
{_with_its_day(words)}"""


def _daily_spend(words: _Words) -> str:
    day = words.day_of.format("r.created_at")
    delivered = "SUM(CASE WHEN r.status = 1 THEN r.repeats ELSE 0 END)"
    return f"""SELECT a.label AS account, {day} AS day,
  {words.integer.format("SUM(r.repeats)")} AS records,
  {words.integer.format(delivered)} AS delivered,
  {words.integer.format(f"SUM(r.repeats) - {delivered}")} AS failed,
  {words.money("r.price", "r.repeats", total=True)} AS spend,
  {words.money("r.price", "(r.repeats - 1)", total=True)} AS repeated_spend,
  {_DAY_STATE} AS day_state
{_with_its_day(words)}
GROUP BY a.label, {day}, d.suspect_since, d.first_closed_at, d.day, s.settled_through"""


def _restated_days(words: _Words) -> str:
    return f"""SELECT a.label AS account, d.day, d.first_closed_at, d.restated_at,
  {words.money("d.first_closed_spend", "1")} AS spend_before,
  {words.money("d.spend", "1")} AS spend_after,
  {words.difference("d.spend", "d.first_closed_spend")} AS delta
FROM synced_days d
JOIN accounts a ON a.id = d.account_id
WHERE d.restated_at IS NOT NULL"""


def _freshness(words: _Words) -> str:
    open_days = "SUM(CASE WHEN d.first_closed_at IS NULL THEN 1 ELSE 0 END)"
    suspect_days = "SUM(CASE WHEN d.suspect_since IS NOT NULL THEN 1 ELSE 0 END)"
    of_account = "FROM synced_days d WHERE d.account_id = a.id"
    return f"""SELECT a.label AS account, s.last_synced_date, s.last_success_at,
  {words.hours_since.format("s.synced_until_utc")} AS hours_behind,
  {words.integer.format(f"COALESCE((SELECT {open_days} {of_account}), 0)")} AS open_days,
  {words.integer.format(f"COALESCE((SELECT {suspect_days} {of_account}), 0)")} AS suspect_days
FROM accounts a
LEFT JOIN sync_state s ON s.account_id = a.id"""


_QUERIES: Final = (_billing, _daily_spend, _restated_days, _freshness)
