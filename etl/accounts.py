"""Rename, retire and resume an account: no run of it may be under way meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

from sqlalchemy import Connection, Engine

from etl import stopping
from etl.load.accounts import Account, list_accounts, rename, set_retired
from etl.load.engine import database_errors, reading, require_database
from etl.load.lock import hold_lock
from etl.load.schema import require_schema


def read_accounts(engine: Engine) -> list[Account]:
    """All accounts of the database, by label."""
    require_database(engine)
    with database_errors(), reading(engine) as connection:
        require_schema(connection)
        return list_accounts(connection)


def rename_account(engine: Engine, old: str, new: str, *, wait: float) -> None:
    """Give an account another label; its rows stay as they are.

    Args:
        engine: Of the database.
        old: The label it has.
        new: The one it gets.
        wait: Seconds to wait for a run of either.

    Raises:
        ConfigError: There is no such account, or one of the new label already.
        RunElsewhere: A run of either is under way: a first run would make the new one.
        DatabaseFailed: Nothing is renamed.
    """
    with _changing(engine, {old, new}, wait) as connection:
        rename(connection, old, new)


def retire_account(engine: Engine, label: str, moment: datetime | None, *, wait: float) -> bool:
    """Retire an account as of a moment, or resume it with None; whether that changed anything.

    Raises:
        ConfigError: There is no such account.
        RunElsewhere: A run of it is under way.
        DatabaseFailed: Nothing is changed.
    """
    with _changing(engine, {label}, wait) as connection:
        return set_retired(connection, label, moment)


@contextmanager
def _changing(engine: Engine, labels: set[str], wait: float) -> Iterator[Connection]:
    """One transaction under the locks of these accounts."""
    require_database(engine)
    with ExitStack() as held:
        held.enter_context(database_errors())
        for label in sorted(labels):  # always in this order: two of us never wait for each other
            held.enter_context(hold_lock(engine, f"account-{label}", wait=wait))
        held.enter_context(stopping.held_back())
        connection = held.enter_context(engine.begin())
        require_schema(connection)
        yield connection
