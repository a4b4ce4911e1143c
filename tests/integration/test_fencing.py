"""A run that slept while its lock went: when it wakes up, it writes nothing of what it had fetched."""

from __future__ import annotations

import os
import signal
import time

import pytest
from sqlalchemy import text
from support.forked_cli import Forked
from support.sync_account import LAST_CLOSED, START, Account, charges, end_sessions, wait_until_somebody_waits

from etl.db.engine import new_engine


@pytest.fixture
def account(database_url, sandbox):
    sandbox.dataset.replace([*charges(START, 2), *charges(LAST_CLOSED, 2)])
    account = Account(database_url, sandbox)
    assert account.run() == (0, "")
    return account


@pytest.fixture
def sleeper(account, tmp_path):
    """A sync in a process of its own, whose first question for the records the vendor does not answer."""
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
    # A backfill: it writes its days whenever it comes to them.
    arguments = ["-q", "backfill", "--since", START.isoformat(), "--until", LAST_CLOSED.isoformat()]
    process = Forked(arguments, environment, tmp_path)
    while len(account.vendor.requests) < 2:
        assert process.is_running, process.finish()
        time.sleep(0.01)
    yield process
    process.close()


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.fault(95)
def test_a_run_that_slept_past_its_lock_writes_nothing_of_the_old_answer_it_holds(account, sleeper):
    other = new_engine(account.settings.database_url)
    account.vendor.dataset.replace([*charges(START, 9), *charges(LAST_CLOSED, 9, info="old")])
    with other.begin() as connection:
        # Its answer is in its hands when it comes to its transaction, and finds the account's state taken.
        connection.execute(text("SELECT fence FROM sync_state FOR UPDATE"))
        wait_until_somebody_waits(other)
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
def test_the_lock_beside_a_file_is_kept_by_a_run_that_sleeps(account, sleeper):
    sleeper.send_signal(signal.SIGSTOP)
    before = account.dump()
    code, _ = account.run()
    assert (code, account.dump()) == (75, before)
    sleeper.send_signal(signal.SIGCONT)
    assert sleeper.finish().code == 0
    account.assert_matches_vendor()
