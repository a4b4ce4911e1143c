"""MariaDB and MySQL 8, whatever the server's defaults: strict modes, UTC, utf8mb4."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, BindParameter, Connection, Engine, bindparam, event, text

from etl.db.dialects.lock_session import lock_digest, open_lock_session
from etl.db.dialects.protocol import ConnectOptions, DatabaseDialect, LengthLimit, Relation, TryLock
from etl.db.timeouts import CONNECT_SECONDS, IDLE_TRANSACTION_SECONDS, LOCK_WAIT_SECONDS, STATEMENT_SECONDS

SQL_MODE: Final = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
"""Modes of a session: without the first, values that do not fit are silently truncated."""
_KINDS: Final = {"BASE TABLE": "table", "SYSTEM VERSIONED": "table", "VIEW": "view"}
"""Descriptions of `information_schema.tables.table_type`."""


class MariadbDialect(DatabaseDialect):
    extra = "mysql"
    snapshot_isolation = "REPEATABLE READ"

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

    def connect(self, url: URL, arguments: list[Any], options: dict[str, Any]) -> Any:
        import pymysql  # an extra

        # The driver limits the handshake by the time for a whole statement: another server's port would block for it.
        handshake = min(options["connect_timeout"], options["read_timeout"])
        connection = pymysql.connect(*arguments, **options | {"read_timeout": handshake})
        connection._read_timeout = options["read_timeout"]  # type: ignore[attr-defined]  # there is no method
        return connection

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


DIALECT: Final = MariadbDialect()
