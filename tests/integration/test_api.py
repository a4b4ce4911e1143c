"""The Python API: its results, also from several threads, and that it changes no process state."""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest
from sqlalchemy import text
from support.sync_account import charges

from etl import api
from etl.db.engine import new_engine
from etl.db.migrate import migrate
from etl.sandbox import Dataset, Sandbox

FIRST, LAST = date(2025, 3, 1), date(2025, 3, 10)
LABELS = [f"shop-{number}" for number in range(6)]


@pytest.fixture
def vendor():
    """Three records on each of ten days of 2025, for every account."""
    dataset = Dataset(seed=1, today=LAST, days=1)
    dataset.replace(record for n in range(10) for record in charges(FIRST + timedelta(days=n), 3))
    with Sandbox(port=0, dataset=dataset) as sandbox:
        yield sandbox


def write_config(folder, vendor, urls):
    """A TOML file with an account for each URL."""
    lines = [
        f'api_url = "{vendor.url}"', f'start_date = "{FIRST}"', "retry_attempts = 1", "retry_max_wait = 0",
        "database_wait = 0",
    ]  # fmt: skip
    for label, url in urls.items():
        token = str(uuid5(NAMESPACE_URL, label))
        vendor.tokens.add(token)
        place = url.render_as_string(hide_password=False)
        lines += [f"[accounts.{label}]", f'api_token = "{token}"', f'database_url = "{place}"']
    path = folder / "billing.toml"
    path.write_text("\n".join(lines), "utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def config(tmp_path, vendor, database_url):
    """Six accounts in one database."""
    return write_config(tmp_path, vendor, dict.fromkeys(LABELS, database_url))


def process_state():
    """State of the process that the API may not change."""
    root = logging.getLogger()
    loggers = {name: logging.getLogger(name).level for name in ("", "etl", "urllib3", "sqlalchemy", "alembic")}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    return dict(os.environ), Path.cwd(), root.handlers[:], loggers, handlers


@pytest.mark.empty_database
def test_threads_run_several_accounts_and_change_no_process_state(config, database_url):
    before = process_state()
    assert api.accounts(config) == LABELS
    with ThreadPoolExecutor(8) as pool:
        # The first runs create the schema; those of one account come one after another.
        runs = [
            pool.submit(api.run, config, label, command="sync", since=FIRST, until=LAST, wait=60)
            for label in LABELS
            for _ in "ab"
        ]
        results = [future.result() for future in runs]
    assert process_state() == before
    assert {(result.exit_code, result.error, result.watermark) for result in results} == {(0, None, LAST)}
    assert {(result.records, result.spend, result.needs_review) for result in results} == {(30, Decimal("6.0"), False)}
    new = Counter()
    for result in results:
        new[result.account] += result.requested_rows.new
        assert [day for window in result.requested for day in window.days()][-1] == LAST
        assert (result.besides, result.besides_rows) == ((), api.RunRows())
    assert new == dict.fromkeys(LABELS, 30)
    with new_engine(database_url).connect() as connection:
        stored = connection.execute(
            text("SELECT account, COUNT(*), SUM(repeats) FROM billing GROUP BY account ORDER BY account")
        )
        assert [(row[0], row[1], int(row[2])) for row in stored] == [(label, 30, 30) for label in LABELS]
    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(lambda label: api.status(config, label), LABELS))
    assert [(status.account, status.records, status.last_synced_date, status.gaps) for status in statuses] == [
        (label, 30, LAST, ()) for label in LABELS
    ]


def test_a_result_separates_requested_days_from_other_fetched_days(config, vendor):
    label = LABELS[0]
    api.run(config, label, command="sync", until=LAST)
    vendor.dataset.replace(record for n in range(9) for record in charges(FIRST + timedelta(days=n), 3))
    night = api.run(config, label, command="sync", until=LAST)
    assert (night.exit_code, night.suspect_days, night.needs_review, night.error) == (65, (LAST,), True, None)

    again = api.run(config, label, command="backfill", since=FIRST, until=FIRST + timedelta(days=1))
    assert [(window.first, window.last) for window in again.requested] == [(FIRST, FIRST + timedelta(days=1))]
    assert (again.requested_rows.days, again.requested_rows.unchanged, again.records) == (2, 6, 6)
    assert (again.besides, again.besides_rows.days) == ((LAST,), 1)

    accepted = api.run(config, label, command="accept", since=LAST)
    assert (accepted.exit_code, accepted.requested_rows.withdrawn, accepted.spend) == (0, 3, Decimal(0))


def test_a_failed_run_is_a_result_without_the_token(config, vendor):
    vendor.faults.add("status", status=401, times=None)
    failed = api.run(config, LABELS[0], command="sync")
    assert (failed.exit_code, failed.watermark, failed.records) == (77, None, 0)
    assert failed.error is not None
    assert str(uuid5(NAMESPACE_URL, LABELS[0])) not in repr(failed)


def test_a_copy_follows_changes_by_revision(config, vendor):
    label = LABELS[0]
    assert list(api.changes(config, label, None)) == []
    api.run(config, label, command="sync", until=LAST)
    first = list(api.changes(config, label, None))
    assert [(change.day, change.records, change.spend, change.purged) for change in first] == [
        (FIRST + timedelta(days=n), 3, Decimal("0.6"), False) for n in range(10)
    ]
    seen = first[-1].revision
    assert list(api.changes(config, label, seen)) == []
    vendor.dataset.add(charges(date(2025, 3, 9), 1, price="1"))
    api.run(config, label, command="sync", until=LAST)
    (change,) = api.changes(config, label, seen)
    assert change == api.DayChange(date(2025, 3, 9), seen + 1, 4, Decimal("1.6"), purged=False)
    with pytest.raises(api.BillingError, match="Copy all its days again"):
        api.changes(config, label, seen + 2)


def test_days_from_before_revisions_are_in_a_first_copy(config, database_url):
    api.run(config, LABELS[0], command="sync", until=LAST)
    with new_engine(database_url).begin() as connection:
        connection.execute(text("UPDATE synced_days SET revision = 0"))
        connection.execute(text("UPDATE sync_state SET revision = 0"))
    assert len(list(api.changes(config, LABELS[0], None))) == 10
    assert list(api.changes(config, LABELS[0], 0)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"command": "sink"}, "must be one of sync, backfill, accept"),
        ({"command": "backfill", "since": FIRST}, "needs since and until"),
        ({"command": "accept"}, "needs since"),
        ({"command": "sync", "since": LAST, "until": FIRST}, "is after"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        api.run(None, "default", **arguments)


def test_an_unknown_account_is_refused_before_any_work(tmp_path, vendor, sqlite_url):
    config = write_config(tmp_path, vendor, {"shop-1": sqlite_url})
    with pytest.raises(api.ConfigError, match="shop-1"):
        api.run(config, "shop-2", command="sync")
    assert (vendor.requests, list(tmp_path.glob("*.db"))) == ([], [])


def test_threads_migrate_databases_of_their_own(tmp_path, sqlite_url):
    """Alembic has one environment per process."""
    engines = [new_engine(sqlite_url.set(database=str(tmp_path / f"{number}.db"))) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, engines))
    for engine in engines:
        with engine.connect() as connection:
            assert connection.execute(text("SELECT COUNT(*) FROM billing")).scalar() == 0


def test_a_deep_sync_compares_every_stored_day(config, vendor):
    label = LABELS[0]
    api.run(config, label, command="sync", until=LAST)
    vendor.dataset.add(charges(FIRST, 1, price="1"))
    assert api.run(config, label, command="sync").requested_rows.new == 0, "the day lies before the lookback"
    assert api.run(config, label, command="sync", deep=True).requested_rows.new == 1
    for wrong in ({"command": "backfill", "since": FIRST, "until": LAST}, {"command": "sync", "since": FIRST}):
        with pytest.raises(ValueError, match="deep"):
            api.run(config, label, deep=True, **wrong)


def test_accounts_with_the_same_token_are_grouped(tmp_path):
    path = tmp_path / "billing.toml"
    tokens = {label: str(uuid5(NAMESPACE_URL, label)) for label in "ab"}
    lines = ['timezone = "Asia/Vladivostok"']
    for label, token in (("one", tokens["a"]), ("two", tokens["b"]), ("three", tokens["a"])):
        lines += [f"[accounts.{label}]", f'api_token = "{token}"']
    lines += ["[accounts.wrong]", f'api_token = "{tokens["a"]}"', 'window_days = "many"', "[accounts.without]"]
    path.write_text("\n".join(lines), "utf-8")
    path.chmod(0o600)
    assert api.accounts_by_token(path) == [["one", "three"], ["two"], ["wrong"], ["without"]]
    assert api.vendor_timezone(path).key == "Asia/Vladivostok"


def test_there_is_one_account_without_a_configuration_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert api.accounts() == ["default"]
    assert api.accounts_by_token() == [["default"]]
    assert api.vendor_timezone().key == "Europe/Moscow"
