"""The interface of a database dialect, and the values that it passes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import URL, Connection, DateTime, Engine, Numeric, Select, Text
from sqlalchemy.types import TypeEngine

from etl.db.connection_failure import Cause
from etl.db.dialects.expressions import SqlExpressions
from etl.db.dialects.health import HealthCheck, MissingPrivilege, SchemaAccess
from etl.db.timeouts import LOCK_RELEASE_SECONDS


class ConnectOptions(NamedTuple):
    """Options of `sqlalchemy.create_engine`.

    Attributes:
        url: The URL for SQLAlchemy and the driver.
        defaults: Arguments of the driver's `connect` that the URL may override.
        required: Arguments of the driver's `connect` that apply in any case.
        engine: Further arguments of `create_engine`.
    """

    url: URL
    defaults: dict[str, Any]
    required: dict[str, Any] = {}  # noqa: RUF012 - never changed
    engine: dict[str, Any] = {}  # noqa: RUF012 - never changed


class LengthLimit(NamedTuple):
    """The largest row or statement that a database accepts.

    Attributes:
        max_bytes: Size in bytes.
        setting: Name of the limit.
        escaped: Characters that take two bytes in a statement.
    """

    max_bytes: int
    setting: str
    escaped: str = ""


class Relation(NamedTuple):
    """A table, view or other object of the database.

    Attributes:
        name: Name in the database's spelling.
        kind: `table`, `view` or another type of the database.
        columns: Names of its columns.
        marked: It has the mark of our migrations: a comment, or on SQLite the name of the primary key.
    """

    name: str
    kind: str
    columns: frozenset[str] = frozenset()
    marked: bool = False


@dataclass(frozen=True, slots=True)
class ColumnTypes:
    """Column types that differ between the databases; the defaults are those of standard SQL.

    Attributes:
        long_text: Text of any length.
        wall_clock: Time to the second.
        utc_time: Time to the microsecond.
    """

    long_text: TypeEngine[Any] = field(default_factory=Text)
    wall_clock: TypeEngine[Any] = field(default_factory=DateTime)
    utc_time: TypeEngine[Any] = field(default_factory=DateTime)

    def money(self, digits: int) -> TypeEngine[Any]:
        """Exact amount with six decimal places and this number of digits."""
        return Numeric(digits, 6)

    def money_parameter(self, amount: Decimal) -> Any:
        """Value of an amount for the driver."""
        return amount


ColumnValues = tuple[Sequence[Any], ...]
"""Rows in columnar form: one sequence of values per column."""
TryLock = Callable[[], bool]
"""Tries to acquire a lock without waiting; returns whether it is held."""


class DatabaseDialect(Protocol):
    """The operations that differ between databases.

    Attributes and methods with a value or a body are defaults, for databases without the feature.

    Attributes:
        title: Name for people.
        has_users: Whether it has users with privileges; a file has none.
        has_partitions: Whether a table can be partitioned by ranges, as `etl.db.partitions` does.
        drops_grants: Whether the grants on a relation are dropped with it.
        dump_command: Program of the server that makes a backup, without the name of the database; empty for a file.
        extra: The optional dependency with the driver, in `pip install 'billing-etl[…]'`; empty if none is needed.
        snapshot_isolation: Isolation level in which all queries of a transaction see the same snapshot; None if they
            always do.
        lock_release_seconds: Time in which the advisory lock of a killed process is released.
        default_port: TCP port of a server.
        tls_option: Parameter of the URL that turns TLS on.
        authority_option: Parameter of the URL with the trusted certificates.
        expressions: SQL expressions.
        column_types: Column types.
        table_options: Options of every table, by SQLAlchemy's name without the prefix of the backend.
    """

    title: str
    has_users: bool = True
    has_partitions: bool = False
    drops_grants: bool = False
    dump_command: str = ""
    extra: str = ""
    snapshot_isolation: str | None
    lock_release_seconds: float = LOCK_RELEASE_SECONDS
    default_port: str = ""
    tls_option: str = ""
    authority_option: str = ""
    expressions: SqlExpressions
    column_types: ColumnTypes
    table_options: Mapping[str, str] = {}

    def connect_options(self, url: URL) -> ConnectOptions:
        """Options of an engine with strict types and bounded waits."""

    def connect(self, url: URL, arguments: list[Any], options: dict[str, Any]) -> Any:
        """Open a connection of the driver.

        Args:
            url: The URL as configured.
            arguments: Positional arguments of the driver's function, by SQLAlchemy.
            options: Its keyword arguments.
        """

    def find_cause(self, error: Exception, text: str) -> Cause | None:
        """Find the cause of a failed connection. Pure.

        Args:
            error: The exception of `connect`.
            text: Its text in one line.

        Returns:
            None for an error that only a parameter of the URL explains.
        """

    def parameters(self) -> list[str]:
        """Names of the parameters that a URL may have."""

    def set_up(self, engine: Engine, url: URL) -> None:
        """Register the listeners that set up connections and transactions.

        Args:
            engine: The new engine.
            url: The URL as configured: its timeouts take precedence over the defaults.

        Raises:
            SettingError: An option of the URL is invalid.
        """

    def database_file(self, url: URL) -> Path | None:
        """Path of the database's file; None for a server or an in-memory database."""
        return None

    def lock(self, engine: Engine, name: str, resources: ExitStack) -> TryLock | None:
        """Prepare an advisory lock that is released when its process dies.

        Args:
            engine: Engine of the database in which the name is unique.
            name: Name of the locked resource.
            resources: Receives what holds the lock; closing it releases the lock.

        Returns:
            A function that tries to acquire the lock; None if no other process can open the database.

        Raises:
            DatabaseError: The lock cannot be created.
        """

    def length_limit(self, connection: Connection) -> LengthLimit:
        """The largest row, and the largest statement that writes one."""

    def read_relations(
        self, connection: Connection, names: Collection[str], functions: Mapping[str, str]
    ) -> Iterable[Relation]:
        """Read the objects with these names from the current schema.

        Args:
            connection: Connection to read with.
            names: Names of tables and views, in lower case.
            functions: Names of functions, with the view whose rows each returns; that is their mark.
        """

    def read_dependents(self, connection: Connection, names: Collection[str], own: Collection[str]) -> Iterable[str]:
        """Describe the objects that are lost when relations are dropped, or that prevent it.

        Args:
            connection: Connection to read with.
            names: Names of our tables, views and functions.
            own: Names of our own objects that depend on them.
        """
        return ()

    def read_column_dependents(
        self, connection: Connection, table: str, columns: Collection[str], own: Collection[str]
    ) -> Iterable[str]:
        """Describe the objects that prevent a change of the type of columns; none where nothing does.

        Args:
            connection: Connection to read with.
            table: Name of our table.
            columns: Names of its columns.
            own: Names of our own objects that depend on it.
        """
        return ()

    def require_utf8(self, connection: Connection) -> None:
        """Require a database that can store every text.

        Raises:
            SchemaMismatchError: The database's encoding is not UTF-8.
        """
        return  # it always is

    def create_function_statements(self, name: str, view: str, query: Callable[[str, str, str], str]) -> list[str]:
        """Statements that create a function of a time and two optional days; none where a function returns no rows.

        Only its owner may execute it until others are granted it.

        Args:
            name: Name of the function.
            view: View whose rows it returns.
            query: Builds its query from the SQL expressions of the time (UTC without a zone), the first and the last
                day.
        """
        return []

    def drop_function_statements(self, name: str) -> list[str]:
        """Statements that drop such a function, in every form that a revision had; none where there is none."""
        return []

    def comment_statement(self, view: str, column: str, comment: str) -> str | None:
        """Statement that comments on a column of a view; None where views have no comments."""
        return None

    def server_name(self, connection: Connection) -> str:
        """Name of the database's product; `title` unless a dialect is that of several."""
        return self.title

    def insert_rows(self, connection: Connection, target: str, shared: tuple[Any, ...], columns: ColumnValues) -> None:
        """Insert rows; values are str, int or None, without conversion by column types.

        Args:
            connection: Connection in a transaction.
            target: Table and columns, as SQL: `table (first, second)`.
            shared: Values of the first columns, equal in all rows.
            columns: Values of the remaining columns.

        Raises:
            DBAPIError: The database refused the rows.
        """

    def read_columns(self, connection: Connection, query: Select[Any]) -> Sequence[Sequence[Any]]:
        """Read many rows in columnar form, with the least conversion that the driver allows.

        Args:
            connection: Connection to read with.
            query: Selects numbers, truth values, and texts, times and amounts that are not NULL.

        Returns:
            A sequence per column, none if there are no rows. Times and amounts are text, or objects whose `str` is
            that text.
        """

    def unconverted_values(self, connection: Connection) -> AbstractContextManager[None]:
        """A block whose queries, without column types, return values in the form that costs the driver least.

        Times, amounts and numbers are objects of the driver, or texts; `str` of either is the same text.
        """
        return nullcontext()

    def authentication_option(self, url: URL) -> str:
        """Option that a URL needs for the server to be authenticated; empty if it has one, or needs none."""
        return ""

    def health_checks(self, connection: Connection, tables: Collection[str], setting: str) -> Iterable[HealthCheck]:
        """The checks of a connection: journal, time limits, modes, and whether it may change rows.

        Args:
            connection: Connection of a run.
            tables: Names of our tables.
            setting: Name of the setting with the URL, for messages.
        """

    def missing_privileges(self, connection: Connection, schema: SchemaAccess) -> Iterable[MissingPrivilege]:
        """The privileges that the connected user lacks; only where `has_users` is true."""
        return ()

    def grantee(self, connection: Connection) -> str:
        """The connected user in the syntax of GRANT; only where `has_users` is true."""
        return ""

    def copy_database(self, connection: Connection, target: Path) -> None:
        """Copy a database that is a file, as it is in this transaction, to another file, and check the copy.

        Args:
            connection: Connection in a transaction.
            target: An empty file.

        Raises:
            DatabaseError: The database is damaged.
            DiskFullError: The disk of the copy is full.
        """
        raise TypeError(f"{self.title} is a server, with its own backup program")
