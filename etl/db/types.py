"""Column types for times, money and texts with the same behaviour on every database."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Numeric, String, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

from etl.db.dialects import DIALECTS, dialect_for
from etl.db.dialects.protocol import ColumnTypes

BigId = BigInteger().with_variant(Integer(), "sqlite")
_STANDARD: Final = ColumnTypes()


def _types_of(dialect: Dialect) -> ColumnTypes:
    """Column types of a database; those of standard SQL for SQLAlchemy's own dialect, with which types are printed."""
    return dialect_for(dialect.name).column_types if dialect.name in DIALECTS else _STANDARD


def key_text(length: int) -> String:
    """Text of a primary key, compared byte by byte on every database.

    PostgreSQL's other collations compare more slowly, and an update of the operating system may change their order,
    which breaks an index.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class LongText(TypeDecorator[str]):
    """Text of any length."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's type; its descriptor would emit VARCHAR."""
        return _types_of(dialect).long_text


class WallClock(TypeDecorator[datetime]):
    """A time of the vendor's wall clock, to the second."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's type."""
        return dialect.type_descriptor(_types_of(dialect).wall_clock)


class Money(TypeDecorator[Decimal]):
    """An exact amount with six decimal places."""

    impl = Numeric
    cache_ok = True

    def __init__(self, digits: int) -> None:
        super().__init__(digits, 6)
        self.digits = digits

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's type."""
        return dialect.type_descriptor(_types_of(dialect).money(self.digits))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Convert to the database's form of an amount."""
        return None if value is None else _types_of(dialect).money_parameter(value)

    def process_result_value(self, value: Any, _dialect: Dialect) -> Decimal | None:
        """Decimal on every database."""
        return None if value is None else Decimal(value)


class UtcTime(TypeDecorator[datetime]):
    """A timestamp: timezone-aware in Python, naive UTC in the database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The database's type."""
        return dialect.type_descriptor(_types_of(dialect).utc_time)

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Convert to naive UTC: two of the databases silently drop an offset."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Attach UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


def utc_text(timestamp: datetime) -> str:
    """Format a timestamp for `bulk_insert`: naive UTC with microseconds."""
    return timestamp.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
