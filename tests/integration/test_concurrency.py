"""Eight runs at once: one does the work, the others are told so, and the database is the vendor's, with or without the
lock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from conftest import fresh_database
from sqlalchemy.exc import IntegrityError
from support.process_pool import SIZE, ProcessPool, no_lock
from support.run_helpers import settings_of, token_of
from support.sync_account import LAST_CLOSED, MORNING, START, Account, charges, just_before, wait_until_somebody_waits

from etl.db.migrate import migrate
from etl.db.retry import retry_transaction
from etl.db.run_store import begin_run, finish_run

ROUNDS = 25
"""With the lock, and as many without."""
FIRST_RUNS = 3
"""Rounds on a database that has no schema yet: each costs a migration."""


@pytest.fixture(scope="module")
def pool():
    pool = ProcessPool()
    yield pool
    pool.close()


@pytest.fixture
def vendor(sandbox):
    sandbox.dataset.replace([])
    return sandbox


@pytest.fixture
def account(database_url, vendor):
    return Account(database_url, vendor)


def edition(number):
    """What the vendor lists in a round: every round something else on each day."""
    return [
        *charges(START, 1 + number % 4, price=f"0.{1 + number}"),
        *charges(LAST_CLOSED, 3 + number % 3, info=f"edition {number}"),
        *charges("2026-03-11", 1 + number % 5),
    ]


def codes_of(results):
    """The exit codes; whatever is neither done nor told to leave is shown with its words."""
    assert not [result for result in results if result[0] not in {0, 75}]
    codes = [code for code, _ in results]
    assert 0 in codes, "somebody has to do it"
    return codes


def outcomes(account, label="default"):
    return account.read(
        "SELECT outcome, COUNT(*) FROM sync_runs JOIN accounts ON accounts.id = account_id WHERE label = :label"
        " GROUP BY outcome ORDER BY outcome",
        label=label,
    )


@pytest.mark.fault(78, 79, 92, 93)
def test_of_eight_runs_at_once_one_does_the_work_and_the_others_are_told(account, pool):
    done = 0
    for number in range(ROUNDS):
        account.vendor.dataset.replace(edition(number))
        done += codes_of(pool.run(account.settings)).count(0)
        account.assert_matches_vendor()
    # Who was told left no trace; who did the work, one line each.
    assert outcomes(account) == [("done", done)]


@pytest.mark.fault(78, 95)
def test_the_fence_alone_keeps_eight_runs_apart(account, pool):
    for number in range(ROUNDS):
        account.vendor.dataset.replace(edition(number))
        # Every fifth time the account is new: then they all write its row too.
        label = f"account {number // 5}"
        account.settings = replace(account.settings, account=label, api_token=token_of(account.vendor, label))
        codes_of(pool.run(account.settings, lock=no_lock))
        account.assert_matches_vendor()
        assert {outcome for outcome, _ in outcomes(account, account.settings.account)} <= {"done", "abandoned"}


@pytest.mark.fault(78, 87)
@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mariadb"])
@pytest.mark.parametrize("locked", [True, False])
def test_eight_first_runs_at_once_make_one_schema_and_one_account(backend, locked, pool, vendor, tmp_path):
    vendor.dataset.replace(edition(1))
    for number in range(FIRST_RUNS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with fresh_database(backend, folder) as url:
            account = Account(url, vendor)
            codes_of(pool.run(account.settings, **({} if locked else {"lock": no_lock})))
            account.assert_matches_vendor()


@pytest.mark.fault(78, 79, 88)
def test_runs_of_eight_accounts_at_once_do_not_meet(account, pool):
    everyone = [
        settings_of(account.settings.database_url, account.vendor, START, account=f"account {number}")
        for number in range(SIZE)
    ]
    for number in range(FIRST_RUNS):
        account.vendor.dataset.replace(edition(number))
        assert pool.run(*everyone) == [(0, "")] * SIZE
        for account.settings in everyone:
            account.assert_matches_vendor()


@pytest.mark.fault(78)
def test_eight_processes_started_at_once_end_with_0_or_75(account, tmp_path):
    account.vendor.dataset.replace(edition(2))
    settings = account.settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")} | {
        "BILLING_API_TOKEN": account.vendor.token,
        "BILLING_API_URL": account.vendor.url,
        "BILLING_DATABASE_URL": settings.database_url.render_as_string(hide_password=False),
        "BILLING_START_DATE": START.isoformat(),
    }
    command = [sys.executable, "-m", "etl", "-q", "sync", "--until", LAST_CLOSED.isoformat()]
    programs = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(SIZE)
    ]
    codes_of([(program.returncode, errors) for program in programs for errors in [program.communicate(timeout=300)[1]]])
    assert account.run()[0] == 0
    account.assert_matches_vendor()


def started(work):
    """Work in a thread of its own, and where its result will be."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    return thread, results


def begin(connection):
    return begin_run(connection, label="new", command="sync", version="0", windows=[], now=MORNING)


servers = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)


@servers
@pytest.mark.fault(78, 66)
def test_two_first_runs_that_both_write_the_accounts_row_get_two_fences(account):
    engine = account.engine
    with just_before("INSERT INTO accounts", lambda: None) as inserts:

        def later():
            with engine.begin() as connection:
                return begin(connection)

        with engine.begin() as connection:
            first = begin(connection)
            thread, results = started(lambda: retry_transaction(later, also_on=(IntegrityError,)))
            wait_until_somebody_waits(engine)
        thread.join(60)
    assert len(inserts) == 1
    assert [(run.account_id, run.fence) for run in (first, *results)] == [(first.account_id, 1), (first.account_id, 2)]


@servers
@pytest.mark.fault(88)
def test_a_run_that_ends_and_a_run_that_begins_do_not_wait_for_each_other(account):
    """The one writes its line, the other writes it off, and both the account's state: in the same order."""
    engine = account.engine
    with engine.begin() as connection:
        run = begin(connection)

    def end():
        with engine.begin() as connection:
            finish_run(connection, run, outcome="done", exit_code=0, error=None, now=MORNING)

    threads = []

    def somebody_ends():
        threads.append(started(end)[0])
        wait_until_somebody_waits(engine)

    # The one that begins holds the state already; the other may not hold the line that it comes to next.
    with just_before("UPDATE sync_runs SET finished_at", somebody_ends), engine.begin() as connection:
        begin(connection)
    threads[0].join(60)
    assert account.read("SELECT outcome FROM sync_runs ORDER BY id") == [("abandoned",), ("running",)]
    assert not threads[0].is_alive()


@servers
@pytest.mark.fault(87)
@pytest.mark.empty_database
def test_a_run_that_waited_for_anothers_migration_leaves_the_views_alone(account):
    """Made anew, they would be gone for a moment from under whoever reads them."""
    theirs = []
    with just_before("DROP VIEW", lambda: None, times=99) as dropped:

        def somebody_else_migrates():
            migrate(account.engine)
            theirs.extend(dropped)

        # The run has seen that there is no schema, and asks for the lock of the schema.
        question = {"postgresql": "SELECT pg_try_advisory", "mariadb": "SELECT GET_LOCK"}
        with just_before(question[account.engine.dialect.name], somebody_else_migrates):
            assert account.run(lock=no_lock)[0] == 0
    assert dropped == theirs != []
