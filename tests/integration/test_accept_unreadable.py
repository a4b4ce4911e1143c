"""`accept` of a day of which no record can be read: the records are quarantined, and the day counts as complete."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import text
from support.account_nights import ACCEPTED, AccountNights
from support.sync_account import charges

OTHERS = [record for number in (3, 4, 6, 7) for record in charges(date(2026, 3, number), 6)]
ONE, TWO = charges(ACCEPTED, 2)
UNREADABLE = {"price": "0.2 USD"}


class Nights(AccountNights):
    def list(self, *records):
        self.vendor.dataset.replace([*OTHERS, *records])

    def rows(self):
        query = "SELECT price, repeats FROM billing WHERE day = '2026-03-05' ORDER BY price"
        with self.engine.connect() as connection:
            return connection.execute(text(query)).all()


@pytest.fixture
def nights(database_url, sandbox):
    return Nights(database_url, sandbox)


def test_a_new_day_without_a_readable_record_is_open_until_it_is_accepted(nights):
    nights.list(ONE | UNREADABLE)
    for _ in range(2):
        report = nights.run()
        assert (report.exit_code, report.watermark) == (69, date(2026, 3, 4))
    report = nights.accept()
    assert (report.exit_code, len(report.counts.rejected), nights.rows()) == (65, 1, [])
    for code in (65, 0, 0):
        report = nights.run()
        assert (report.exit_code, report.watermark, report.counts.suspect_days) == (code, date(2026, 3, 7), [])
        assert nights.acknowledge() == 1
    nights.list(ONE)
    assert (nights.run().exit_code, len(nights.rows()), nights.acknowledge()) == (0, 1, 0)


def test_the_row_of_a_stored_day_is_kept_and_the_day_is_no_longer_suspect(nights):
    nights.list(ONE)
    assert nights.run().exit_code == 0
    stored = nights.rows()
    nights.list(ONE | UNREADABLE)
    assert nights.run().counts.suspect_days == [ACCEPTED]
    assert nights.run("accept").exit_code == 65
    for code in (65, 0):
        report = nights.run()
        assert (report.exit_code, report.counts.suspect_days, nights.rows()) == (code, [], stored)
        assert nights.acknowledge() == 1


def test_another_unreadable_record_or_a_missing_one_makes_the_day_suspect_again(nights):
    nights.list(ONE | UNREADABLE)
    nights.run()
    nights.accept()
    nights.acknowledge()
    nights.list(ONE | UNREADABLE, TWO | UNREADABLE)
    assert nights.run().counts.suspect_days == [ACCEPTED]


def test_a_quarantined_record_does_not_hide_that_the_others_are_gone(nights):
    nights.list(ONE, TWO | UNREADABLE)
    assert nights.run().exit_code == 65
    nights.acknowledge()
    assert nights.run().exit_code == 0
    nights.list(TWO | UNREADABLE)
    assert nights.run().counts.suspect_days == [ACCEPTED]


def test_a_day_that_the_export_may_have_is_not_accepted(nights):
    nights.list(ONE | UNREADABLE)
    nights.vendor.faults.add("status", action="get_billing_csv", status=503, times=None)
    nights.run()
    report = nights.accept()
    assert (report.exit_code, report.counts.rejected) == (69, set())
