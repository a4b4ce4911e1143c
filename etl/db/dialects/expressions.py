"""How each database says what the standard leaves open.

Sums are exact: NUMERIC does that on PostgreSQL and MariaDB. SQLite adds in binary floats, so there an amount is two
integers, whole units and millionths, until it is shown: as a number below a billion (where a binary float still tells
every millionth) and as text from there on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SqlExpressions:
    """What a query is put together from.

    Attributes:
        day_of: The date of a time.
        month_of: The first day of the month of a time or a date.
        integer: Of a sum that the database would make something else of.
        hours_since: A UTC time, to a tenth.
        full_number: Whether a text is a Russian number in canonical form, and no more than that.
        shifted: A time so many seconds later.
    """

    day_of: str
    month_of: str
    integer: str
    hours_since: str
    full_number: str
    shifted: str

    def split_amount(self, amount: str) -> tuple[str, ...]:
        """An amount as numbers that add up to it, and that the database adds exactly."""
        return (amount,)

    def join_amount(self, *parts: str) -> str:
        """The amount that such numbers, or their sums, are parts of."""
        (amount,) = parts
        return amount

    def is_positive(self, *parts: str) -> str:
        """Whether the amount of these parts is above zero."""
        (amount,) = parts
        return f"{amount} > 0"

    def divide(self, parts: tuple[str, ...], count: str) -> str:
        """The amount of these parts, none of them a sum, divided by a count above zero: to the millionth."""
        # To twenty places first: of a rounded quotient the last place could be rounded twice.
        return f"ROUND(CAST({self.join_amount(*parts)} AS DECIMAL(50, 20)) / {count}, 6)"

    def ratio(self, part: str, whole: str) -> str:
        """A count over a count above zero, to four places."""
        return f"ROUND(CAST({part} AS DECIMAL(50, 20)) / {whole}, 4)"

    def is_true(self, condition: str) -> str:
        """False where the condition is unknown."""
        return f"COALESCE({condition}, FALSE)"

    def total(self, price: str, times: str = "1", *, total: bool = False) -> str:
        """Price times a number, or the sum of that."""
        products = (part if times == "1" else f"{part} * {times}" for part in self.split_amount(price))
        return self.join_amount(*(f"SUM({product})" if total else product for product in products))

    def subtract(self, after: str, before: str) -> str:
        """One amount less another."""
        pairs = zip(self.split_amount(after), self.split_amount(before), strict=True)
        return self.join_amount(*(f"({one} - {other})" for one, other in pairs))


class _SQLiteExpressions(SqlExpressions):
    def split_amount(self, amount: str) -> tuple[str, ...]:
        """Whole units and millionths of an amount kept as text of six decimal places, both with its sign."""
        sign = f"(CASE WHEN {amount} LIKE '-%' THEN -1 ELSE 1 END)"
        return f"CAST({amount} AS INTEGER)", f"({sign} * CAST(substr({amount}, -6) AS INTEGER))"

    def join_amount(self, *parts: str) -> str:
        """A number where a number is exact, text of six decimal places elsewhere."""
        units, millionths = _of_one_sign(*parts)
        whole, rest = f"({parts[0]} + {parts[1]} / 1000000)", f"({parts[1]} % 1000000)"
        return (
            f"CASE WHEN abs({whole}) < 1000000000 THEN ({whole} * 1000000 + {rest}) / 1000000.0 "
            f"ELSE printf('%d.%06d', {units}, abs({millionths})) END"
        )

    def is_positive(self, *parts: str) -> str:
        units, millionths = parts
        return f"{units} + {millionths} / 1000000.0 > 0"

    def divide(self, parts: tuple[str, ...], count: str) -> str:
        units, millionths = _of_one_sign(*parts)
        rest = f"({units} % {count} * 1000000 + {millionths})"
        half = f"(CASE WHEN {rest} < 0 THEN -{count} ELSE {count} END)"
        return self.join_amount(f"({units} / {count})", f"((2 * {rest} + {half}) / (2 * {count}))")

    def ratio(self, part: str, whole: str) -> str:
        return f"(20000 * {part} + {whole}) / (2 * {whole}) / 10000.0"


def _of_one_sign(units: str, millionths: str) -> tuple[str, str]:
    """The same amount with fewer than a million millionths, on the same side of zero as its units."""
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
        shifted="{time} + make_interval(secs => {seconds})",
    ),
    "sqlite": _SQLiteExpressions(
        day_of="date({})",
        month_of="date({}, 'start of month')",
        integer="CAST({} AS INTEGER)",
        hours_since="ROUND((julianday('now') - julianday({})) * 24, 1)",
        full_number=f"{{}} GLOB '+7{'[0-9]' * 10}'",
        shifted="datetime({time}, '{seconds} seconds')",
    ),
    "mysql": SqlExpressions(
        day_of="CAST({} AS DATE)",
        month_of="CAST({0} - INTERVAL DAYOFMONTH({0}) - 1 DAY AS DATE)",
        integer="CAST({} AS SIGNED)",
        hours_since="ROUND(TIMESTAMPDIFF(SECOND, {}, UTC_TIMESTAMP()) / 3600, 1)",
        full_number="{} REGEXP '^[+]7[0-9]{{10}}$'",
        shifted="TIMESTAMPADD(SECOND, {seconds}, {time})",
    ),
}
"""By SQLAlchemy's name of the backend; MariaDB's are MySQL's."""


def expressions_for(backend: str) -> SqlExpressions:
    """Those of `sqlite`, `postgresql`, `mysql` or `mariadb`."""
    return DIALECTS["mysql" if backend == "mariadb" else backend]
