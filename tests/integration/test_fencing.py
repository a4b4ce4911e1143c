"""A run that is suspended and loses its lock writes nothing when it continues."""

from __future__ import annotations

import os
import signal
import time

import pytest
from sqlalchemy import text
from support.forked_cli import Forked
from support.sync_account import LAST_CLOSED, START, Account, charges, end_sessions, wait_until_session_is_blocked

from etl.db.engine import new_engine


@pytest.fixture
def account(database_url, sandbox):
    sandbox.dataset.replace([*charges(START, 2), *charges(LAST_CLOSED, 2)])
    account = Account(database_url, sandbox)
    assert account.run() == (0, "")
    return account


@pytest.fixture
def sleeper(account, tmp_path):
    """A sync in its own process; the vendor does not answer its first request for records."""
    account.vendor.requests.clear()
    account.vendor.faults.add("hang", action="post_billing_data", times=1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")} | {
        "BILLING_API_TOKEN": account.vendor.token,
        "BILLING_API_URL": account.vendor.url,
        "BILLING_DATABASE_URL": account.settings.database_url.render_as_string(hide_password=False),
        "BILLING_TIMEOUT": "1",
        "BILLING_RETRY_ATTEMPTS": "2",
        "BILLING_RETRY_MAX_WAIT": "0",
    }
    # A backfill, because it writes its days even if a newer run has stored them.
    arguments = ["-q", "backfill", "--since", START.isoformat(), "--until", LAST_CLOSED.isoformat()]
    process = Forked(arguments, environment, tmp_path)
    while len(account.vendor.requests) < 2:
        assert process.is_running, process.finish()
        time.sleep(0.01)
    yield process
    process.close()


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.fault(95)
def test_a_suspended_run_that_lost_its_lock_writes_nothing_it_had_fetched(account, sleeper):
    other = new_engine(account.settings.database_url)
    account.vendor.dataset.replace([*charges(START, 9), *charges(LAST_CLOSED, 9, info="old")])
    with other.begin() as connection:
        # It has received its answer when it starts its transaction and finds that another run has taken the account.
        connection.execute(text("SELECT fence FROM sync_state FOR UPDATE"))
        wait_until_session_is_blocked(other)
        sleeper.send_signal(signal.SIGSTOP)
    end_sessions(other)
    account.vendor.dataset.replace([*charges(START, 3), *charges(LAST_CLOSED, 4, info="new")])
    assert account.run() == (0, "")
    account.assert_matches_vendor()
    before = account.dump()

    sleeper.send_signal(signal.SIGCONT)
    done = sleeper.finish()
    assert (done.code, "a newer run" in done.errors) == (75, True), done
    assert account.dump() == before
    outcomes = [row[0] for row in account.read("SELECT outcome FROM sync_runs ORDER BY id")]
    assert outcomes == ["done", "abandoned", "done"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.fault(93, 95)
def test_a_suspended_run_keeps_the_lock_file_of_sqlite(account, sleeper):
    sleeper.send_signal(signal.SIGSTOP)
    before = account.dump()
    code, _ = account.run()
    assert (code, account.dump()) == (75, before)
    sleeper.send_signal(signal.SIGCONT)
    assert sleeper.finish().code == 0
    account.assert_matches_vendor()
