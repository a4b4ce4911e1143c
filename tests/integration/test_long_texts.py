"""Texts longer than the database accepts: only their records are quarantined, the rest of the window is stored."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from sqlalchemy import Engine, event, text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of

from etl.date_ranges import DateRange
from etl.db.engine import read_connection
from etl.db.limits import longest_text
from etl.services.context import AccountHistory, build_load_policy, open_client, open_source
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from etl.services.verify import verify_windows

EIGHTH, TENTH = date(2026, 3, 8), date(2026, 3, 10)
NOW = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
MIB = 1 << 20


def charge(day, info):
    return {
        "created_at": f"2026-03-{day:02}T10:00:00",
        "code_auth": "0042",
        "status": 1,
        "status_info": info,
        "phone": "89990001122",
        "price": Decimal("0.2"),
    }


@pytest.fixture
def account(database_url, sandbox):
    """An account in a database whose limit is 16 MiB on MariaDB, 2 MiB on SQLite, and larger on PostgreSQL."""

    def limit(connection, _record):
        if isinstance(connection, sqlite3.Connection):
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2 * MIB)

    event.listen(Engine, "connect", limit)
    yield Account(database_url, sandbox)
    event.remove(Engine, "connect", limit)


class Account:
    """The account, its runs and its stored rows."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, EIGHTH)
        self.engine = open_engine(url)
        self.unit = MIB // 8 if url.get_backend_name() == "sqlite" else MIB
        """A sixteenth of the limit of MariaDB or SQLite."""

    def sync(self, *records):
        self.vendor.dataset.replace(records)
        return run_sync(self.settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=lambda: NOW)

    def query(self, statement):
        with self.engine.connect() as connection:
            return connection.execute(text(statement)).all()

    def longest(self):
        with read_connection(self.engine) as connection:
            return longest_text(connection)

    def verify(self):
        with open_client(self.settings, str) as client:
            source = open_source(
                self.settings, client, today=NOW.date(), last=TENTH, account=AccountHistory(longest=self.longest())
            )
            rules = build_load_policy(self.settings, NOW.date(), full_compare=True)
            return list(verify_windows(self.engine, 1, [DateRange(EIGHTH, TENTH)], source.fetch_json, rules))


LIMITED = pytest.mark.parametrize("database_url", ["sqlite", "mariadb"], indirect=True)


@LIMITED
@pytest.mark.fault(76)
@pytest.mark.parametrize(("letter", "units"), [("x", 17), ("'", 9), ("я", 9)], ids=["x", "quotes", "letters"])
def test_a_too_long_record_is_quarantined_and_the_rest_of_the_window_stored(account, letter, units):
    records = [charge(8, "ok"), charge(9, letter * (units * account.unit)), charge(10, "ok")]
    for new in (2, 0):
        report = account.sync(*records)
        assert (report.error, report.exit_code) == (None, 65)
        assert (report.counts.new, len(report.counts.rejected), report.watermark) == (new, 1, TENTH)
    assert account.query("SELECT day FROM billing ORDER BY day") != []
    ((reason, payload),) = account.query("SELECT reason, payload FROM rejected_records")
    assert account.longest().setting in reason
    assert len(payload) < 4_000
    assert json.loads(payload)["created_at"] == "2026-03-09 10:00:00"
    assert account.verify() == [[]]


@LIMITED
def test_an_invalid_record_that_is_too_long_keeps_its_own_reason(account):
    bad = charge(9, "x" * (17 * account.unit)) | {"price": "much"}
    report = account.sync(charge(8, "ok"), charge(9, "ok"), bad)
    assert (report.error, report.counts.new, len(report.counts.rejected)) == (None, 2, 1)
    ((reason,),) = account.query("SELECT reason FROM rejected_records")
    assert "price" in reason


@LIMITED
def test_a_record_that_was_too_long_is_stored_once_it_is_shorter(account):
    account.sync(charge(8, "x" * (17 * account.unit)), charge(9, "ok"))
    report = account.sync(charge(8, "ok"), charge(9, "ok"))
    assert (report.exit_code, report.counts.new) == (0, 1)
    assert account.query("SELECT id FROM rejected_records") == []


@pytest.mark.parametrize("letter", ["x", "'"])
def test_a_text_of_maximum_length_is_stored_corrected_and_journalled(account, letter):
    size = min(account.longest().size, 9 * account.unit)
    doubled = 2 if letter in account.longest().doubled else 1
    before, after = letter * (size // doubled), "y" * size
    report = account.sync(charge(8, before), charge(9, "ok"))
    assert (report.error, report.exit_code, report.counts.new) == (None, 0, 2)
    report = account.sync(charge(8, after), charge(9, "ok"))
    assert (report.error, report.exit_code, report.counts.changed) == (None, 0, 1)
    lengths = "SELECT length(status_info_before), length(status_info_after), kind FROM restatements"
    assert account.query(lengths) == [(len(before), len(after), "corrected")]
    assert account.sync(charge(8, after), charge(9, "ok")).counts.unchanged == 2
    assert account.verify() == [[]]


@pytest.mark.fault(76)
def test_records_too_long_for_one_packet_together_are_stored(account):
    records = [charge(8, letter * (4 * account.unit)) for letter in "abcdefgh"]
    report = account.sync(*records)
    assert (report.error, report.exit_code, report.counts.new) == (None, 0, 8)
    report = account.sync(*(record | {"price": Decimal("0.3")} for record in records))
    assert (report.error, report.counts.changed) == (None, 8)
    assert account.verify() == [[]]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_stores_texts_too_long_for_a_mariadb_packet(account):
    report = account.sync(charge(8, "ok"), charge(9, "x" * (17 * MIB)))
    assert (report.error, report.exit_code, report.counts.new) == (None, 0, 2)
