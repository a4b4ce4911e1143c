"""Changes to an account outside of a run: under its lock, with its fence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine

from etl import signals
from etl.db.accounts import require_account
from etl.db.engine import require_database
from etl.db.errors import translate_errors
from etl.db.lock import account_lock
from etl.db.migrate import require_schema
from etl.db.run_store import Fence, next_fence, verify_fence
from etl.db.store import Store

T = TypeVar("T")


class AccountWriter(Protocol):
    """Runs one transaction of an account: a function of the connection and the account's id."""

    def __call__(self, change: Callable[[Connection, int], T]) -> T:
        """The result of the change, committed.

        Raises:
            ConcurrentRunError: A newer run of the account has begun.
        """


@contextmanager
def locked_accounts(engine: Engine, labels: Collection[str], *, wait: float) -> Iterator[None]:
    """Hold the locks of accounts in an existing database.

    Args:
        engine: Engine of the database.
        labels: Labels of the accounts; one of them need not exist.
        wait: Seconds to wait for a run of each of them.

    Raises:
        ConcurrentRunError: A run of one of them is in progress.
        DatabaseError: The database is missing. Errors of the block are translated too.
    """
    require_database(engine)
    with ExitStack() as stack:
        stack.enter_context(translate_errors())
        for label in sorted(labels):  # in a fixed order, against deadlocks between two processes
            stack.enter_context(account_lock(engine, label, wait=wait))
        yield


@contextmanager
def locked_transaction(engine: Engine, labels: Collection[str], *, wait: float) -> Iterator[Connection]:
    """One transaction under the locks of accounts; see `locked_accounts`.

    It is not retried: after a connection lost during the commit, a second attempt would not find the state before.
    """
    with locked_accounts(engine, labels, wait=wait), signals.deferred(), engine.begin() as connection:
        require_schema(connection)
        yield connection


@contextmanager
def fenced_writer(
    engine: Engine,
    label: str,
    *,
    wait: float,
    begin: Callable[[Connection, int], None] = lambda _connection, _account_id: None,
    interrupted: bool = False,
) -> Iterator[AccountWriter]:
    """Take an account's lock and fence, and yield a writer of its transactions.

    Args:
        engine: Engine of the database.
        label: Label of the account.
        wait: Seconds to wait for a run of the account.
        begin: Runs in the transaction that takes the fence, with the id of the account.
        interrupted: Accept an account whose deletion or zone change was interrupted.

    Raises:
        ConfigError: The account is unknown.
        ConcurrentRunError: A run of the account is in progress.
        DatabaseError: The database is missing. Errors of the block are translated too.
    """
    store = Store(engine)

    def take_fence(connection: Connection) -> Fence:
        require_schema(connection)
        account_id = require_account(connection, label, interrupted=interrupted)
        # A run that was suspended and has lost its lock may not write from here on.
        fence = next_fence(connection, account_id)
        begin(connection, account_id)
        return fence

    with locked_accounts(engine, [label], wait=wait):
        fence = store.write(take_fence)

        def write(change: Callable[[Connection, int], T]) -> T:
            def transaction(connection: Connection) -> T:
                verify_fence(connection, fence)
                return change(connection, fence.account_id)

            return store.write(transaction)

        yield write
