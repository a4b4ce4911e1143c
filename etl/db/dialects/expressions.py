"""SQL expressions that differ between SQLite, PostgreSQL and MariaDB.

Sums are exact. PostgreSQL and MariaDB use NUMERIC; SQLite adds binary floats, so an amount there is computed as two
integers, whole units and millionths. Its result is a number below one billion, where a binary float represents every
millionth, and text from there on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SqlExpressions:
    """Format strings and builders of SQL expressions for one database.

    Attributes:
        day_of: Date of a time.
        month_of: First day of the month of a time or a date.
        integer: Cast of a sum to an integer.
        hours_since: Hours since a UTC time, rounded to one decimal place.
        full_number: Whether a text is a complete Russian number in canonical form (`+7` and ten digits).
        next_day: Day after a date.
        to_utc: Time `{time}` in UTC, of which it is `{offset}` minutes ahead.
    """

    day_of: str
    month_of: str
    integer: str
    hours_since: str
    full_number: str
    next_day: str
    to_utc: str

    def split_amount(self, amount: str) -> tuple[str, ...]:
        """Split an amount into numbers that the database can add exactly."""
        return (amount,)

    def join_amount(self, *parts: str) -> str:
        """Combine the parts of `split_amount`, or their sums, to an amount."""
        (amount,) = parts
        return amount

    def is_positive(self, *parts: str) -> str:
        """Whether the amount of these parts is greater than zero."""
        (amount,) = parts
        return f"{amount} > 0"

    def divide(self, parts: tuple[str, ...], count: str) -> str:
        """Divide the amount of these parts by a positive count, to six decimal places; the parts must not be sums."""
        # Divide with twenty decimal places, so that the result is rounded only once.
        return f"ROUND(CAST({self.join_amount(*parts)} AS DECIMAL(50, 20)) / {count}, 6)"

    def ratio(self, part: str, whole: str) -> str:
        """Divide a count by a positive count, rounded to four decimal places."""
        return f"ROUND(CAST({part} AS DECIMAL(50, 20)) / {whole}, 4)"

    def is_true(self, condition: str) -> str:
        """Boolean of a condition; FALSE if it is NULL."""
        return f"COALESCE({condition}, FALSE)"

    def total(self, price: str, times: str = "1", *, total: bool = False) -> str:
        """Price times a number of repeats; with `total`, the sum of it."""
        products = (part if times == "1" else f"{part} * {times}" for part in self.split_amount(price))
        return self.join_amount(*(f"SUM({product})" if total else product for product in products))

    def subtract(self, after: str, before: str) -> str:
        """Difference of two amounts."""
        pairs = zip(self.split_amount(after), self.split_amount(before), strict=True)
        return self.join_amount(*(f"({minuend} - {subtrahend})" for minuend, subtrahend in pairs))


class _SQLiteExpressions(SqlExpressions):
    def split_amount(self, amount: str) -> tuple[str, ...]:
        """Units and millionths of an amount stored as text of six decimal places, both with its sign."""
        sign = f"(CASE WHEN {amount} LIKE '-%' THEN -1 ELSE 1 END)"
        return f"CAST({amount} AS INTEGER)", f"({sign} * CAST(substr({amount}, -6) AS INTEGER))"

    def join_amount(self, *parts: str) -> str:
        """A number below one billion, where it is exact; text of six decimal places from there on."""
        units, millionths = _same_sign(*parts)
        whole, rest = f"({parts[0]} + {parts[1]} / 1000000)", f"({parts[1]} % 1000000)"
        return (
            f"CASE WHEN abs({whole}) < 1000000000 THEN ({whole} * 1000000 + {rest}) / 1000000.0 "
            f"ELSE printf('%d.%06d', {units}, abs({millionths})) END"
        )

    def is_positive(self, *parts: str) -> str:
        units, millionths = parts
        return f"{units} + {millionths} / 1000000.0 > 0"

    def divide(self, parts: tuple[str, ...], count: str) -> str:
        units, millionths = _same_sign(*parts)
        rest = f"({units} % {count} * 1000000 + {millionths})"
        half = f"(CASE WHEN {rest} < 0 THEN -{count} ELSE {count} END)"
        return self.join_amount(f"({units} / {count})", f"((2 * {rest} + {half}) / (2 * {count}))")

    def ratio(self, part: str, whole: str) -> str:
        return f"(20000 * {part} + {whole}) / (2 * {whole}) / 10000.0"


def _same_sign(units: str, millionths: str) -> tuple[str, str]:
    """Normalise an amount: fewer than a million millionths, with the same sign as the units."""
    whole = f"({units} + {millionths} / 1000000)"
    rest = f"({millionths} % 1000000)"
    borrow = f"(({whole} < 0 AND {rest} > 0) - ({whole} > 0 AND {rest} < 0))"
    return f"({whole} + {borrow})", f"({rest} - {borrow} * 1000000)"


DIALECTS: Final[dict[str, SqlExpressions]] = {
    "postgresql": SqlExpressions(
        day_of="CAST({} AS DATE)",
        month_of="CAST(date_trunc('month', {}) AS DATE)",
        integer="CAST({} AS BIGINT)",
        hours_since="ROUND(CAST(EXTRACT(EPOCH FROM (now() AT TIME ZONE 'UTC') - {}) / 3600 AS NUMERIC), 1)",
        full_number="{} ~ '^[+]7[0-9]{{10}}$'",
        next_day="{} + 1",
        to_utc="{time} - make_interval(mins => {offset})",
    ),
    "sqlite": _SQLiteExpressions(
        day_of="date({})",
        month_of="date({}, 'start of month')",
        integer="CAST({} AS INTEGER)",
        hours_since="ROUND((julianday('now') - julianday({})) * 24, 1)",
        full_number=f"{{}} GLOB '+7{'[0-9]' * 10}'",
        next_day="date({}, '+1 day')",
        to_utc="datetime({time}, (0 - {offset}) || ' minutes')",
    ),
    "mysql": SqlExpressions(
        day_of="CAST({} AS DATE)",
        month_of="CAST({0} - INTERVAL DAYOFMONTH({0}) - 1 DAY AS DATE)",
        integer="CAST({} AS SIGNED)",
        hours_since="ROUND(TIMESTAMPDIFF(SECOND, {}, UTC_TIMESTAMP()) / 3600, 1)",
        full_number="{} REGEXP '^[+]7[0-9]{{10}}$'",
        next_day="{} + INTERVAL 1 DAY",
        to_utc="TIMESTAMPADD(MINUTE, 0 - {offset}, {time})",
    ),
}
"""Expressions by SQLAlchemy's backend name; MariaDB uses those of MySQL."""


def expressions_for(backend: str) -> SqlExpressions:
    """Return the expressions of `sqlite`, `postgresql`, `mysql` or `mariadb`."""
    return DIALECTS["mysql" if backend == "mariadb" else backend]
