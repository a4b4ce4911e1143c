"""Requests that are rejected or fail for their size, in days or in records, and days that are no longer served."""

from __future__ import annotations

import pytest
from support.fake_vendor import (
    TODAY,
    FakeClient,
    day,
    days,
    expected_days,
    raising,
    records_by_day,
    vendor_record,
    within,
)

from etl.date_ranges import ONE_DAY, DateRange
from etl.errors import InvalidResponse, RequestRejected, RetryableError, SourceUnavailable


def records_growing(first, last):
    """A different number of records on each day: 4 on the 1st of March, one more on each later day."""
    return [
        vendor_record(f"{day(number)}T{n % 24:02}:{n:02}:00", code_auth=f"{n:04}")
        for number in range(first, last + 1)
        for n in range(3 + number)
    ]


RECORDS = records_growing(1, 11)


def rejecting(records=RECORDS, *, most_days=None, most_records=None, earliest=None, error=RequestRejected):
    """Answers of a vendor that rejects larger requests, and those that begin before its first day."""

    def listed(requested):
        if earliest is not None and requested.first < earliest:
            raise RequestRejected(f"HTTP 400, {str(earliest)!r} is the first day")
        found = within(records, requested)
        if (most_days and len(requested) > most_days) or (most_records is not None and len(found) > most_records):
            raise error(f"HTTP 400, too much: {len(requested)} days")
        return found

    return listed


@pytest.mark.parametrize("most_days", [2, 3, 4, 5])
def test_days_are_requested_alone_where_longer_requests_are_rejected(most_days):
    vendor = FakeClient(rejecting(most_days=most_days))
    [batch] = vendor.fetch(days(4, 8))
    assert (batch.unresolved_days, batch.refused) == ({}, frozenset())
    assert records_by_day(batch) == expected_days(RECORDS, days(4, 8))


@pytest.mark.parametrize("error", [RetryableError("HTTP 503"), InvalidResponse("a phone beyond recovery")], ids=str)
@pytest.mark.parametrize("most_days", [2, 3, 4, 5])
def test_days_are_requested_alone_whatever_the_error_of_the_export(most_days, error):
    vendor = FakeClient(rejecting(most_days=most_days), raising(error))
    [batch] = vendor.fetch(days(4, 8))
    assert (batch.unresolved_days, batch.failed) == ({}, frozenset())
    assert records_by_day(batch) == expected_days(RECORDS, days(4, 8))


@pytest.mark.parametrize("most_days", [3, 5])
def test_days_that_an_export_truncates_are_requested_alone_where_longer_requests_are_rejected(most_days):
    def exported(start):
        return within(RECORDS, DateRange(start, day(11)))[-40:]

    vendor = FakeClient(rejecting(most_days=most_days), exported)
    [batch] = vendor.fetch(days(4, 8))
    assert batch.unresolved_days == {}
    assert records_by_day(batch) == expected_days(RECORDS, days(4, 8))


@pytest.mark.parametrize("moment", ["10:07", "{} 10:07"], ids=["no day", "a day"])
def test_unreadable_records_of_an_export_are_not_those_of_days_that_are_requested_alone(moment):
    def exported(start):
        return [
            record | {"created_at": moment.format(record["created_at"][:10])}
            for record in within(RECORDS, DateRange(start, day(11)))
        ]

    [batch] = FakeClient(rejecting(most_days=3), exported).fetch(days(4, 8))
    assert (batch.unresolved_days, batch.rejected) == ({}, ())


def test_a_day_of_which_the_export_lists_more_than_short_requests_stays_open():
    fewer = [record for record in RECORDS if not f"{day(6)}T01" < record["created_at"] < f"{day(7)}"]

    def exported(start):
        listed = within(RECORDS, DateRange(start, day(11)))
        return sorted(listed, key=lambda record: record["code_auth"])[:20]

    [batch] = FakeClient(rejecting(fewer, most_days=3), exported).fetch(days(4, 8))
    assert batch.unresolved_days.keys() == {day(6)}
    assert records_by_day(batch) == {
        one: found for one, found in expected_days(fewer, days(4, 8)).items() if one != day(6)
    }


@pytest.mark.parametrize("newest", [None, RECORDS], ids=["newest unknown", "newest known"])
def test_short_requests_that_list_nothing_show_no_day_empty_if_the_account_has_records(newest):
    def exported(_start):
        raise RetryableError("HTTP 503")

    [batch] = FakeClient(rejecting([], most_days=3), exported, newest).fetch(days(4, 8))
    assert batch.unresolved_days.keys() == (set(days(4, 8).days()) if newest else set())


def test_a_day_of_which_short_requests_lack_newest_records_stays_open():
    lagging = [record for record in RECORDS if record["created_at"] < f"{day(8)}T08"]
    [batch] = FakeClient(rejecting(lagging, most_days=3), raising(RetryableError("HTTP 503")), RECORDS).fetch(
        days(4, 8)
    )
    assert batch.unresolved_days.keys() == {day(8)}


def test_days_are_requested_alone_where_requests_for_so_many_records_are_rejected():
    vendor = FakeClient(rejecting(most_records=25))
    batch, later = vendor.fetch(days(2, 6), days(7, 8))
    assert records_by_day(batch) == expected_days(RECORDS, days(2, 6))
    assert (batch.unresolved_days, records_by_day(later)) == ({}, expected_days(RECORDS, days(7, 8)))


@pytest.mark.parametrize("most_days", [3, 5])
def test_a_request_rejected_for_its_length_does_not_make_an_earlier_start_date_a_rejected_one(most_days):
    rejected = rejecting([], most_days=most_days)

    def listed(requested):
        rejected(requested)  # the vendor's days begin at 03:00
        cut = [record for record in RECORDS if f"{requested.first}T03" <= record["created_at"]]
        return [record for record in cut if record["created_at"] < f"{requested.last + ONE_DAY}T03"]

    [batch] = FakeClient(listed).fetch(days(4, 3 + most_days - 2))
    assert records_by_day(batch) == expected_days(RECORDS, days(4, 3 + most_days - 2))


def test_a_day_that_is_too_large_for_any_request_is_open_and_not_one_that_is_served_no_more():
    records = records_growing(1, 4) + records_growing(9, 11) * 4
    vendor = FakeClient(rejecting(records, most_records=30))
    [batch] = vendor.fetch(days(2, 9))
    assert (set(batch.unresolved_days), batch.refused) == ({day(9)} | set(days(7, 8).days()), frozenset())


DOWN = raising(RetryableError("HTTP 503"))
KNOWN = {"the first night": None, "a later night": {day(number): 3 + number for number in (1, 2)}}


@pytest.mark.parametrize("complete", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("size", [{"most_days": 2}, {"most_days": 3}, {"most_records": 17}], ids=str)
def test_days_are_requested_alone_where_requests_of_such_a_size_fail(size, complete):
    vendor = FakeClient(rejecting(**size, error=RetryableError), DOWN, RECORDS)
    [batch] = vendor.fetch(days(6, 8), complete=complete)
    assert (batch.unresolved_days, batch.failed) == ({}, frozenset())
    assert records_by_day(batch) == expected_days(RECORDS, days(6, 8))


@pytest.mark.parametrize("alone", [[], RequestRejected("HTTP 400, an end before the start")], ids=["empty", "rejected"])
def test_an_excluded_end_date_does_not_hide_that_short_requests_are_served(alone):
    def listed(requested):
        if len(requested) == 1:
            return raising(alone)(requested) if isinstance(alone, RequestRejected) else alone
        if len(requested) > 2:
            raise RetryableError("HTTP 504")
        return within(RECORDS, DateRange(requested.first, requested.first))

    [batch] = FakeClient(listed, DOWN, RECORDS).fetch(days(4, 8))
    # The largest day cannot be compared with a larger answer; the newest records have all of it.
    assert batch.days.keys() | {day(8)} == {*days(4, 8).days()}


@pytest.mark.parametrize("most_days", [None, 3])
def test_days_before_the_first_served_one_stay_refused(most_days):
    vendor = FakeClient(rejecting(earliest=day(5), most_days=most_days))
    [batch] = vendor.fetch(days(1, 8))
    assert batch.refused == set(days(1, 4).days()) == batch.unresolved_days.keys() - {day(5)}
    alone = [requested.first for requested in vendor.requested if len(requested) == 1 and requested.first < day(4)]
    assert set(alone) == {day(4 - 365)}, "a year before; and no day before the first one that is rejected"


def test_a_failed_request_for_a_day_is_no_rejection():
    rejected = rejecting(most_days=3)

    def listed(requested):
        if len(requested) == 1:
            raise RetryableError("HTTP 503")
        return rejected(requested)

    [batch] = FakeClient(listed).fetch(days(4, 8))
    assert (batch.unresolved_days, batch.refused) == ({}, frozenset())
    assert records_by_day(batch) == expected_days(RECORDS, days(4, 8))


def test_a_vendor_that_rejects_everything_gets_two_requests_more():
    vendor = FakeClient(rejecting(earliest=TODAY.replace(year=2027)))
    with pytest.raises(SourceUnavailable, match="JSON: HTTP 400"):
        vendor.fetch(days(4, 8))
    assert vendor.requested.count(DateRange(day(8), day(8))) == 1
    assert sum(requested.first == day(8 - 365) for requested in vendor.requested) == 1


def test_old_days_that_are_served_to_short_requests_alone_are_listed():
    vendor = FakeClient(rejecting(most_days=2))
    assert vendor.open_source().days_still_listed(days(4, 6)) == {day(4), day(6)}
    assert vendor.open_source().days_still_listed(days(-20, -10)) == frozenset()
