"""Checks of a database connection: modes, character sets and timeouts."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, bindparam, text

from etl.checks.caution import Caution
from etl.db.dialects.mariadb import SQL_MODE
from etl.db.migrate import MYSQL_TABLE_OPTIONS
from etl.db.tables import metadata
from etl.db.timeouts import STATEMENT_SECONDS
from etl.errors import CheckFailedError

MIN_PACKET_BYTES: Final = 1 << 20
"""Bulk inserts send many rows in one packet."""
_POSTGRESQL_LIMITS: Final = {
    "statement": "statement_timeout",
    "lock": "lock_timeout",
    "idle in a transaction": "idle_in_transaction_session_timeout",
}
_MARIADB_LIMITS: Final = {
    "statement": "max_statement_time",
    "lock": "innodb_lock_wait_timeout",
    "idle in a transaction": "idle_transaction_timeout",
}


def describe_journal_mode(connection: Connection) -> str:
    """Describe SQLite's journal mode; a Caution for one in which readers block the job."""
    mode = connection.scalar(text("PRAGMA journal_mode"))
    if mode == "wal":
        return "wal: readers and the nightly job do not wait for each other"
    return Caution(f"{mode}: readers and the nightly job wait for each other; a write-ahead log cannot be used here")


def describe_timeouts(connection: Connection) -> str:
    """Describe the timeouts of a connection: statement, lock and idle transaction."""
    if connection.dialect.name == "postgresql":
        query = text(
            "SELECT name, setting::bigint / 1000.0 FROM pg_settings WHERE unit = 'ms' AND name IN :names"
        ).bindparams(bindparam("names", expanding=True))
        names = _POSTGRESQL_LIMITS
        rows = connection.execute(query, {"names": list(names.values())}).all()
    else:
        names = _MARIADB_LIMITS
        listed = ", ".join(f"'{name}'" for name in names.values())
        rows = connection.exec_driver_sql(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({listed})").all()
    seconds = {name: float(value) for name, value in rows}
    timeouts = ((label, seconds.get(name, 0)) for label, name in names.items())
    limits = ", ".join(f"{label} {limit:g} s" if limit else f"{label} none" for label, limit in timeouts)
    if connection.dialect.name == "postgresql":
        return limits
    return f"{limits}, no answer {connection.engine.url.query.get('read_timeout', STATEMENT_SECONDS)} s"


def require_changeable(connection: Connection) -> str:
    """Require that the connection may change rows and sees all of them.

    Raises:
        CheckFailedError: The server or the session is read-only, or row level security applies to the user.
    """
    if connection.dialect.name == "postgresql":
        read_only = ["transaction_read_only"] if connection.scalar(text("SHOW transaction_read_only")) == "on" else []
    else:
        query = "SHOW {} VARIABLES WHERE Value = 'ON' AND Variable_name IN ({})"
        scopes = {
            "SESSION": "'tx_read_only', 'transaction_read_only'",
            "GLOBAL": "'read_only', 'super_read_only', 'innodb_read_only'",
        }
        rows = (connection.exec_driver_sql(query.format(scope, names)) for scope, names in scopes.items())
        read_only = [name for variables in rows for name, _ in variables]
    if read_only:
        raise CheckFailedError(
            f"the database is read-only ({', '.join(sorted(read_only))} is on): is it a replica? use the primary"
        )
    if connection.dialect.name == "postgresql" and (tables := _tables_with_row_security(connection)):
        raise CheckFailedError(
            f"row level security applies to this user on {', '.join(tables)}: rows would be missing; "
            f"run: ALTER TABLE {tables[0]} DISABLE ROW LEVEL SECURITY"
        )
    return "the server accepts changes"


def _tables_with_row_security(connection: Connection) -> list[str]:
    query = text("""
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND c.relkind = 'r'
          AND c.relname IN :names AND row_security_active(c.oid)
        ORDER BY c.relname""").bindparams(bindparam("names", expanding=True))
    return list(connection.scalars(query, {"names": list(metadata.tables)}))


def require_sql_mode(connection: Connection) -> str:
    """Require that MariaDB stores values unchanged or refuses them; return mode and character set.

    Raises:
        CheckFailedError: It would change values silently, its packet limit is too small, or a table has other options
            than the migrations set.
    """
    mode, charset, collation, packet = connection.exec_driver_sql(
        "SELECT @@SESSION.sql_mode, @@SESSION.character_set_client, @@SESSION.character_set_connection, "
        "@@max_allowed_packet"
    ).one()
    if packet < MIN_PACKET_BYTES:
        raise CheckFailedError(
            f"max_allowed_packet is {packet:,} bytes; set it to {MIN_PACKET_BYTES:,} or more on the server"
        )
    missing = set(SQL_MODE.split(",")) - set(mode.split(","))
    if missing:
        raise CheckFailedError(f"sql_mode lacks {', '.join(sorted(missing))}: a proxy or the URL sets it")
    if {charset, collation} != {"utf8mb4"}:
        raise CheckFailedError(
            f"the connection uses {charset}; remove charset and init_command from BILLING_DATABASE_URL"
        )
    query = text(
        "SELECT table_name, engine, table_collation FROM information_schema.tables "
        "WHERE table_schema = database() AND table_type = 'BASE TABLE' AND table_name IN :names"
    ).bindparams(bindparam("names", expanding=True))
    for name, engine, table_collation in connection.execute(query, {"names": list(metadata.tables)}):
        if (engine, table_collation) != (MYSQL_TABLE_OPTIONS["engine"], MYSQL_TABLE_OPTIONS["collate"]):
            raise CheckFailedError(
                f"the table {name} is {engine}, {table_collation}; "
                f"run: ALTER TABLE {name} ENGINE = {MYSQL_TABLE_OPTIONS['engine']}, "
                f"CONVERT TO CHARACTER SET {MYSQL_TABLE_OPTIONS['charset']} COLLATE {MYSQL_TABLE_OPTIONS['collate']}"
            )
    return "strict, utf8mb4"
