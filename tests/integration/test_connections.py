"""A run uses one connection for all transactions, another one for its lock, and closes both."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import Engine, Pool, event, make_url, text
from sqlalchemy.exc import OperationalError
from support.sync_account import LAST_CLOSED, START, Account, charges, end_sessions

from etl.db.engine import new_engine
from etl.db.lock import advisory_lock
from etl.services.database import pooled_engine

servers = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)


@pytest.fixture
def account(database_url, sandbox):
    sandbox.dataset.replace([*charges(START, 3), *charges(LAST_CLOSED, 4), *charges("2026-03-11", 2)])
    return Account(database_url, sandbox)


@contextmanager
def seen(owner, **kinds):
    """Count events by the names given for them."""
    counts = Counter()
    listeners = {name: lambda *_, kind=kind: counts.update([kind]) for name, kind in kinds.items()}
    for name, listener in listeners.items():
        event.listen(owner, name, listener)
    try:
        yield counts
    finally:
        for name, listener in listeners.items():
            event.remove(owner, name, listener)


def connections():
    return seen(Pool, connect="made", close="closed", close_detached="closed")


def test_a_run_connects_once_for_its_lock_and_once_for_all_its_transactions(account):
    account.run(
        window_days=1
    )  # the account's first run holds the lock of the schema as well, while it adds the account
    with connections() as counts:
        assert account.run(window_days=1) == (0, "")
    # SQLite's lock is a file of its own.
    made = 1 if account.engine.dialect.name == "sqlite" else 2
    assert counts == {"made": made, "closed": made}


def test_a_run_that_fails_leaves_no_connection(account):
    account.vendor.faults.add("status", status=500, times=99)
    with connections() as counts:
        assert account.run()[0] == 69
    assert counts["made"] == counts["closed"] > 0


@servers
@pytest.mark.fault(99)
def test_a_session_lost_between_two_transactions_causes_no_retry(account):
    other = new_engine(account.settings.database_url)
    with seen(Engine, begin="started") as quiet:
        assert account.run(account="one", window_days=1) == (0, "")
    with seen(Engine, begin="started") as disturbed:
        assert account.run(lambda: end_sessions(other), account="another", window_days=1) == (0, "")
    # `end_sessions` begins one itself, after each of the four windows.
    assert disturbed["started"] == quiet["started"] + 4, "a transaction was retried"


@servers
@pytest.mark.fault(91, 92)
def test_a_lock_is_released_at_the_end_of_its_block_while_connections_stay(database_url):
    other = new_engine(database_url)
    with pooled_engine(database_url) as engine:
        with advisory_lock(engine, "account-a", wait=0):
            pass
        with engine.connect(), advisory_lock(other, "account-a", wait=0):
            pass


@servers
@pytest.mark.fault(93)
def test_a_lock_that_the_server_releases_late_is_waited_for(database_url):
    holder = ExitStack()
    holder.enter_context(advisory_lock(new_engine(database_url), "account-a", wait=0))
    tries = []

    def release_before_the_second_try(_connection, _cursor, statement, *_):
        if "advisory" in statement or "GET_LOCK" in statement:
            tries.append(statement)
            if len(tries) == 2:
                holder.close()

    engine = new_engine(database_url)
    event.listen(engine, "before_cursor_execute", release_before_the_second_try)
    with advisory_lock(engine, "account-a", wait=0):
        assert len(tries) == 2


def test_a_new_file_locked_by_another_process_is_waited_for(tmp_path):
    path = tmp_path / "new.db"
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    url = make_url(f"sqlite:///{path}")
    with pytest.raises(OperationalError, match="database is locked"):
        new_engine(url.update_query_dict({"timeout": "0"})).connect()
    release = threading.Timer(0.1, writer.rollback)
    release.start()
    with new_engine(url).connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    release.join()
    writer.close()
