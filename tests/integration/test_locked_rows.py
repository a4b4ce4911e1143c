"""Other sessions in the database: readers, a writer that keeps its lock, deadlocks, lock timeouts."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import pytest
from sqlalchemy import Engine, event, text
from support.sync_account import (
    LAST_CLOSED,
    START,
    Account,
    charges,
    errors_seen,
    just_before,
    wait_until_session_is_blocked,
)

from etl.db.engine import new_engine

OLD = [*charges(START, 2), *charges(LAST_CLOSED, 2), *charges("2026-03-11", 1)]
NEW = [*charges(START, 3), *charges(LAST_CLOSED, 4, price="1.5"), *charges("2026-03-11", 2)]
servers = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)


@pytest.fixture
def account(database_url, sandbox):
    """An account with stored records, and changes to fetch."""
    sandbox.dataset.replace(OLD)
    account = Account(database_url, sandbox)
    assert account.run() == (0, "")
    sandbox.dataset.replace(NEW)
    return account


def read_counts(connection):
    """The number of rows and the ledger's count; they are equal in every committed state."""
    counted, ledger = (
        connection.execute(text(query)).scalar_one()
        for query in (
            "SELECT COUNT(*) FROM billing_records WHERE withdrawn_at IS NULL",
            "SELECT SUM(records) FROM synced_days",
        )
    )
    return counted, int(ledger)


@pytest.mark.fault(79, 82)
def test_a_reader_sees_the_old_state_until_the_commit_and_then_the_new_one(account):
    other = new_engine(account.settings.database_url)
    seen = []

    def look():
        with other.connect().execution_options(only_reads=True) as connection:
            seen.append(read_counts(connection))

    # The last statement of the window, after all its rows.
    with just_before("UPDATE sync_runs SET sources", look), just_before("COMMIT", look, skip=1):
        assert account.run() == (0, "")
    look()
    assert seen == [(5, 5), (5, 5), (9, 9)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.fault(82)
def test_an_open_cursor_on_the_file_does_not_block_a_run(account):
    path = account.settings.database_url.database
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        cursor = reader.execute("SELECT created_at FROM billing_records")
        cursor.fetchone()
        assert account.run() == (0, "")
        assert len(cursor.fetchall()) == 4, "the cursor continues"
    account.assert_matches_vendor()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.fault(81)
def test_a_run_exits_74_when_another_writer_keeps_the_file_locked(account):
    url = account.settings.database_url.update_query_dict({"timeout": "0.1"})
    before = account.dump()
    with closing(sqlite3.connect(url.database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        code, line = account.run(url=url)
    assert (code, "locked by another program" in line) == (74, True), line
    assert account.dump() == before
    assert account.run() == (0, "")
    account.assert_matches_vendor()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.fault(81)
def test_a_run_waits_for_a_writer_that_unlocks_the_file(account):
    url = account.settings.database_url.update_query_dict({"timeout": "0.1"})
    with closing(sqlite3.connect(url.database, isolation_level=None)) as writer, errors_seen() as errors:

        def leave(_context):
            if writer.in_transaction:
                writer.execute("ROLLBACK")

        event.listen(Engine, "handle_error", leave)
        try:
            with just_before("BEGIN IMMEDIATE", lambda: writer.execute("BEGIN IMMEDIATE"), skip=1) as taken:
                assert account.run(url=url) == (0, "")
        finally:
            event.remove(Engine, "handle_error", leave)
    assert (len(taken), errors) == (1, ["OperationalError"])
    account.assert_matches_vendor()


def impatient(url):
    """The same database with a lock timeout of one second."""
    if url.get_backend_name() == "postgresql":
        return url.update_query_dict({"options": "-c lock_timeout=1000"})
    return url.update_query_dict({"init_command": "SET SESSION innodb_lock_wait_timeout = 1"})


TAKE_A_DAY = text("SELECT * FROM synced_days WHERE day = :day FOR UPDATE")


@servers
@pytest.mark.fault(68, 69)
def test_a_lock_timeout_rolls_the_window_back_and_it_is_retried(account):
    other = new_engine(account.settings.database_url)
    with other.connect() as holder, errors_seen() as errors:
        # At this point the records of all days and the first day of the ledger are written.
        holder.execute(TAKE_A_DAY, {"day": LAST_CLOSED})

        def leave(_context):
            holder.rollback()

        event.listen(Engine, "handle_error", leave)
        try:
            assert account.run(url=impatient(account.settings.database_url)) == (0, "")
        finally:
            event.remove(Engine, "handle_error", leave)
    assert errors in (["LockNotAvailable"], ["1205"])
    account.assert_matches_vendor()
    assert account.read("SELECT COUNT(*) FROM restatements") == [(5,)], "two attempts, one line per change"


@servers
@pytest.mark.fault(68, 69)
def test_repeated_lock_timeouts_end_the_run_with_74_and_roll_the_window_back(account):
    other = new_engine(account.settings.database_url)
    before = account.dump()
    with other.connect() as holder:
        holder.execute(TAKE_A_DAY, {"day": LAST_CLOSED})
        code, line = account.run(url=impatient(account.settings.database_url))
    assert (code, "timed out waiting for a lock in the database" in line) == (74, True), line
    assert account.dump() == before
    assert account.run() == (0, "")
    account.assert_matches_vendor()


@servers
@pytest.mark.fault(88)
def test_a_deadlock_rolls_the_window_back_and_it_is_retried(account):
    other = new_engine(account.settings.database_url)
    with other.begin() as connection:
        connection.execute(text("CREATE TABLE weight (number INTEGER)"))
    waiting = []
    with other.connect() as stranger, errors_seen() as errors:
        # MariaDB rolls back the transaction that wrote less, PostgreSQL the one that detects the deadlock.
        for number in range(200):
            stranger.execute(text("INSERT INTO weight VALUES (:number)"), {"number": number})
        if other.dialect.name == "postgresql":
            stranger.execute(text("SET LOCAL deadlock_timeout = '10min'"))
        stranger.execute(TAKE_A_DAY, {"day": LAST_CLOSED})

        def want_what_the_run_has():
            stranger.execute(text("SELECT fence FROM sync_state FOR UPDATE"))
            stranger.rollback()

        def ask():
            waiting.append(threading.Thread(target=want_what_the_run_has, daemon=True))
            waiting[0].start()
            wait_until_session_is_blocked(new_engine(account.settings.database_url))

        # The run holds the state of its account; the day is next.
        with just_before("UPDATE synced_days", ask) as statements:
            assert account.run() == (0, "")
        waiting[0].join(60)
        assert not waiting[0].is_alive()
    assert len(statements) == 1
    assert errors in (["DeadlockDetected"], ["1213"])
    account.assert_matches_vendor()
