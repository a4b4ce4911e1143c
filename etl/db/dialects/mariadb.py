"""MariaDB and MySQL 8, whatever the server's defaults: strict modes, UTC, utf8mb4."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, BindParameter, Connection, Engine, bindparam, event, text
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT

from etl.db.dialects.expressions import SqlExpressions
from etl.db.dialects.lock_session import lock_digest, open_lock_session
from etl.db.dialects.protocol import (
    ColumnTypes,
    ColumnValues,
    ConnectOptions,
    DatabaseDialect,
    LengthLimit,
    Relation,
    TryLock,
)
from etl.db.dialects.row_batches import join_rows, split_batches
from etl.db.timeouts import CONNECT_SECONDS, IDLE_TRANSACTION_SECONDS, LOCK_WAIT_SECONDS, STATEMENT_SECONDS

TABLE_OPTIONS: Final = {"charset": "utf8mb4", "collate": "utf8mb4_bin", "engine": "InnoDB"}
SQL_MODE: Final = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
"""Modes of a session: without the first, values that do not fit are silently truncated."""
MAX_STATEMENT_LENGTH: Final = 1_000_000
"""Bytes of UTF-8: below the smallest default of max_allowed_packet in MariaDB and MySQL."""
_NEXT_FIELD, _NEXT_ROW, _NULL = "\x1f", "\x1e", "\x1d"
"""Separators of values and rows, and the mark of NULL, in the text that PyMySQL escapes; it leaves them unchanged."""
_KINDS: Final = {"BASE TABLE": "table", "SYSTEM VERSIONED": "table", "VIEW": "view"}
"""Descriptions of `information_schema.tables.table_type`."""


class MariadbDialect(DatabaseDialect):
    extra = "mysql"
    snapshot_isolation = "REPEATABLE READ"
    expressions = SqlExpressions(
        day_of="CAST({} AS DATE)",
        month_of="CAST({0} - INTERVAL DAYOFMONTH({0}) - 1 DAY AS DATE)",
        weekday_of="(WEEKDAY({}) + 1)",
        hour_of="HOUR({})",
        start_of_hour="CAST(DATE_FORMAT({}, '%Y-%m-%d %H:00:00') AS DATETIME)",
        integer="CAST({} AS SIGNED)",
        hours_since="ROUND(TIMESTAMPDIFF(SECOND, {}, UTC_TIMESTAMP()) / 3600, 1)",
        full_number="{} REGEXP '^[+]7[0-9]{{10}}$'",
        shifted="TIMESTAMPADD(SECOND, {seconds}, {time})",
    )
    column_types = ColumnTypes(long_text=LONGTEXT(), utc_time=DATETIME(fsp=6))
    table_options = TABLE_OPTIONS

    def connect_options(self, url: URL) -> ConnectOptions:
        return ConnectOptions(
            url.update_query_dict({"charset": "utf8mb4"}),
            {
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": STATEMENT_SECONDS,
                "write_timeout": STATEMENT_SECONDS,
            },
            engine={"isolation_level": "READ COMMITTED"},
        )

    def set_up(self, engine: Engine, url: URL) -> None:
        # Before SQLAlchemy reads sql_mode, which decides how it quotes names.
        event.listen(engine, "connect", _set_up_session(str(url.query.get("init_command", ""))), insert=True)

    def database_file(self, url: URL) -> Path | None:
        return None

    def lock(self, engine: Engine, name: str, resources: ExitStack) -> TryLock | None:
        # Lock names are global to the server, so the key includes the database's name.
        connection = open_lock_session(engine, resources)
        key = f"billing-etl:{lock_digest(f'{engine.url.database}:{name}').hex()[:32]}"

        def try_lock() -> bool:
            connection.execute(text("SET SESSION wait_timeout = 86400"))
            taken = connection.scalar(text("SELECT GET_LOCK(:key, 0)"), {"key": key})
            connection.rollback()  # the session holds the lock: no transaction stays open during the run
            return bool(taken)

        return try_lock

    def length_limit(self, connection: Connection) -> LengthLimit:
        packet = connection.scalar(text("SELECT @@max_allowed_packet"))
        return LengthLimit(packet, "max_allowed_packet", "\\'\"\n\r\x1a\0")

    def read_relations(
        self, connection: Connection, names: Collection[str], functions: Mapping[str, str]
    ) -> Iterable[Relation]:
        tables = text("""
            SELECT table_name, table_type, table_comment <> '' FROM information_schema.tables
            WHERE table_schema = DATABASE() AND LOWER(table_name) IN :names ORDER BY table_name""")
        columns = text("""
            SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = DATABASE() AND LOWER(table_name) IN :names""")
        named: BindParameter[str] = bindparam("names", list(names), expanding=True)
        found = connection.execute(tables.bindparams(named)).all()
        # After the tables: one that another run creates in between has no columns otherwise.
        columns_by_table: dict[str, set[str]] = {}
        for table, column in connection.execute(columns.bindparams(named)):
            columns_by_table.setdefault(table, set()).add(column)
        for name, kind, marked in found:
            columns_found = frozenset(columns_by_table.get(name, ()))
            yield Relation(name, _KINDS.get(kind, kind.lower()), columns_found, bool(marked))

    def require_utf8(self, connection: Connection) -> None:
        """The character set is an option of each table."""

    def insert_rows(self, connection: Connection, target: str, shared: tuple[Any, ...], columns: ColumnValues) -> None:
        driver: Any = connection.connection.driver_connection
        driver.encoders[_EscapedRows] = _EscapedRows.escape
        insert = f"INSERT INTO {target} VALUES"
        row = f"({', '.join(['%s'] * (len(shared) + len(columns)))})"
        for batch in split_batches(columns):
            if literals := _row_literals(driver, batch, shared):
                connection.exec_driver_sql(f"{insert} %s", (literals,))
            else:
                rows = zip(*batch, strict=True)
                connection.exec_driver_sql(f"{insert} {row}", [(*shared, *values) for values in rows])


def _set_up_session(init_command: str) -> Callable[[Any, Any], None]:
    """A listener that sets modes, zone and time limits, except the limits in the URL's `init_command`."""
    settings = [f"sql_mode = '{SQL_MODE}'", "time_zone = '+00:00'"]
    if "innodb_lock_wait_timeout" not in init_command:
        settings.append(f"innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}")
    # MariaDB runs such a comment; MySQL, which lacks the setting, ignores it.
    idle = f" /*M!100301 , idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS} */"
    if "idle_transaction_timeout" in init_command:
        idle = ""

    def set_up(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {', '.join(settings)}{idle}")

    return set_up


class _EscapedRows:
    """SQL literals that are already escaped, passed as a parameter."""

    def __init__(self, text: str) -> None:
        self.text = text

    def escape(self, _mapping: Any = None) -> str:
        """Return the SQL unchanged; PyMySQL calls this as the encoder of the type."""
        return self.text


def _row_literals(driver: Any, batch: ColumnValues, shared: tuple[Any, ...]) -> _EscapedRows | None:
    """Format rows as SQL literals, escaped by the driver as one text.

    Escaping value by value, as PyMySQL does, takes half of a run's time.

    Returns:
        The literals; None if a value contains a separator or the text is too long for one statement.
    """
    text, nulls = join_rows(batch, _NEXT_FIELD, _NEXT_ROW, _NULL)
    escaped: str = driver.escape(text)  # with a quote at each end
    marks = [escaped.count(mark) for mark in (_NEXT_FIELD, _NEXT_ROW, _NULL)]
    rows = len(batch[0])
    if marks != [(len(batch) - 1) * rows, rows - 1, nulls]:
        return None
    prefix = "".join([f"{driver.escape(value)}," for value in shared])
    values = escaped.replace(_NEXT_ROW, f"'),({prefix}'").replace(_NEXT_FIELD, "','").replace(f"'{_NULL}'", "NULL")
    text = f"({prefix}{values})"
    return _EscapedRows(text) if len(text.encode()) < MAX_STATEMENT_LENGTH else None


DIALECT: Final = MariadbDialect()
