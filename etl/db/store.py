"""Transactions of one database: retried whole, with signals deferred; and a connection for reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, Engine

from etl import signals
from etl.db.engine import read_connection, require_database
from etl.db.errors import translate_errors
from etl.db.migrate import require_schema
from etl.db.retry import retry_transaction

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Store:
    """An engine with the rules for its transactions.

    A callable passed to it may run several times: it must not change anything but the database.
    """

    engine: Engine

    def read(self, query: Callable[[Connection], T]) -> T:
        """The result of a query, in a transaction that writes nothing."""

        def transaction() -> T:
            with read_connection(self.engine) as connection:
                return query(connection)

        return retry_transaction(transaction)

    def write(self, change: Callable[[Connection], T], *, retry: bool = True) -> T:
        """The result of a change, committed.

        A signal waits for the commit of an attempt; between two attempts it ends the program.

        Args:
            change: The whole transaction.
            retry: Whether to retry the transaction after transient errors.
        """

        def transaction() -> T:
            with signals.deferred(), self.engine.begin() as connection:
                return change(connection)

        return retry_transaction(transaction) if retry else transaction()


@contextmanager
def read_database(engine: Engine) -> Iterator[Connection]:
    """A connection for reading a database that exists and has the current schema.

    Raises:
        DatabaseError: The database is missing or cannot be read. Errors of the block are translated too.
        SchemaMismatchError: It has another schema.
    """
    require_database(engine)
    with translate_errors(), read_connection(engine) as connection:
        require_schema(connection)
        yield connection
