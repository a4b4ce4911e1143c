"""One run an account at a time, between real processes: the second is told at once, the dead hold nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from support.run_helpers import token_of


@pytest.fixture
def vendor(sandbox):
    sandbox.dataset.replace([])
    return sandbox


class Program:
    """`billing-etl sync` as a process of its own."""

    def __init__(self, url, vendor, folder, *arguments, account="default"):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")} | {
            "BILLING_API_TOKEN": token_of(vendor, account),
            "BILLING_API_URL": vendor.url,
            "BILLING_DATABASE_URL": url.render_as_string(hide_password=False),
            "BILLING_ACCOUNT": account,
            "BILLING_START_DATE": "2026-03-08",
            "BILLING_RETRY_ATTEMPTS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "etl", "sync", "--until", "2026-03-10", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self):
        out, errors = self.process.communicate(timeout=120)
        return self.process.returncode, out, errors


@pytest.fixture
def start(database_url, vendor, tmp_path):
    """Start a sync; whatever still runs at the end is killed."""
    programs = []

    def start(*arguments, **options):
        programs.append(Program(database_url, vendor, tmp_path, *arguments, **options))
        return programs[-1]

    yield start
    for program in programs:
        program.process.kill()
        program.process.communicate()


@pytest.fixture
def holder(start, vendor):
    """A run that holds the lock of its account: its question for the records is never answered."""
    start().finish()
    vendor.faults.add("hang", action="post_billing_data")
    vendor.requests.clear()
    program = start()
    while len(vendor.requests) < 2:
        assert program.process.poll() is None, program.finish()
        time.sleep(0.01)
    return program


@pytest.mark.fault(78, 92, 93)
def test_a_second_run_is_told_at_once_and_asks_the_vendor_nothing(holder, start, vendor):
    code, out, errors = start().finish()
    assert (code, out, errors.count("\n")) == (75, "", 1)
    assert "another run" in errors
    assert (len(vendor.requests), holder.process.poll()) == (2, None)


def test_a_second_run_that_may_wait_so_long_and_no_longer_is_told_then(holder, start, vendor):
    assert start("--wait", "0.5").finish()[0] == 75
    assert (len(vendor.requests), holder.process.poll()) == (2, None)


def test_a_run_that_waits_goes_on_when_the_other_ends(holder, start, vendor):
    waiting = start("--wait", "100")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.process.wait(timeout=2)
    assert len(vendor.requests) == 2
    holder.process.terminate()
    assert holder.finish()[0] == 143
    assert waiting.finish()[0] == 0


@pytest.mark.fault(92, 93)
def test_a_run_that_was_killed_holds_nothing(holder, start):
    holder.process.kill()
    holder.process.wait()
    # The servers may take a moment to see that the connection is gone.
    code, _out, errors = start("--wait", "60").finish()
    assert code == 0, errors


def test_another_account_is_not_held_up(holder, start):
    code, _out, _errors = start(account="another").finish()
    assert (code, holder.process.poll()) == (0, None)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_lock_has_a_name_for_every_label_an_account_may_have(start):
    for label in ("a/b", "..", "Общество с ограниченной ответственностью «Ромашка»", "я" * 255, "%", "a b"):
        code, _out, errors = start(account=label).finish()
        assert (code, label) == (0, label), errors
