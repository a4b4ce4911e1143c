"""PostgreSQL, also behind a transaction pooler: nothing depends on the state of a session."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Select, bindparam, event, text
from sqlalchemy.exc import DBAPIError

from etl.db.connection_failure import Cause
from etl.db.dialects.expressions import SqlExpressions
from etl.db.dialects.health import (
    FOR_MIGRATIONS,
    ROW_PRIVILEGES,
    HealthCheck,
    MissingPrivilege,
    SchemaAccess,
    describe_limits,
    require_writable_server,
)
from etl.db.dialects.lock_session import lock_digest, open_lock_session
from etl.db.dialects.postgresql_dependents import read_postgresql_dependents
from etl.db.dialects.postgresql_failures import find_postgresql_cause, postgresql_parameters
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
from etl.errors import CheckFailedError, SchemaMismatchError, SettingError

MAX_FIELD_BYTES: Final = (1 << 30) - 1
"""Limit of a field and of a line of COPY: a compile-time constant of the server."""
_COPY_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_LIMITS: Final = {
    "statement": "statement_timeout",
    "lock": "lock_timeout",
    "idle in a transaction": "idle_in_transaction_session_timeout",
}
"""Settings with the time limits of a session."""
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


class PostgresqlExpressions(SqlExpressions):
    """Expressions of a database that folds names without quotes to lower case."""

    def name(self, column: str) -> str:
        return f'"{column}"'


class PostgresqlDialect(DatabaseDialect):
    title = "PostgreSQL"
    has_partitions = True
    drops_grants = True
    dump_command = "pg_dump --format=custom --file=FILE"
    extra = "postgres"
    snapshot_isolation = "REPEATABLE READ"
    default_port = "5432"
    tls_option = "sslmode=require"
    authority_option = "sslrootcert"
    expressions = PostgresqlExpressions(
        day_of="CAST({} AS DATE)",
        month_of="CAST(date_trunc('month', {}) AS DATE)",
        weekday_of="CAST(EXTRACT(ISODOW FROM {}) AS INTEGER)",
        integer="CAST({} AS BIGINT)",
        hours_since="EXTRACT(EPOCH FROM (now() AT TIME ZONE 'UTC') - {}) / 3600",
        full_number="{} ~ '^[+]7[0-9]{{10}}$'",
        next_day="{} + 1",
        next_month="CAST({} + interval '1 month' AS DATE)",
        add_days="{day} + ({days})",
        days_between="({end} - {start})",
        utc_text="to_char({}, 'YYYY-MM-DD\"T00:00:00Z\"')",
        to_utc="{time} - make_interval(mins => {offset})",
    )
    column_types = ColumnTypes()
    table_options: Mapping[str, str] = {}

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

    def find_cause(self, error: Exception, text: str) -> Cause | None:
        return find_postgresql_cause(error, text)

    def parameters(self) -> list[str]:
        return postgresql_parameters()

    def set_up(self, engine: Engine, url: URL) -> None:
        _read_timeout(url)
        event.listen(engine, "begin", _set_limits(str(url.query.get("options", ""))))

    def lock(self, engine: Engine, name: str, resources: ExitStack) -> TryLock | None:
        # Held by a transaction: behind a transaction pooler other clients get the session, and would keep its locks.
        connection = open_lock_session(engine, resources)
        key = int.from_bytes(lock_digest(name)[:8], signed=True)

        def try_lock() -> bool:
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            taken = connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key})
            if not taken:
                connection.rollback()  # a waiting run occupies no session of the pooler, which the holder may need
            return bool(taken)

        return try_lock

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

    def read_dependents(self, connection: Connection, names: Collection[str], own: Collection[str]) -> Iterable[str]:
        return read_postgresql_dependents(connection, names, own)

    def read_column_dependents(
        self, connection: Connection, table: str, columns: Collection[str], own: Collection[str]
    ) -> Iterable[str]:
        return read_postgresql_dependents(connection, [table], own, columns)

    def require_utf8(self, connection: Connection) -> None:
        encoding = connection.scalar(text("SELECT current_setting('server_encoding')"))
        if encoding != "UTF8":
            raise SchemaMismatchError(
                f"the database's encoding is {encoding}; create one with: createdb --encoding UTF8 NAME"
            )

    def create_function_statements(self, name: str, view: str, query: Callable[[str, str, str], str]) -> list[str]:
        signature = f"{name}(timestamptz, date, date)"
        # A reader has no right to read the tables: the function has its owner's. Its search path is fixed, with the
        # temporary schema last, so that no caller can replace our tables by others.
        create = f"""CREATE FUNCTION {name}(moment timestamptz, since date DEFAULT NULL, until date DEFAULT NULL)
RETURNS SETOF {view}
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER AS $$
{query("(moment AT TIME ZONE 'UTC')", "COALESCE(since, '-infinity')", "COALESCE(until, 'infinity')")}
$$"""
        fix_path = f"""DO $$ BEGIN
  EXECUTE 'ALTER FUNCTION {signature} SET search_path = ' || quote_ident(current_schema()) || ', pg_temp';
END $$"""
        return [create, fix_path, f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC"]

    def drop_function_statements(self, name: str) -> list[str]:
        # With a time alone up to revision 0007.
        return [f"DROP FUNCTION IF EXISTS {name}({types})" for types in ("timestamptz", "timestamptz, date, date")]

    def comment_statement(self, view: str, column: str, comment: str) -> str:
        quoted = comment.replace("'", "''")
        return f"COMMENT ON COLUMN {view}.\"{column}\" IS '{quoted}'"

    def insert_rows(self, connection: Connection, target: str, shared: tuple[Any, ...], columns: ColumnValues) -> None:
        driver: Any = connection.connection.driver_connection
        statement = f"COPY {target} FROM STDIN"
        try:
            with driver.cursor() as cursor, cursor.copy(statement) as copy:
                for batch in split_batches(columns):
                    copy.write(_copy_text(batch, shared))
        except connection.dialect.loaded_dbapi.Error as error:
            # SQLAlchemy does not wrap errors of a raw cursor; callers expect its exceptions.
            raise DBAPIError(
                statement, None, error, hide_parameters=True, connection_invalidated=driver.closed
            ) from None

    def read_columns(self, connection: Connection, query: Select[Any]) -> Sequence[Sequence[Any]]:
        return tuple(zip(*connection.execute(query).all(), strict=True))

    def authentication_option(self, url: URL) -> str:
        return "" if str(url.query.get("sslmode", "")).startswith("verify-") else "sslmode=verify-full"

    def health_checks(self, connection: Connection, tables: Collection[str], setting: str) -> Iterable[HealthCheck]:
        return (
            HealthCheck("time limits", lambda: _describe_limits(connection)),
            HealthCheck("writing", lambda: _require_changeable(connection, tables)),
        )

    def missing_privileges(self, connection: Connection, schema: SchemaAccess) -> Iterable[MissingPrivilege]:
        current = connection.scalar(text("SELECT quote_ident(current_schema())"))
        if current is None:
            yield MissingPrivilege("USAGE", "SCHEMA public")
            return
        if schema.migrates and not connection.scalar(text("SELECT has_schema_privilege(current_schema(), 'CREATE')")):
            yield MissingPrivilege("CREATE", f"SCHEMA {current}", FOR_MIGRATIONS)
        query = text("""
            SELECT c.relname, p.privilege
            FROM pg_class c CROSS JOIN unnest(CAST(:privileges AS text[])) WITH ORDINALITY AS p (privilege, place)
            WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
              AND c.relname IN :names AND c.relkind IN ('r', 'v')
              AND NOT has_table_privilege(c.oid, p.privilege)
            ORDER BY c.relname, p.place""").bindparams(bindparam("names", expanding=True))
        names = schema.names
        for name, privilege in connection.execute(query, {"privileges": list(ROW_PRIVILEGES), "names": names}):
            if privilege == "SELECT" or schema.changes(name):
                yield MissingPrivilege(privilege, name)
        sequences = text("""
            SELECT c.relname FROM pg_class c
            WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND c.relname IN :names
              -- The server evaluates conditions in any order, and this function fails for a table.
              AND CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE') END
            ORDER BY c.relname""").bindparams(bindparam("names", expanding=True))
        for name in connection.scalars(sequences, {"names": [f"{table}_id_seq" for table in schema.tables]}):
            yield MissingPrivilege("USAGE", f"SEQUENCE {name}")
        if schema.migrates:
            owners = text("""
                SELECT DISTINCT quote_ident(pg_get_userbyid(c.relowner)) FROM pg_class c
                WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
                  AND c.relname IN :names AND c.relkind IN ('r', 'v') AND NOT pg_has_role(c.relowner, 'USAGE')
                ORDER BY 1""").bindparams(bindparam("names", expanding=True))
            for owner in connection.scalars(owners, {"names": names}):
                yield MissingPrivilege(owner, "", FOR_MIGRATIONS)

    def grantee(self, connection: Connection) -> str:
        return str(connection.scalar(text("SELECT quote_ident(current_user)")))


def _read_timeout(url: URL) -> float:
    try:
        # Longer than the server's own limit, so that its error message arrives first.
        return float(url.query.get("read_timeout", STATEMENT_SECONDS + CONNECT_SECONDS))  # type: ignore[arg-type]  # a repeated option is a tuple
    except (TypeError, ValueError):
        raise SettingError("database_url", "has a read_timeout that is not a number of seconds") from None


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


def _copy_text(batch: ColumnValues, shared: tuple[Any, ...]) -> str:
    """Format rows for COPY. Most batches need no escaping, which counting the special characters shows."""
    prefix = "".join([f"{_copy_field(value)}\t" for value in shared])
    text, nulls = join_rows(batch, "\t", "\n", "\\N")
    rows = len(batch[0])
    plain = text.count("\t") == (len(batch) - 1) * rows and text.count("\n") == rows - 1
    if plain and text.count("\\") == nulls and "\r" not in text:
        return prefix + text.replace("\n", f"\n{prefix}") + "\n"
    return "".join([prefix + "\t".join(map(_copy_field, row)) + "\n" for row in zip(*batch, strict=True)])


def _copy_field(value: Any) -> str:
    return "\\N" if value is None else str(value).translate(_COPY_ESCAPES)


def _describe_limits(connection: Connection) -> str:
    query = text(
        "SELECT name, setting::bigint / 1000.0 FROM pg_settings WHERE unit = 'ms' AND name IN :names"
    ).bindparams(bindparam("names", list(_LIMITS.values()), expanding=True))
    seconds = {name: float(value) for name, value in connection.execute(query)}
    return describe_limits({label: seconds.get(name, 0) for label, name in _LIMITS.items()})


def _require_changeable(connection: Connection, tables: Collection[str]) -> str:
    """Require that the connection may change rows and sees all of them.

    Raises:
        CheckFailedError: The session is read-only, or row level security applies to the user.
    """
    is_read_only = connection.scalar(text("SHOW transaction_read_only")) == "on"
    message = require_writable_server(["transaction_read_only"] if is_read_only else [])
    if hidden := _tables_with_row_security(connection, tables):
        raise CheckFailedError(
            f"row level security applies to this user on {', '.join(hidden)}: rows would be missing; "
            f"run: ALTER TABLE {hidden[0]} DISABLE ROW LEVEL SECURITY"
        )
    return message


def _tables_with_row_security(connection: Connection, tables: Collection[str]) -> list[str]:
    query = text("""
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND c.relkind = 'r'
          AND c.relname IN :names AND row_security_active(c.oid)
        ORDER BY c.relname""").bindparams(bindparam("names", expanding=True))
    return list(connection.scalars(query, {"names": list(tables)}))


DIALECT: Final = PostgresqlDialect()
