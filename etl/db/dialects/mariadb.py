"""MariaDB and MySQL 8, whatever the server's defaults: strict modes, UTC, utf8mb4."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from sqlalchemy import (
    URL,
    BindParameter,
    Boolean,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Select,
    bindparam,
    event,
    func,
    inspect,
    text,
)
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from etl.db.connection_failure import Cause
from etl.db.dialects.expressions import SqlExpressions
from etl.db.dialects.health import (
    FOR_MIGRATIONS,
    HealthCheck,
    MissingPrivilege,
    SchemaAccess,
    describe_limits,
    require_writable_server,
)
from etl.db.dialects.lock_session import lock_digest, open_lock_session
from etl.db.dialects.mariadb_dependents import read_mariadb_dependents
from etl.db.dialects.mariadb_failures import find_mariadb_cause, mariadb_parameters
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
from etl.errors import CheckFailedError

TABLE_OPTIONS: Final = {"charset": "utf8mb4", "collate": "utf8mb4_bin", "engine": "InnoDB"}
SQL_MODE: Final = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
"""Modes of a session: without the first, values that do not fit are silently truncated."""
MAX_STATEMENT_LENGTH: Final = 1_000_000
"""Bytes of UTF-8: below the smallest default of max_allowed_packet in MariaDB and MySQL."""
_NEXT_FIELD, _NEXT_ROW, _NULL = "\x1f", "\x1e", "\x1d"
"""Separators of values and rows, and the mark of NULL, in the text that PyMySQL escapes; it leaves them unchanged."""
MIN_PACKET_BYTES: Final = 1 << 20
"""Bulk inserts send many rows in one packet."""
DDL_PRIVILEGES: Final = ("CREATE", "ALTER", "DROP", "INDEX", "REFERENCES", "CREATE VIEW")
"""Privileges that a migration needs."""
_LIMITS: Final = {
    "statement": "max_statement_time",
    "lock": "innodb_lock_wait_timeout",
    "idle in a transaction": "idle_transaction_timeout",
}
"""Variables with the time limits of a session."""
_DENIED: Final = frozenset({1142, 1143, 1044})
_GRANT: Final = re.compile(r"GRANT (?P<privileges>.+?) ON (?P<object>`(?:[^`]|``)*`\.\*|\*\.\*) TO ")
_KINDS: Final = {"BASE TABLE": "table", "SYSTEM VERSIONED": "table", "VIEW": "view"}
"""Descriptions of `information_schema.tables.table_type`."""


class MariadbDialect(DatabaseDialect):
    title = "MariaDB"
    dump_command = "mariadb-dump --single-transaction"
    extra = "mysql"
    snapshot_isolation = "REPEATABLE READ"
    default_port = "3306"
    tls_option = "ssl_ca=FILE"
    authority_option = "ssl_ca"
    expressions = SqlExpressions(
        day_of="CAST({} AS DATE)",
        month_of="CAST({0} - INTERVAL DAYOFMONTH({0}) - 1 DAY AS DATE)",
        weekday_of="(WEEKDAY({}) + 1)",
        integer="CAST({} AS SIGNED)",
        hours_since="TIMESTAMPDIFF(SECOND, {}, UTC_TIMESTAMP()) / 3600",
        full_number="{} REGEXP '^[+]7[0-9]{{10}}$'",
        next_day="{} + INTERVAL 1 DAY",
        next_month="{} + INTERVAL 1 MONTH",
        add_days="{day} + INTERVAL ({days}) DAY",
        days_between="DATEDIFF({end}, {start})",
        utc_text="CONCAT(CAST({} AS CHAR(10)), 'T00:00:00Z')",
        to_utc="TIMESTAMPADD(MINUTE, 0 - {offset}, {time})",
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

    def connect(self, url: URL, arguments: list[Any], options: dict[str, Any]) -> Any:
        import pymysql  # an extra

        # The driver limits the handshake by the time for a whole statement: another server's port would block for it.
        handshake = min(options["connect_timeout"], options["read_timeout"])
        connection = pymysql.connect(*arguments, **options | {"read_timeout": handshake})
        connection._read_timeout = options["read_timeout"]  # type: ignore[attr-defined]  # there is no method
        return connection

    def find_cause(self, error: Exception, text: str) -> Cause | None:
        return find_mariadb_cause(error, text)

    def parameters(self) -> list[str]:
        return mariadb_parameters()

    def set_up(self, engine: Engine, url: URL) -> None:
        # Before SQLAlchemy reads sql_mode, which decides how it quotes names.
        event.listen(engine, "connect", _set_up_session(str(url.query.get("init_command", ""))), insert=True)

    def lock(self, engine: Engine, name: str, resources: ExitStack) -> TryLock | None:
        # Lock names are global to the server, so the key includes the database's name.
        connection = open_lock_session(engine, resources)
        key = f"billing-etl:{lock_digest(f'{engine.url.database}:{name}').hex()[:32]}"

        def release(error: type[BaseException] | None, *_: object) -> None:
            # Closing the connection releases the lock when the server notices it, and the next run may come before.
            # After an error the server may not answer.
            if error is None:
                with suppress(SQLAlchemyError):
                    connection.execute(text("DO RELEASE_LOCK(:key)"), {"key": key})

        resources.push(release)

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

    def read_dependents(self, connection: Connection, names: Collection[str], own: Collection[str]) -> Iterable[str]:
        return read_mariadb_dependents(connection, names, own)

    def server_name(self, connection: Connection) -> str:
        return self.title if connection.dialect.is_mariadb else "MySQL"  # type: ignore[attr-defined]  # of this dialect

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

    def read_columns(self, connection: Connection, query: Select[Any]) -> Sequence[Sequence[Any]]:
        # One text per row: PyMySQL decodes each value in Python, which costs a fifth of a nightly run.
        columns = list(query.selected_columns)
        # CONCAT_WS leaves NULL out.
        texts = [func.ifnull(column, "") if getattr(column, "nullable", False) else column for column in columns]
        rows = connection.scalars(query.with_only_columns(func.concat_ws(_NEXT_FIELD, *texts))).all()
        if not rows:
            return ()
        # CONCAT_WS is NULL for a row longer than max_allowed_packet, which may have been lowered since.
        fields = _NEXT_FIELD.join(rows).split(_NEXT_FIELD) if None not in rows else []
        width = len(columns)
        if len(fields) != width * len(rows):
            return tuple(zip(*connection.execute(query).all(), strict=True))  # or a value contains the separator
        return tuple(_parse_column(column, fields[index::width]) for index, column in enumerate(columns))

    @contextmanager
    def unconverted_values(self, connection: Connection) -> Iterator[None]:
        # Texts: PyMySQL converts each value in Python.
        driver: Any = connection.connection.driver_connection
        decoders, driver.decoders = driver.decoders, {}
        try:
            yield
        finally:
            driver.decoders = decoders

    def authentication_option(self, url: URL) -> str:
        return "" if "ssl_ca" in url.query else "ssl_ca=FILE"

    def health_checks(self, connection: Connection, tables: Collection[str], setting: str) -> Iterable[HealthCheck]:
        return (
            HealthCheck("time limits", lambda: _describe_limits(connection)),
            HealthCheck("writing", lambda: _require_changeable(connection)),
            HealthCheck("mode", lambda: _require_strict_mode(connection, tables, setting)),
        )

    def missing_privileges(self, connection: Connection, schema: SchemaAccess) -> Iterable[MissingPrivilege]:
        if schema.migrates:
            grants = list(connection.exec_driver_sql("SHOW GRANTS").scalars())
            # MySQL does not show the privileges of a role.
            if connection.dialect.is_mariadb or all(" ON " in grant for grant in grants):  # type: ignore[attr-defined]  # of this dialect
                database = connection.scalar(text("SELECT DATABASE()"))
                granted = granted_on(grants, database)
                yield from (
                    MissingPrivilege(name, f"`{database}`.*", FOR_MIGRATIONS)
                    for name in DDL_PRIVILEGES
                    if name not in granted
                )
        inspector = inspect(connection)
        if not {*inspector.get_table_names(), *inspector.get_view_names()} & {*schema.names}:
            return  # there is no schema yet, or none of it is visible
        for name, statement, privilege in _probe_statements(schema):
            try:
                connection.exec_driver_sql(statement)
            except DBAPIError as error:
                error_code = error.orig.args[0] if error.orig and error.orig.args else None
                if error_code in _DENIED:
                    yield MissingPrivilege(privilege, name)

    def grantee(self, connection: Connection) -> str:
        name, _, host = str(connection.scalar(text("SELECT CURRENT_USER()"))).rpartition("@")
        return f"'{name}'@'{host}'"


def _parse_column(column: ColumnElement[Any], texts: Sequence[str]) -> Sequence[Any]:
    if not isinstance(column.type, Integer | Boolean):
        return texts
    if getattr(column, "nullable", False):
        return [int(value) if value else None for value in texts]
    return list(map(int, texts))


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


def _describe_limits(connection: Connection) -> str:
    listed = ", ".join(f"'{name}'" for name in _LIMITS.values())
    rows = connection.exec_driver_sql(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({listed})")
    seconds = {name: float(value) for name, value in rows}
    limits = describe_limits({label: seconds.get(name, 0) for label, name in _LIMITS.items()})
    return f"{limits}, no answer {connection.engine.url.query.get('read_timeout', STATEMENT_SECONDS)} s"


def _require_changeable(connection: Connection) -> str:
    query = "SHOW {} VARIABLES WHERE Value = 'ON' AND Variable_name IN ({})"
    scopes = {
        "SESSION": "'tx_read_only', 'transaction_read_only'",
        "GLOBAL": "'read_only', 'super_read_only', 'innodb_read_only'",
    }
    rows = (connection.exec_driver_sql(query.format(scope, names)) for scope, names in scopes.items())
    return require_writable_server([name for variables in rows for name, _ in variables])


def _require_strict_mode(connection: Connection, tables: Collection[str], setting: str) -> str:
    """Require that the server stores values unchanged or refuses them; return mode and character set.

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
        raise CheckFailedError(f"the connection uses {charset}; remove charset and init_command from {setting}")
    query = text(
        "SELECT table_name, engine, table_collation FROM information_schema.tables "
        "WHERE table_schema = database() AND table_type = 'BASE TABLE' AND table_name IN :names"
    ).bindparams(bindparam("names", expanding=True))
    for name, engine, table_collation in connection.execute(query, {"names": list(tables)}):
        if (engine, table_collation) != (TABLE_OPTIONS["engine"], TABLE_OPTIONS["collate"]):
            raise CheckFailedError(
                f"the table {name} is {engine}, {table_collation}; "
                f"run: ALTER TABLE {name} ENGINE = {TABLE_OPTIONS['engine']}, "
                f"CONVERT TO CHARACTER SET {TABLE_OPTIONS['charset']} COLLATE {TABLE_OPTIONS['collate']}"
            )
    return "strict, utf8mb4"


def _probe_statements(schema: SchemaAccess) -> Iterator[tuple[str, str, str]]:
    """Yield for each privilege a statement without effect that needs only this privilege."""
    for name in schema.names:
        yield name, f"SELECT 1 FROM {name} LIMIT 0", "SELECT"
        if schema.changes(name):
            column = schema.tables.get(name, "version_num")
            yield name, f"EXPLAIN INSERT INTO {name} ({column}) VALUES (0)", "INSERT"
            yield name, f"EXPLAIN UPDATE {name} SET {column} = 0", "UPDATE"
            yield name, f"EXPLAIN DELETE FROM {name}", "DELETE"


def granted_on(grants: Iterable[str], database: str) -> set[str]:
    """The privileges on a whole database in the lines of SHOW GRANTS. Pure."""
    granted: set[str] = set()
    for grant in grants:
        if (match := _GRANT.match(grant)) and _grant_covers(match["object"], database):
            names = {name.strip() for name in match["privileges"].split(",")}
            granted |= {*names, *(DDL_PRIVILEGES if "ALL PRIVILEGES" in names else ())}
    return granted


def _grant_covers(object_pattern: str, database: str) -> bool:
    """Whether `*.*` or a pattern of database names includes this database."""
    pattern = object_pattern.removesuffix(".*").strip("`").replace("``", "`")
    if pattern == "*":
        return True
    wildcards = {"%": ".*", "_": "."}
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    expression = "".join(
        re.escape(part[1:]) if len(part) > 1 else wildcards.get(part, re.escape(part)) for part in parts
    )
    return re.fullmatch(expression, database, re.DOTALL) is not None


DIALECT: Final = MariadbDialect()
