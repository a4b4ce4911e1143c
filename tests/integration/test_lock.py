"""One run per account at a time, across processes: a second one exits or waits, a killed one holds no lock."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.forked_cli import Forked
from support.run_helpers import token_of


@pytest.fixture
def vendor(sandbox):
    sandbox.dataset.replace([])
    return sandbox


@pytest.fixture
def start(database_url, vendor, tmp_path):
    """Starts a sync in its own process, which is killed after the test if it still runs."""
    programs = []

    def start(*arguments, account="default"):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")} | {
            "BILLING_API_TOKEN": token_of(vendor, account),
            "BILLING_API_URL": vendor.url,
            "BILLING_DATABASE_URL": database_url.render_as_string(hide_password=False),
            "BILLING_ACCOUNT": account,
            "BILLING_START_DATE": "2026-03-08",
            "BILLING_RETRY_ATTEMPTS": "1",
        }
        programs.append(Forked(["-v", "sync", "--until", "2026-03-10", *arguments], environment, tmp_path))
        return programs[-1]

    yield start
    for program in programs:
        program.close()


@pytest.fixture
def holder(start, vendor):
    """A run that holds the lock of its account, because its request for records is never answered."""
    start().finish()
    vendor.faults.add("hang", action="post_billing_data")
    vendor.requests.clear()
    program = start()
    while len(vendor.requests) < 2:
        assert program.is_running, program.finish()
        time.sleep(0.01)
    return program


@pytest.mark.fault(78, 92, 93)
def test_a_second_run_exits_at_once_and_sends_no_request(holder, start, vendor):
    code, out, errors = start().finish()
    assert (code, out) == (75, "")
    assert errors.endswith("billing-etl: another run of this account is under way; see --wait\n")
    assert (len(vendor.requests), holder.is_running) == (2, True)


def test_a_second_run_exits_when_its_waiting_time_is_over(holder, start, vendor):
    code, _out, errors = start("--wait", "0.5").finish()
    assert (code, "waiting for up to 0.5 s" in errors) == (75, True), errors
    assert (len(vendor.requests), holder.is_running) == (2, True)


def test_a_run_that_waits_starts_when_the_other_ends(holder, start, vendor):
    waiting = start("--wait", "100")
    while "waiting for up to 100 s" not in waiting.errors_so_far():
        assert waiting.is_running, waiting.finish()
        time.sleep(0.01)
    assert len(vendor.requests) == 2
    holder.send_signal(signal.SIGTERM)
    assert holder.finish().code == 143
    assert waiting.finish().code == 0


@pytest.mark.fault(92, 93)
def test_a_killed_run_holds_no_lock(holder, start):
    holder.send_signal(signal.SIGKILL)
    assert holder.finish().code == -signal.SIGKILL
    # The servers may take a moment to notice the closed connection.
    code, _out, errors = start("--wait", "60").finish()
    assert code == 0, errors


def test_the_lock_of_one_account_does_not_block_another(holder, start):
    assert start(account="another").finish().code == 0
    assert holder.is_running


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_valid_account_label_can_be_locked(start):
    for label in ("a/b", "..", "Общество с ограниченной ответственностью «Ромашка»", "я" * 255, "%", "a b"):
        code, _out, errors = start(account=label).finish()
        assert (code, label) == (0, label), errors
