"""The columns of the views and their types, which each file format writes in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from etl.db.view_columns import VIEW_COLUMNS


class ColumnType(Enum):
    """Type of a column's values."""

    LABEL = auto()
    """Text with few distinct values."""
    TEXT = auto()
    PHONE = auto()
    WALL_CLOCK = auto()
    """The vendor's local time, to the second, without a time zone."""
    SECOND_UTC = auto()
    MICROSECOND_UTC = auto()
    DAY = auto()
    NUMBER = auto()
    PRICE = auto()
    AMOUNT = auto()
    RATIO = auto()
    """A number with four decimal places."""
    PERCENT = auto()
    """A number with two decimal places; 20 is a fifth."""
    HOURS = auto()
    """A number with one decimal place."""
    FLAG = auto()


_TYPES: Final = {
    "text": ColumnType.LABEL,
    "whole number": ColumnType.NUMBER,
    "amount": ColumnType.AMOUNT,
    "ratio": ColumnType.RATIO,
    "percent": ColumnType.PERCENT,
    "quantity": ColumnType.AMOUNT,
    "hours": ColumnType.HOURS,
    "date": ColumnType.DAY,
    "time": ColumnType.WALL_CLOCK,
    "time, UTC": ColumnType.MICROSECOND_UTC,
    "true or false": ColumnType.FLAG,
}
"""Types by the kind of a view's column."""
_TYPES_BY_NAME: Final = {
    "phone": ColumnType.PHONE,
    "code_auth": ColumnType.TEXT,
    "price": ColumnType.PRICE,
    "created_at_utc": ColumnType.SECOND_UTC,
}
"""Types of columns that their kind does not determine."""
_TIME_TYPES: Final = frozenset({ColumnType.DAY, ColumnType.WALL_CLOCK, ColumnType.MICROSECOND_UTC})


_ACCOUNT_COLUMNS: Final = ("account", "BillingAccountId")
_PERIOD_COLUMNS: Final = ("created_at", "day", "month", "ChargePeriodStart")
_VIEWS_OF_RECORDS: Final = frozenset(
    {"billing", "daily_spend", "hourly_spend", "delivery_by_operator", "daily_channels", "restatement_lines"}
)
"""Views whose rows go when the records of their day are purged."""


@dataclass(frozen=True, slots=True)
class ExportView:
    """A view as it is exported.

    Attributes:
        name: Name in the database.
        columns: Types by column, in the order of the view.
        account_column: Column with the account's label.
        sort_column: Column by which each account's rows are read; rows with equal values are sorted by all columns.
        period_column: Column that first and last day apply to: a time, a day, a month, or a time as text in ISO 8601;
            None if there is none.
    """

    name: str
    columns: Mapping[str, ColumnType]
    account_column: str
    sort_column: str
    period_column: str | None

    @property
    def lacks_purged_days(self) -> bool:
        """Whether the view has no rows of days whose records were purged."""
        return self.name in _VIEWS_OF_RECORDS


def _describe_view(name: str) -> ExportView:
    columns = {column.name: _TYPES_BY_NAME.get(column.name) or _TYPES[column.kind] for column in VIEW_COLUMNS[name]}
    account_column = next(column for column in _ACCOUNT_COLUMNS if column in columns)
    period_column = next((column for column in _PERIOD_COLUMNS if column in columns), None)
    times = (column for column, column_type in columns.items() if column_type in _TIME_TYPES)
    return ExportView(name, columns, account_column, period_column or next(times, account_column), period_column)


EXPORT_VIEWS: Final = {name: _describe_view(name) for name in VIEW_COLUMNS}
"""All views by name."""
BILLING: Final = EXPORT_VIEWS["billing"]
COLUMNS: Final = BILLING.columns
"""Types of the columns of the `billing` view."""
