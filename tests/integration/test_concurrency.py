"""Eight concurrent runs of one account: one succeeds, the others exit with 75; the stored days equal the vendor's, with
the lock or with the fence alone."""

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
from support.sync_account import (
    LAST_CLOSED,
    MORNING,
    START,
    Account,
    charges,
    just_before,
    wait_until_session_is_blocked,
)

from etl.db.migrate import migrate
from etl.db.retry import retry_transaction
from etl.db.run_store import begin_run, finish_run

ROUNDS = int(os.environ.get("ROUNDS", "10"))
"""Rounds with the lock, and as many without."""
FIRST_RUNS = 3
"""Rounds on a database without a schema; each costs a migration."""


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
    """The vendor's records in a round; they differ on each day from those of other rounds."""
    return [
        *charges(START, 1 + number % 4, price=f"0.{1 + number}"),
        *charges(LAST_CLOSED, 3 + number % 3, info=f"edition {number}"),
        *charges("2026-03-11", 1 + number % 5),
    ]


def codes_of(results):
    """The exit codes; a code other than 0 and 75 fails with its message."""
    assert not [result for result in results if result[0] not in {0, 75}]
    codes = [code for code, _ in results]
    assert 0 in codes, "one run must succeed"
    return codes


def outcomes(account, label="default"):
    return account.read(
        "SELECT outcome, COUNT(*) FROM sync_runs JOIN accounts ON accounts.id = account_id WHERE label = :label"
        " GROUP BY outcome ORDER BY outcome",
        label=label,
    )


@pytest.mark.fault(78, 79, 92, 93)
def test_one_of_eight_concurrent_runs_succeeds_and_the_others_exit_75(account, pool):
    done = 0
    for number in range(ROUNDS):
        account.vendor.dataset.replace(edition(number))
        done += codes_of(pool.run(account.settings)).count(0)
        account.assert_matches_vendor()
    # Runs that exited with 75 left no row in the history, successful ones one row each.
    assert outcomes(account) == [("done", done)]


@pytest.mark.fault(78, 95)
def test_eight_concurrent_runs_are_isolated_by_the_fence_alone(account, pool):
    for number in range(ROUNDS):
        account.vendor.dataset.replace(edition(number))
        # In every fifth round the account is new, so that all runs also insert its row.
        label = f"account {number // 5}"
        account.settings = replace(account.settings, account=label, api_token=token_of(account.vendor, label))
        codes_of(pool.run(account.settings, lock=no_lock))
        account.assert_matches_vendor()
        assert {outcome for outcome, _ in outcomes(account, account.settings.account)} <= {"done", "abandoned"}


@pytest.mark.fault(78, 87)
@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mariadb"])
@pytest.mark.parametrize("locked", [True, False])
def test_eight_concurrent_first_runs_create_one_schema_and_one_account(backend, locked, pool, vendor, tmp_path):
    vendor.dataset.replace(edition(1))
    for number in range(FIRST_RUNS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with fresh_database(backend, folder) as url:
            account = Account(url, vendor)
            codes_of(pool.run(account.settings, **({} if locked else {"lock": no_lock})))
            account.assert_matches_vendor()


@pytest.mark.fault(78, 79, 88)
def test_concurrent_runs_of_eight_accounts_all_succeed(account, pool):
    all_settings = [
        settings_of(account.settings.database_url, account.vendor, START, account=f"account {number}")
        for number in range(SIZE)
    ]
    for number in range(FIRST_RUNS):
        account.vendor.dataset.replace(edition(number))
        assert pool.run(*all_settings) == [(0, "")] * SIZE
        for account.settings in all_settings:
            account.assert_matches_vendor()


@pytest.mark.fault(78)
def test_eight_processes_started_at_once_exit_with_0_or_75(account, tmp_path):
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
    """Start work in a thread; returns the thread and the list that receives the result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    return thread, results


def begin(connection):
    return begin_run(connection, label="new", command="sync", version="0", windows=[], now=MORNING)


servers = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)


@servers
@pytest.mark.fault(78, 66)
def test_two_first_runs_that_both_insert_the_account_get_different_fences(account):
    engine = account.engine
    with just_before("INSERT INTO accounts", lambda: None) as inserts:

        def later():
            with engine.begin() as connection:
                return begin(connection)

        with engine.begin() as connection:
            first = begin(connection)
            thread, results = started(lambda: retry_transaction(later, also_on=(IntegrityError,)))
            wait_until_session_is_blocked(engine)
        thread.join(60)
    assert len(inserts) == 1
    assert [(run.account_id, run.fence) for run in (first, *results)] == [(first.account_id, 1), (first.account_id, 2)]


@servers
@pytest.mark.fault(88)
def test_a_finishing_run_and_a_starting_run_do_not_deadlock(account):
    """Both update the row of the first run and the state of the account, in the same order."""
    engine = account.engine
    with engine.begin() as connection:
        run = begin(connection)

    def end():
        with engine.begin() as connection:
            finish_run(connection, run, outcome="done", exit_code=0, error=None, now=MORNING)

    threads = []

    def finish_now():
        threads.append(started(end)[0])
        wait_until_session_is_blocked(engine)

    # The starting run holds the state; the finishing one may not hold the row that the starting one needs next.
    with just_before("UPDATE sync_runs SET finished_at", finish_now), engine.begin() as connection:
        begin(connection)
    threads[0].join(60)
    assert account.read("SELECT outcome FROM sync_runs ORDER BY id") == [("abandoned",), ("running",)]
    assert not threads[0].is_alive()


@servers
@pytest.mark.fault(87)
@pytest.mark.empty_database
def test_a_run_that_waited_for_a_migration_does_not_recreate_the_views(account):
    """Recreated views would be missing for a moment for other readers."""
    dropped_elsewhere = []
    with just_before("DROP VIEW", lambda: None, times=99) as dropped:

        def migrate_elsewhere():
            migrate(account.engine)
            dropped_elsewhere.extend(dropped)

        # The run has found no schema and requests the lock of the schema.
        question = {"postgresql": "SELECT pg_try_advisory", "mariadb": "SELECT GET_LOCK"}
        with just_before(question[account.engine.dialect.name], migrate_elsewhere):
            assert account.run(lock=no_lock)[0] == 0
    assert dropped == dropped_elsewhere != []
