"""Column types for times, money and texts that behave alike on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Numeric, String, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

BigId = BigInteger().with_variant(Integer(), "sqlite")

KeyText = String(255).with_variant(String(255, collation="C"), "postgresql")
"""Text of a primary key, compared byte by byte on every database.

PostgreSQL's other collations compare more slowly, and an update of the operating system may change their order, which
breaks an index.
"""


class LongText(TypeDecorator[str]):
    """Text of any length: MariaDB's TEXT is limited to 64 KiB."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """LONGTEXT on MariaDB, TEXT elsewhere."""
        if dialect.name not in {"mysql", "mariadb"}:
            return Text()  # the dialect's descriptor would emit VARCHAR
        from sqlalchemy.dialects import mysql

        return dialect.type_descriptor(mysql.LONGTEXT())


class WallClock(TypeDecorator[datetime]):
    """A time of the vendor's wall clock, to the second."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """DATETIME; on SQLite, which stores text, without microseconds."""
        if dialect.name != "sqlite":
            return dialect.type_descriptor(DateTime())
        from sqlalchemy.dialects import sqlite

        return dialect.type_descriptor(sqlite.DATETIME(truncate_microseconds=True))  # type: ignore[no-untyped-call]  # untyped in SQLAlchemy


class Money(TypeDecorator[Decimal]):
    """An exact amount with six decimal places."""

    impl = Numeric
    cache_ok = True

    def __init__(self, digits: int) -> None:
        super().__init__(digits, 6)
        self.digits = digits

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """TEXT on SQLite, NUMERIC elsewhere."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric(self.digits, 6))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Text of six decimal places on SQLite, so that equal amounts are equal texts."""
        return f"{value:.6f}" if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, _dialect: Dialect) -> Decimal | None:
        """Decimal on every database."""
        return None if value is None else Decimal(value)


class UtcTime(TypeDecorator[datetime]):
    """A timestamp: timezone-aware in Python, naive UTC in the database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """DATETIME(6) on MariaDB, whose default drops the microseconds."""
        if dialect.name not in {"mysql", "mariadb"}:
            return dialect.type_descriptor(DateTime())
        from sqlalchemy.dialects import mysql

        return dialect.type_descriptor(mysql.DATETIME(fsp=6))

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Convert to naive UTC: two of the databases silently drop an offset."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Attach UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


def utc_text(timestamp: datetime) -> str:
    """Format a timestamp for `bulk_insert`: naive UTC with microseconds."""
    return timestamp.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
