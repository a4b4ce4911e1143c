"""Newest records: which are stored, their order, and the parsing of an authorisation."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from etl.changes import StoredRow
from etl.model import Record
from etl.services.recent import VendorRecords, mark_stored, newest_record, read_status
from etl.transform.pseudonymise import PhonePolicy


def record(second, price="0.200000", **changes):
    return Record(f"2026-03-10 10:00:{second:02}", "+79243555100", "0042", 1, "ok", Decimal(price))._replace(**changes)


def row(of, repeats=1, ordinal=1, withdrawn=False):
    return StoredRow(of, ordinal, repeats, withdrawn)


def seconds(marked):
    return [(int(record.record.created_at[-2:]), record.stored) for record in marked]


def test_records_are_sorted_newest_first():
    records = [record(number) for number in range(10)]
    random.Random(1).shuffle(records)
    assert seconds(mark_stored(VendorRecords(tuple(records)), [])) == [(number, False) for number in range(9, -1, -1)]


@pytest.mark.parametrize(
    ("rows", "stored"),
    [
        ([], [False, False]),
        ([row(record(1))], [True, False]),
        ([row(record(1), repeats=2)], [True, True]),
        ([row(record(1), repeats=3)], [True, True]),
        ([row(record(1), repeats=2, withdrawn=True)], [False, False]),
        ([row(record(1, price="0.300000"), repeats=2)], [False, False]),
        ([row(record(1)), row(record(1, status=None), ordinal=2)], [True, False]),
    ],
)
def test_a_record_is_stored_as_often_as_its_current_rows_repeat_it(rows, stored):
    assert [one.stored for one in mark_stored(VendorRecords((record(1), record(1))), rows)] == stored


def test_an_attribute_missing_from_the_answer_is_the_stored_one():
    partial = VendorRecords((record(1, status_info=""),), missing_fields=frozenset({"status_info"}))
    assert [one.stored for one in mark_stored(partial, [row(record(1))])] == [True]
    assert [one.stored for one in mark_stored(replace(partial, missing_fields=frozenset()), [row(record(1))])] == [
        False
    ]


def test_an_erased_record_stays_erased():
    forgotten = record(1, phone="forgotten", code_auth="", status_info="")
    (marked,) = mark_stored(VendorRecords((record(1),)), [row(forgotten)])
    assert (marked.record.phone, marked.stored) == ("forgotten", True)


def test_a_missing_record_of_the_newest_second_is_reported():
    marked = mark_stored(VendorRecords((record(1), record(2), record(2, status=2))), [row(record(1)), row(record(2))])
    assert newest_record(marked).record == record(2, status=2)
    assert newest_record([]) is None


AS_DOCUMENTED = {
    "id": 77, "created_at": "2021-12-29T14:06:51", "phone": "89243555100", "status": True,
    "status_info": "Ok: SIP 200 OK", "price": Decimal("0.2"), "new_field": 1,
}  # fmt: skip


def test_an_authorisation_is_parsed_like_a_record():
    assert read_status(AS_DOCUMENTED, "77", UTC, PhonePolicy()) == {
        "id": 77,
        "created_at": datetime(2021, 12, 29, 14, 6, 51),  # noqa: DTZ001 - a wall clock
        "phone": "+79243555100",
        "status": 1,
        "status_info": "Ok: SIP 200 OK",
        "price": Decimal("0.200000"),
    }


@pytest.mark.parametrize("changes", [{}, {"price": None}, {"status": "pending"}, {"created_at": ""}])
def test_an_authorisation_shows_its_phone_in_the_stored_format(changes):
    shown = read_status(AS_DOCUMENTED | changes, "77", UTC, PhonePolicy("masked"))
    assert (shown["phone"], shown["id"]) == ("+7924*****00", 77)
    assert {name: shown[name] for name in changes} == changes


def test_an_authorisation_without_an_id_has_the_one_that_was_given():
    assert read_status({"status": 1}, "77", UTC, PhonePolicy())["id"] == "77"
