"""PostgreSQL, also behind a transaction pooler: nothing depends on the state of a session."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, bindparam, event, text

from etl.db.dialects.lock_session import lock_digest, open_lock_session
from etl.db.dialects.protocol import ConnectOptions, DatabaseDialect, LengthLimit, Relation, TryLock
from etl.db.timeouts import CONNECT_SECONDS, IDLE_TRANSACTION_SECONDS, LOCK_WAIT_SECONDS, STATEMENT_SECONDS
from etl.errors import ConfigError

MAX_FIELD_BYTES: Final = (1 << 30) - 1
"""Limit of a field and of a line of COPY: a compile-time constant of the server."""
_KINDS: Final = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "i": "index",
    "I": "index",
    "c": "type",
}
"""Descriptions of `pg_class.relkind`."""


class PostgresqlDialect(DatabaseDialect):
    extra = "postgres"
    snapshot_isolation = "REPEATABLE READ"

    def connect_options(self, url: URL) -> ConnectOptions:
        return ConnectOptions(
            url.difference_update_query(["read_timeout"]),  # for TimeoutConnection, not for the driver
            {"connect_timeout": CONNECT_SECONDS},
            # Prepared statements fail behind a transaction pooler.
            required={"client_encoding": "utf8", "prepare_threshold": None},
            engine={"isolation_level": "READ COMMITTED", "use_native_hstore": False},  # detecting hstore costs a query
        )

    def connect(self, url: URL, arguments: list[Any], options: dict[str, Any]) -> Any:
        from etl.db.dialects.psycopg_timeout import TimeoutConnection  # it needs the driver, which is an extra

        connection = TimeoutConnection.connect(*arguments, **options)
        connection.read_timeout = _read_timeout(url)
        return connection

    def set_up(self, engine: Engine, url: URL) -> None:
        _read_timeout(url)
        event.listen(engine, "begin", _set_limits(str(url.query.get("options", ""))))

    def database_file(self, url: URL) -> Path | None:
        return None

    def lock(self, engine: Engine, name: str, resources: ExitStack) -> TryLock | None:
        # Held by a transaction: behind a transaction pooler other clients get the session, and would keep its locks.
        connection = open_lock_session(engine, resources)
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        query = text("SELECT pg_try_advisory_xact_lock(:key)")
        key = int.from_bytes(lock_digest(name)[:8], signed=True)
        return lambda: bool(connection.scalar(query, {"key": key}))

    def length_limit(self, connection: Connection) -> LengthLimit:
        return LengthLimit(MAX_FIELD_BYTES, "the largest field of PostgreSQL", "\\\t\n\r")

    def read_relations(
        self, connection: Connection, names: Collection[str], functions: Mapping[str, str]
    ) -> Iterable[Relation]:
        relations = text("""
            SELECT c.relname, CAST(c.relkind AS text), obj_description(c.oid, 'pg_class') IS NOT NULL,
              ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
            FROM pg_class c
            WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND c.relname IN :names
            ORDER BY c.relname""").bindparams(bindparam("names", list(names), expanding=True))
        for name, kind, marked, columns in connection.execute(relations):
            yield Relation(name, _KINDS.get(kind, "relation"), frozenset(columns), marked)
        # Our functions return rows of our views, which another program's cannot.
        returned = text("""
            SELECT p.proname, CASE WHEN c.relnamespace = p.pronamespace THEN c.relname END
            FROM pg_proc p JOIN pg_type t ON t.oid = p.prorettype LEFT JOIN pg_class c ON c.oid = t.typrelid
            WHERE p.pronamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND p.proname IN :names
            ORDER BY p.proname""").bindparams(bindparam("names", list(functions), expanding=True))
        for name, view in connection.execute(returned):
            yield Relation(name, "function", marked=view == functions[name])


def _read_timeout(url: URL) -> float:
    try:
        # Longer than the server's own limit, so that its error message arrives first.
        return float(url.query.get("read_timeout", STATEMENT_SECONDS + CONNECT_SECONDS))  # type: ignore[arg-type]  # a repeated option is a tuple
    except (TypeError, ValueError):
        raise ConfigError("BILLING_DATABASE_URL has a read_timeout that is not a number of seconds") from None


def _set_limits(options: str) -> Callable[[Connection], None]:
    """A listener that sets the time limits of a transaction, except those in the URL's `options`."""
    limits = {
        "statement_timeout": STATEMENT_SECONDS,
        "lock_timeout": LOCK_WAIT_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_TRANSACTION_SECONDS,
    }
    # SET LOCAL: behind a transaction pooler session settings are lost or leak to other clients.
    settings = "; ".join(f"SET LOCAL {name} = '{seconds}s'" for name, seconds in limits.items() if name not in options)

    def set_up(connection: Connection) -> None:
        if settings:
            connection.exec_driver_sql(settings)

    return set_up


DIALECT: Final = PostgresqlDialect()
