"""PostgreSQL behind a PgBouncer in transaction mode: runs succeed and leave no session state behind."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import ExitStack

import pytest
from sqlalchemy import text
from support.external_tools import tool
from support.process_pool import ProcessPool, no_lock
from support.sync_account import LAST_CLOSED, START, Account, charges

from etl.db.engine import new_engine

POOL = 4
"""Server sessions, fewer than eight runs need."""
SESSION_SETTINGS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "client_encoding")


@pytest.fixture(scope="module")
def pool():
    pool = ProcessPool()
    yield pool
    pool.close()


@pytest.fixture
def pooled(database_url, tmp_path):
    """The URL of the same database through the pooler."""
    program = tool("pgbouncer")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    server = f"host={database_url.host} port={database_url.port or 5432} user={database_url.username}"
    if database_url.password:
        server += f" password={database_url.password}"
    file = tmp_path / "pgbouncer.ini"
    file.write_text(
        f"[databases]\n* = {server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {POOL}\nunix_socket_dir =\n"
    )
    # It refuses to run as root.
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([program, "-q", *user, str(file)], stderr=subprocess.PIPE, text=True)
    while True:
        assert process.poll() is None, process.communicate()
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield database_url.set(host="127.0.0.1", port=port)
    process.kill()
    process.communicate()


pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def edition(number):
    """More changes than the driver executes before it prepares a statement."""
    return [*charges(START, 9, price=f"0.{1 + number}"), *charges(LAST_CLOSED, 9, info=f"edition {number}")]


@pytest.mark.fault(90)
@pytest.mark.empty_database
def test_the_whole_job_runs_through_a_transaction_pooler(pooled, sandbox):
    account = Account(pooled, sandbox)
    for number in range(4):
        sandbox.dataset.replace(edition(number))
        assert account.run(window_days=1) == (0, "")
        account.assert_matches_vendor()


@pytest.mark.fault(78, 89, 91)
@pytest.mark.parametrize("locked", [True, False])
def test_eight_concurrent_runs_through_a_transaction_pooler(pooled, database_url, sandbox, pool, locked):
    account = Account(pooled, sandbox)
    for number in range(4):
        sandbox.dataset.replace(edition(number))
        results = pool.run(account.settings, **({} if locked else {"lock": no_lock}))
        assert {code for code, _ in results} in ({0, 75}, {0}), results
        account.assert_matches_vendor()
    with new_engine(database_url).begin() as connection:
        query = (
            "SELECT COUNT(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
        assert connection.scalar(text(query)) == 0, "a lock remains"


@pytest.mark.fault(89)
def test_no_setting_remains_in_the_sessions_of_a_pooler(pooled, database_url, sandbox):
    import psycopg

    def settings_of(connection):
        return [connection.execute(f"SHOW {name}").fetchone()[0] for name in SESSION_SETTINGS]

    plain = database_url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, client_encoding="utf8") as connection:
        untouched = settings_of(connection)
    sandbox.dataset.replace(edition(1))
    assert Account(pooled, sandbox).run() == (0, "")
    with ExitStack() as all_of_them:
        through = pooled.set(drivername="postgresql").render_as_string(hide_password=False)
        for _ in range(POOL):
            # Each holds its transaction, and with it one session, until all are looked at.
            connection = all_of_them.enter_context(psycopg.connect(through, client_encoding="utf8"))
            assert settings_of(connection) == untouched
