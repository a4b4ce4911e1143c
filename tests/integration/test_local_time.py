"""The UTC time of a record is computed from its offset, or from the account's zone if it has none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of

from etl.date_ranges import DateRange
from etl.services.context import build_load_policy, open_client, open_source
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from etl.services.verify import verify_windows

BERLIN = ZoneInfo("Europe/Berlin")
FOLD = date(2026, 10, 25)
"""The clock is put back from 03:00 to 02:00."""
TODAY = date(2026, 10, 27)
FIRST, SECOND = "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"


def charge(moment, code="0371", info="ok", price="0.2"):
    return {
        "created_at": moment,
        "code_auth": code,
        "status": 1,
        "status_info": info,
        "phone": "89243555100",
        "price": Decimal(price),
    }


class Clock:
    """An account in a zone with a repeated hour."""

    def __init__(self, url, vendor, zone=BERLIN, **changes):
        vendor.set_now(datetime(2026, 10, 27, 9, 30))  # noqa: DTZ001 - the vendor's wall clock
        self.vendor = vendor
        self.settings = settings_of(url, vendor, date(2026, 10, 24), timezone=zone, **changes)
        self.engine = open_engine(url)
        self.now = datetime(2026, 10, 27, 8, 30, tzinfo=UTC)

    def run(self, command="sync", *, dry_run=False, **changes):
        self.now += timedelta(minutes=1)
        days = () if command == "sync" else (FOLD, FOLD)
        report = run_sync(
            replace(self.settings, **changes),
            RunRequest(command, *days, dry_run=dry_run),
            NO_PROGRESS,
            redact=str,
            clock=lambda: self.now,
        )
        assert report.error is None
        return report

    def csv_only(self, *records):
        self.vendor.dataset.replace(records)
        self.vendor.faults.add("status", action="post_billing_data", times=None)

    def execute(self, statement):
        with self.engine.begin() as connection:
            connection.execute(text(statement))

    def read(self, statement):
        with self.engine.connect() as connection:
            return [tuple(map(str, row)) for row in connection.execute(text(statement))]

    def stored(self):
        return self.read("SELECT * FROM billing_records ORDER BY created_at, phone, code_auth, ordinal"), self.read(
            "SELECT * FROM synced_days ORDER BY day"
        )

    def times(self):
        """Status text, code, wall clock and UTC of each row."""
        rows = self.read("SELECT code_auth, created_at, created_at_utc, repeats FROM billing ORDER BY 3, 1")
        return [(code, wall[11:19], utc[11:19], int(repeats)) for code, wall, utc, repeats in rows]

    def verify(self):
        with open_client(self.settings, str) as client:
            source = open_source(self.settings, client, today=TODAY, last=TODAY)
            rules = build_load_policy(self.settings, TODAY, full_compare=True)
            found = verify_windows(self.engine, 1, [DateRange(FOLD, FOLD)], source.fetch_json, rules)
            return [difference for differences in found for difference in differences]


@pytest.fixture
def clock(database_url, sandbox):
    return Clock(database_url, sandbox)


@pytest.fixture
def sqlite_clock(sqlite_url, sandbox):
    return Clock(sqlite_url, sandbox)


@pytest.mark.fault(53)
@pytest.mark.parametrize("spelled", [(FIRST, SECOND), ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z")])
def test_an_offset_distinguishes_the_two_occurrences_of_a_repeated_hour(clock, spelled):
    clock.vendor.dataset.replace([charge(spelled[0], "0001"), charge(spelled[1], "0002")])
    clock.run()
    assert clock.times() == [("0001", "02:30:00", "00:30:00", 1), ("0002", "02:30:00", "01:30:00", 1)]
    assert clock.verify() == []


def test_a_repeated_hour_without_offset_is_the_first_occurrence(sqlite_clock):
    sqlite_clock.vendor.dataset.replace([charge("2026-10-25T02:30:00")])
    sqlite_clock.run()
    assert sqlite_clock.times() == [("0371", "02:30:00", "00:30:00", 1)]


def test_records_of_one_key_in_both_occurrences_keep_their_own_utc(clock):
    clock.vendor.dataset.replace([charge(SECOND, info="call"), charge(FIRST, info="sms")])
    clock.run()
    rows = clock.read("SELECT status_info, created_at_utc FROM billing ORDER BY 1")
    assert [(info, utc[11:16]) for info, utc in rows] == [("call", "01:30"), ("sms", "00:30")]


def test_records_that_differ_only_in_offset_are_one_row_with_two_repeats(clock):
    clock.vendor.dataset.replace([charge(SECOND), charge(FIRST)])
    clock.run()
    assert clock.times() == [("0371", "02:30:00", "00:30:00", 2)]
    clock.run("backfill")
    assert clock.times() == [("0371", "02:30:00", "00:30:00", 2)]


def test_a_source_without_offsets_changes_neither_row_nor_utc(clock):
    clock.vendor.dataset.replace([charge(FIRST, "0001"), charge(SECOND, "0002")])
    clock.run()
    before = (
        clock.read("SELECT * FROM billing_records ORDER BY created_at, phone, code_auth, ordinal"),
        clock.read("SELECT * FROM synced_days ORDER BY day"),
    )
    clock.csv_only(charge("2026-10-25T02:30:00", "0001"), charge("2026-10-25T02:30:00", "0002"))
    for command in ("sync", "backfill"):
        report = clock.run(command)
        assert (report.sources, report.counts.unchanged, report.counts.changed) == ({"csv"}, 2, 0)
    assert before == (
        clock.read("SELECT * FROM billing_records ORDER BY created_at, phone, code_auth, ordinal"),
        clock.read("SELECT * FROM synced_days ORDER BY day"),
    )
    assert clock.read("SELECT * FROM restatements") == []


def test_a_later_offset_corrects_the_utc_without_a_restatement(clock):
    clock.csv_only(charge("2026-10-25T02:30:00", "0001"), charge("2026-10-25T02:30:00", "0002"))
    clock.run()
    assert clock.times()[1] == ("0002", "02:30:00", "00:30:00", 1)
    digests = clock.read("SELECT day, digest, spend, restated_at FROM synced_days ORDER BY day")
    clock.vendor.faults.clear()
    clock.vendor.dataset.replace([charge(FIRST, "0001"), charge(SECOND, "0002")])
    assert clock.run(dry_run=True).counts.changed == 1
    report = clock.run()
    assert (report.counts.new, report.counts.changed, report.counts.unchanged) == (0, 1, 1)
    assert clock.times() == [("0001", "02:30:00", "00:30:00", 1), ("0002", "02:30:00", "01:30:00", 1)]
    assert clock.read("SELECT day, digest, spend, restated_at FROM synced_days ORDER BY day") == digests
    assert clock.read("SELECT * FROM restatements") == []
    assert clock.run().counts.changed == 0


def test_masked_phones_keep_the_utc_of_their_records(sqlite_url, sandbox):
    clock = Clock(sqlite_url, sandbox, phones="masked")
    clock.vendor.dataset.replace([charge(FIRST, "0001"), charge(SECOND, "0002")])
    clock.run()
    assert [row[2] for row in clock.times()] == ["00:30:00", "01:30:00"]


def test_windows_fetched_in_another_process_keep_the_utc(sqlite_url, sandbox):
    clock = Clock(sqlite_url, sandbox, window_days=1, concurrency=2)
    clock.vendor.dataset.replace([charge(FIRST, "0001"), charge(SECOND, "0002"), charge("2026-10-26T10:00:00")])
    clock.run()
    assert [row[2] for row in clock.times()] == ["00:30:00", "01:30:00", "09:00:00"]


def test_a_rejected_record_does_not_change_the_utc_of_others(sqlite_clock):
    bad = charge("2026-10-25T02:40:00+01:00", "0003") | {"price": "x"}
    sqlite_clock.vendor.dataset.replace([charge(FIRST, "0001"), bad, charge(SECOND, "0002")])
    sqlite_clock.run()
    assert [row[2] for row in sqlite_clock.times()] == ["00:30:00", "01:30:00"]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Vladivostok", "Asia/Kathmandu"])
def test_a_wrong_utc_is_found_by_verify_and_repaired_by_backfill(database_url, sandbox, zone):
    clock = Clock(database_url, sandbox, ZoneInfo(zone))
    codes = {"0001": "2026-10-25T01:10:00", "0002": "2026-10-25T02:20:00", "0003": "2026-10-25T14:00:00"}
    clock.vendor.dataset.replace([charge(moment, code) for code, moment in codes.items()])
    clock.run()
    right = clock.times()
    clock.execute("UPDATE billing_records SET utc_offset = -77 WHERE code_auth <> '0001'")
    assert [(found.day, found.different) for found in clock.verify()] == [(FOLD, 2)]
    assert clock.run().counts.changed == 0, "the digest does not contain the UTC time"
    report = clock.run("backfill")
    assert (report.counts.new, report.counts.changed, report.counts.unchanged) == (0, 2, 1)
    assert clock.times() == right
    assert clock.verify() == []
    assert clock.read("SELECT * FROM restatements") == []
