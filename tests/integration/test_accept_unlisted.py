"""`accept` of a day of which `get_billing_record` lists a record that neither JSON nor the export ever lists."""

from __future__ import annotations

import json
from datetime import date

import pytest
from sqlalchemy import text
from support.account_nights import ACCEPTED, AccountNights
from support.sync_account import charges, vendor_record

RECORDS = [record for number in range(3, 8) for record in charges(date(2026, 3, number), 6)]
PENDING, OTHER = vendor_record("2026-03-05T09:00:00", "0"), vendor_record("2026-03-05T09:30:00", "0")


class Nights(AccountNights):
    def __init__(self, url, vendor, **changes):
        super().__init__(url, vendor, **changes)
        vendor.dataset.replace(RECORDS)

    def list_newest(self, *extra):
        """Let `get_billing_record` list these records as well, in the order of their times."""
        records = sorted([*self.vendor.dataset.records, *extra], key=lambda record: record["created_at"])
        body = json.dumps({"success": True, "error": "", "data": records}, default=float)
        self.vendor.faults.clear()
        self.vendor.faults.add("status", action="get_billing_record", status=200, body=body, times=None)

    def count(self):
        with self.engine.connect() as connection:
            return connection.scalar(text("SELECT COUNT(*) FROM billing WHERE day = '2026-03-05'"))


@pytest.fixture
def nights(database_url, sandbox):
    return Nights(database_url, sandbox)


def test_a_day_without_a_record_that_only_the_newest_list_is_open_until_it_is_accepted(nights):
    nights.list_newest(PENDING)
    for _ in range(2):
        report = nights.run()
        assert (report.exit_code, report.watermark) == (69, date(2026, 3, 4))
    assert "billing-etl accept 2026-03-05 --even-if-not-suspect" in str(report.error)
    report = nights.accept()
    assert (report.exit_code, len(report.counts.rejected), nights.count()) == (65, 1, 6)
    for code in (65, 0, 0):
        report = nights.run()
        assert (report.exit_code, report.watermark, report.counts.suspect_days) == (code, date(2026, 3, 7), [])
        assert nights.acknowledge() == 1


def test_an_accepted_record_stays_in_the_quarantine_while_the_newest_records_are_unavailable(nights):
    nights.list_newest(PENDING)
    nights.run()
    nights.accept()
    nights.acknowledge()
    nights.vendor.faults.clear()
    nights.vendor.faults.add("status", action="get_billing_record", status=503, times=None)
    assert nights.run().exit_code == 0
    nights.list_newest(PENDING)
    assert (nights.run().exit_code, nights.acknowledge()) == (0, 1)


def test_an_accepted_record_that_the_vendor_lists_is_stored_and_leaves_the_quarantine(nights):
    nights.list_newest(PENDING)
    nights.run()
    nights.accept()
    nights.vendor.dataset.replace([*RECORDS, PENDING])
    nights.list_newest()
    assert (nights.run().exit_code, nights.count(), nights.acknowledge()) == (0, 7, 0)


@pytest.mark.parametrize("extra", [(PENDING, OTHER), (PENDING, PENDING)], ids=["another", "once more"])
def test_a_further_missing_record_makes_the_accepted_day_suspect(nights, extra):
    nights.list_newest(PENDING)
    nights.run()
    nights.accept()
    nights.acknowledge()
    nights.list_newest(*extra)
    report = nights.run()
    assert (report.exit_code, report.counts.suspect_days) == (65, [ACCEPTED])


def test_a_stored_day_that_lacks_a_newest_record_is_suspect_until_it_is_accepted(nights):
    assert nights.run().exit_code == 0
    nights.list_newest(PENDING)
    assert nights.run().counts.suspect_days == [ACCEPTED]
    assert nights.run("accept").exit_code == 65
    for code in (65, 0):
        report = nights.run()
        assert (report.exit_code, report.counts.suspect_days, nights.count()) == (code, [], 6)
        assert nights.acknowledge() == 1


def test_the_row_of_a_record_that_only_the_newest_list_is_withdrawn_by_accept(nights):
    nights.vendor.dataset.replace([*RECORDS, PENDING])
    assert (nights.run().exit_code, nights.count()) == (0, 7)
    nights.vendor.dataset.replace(RECORDS)
    nights.list_newest(PENDING)
    nights.run()
    assert (nights.accept().exit_code, nights.count()) == (65, 6)
    nights.acknowledge()
    assert (nights.run().exit_code, nights.count()) == (0, 6)


def test_a_day_that_json_and_the_export_list_differently_is_not_accepted(nights):
    nights.list_newest(PENDING)
    rows = [";".join(map(str, record.values())) for record in (*RECORDS[:12], *charges(ACCEPTED, 9)[2:], *RECORDS[18:])]
    body = "\n".join([";".join(RECORDS[0]), *rows, ""])
    nights.vendor.faults.add("status", action="get_billing_csv", status=200, body=body, times=None)
    nights.run()
    report = nights.accept()
    assert (report.exit_code, report.counts.rejected) == (69, set())


def test_an_accepted_record_is_recognised_with_masked_phones_and_without_codes(database_url, sandbox):
    nights = Nights(database_url, sandbox, phones="masked", codes="drop")
    nights.list_newest(PENDING)
    nights.run()
    nights.accept()
    nights.acknowledge()
    assert nights.run().exit_code == 0
