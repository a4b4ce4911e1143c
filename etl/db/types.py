"""Types of columns: times, money and texts, alike on the three databases."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Numeric, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

BigId = BigInteger().with_variant(Integer(), "sqlite")


class LongText(TypeDecorator[str]):
    """Text of any length: MariaDB's TEXT ends at 64 KiB."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """LONGTEXT on MariaDB, TEXT elsewhere."""
        if dialect.name not in {"mysql", "mariadb"}:
            return Text()  # psycopg's dialect would describe it as VARCHAR
        from sqlalchemy.dialects import mysql

        return dialect.type_descriptor(mysql.LONGTEXT())


class WallClock(TypeDecorator[datetime]):
    """A time of the vendor's wall clock, to the second."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """SQLite keeps text, and would append the microseconds."""
        if dialect.name != "sqlite":
            return dialect.type_descriptor(DateTime())
        from sqlalchemy.dialects import sqlite

        return dialect.type_descriptor(sqlite.DATETIME(truncate_microseconds=True))  # type: ignore[no-untyped-call]  # theirs


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
        """Six places always: equal amounts are equal texts."""
        return f"{value:.6f}" if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, _dialect: Dialect) -> Decimal | None:
        """A Decimal from any database."""
        return None if value is None else Decimal(value)


class UtcTime(TypeDecorator[datetime]):
    """A moment: aware in the program, naive UTC in the database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """MariaDB drops the microseconds unless asked to keep them."""
        if dialect.name not in {"mysql", "mariadb"}:
            return dialect.type_descriptor(DateTime())
        from sqlalchemy.dialects import mysql

        return dialect.type_descriptor(mysql.DATETIME(fsp=6))

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Turned into UTC first: two of the databases would drop an offset in silence."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """UTC, said aloud."""
        return None if value is None else value.replace(tzinfo=UTC)


def utc_text(moment: datetime) -> str:
    """A moment as the databases' own text forms take it: naive UTC, to the microsecond."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
