"""Records that only `get_billing_record` lists, on accepted days: the ignored ones, and those that stay quarantined."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from etl.extract.completeness import NewestRecords
from etl.extract.unlisted import UNLISTED, UnlistedRecords, reject_unlisted
from etl.model import Record, single_slice_day
from etl.pii import erase_payload

DAY = date(2026, 3, 5)


def record(second: int, phone: str = "+79243555100") -> Record:
    return Record(f"2026-03-05 10:00:{second:02}", phone, "2371", 1, "ok", Decimal("0.2"))


def newest_of(*records: Record) -> NewestRecords:
    return NewestRecords(Counter(records), len(records), include_all=False)


def accepted(*missing: Record, erased: bool = False) -> UnlistedRecords:
    items = reject_unlisted(DAY, newest_of(*missing), single_slice_day(DAY, []))
    return UnlistedRecords(replace(item, payload=erase_payload(item.payload)) if erased else item for item in items)


def test_only_the_records_that_an_answer_lacks_are_rejected():
    listed = single_slice_day(DAY, [record(1), record(2)])
    items = reject_unlisted(DAY, newest_of(record(1), record(2), record(2), record(3)), listed)
    assert [(item.day, item.reason, any(item.key)) for item in items] == [(DAY, UNLISTED, False)] * 2
    assert [json.loads(item.payload)["listed"] for item in items] == [2, 1]


@pytest.mark.parametrize("erased", [False, True])
def test_accepted_records_are_no_evidence_and_the_others_are(erased):
    newest = accepted(record(1), erased=erased).ignored_in(newest_of(record(1), record(2)))
    assert (newest.records, newest.listed) == (Counter([record(2)]), 2)
    assert newest.are_contained_in({DAY: single_slice_day(DAY, [record(2)])})
    assert not newest.are_contained_in({DAY: single_slice_day(DAY, [])})


def test_an_ignored_record_is_not_unreadable():
    newest = accepted(record(1)).ignored_in(newest_of(record(1), record(2)))
    assert newest.end_by(DAY)


def test_a_record_that_is_listed_more_often_than_accepted_is_evidence():
    newest = newest_of(record(1), record(1))
    assert accepted(record(1)).ignored_in(newest) == newest
    assert accepted(record(1), record(1)).ignored_in(newest).records == Counter()


@pytest.mark.parametrize("erased", [False, True])
@pytest.mark.parametrize(("listed", "stays"), [([record(2)], True), ([record(1)], False)])
def test_an_accepted_record_stays_quarantined_until_an_answer_has_it(erased, listed, stays):
    items = accepted(record(1), erased=erased).missing_from({DAY: single_slice_day(DAY, listed)})
    assert [item.day for item in items] == [DAY] * stays


def test_an_accepted_record_of_a_day_that_is_not_answered_is_not_rejected():
    assert not list(accepted(record(1)).missing_from({}))
