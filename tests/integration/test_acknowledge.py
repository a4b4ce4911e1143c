"""Acknowledged rejected records stay in the table and no longer cause exit code 65, on each database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of

from etl.errors import CheckFailedError
from etl.services.erase import erase_number
from etl.services.rejected import acknowledge_rejected, list_rejected
from etl.services.run import RunRequest
from etl.services.sync import run_sync

MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
NOON = datetime(2026, 3, 11, 9, tzinfo=UTC)


def charge(moment, price="0.2", phone="89990001122"):
    return {
        "created_at": moment, "code_auth": "4971", "status": 1, "status_info": "ok", "phone": phone,
        "price": Decimal(price) if price[0].isdigit() else price,
    }  # fmt: skip


GOOD = [charge(f"2026-03-{day:02}T10:00:00") for day in (8, 9, 10)]
BAD = charge("2026-03-09T11:00:00", "much", phone="89243555100")
WORSE = charge("2026-03-10T11:00:00", "a lot")


class Nights:
    """An account that is synced night by night."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, date(2026, 3, 8))
        self.engine = open_engine(url)
        self.now = MORNING

    def run(self, *, days=0, dry_run=False):
        """Run a sync; returns its exit code and the numbers of rejected and of acknowledged records."""
        self.now += timedelta(days=days, minutes=1)
        result = run_sync(
            self.settings,
            RunRequest("sync", dry_run=dry_run),
            NO_PROGRESS,
            redact=str,
            clock=lambda: self.now,
        )
        return result.exit_code, len(result.counts.rejected), len(result.counts.acknowledged)

    def acknowledge(self, *ids, now=NOON):
        return acknowledge_rejected([self.settings], ids, with_others=False, clock=lambda: now).newly_acknowledged

    def stored(self):
        """The quarantined records: their day and when they were acknowledged."""
        records = list_rejected([self.settings], with_others=False).records
        return [(record.day.isoformat(), record.acknowledged_at) for record in records]

    def outcomes(self):
        with self.engine.connect() as connection:
            return connection.scalars(text("SELECT outcome FROM sync_runs ORDER BY id")).all()


@pytest.fixture
def nights(database_url, sandbox):
    sandbox.dataset.replace([*GOOD, BAD])
    return Nights(database_url, sandbox)


def test_an_acknowledged_record_is_kept_and_no_longer_causes_65(nights):
    assert nights.run() == (65, 1, 0)
    assert nights.acknowledge(1) == 1
    assert nights.run(dry_run=True) == (0, 1, 1)
    for _ in range(3):
        assert nights.run(days=1) == (0, 1, 1)
    assert nights.stored() == [("2026-03-09", NOON)]
    assert nights.outcomes() == ["look", "done", "done", "done"]


def test_another_rejected_record_causes_65_until_it_is_acknowledged(nights):
    nights.run()
    nights.acknowledge(1)
    nights.vendor.dataset.replace([*GOOD, BAD, WORSE])
    assert nights.run() == (65, 2, 1)
    assert nights.acknowledge(1, 2, now=NOON + timedelta(days=1)) == 1
    assert nights.stored() == [("2026-03-09", NOON), ("2026-03-10", NOON + timedelta(days=1))]
    assert nights.run() == (0, 2, 2)


def test_an_unknown_id_acknowledges_no_record(nights):
    nights.run()
    with pytest.raises(CheckFailedError, match="no rejected record 5, 9;"):
        nights.acknowledge(9, 1, 5)
    assert nights.stored() == [("2026-03-09", None)]


def test_a_record_of_another_account_is_unknown(nights):
    nights.run()
    other = replace(nights.settings, account="shop")
    with pytest.raises(CheckFailedError, match="no rejected record 1;"):
        acknowledge_rejected([other], [1], with_others=False)
    assert list_rejected([other], with_others=False).records == []
    assert len(list_rejected([other], with_others=True).records) == 1


def test_a_record_that_was_gone_and_returned_must_be_acknowledged_again(nights):
    nights.run()
    nights.acknowledge(1)
    nights.vendor.dataset.replace(GOOD)
    assert (nights.run(), nights.stored()) == ((0, 0, 0), [])
    nights.vendor.dataset.replace([*GOOD, BAD])
    assert (nights.run(), nights.stored()) == ((65, 1, 0), [("2026-03-09", None)])


def test_a_record_stays_acknowledged_when_the_source_changes(nights):
    nights.vendor.dataset.replace([*GOOD, BAD, charge("2026-03-09T12:00:00") | {"price": None}])
    nights.run()
    nights.acknowledge(1, 2)
    nights.vendor.faults.add("status", action="post_billing_data", status=503, times=None)
    assert nights.run() == (0, 2, 2)
    nights.vendor.faults.clear()
    assert nights.run() == (0, 2, 2)
    assert nights.stored() == [("2026-03-09", NOON)] * 2


def test_a_record_without_a_readable_day_stays_acknowledged_when_the_source_changes(nights):
    nights.vendor.dataset.replace([*GOOD, charge("yesterday", phone="89243555100")])
    assert nights.run() == (65, 1, 0)
    assert nights.acknowledge(1) == 1
    for down in (False, True, False, True, False):
        nights.vendor.faults.clear()
        if down:
            nights.vendor.faults.add("status", action="post_billing_data", status=503, times=None)
        assert nights.run()[0] == 0
        assert all(record.acknowledged_at for record in list_rejected([nights.settings], with_others=False).records)


def test_an_acknowledged_record_of_an_erased_person_stays_acknowledged(nights):
    nights.run()
    nights.acknowledge(1)
    assert erase_number(nights.settings, "+79243555100", wait=0).rows["rejected_records"] == 1
    assert nights.run() == (0, 1, 1)
    assert nights.stored() == [("2026-03-09", NOON)]
