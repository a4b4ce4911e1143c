"""The interface of a database dialect, and the values that it passes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import URL, Connection, Engine


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


TryLock = Callable[[], bool]
"""Tries to acquire a lock without waiting; whether it is held now."""


class DatabaseDialect(Protocol):
    """What the program does differently on each database.

    Attributes:
        extra: The optional dependency with the driver, in `pip install 'billing-etl[…]'`; empty if none is needed.
        snapshot_isolation: Isolation level in which all queries of a transaction see the same snapshot; None if they
            always do.
    """

    extra: str
    snapshot_isolation: str | None

    def connect_options(self, url: URL) -> ConnectOptions:
        """Options of an engine with strict types and bounded waits."""

    def connect(self, url: URL, arguments: list[Any], options: dict[str, Any]) -> Any:
        """Open a connection of the driver.

        Args:
            url: The URL as configured.
            arguments: Positional arguments of the driver's function, by SQLAlchemy.
            options: Its keyword arguments.
        """

    def set_up(self, engine: Engine, url: URL) -> None:
        """Register the listeners that set up connections and transactions.

        Args:
            engine: The new engine.
            url: The URL as configured: its timeouts take precedence over the defaults.

        Raises:
            ConfigError: An option of the URL is invalid.
        """

    def database_file(self, url: URL) -> Path | None:
        """Path of the database's file; None for a server or an in-memory database."""

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
