"""SQL expressions that differ between the databases.

Sums are exact. A database with NUMERIC uses the methods as they are; another one splits an amount into integers.
"""

from __future__ import annotations

from dataclasses import dataclass

from etl.db.dialects import dialect_for


@dataclass(frozen=True, slots=True)
class SqlExpressions:
    """Format strings and builders of SQL expressions for one database.

    Attributes:
        day_of: Date of a time.
        month_of: First day of the month of a time or a date.
        weekday_of: Number of the weekday of a time; Monday is 1.
        integer: Cast of a sum to an integer.
        hours_since: Hours since a UTC time, for `cast_hours`.
        full_number: Whether a text is a complete Russian number in canonical form (`+7` and ten digits).
        next_day: Day after a date.
        next_month: First day of the month after that of a first day of a month.
        add_days: Date `{day}` and `{days}` days, a whole number.
        days_between: Days from a date `{start}` to a date `{end}`.
        utc_text: Date as the text of its first second, ISO 8601 with `Z`.
        to_utc: Time `{time}` in UTC, of which it is `{offset}` minutes ahead.
    """

    day_of: str
    month_of: str
    weekday_of: str
    integer: str
    hours_since: str
    full_number: str
    next_day: str
    next_month: str
    add_days: str
    days_between: str
    utc_text: str
    to_utc: str

    def name(self, column: str) -> str:
        """Name of a column with capitals, which every database but PostgreSQL keeps without quotes."""
        return column

    def split_amount(self, amount: str) -> tuple[str, ...]:
        """Split an amount into numbers that the database can add exactly."""
        return (amount,)

    def join_amount(self, *parts: str) -> str:
        """Combine the parts of `split_amount`, or their sums, to an amount."""
        (amount,) = parts
        return self.cast_amount(amount)

    def cast_amount(self, amount: str) -> str:
        """Give an amount the type that all amounts of the views have.

        PostgreSQL reports no precision for a sum or a CASE: readers would get a float, a text or an error.
        """
        return f"CAST({amount} AS DECIMAL(38, 6))"

    def is_positive(self, *parts: str) -> str:
        """Whether the amount of these parts is greater than zero."""
        (amount,) = parts
        return f"{amount} > 0"

    def divide(self, parts: tuple[str, ...], count: str) -> str:
        """Divide the amount of these parts by a positive count, to six decimal places; the parts must not be sums."""
        # Divide with twenty decimal places, so that the result is rounded only once.
        (amount,) = parts
        return self.cast_amount(f"ROUND(CAST({amount} AS DECIMAL(50, 20)) / {count}, 6)")

    def ratio(self, part: str, whole: str) -> str:
        """Divide a count by a positive count, rounded to four decimal places."""
        return f"CAST(ROUND(CAST({part} AS DECIMAL(50, 20)) / {whole}, 4) AS DECIMAL(12, 4))"

    def cast_hours(self, hours: str) -> str:
        """Round a number of hours to one decimal place, and give it its type."""
        return f"CAST({hours} AS DECIMAL(12, 1))"

    def multiply(self, parts: tuple[str, ...], numerator: str, denominator: str) -> tuple[str, ...]:
        """Multiply the amount of these parts by a fraction of two counts up to 20,000, to six decimal places.

        The parts must not be sums. A half is rounded away from zero.
        """
        (amount,) = parts
        return (f"ROUND(CAST({amount} AS DECIMAL(50, 20)) * {numerator} / {denominator}, 6)",)

    def hundredths(self, count: str) -> str:
        """A count divided by 100."""
        return f"CAST({count} / 100.0 AS DECIMAL(5, 2))"

    def is_true(self, condition: str) -> str:
        """Boolean of a condition; FALSE if it is NULL."""
        return f"COALESCE({condition}, FALSE)"

    def view_amount(self, amount: str) -> str:
        """An amount of a view in the form in which the tables store amounts."""
        return amount

    def total(self, price: str, times: str = "1", *, total: bool = False) -> str:
        """Price times a number of repeats; with `total`, the sum of it."""
        products = (part if times == "1" else f"{part} * {times}" for part in self.split_amount(price))
        return self.join_amount(*(f"SUM({product})" if total else product for product in products))

    def subtract(self, after: str, before: str) -> str:
        """Difference of two amounts."""
        pairs = zip(self.split_amount(after), self.split_amount(before), strict=True)
        return self.join_amount(*(f"({minuend} - {subtrahend})" for minuend, subtrahend in pairs))


def expressions_for(backend: str) -> SqlExpressions:
    """Return the expressions of `sqlite`, `postgresql`, `mysql` or `mariadb`."""
    return dialect_for(backend).expressions
