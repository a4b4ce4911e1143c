"""Which rows are kept because an unreadable record may be theirs, and which are withdrawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.builders import DAY, listed

from etl.changes import DayDiff, StoredRow
from etl.load.diff import diff_day
from etl.load.erased import apply_erasures
from etl.load.quarantine import Quarantine, quarantine_rows
from etl.model import CountedRecord, PartialKey, Record, RejectedRecord
from etl.pii import ERASED

calm = settings(deadline=None)
SECOND, LATER, PHONE, OTHER_PHONE = "2026-03-09 10:00:00", "2026-03-09 11:00:00", "+79243555100", "+79990001122"


def record(price="0.2", *, time=SECOND, phone=PHONE, code="2371", info="ok") -> Record:
    return Record(time, phone, code, 1, info, Decimal(price).quantize(Decimal("1.000000")))


CALL, MESSAGE = record(info="call"), record("3.25", info="SMS")
KEY = CALL[:3]


def rows(*records: Record, repeats: int = 1) -> list[StoredRow]:
    ordinals: Counter[tuple[str, str, str]] = Counter()
    stored = []
    for content in records:
        ordinals[content[:3]] += 1
        stored.append(StoredRow(content, ordinals[content[:3]], repeats, withdrawn=False))
    return stored


def forget(row: StoredRow) -> StoredRow:
    return row._replace(record=row.record._replace(phone=ERASED, code_auth="", status_info=""))


def change_of(readable: list[CountedRecord], stored: list[StoredRow], *keys: PartialKey) -> DayDiff:
    """The change of a day with readable records and unreadable ones with these keys."""
    as_stored = apply_erasures(readable, stored, frozenset())
    completed = Counter(dict(readable)) + quarantine_rows(DAY, as_stored, stored, keys)
    return diff_day(DAY, apply_erasures(listed(completed.elements()), stored, frozenset()), stored)


def withdrawn(change: DayDiff) -> list[Record]:
    return [row.record for row in change.withdrawals]


@pytest.mark.parametrize(
    "key",
    [
        (SECOND, PHONE, "2371"), (SECOND, PHONE, None), (SECOND, None, "2371"), (SECOND, None, None),
        (SECOND, "", ""), (None, PHONE, "2371"), (None, PHONE, None), (None, None, "2371"),
    ],
)  # fmt: skip
def test_a_row_is_kept_if_all_readable_key_fields_agree(key):
    assert not change_of([], rows(CALL), key)


@pytest.mark.parametrize(
    "key",
    [
        (LATER, PHONE, "2371"), (SECOND, OTHER_PHONE, "2371"), (SECOND, PHONE, "0000"), (None, OTHER_PHONE, "2371"),
        (None, None, "0000"), (None, None, None), (None, "", ""),
    ],
)  # fmt: skip
def test_a_row_is_withdrawn_if_a_key_field_differs_or_none_is_readable(key):
    assert withdrawn(change_of([], rows(CALL), key)) == [CALL]


def test_a_readable_record_is_compared_as_usual():
    stored = rows(CALL, record(time=LATER))
    change = change_of(listed([record("0.7", time=LATER)]), stored, KEY)
    assert [(update.row, update.record.price) for update in change.updates] == [(stored[1], Decimal("0.7"))]
    assert not change.withdrawals
    assert not change.inserts


def test_a_row_without_a_similar_unreadable_record_is_withdrawn():
    assert withdrawn(change_of([], rows(CALL, record(time=LATER)), KEY)) == [record(time=LATER)]


def test_all_rows_that_an_unreadable_record_may_be_are_kept():
    stored = rows(CALL, MESSAGE, record(time=LATER))
    assert not change_of([], stored, (None, PHONE, "2371"))
    assert withdrawn(change_of([], stored, KEY)) == [record(time=LATER)]


def test_several_unreadable_records_keep_the_one_matching_row():
    assert not change_of([], rows(CALL), KEY, KEY, (None, PHONE, None))


@pytest.mark.parametrize("readable", [0, 1, 2, 3])
def test_a_row_keeps_its_repeats_while_one_of_them_is_unreadable(readable):
    assert not change_of(listed([CALL] * readable), rows(CALL, repeats=3), KEY)


def test_a_row_that_is_listed_more_often_gets_more_repeats():
    change = change_of(listed([CALL] * 4), rows(CALL, repeats=3), KEY)
    assert [update.repeats for update in change.updates] == [4]


def test_a_row_loses_repeats_without_a_similar_unreadable_record():
    change = change_of(listed([CALL] * 2), rows(CALL, repeats=3), (LATER, None, None))
    assert [update.repeats for update in change.updates] == [2]


def test_the_row_of_the_unreadable_one_of_several_records_of_a_key_is_kept():
    assert not change_of(listed([CALL]), rows(CALL, MESSAGE), KEY)
    assert not change_of(listed([MESSAGE]), rows(CALL, MESSAGE), KEY)


@pytest.mark.parametrize("stored", [rows(CALL, MESSAGE), rows(MESSAGE, CALL)], ids=["call first", "SMS first"])
@pytest.mark.parametrize(("corrected", "to"), [(CALL, "0.7"), (MESSAGE, "4")], ids=["call", "SMS"])
def test_a_correction_uses_the_most_similar_row_and_not_the_unreadable_ones(stored, corrected, to):
    correction = corrected._replace(price=Decimal(to))
    change = change_of(listed([correction]), stored, KEY)
    assert [(update.row.record, update.record) for update in change.updates] == [(corrected, correction)]
    assert not change.withdrawals
    assert not change.inserts


def test_a_new_record_with_the_key_of_an_unreadable_one_is_late():
    change = change_of(listed([MESSAGE]), rows(CALL), KEY)
    assert [(item.record, item.ordinal) for item in change.inserts] == [(MESSAGE, 2)]
    assert not change.updates
    assert not change.withdrawals


def test_an_unreadable_record_does_not_restore_a_withdrawn_row():
    assert not change_of([], [rows(CALL)[0]._replace(withdrawn=True)], KEY)


@pytest.mark.parametrize("key", [(SECOND, PHONE, "2371"), (SECOND, None, None), (None, PHONE, "2371")])
def test_an_erased_row_is_kept_if_the_time_agrees_or_is_unreadable(key):
    assert not change_of([], [forget(rows(CALL)[0])], key)


def test_an_erased_row_is_withdrawn_if_the_time_differs():
    (forgotten,) = map(forget, rows(CALL))
    assert withdrawn(change_of([], [forgotten], (LATER, PHONE, "2371"))) == [forgotten.record]


# In general -----------------------------------------------------------------------------------------------------------

records = st.builds(
    record,
    st.sampled_from(["0", "0.2", "3.25"]),
    time=st.sampled_from([SECOND, LATER]),
    phone=st.sampled_from([PHONE, OTHER_PHONE, ""]),
    code=st.sampled_from(["2371", "0000", ""]),
    info=st.sampled_from(["call", "SMS"]),
)
masks = st.tuples(st.booleans(), st.booleans(), st.booleans())


def partial(content: Record, mask: tuple[bool, bool, bool]) -> PartialKey:
    time, phone, code = (value if known else None for value, known in zip(content[:3], mask, strict=True))
    return time, phone, code


@calm
@given(st.lists(st.tuples(records, st.none() | masks), max_size=8), st.booleans())
def test_a_day_whose_records_become_unreadable_is_unchanged(listing, forgotten):
    stored = [
        StoredRow(item.record, number, item.repeats, withdrawn=False)
        for number, item in enumerate(listed(content for content, _ in listing))
    ]
    if forgotten:
        stored = [forget(row) if row.record.phone == PHONE else row for row in stored]
    keys = [partial(content, mask) for content, mask in listing if mask is not None]
    if all(map(any, keys)):  # of another one nothing is recognised
        readable = listed(content for content, mask in listing if mask is None)
        assert not change_of(readable, stored, *keys)


# By day ---------------------------------------------------------------------------------------------------------------


def test_a_key_keeps_rows_of_its_day_or_of_any_day_if_the_day_is_unreadable():
    item = RejectedRecord(DAY, "why", "{}", (None, PHONE, "2371"))
    dayless, dated = replace(item, day=None), replace(item, day=None, key=(SECOND, None, None))
    quarantine = Quarantine([item, dayless, dated, RejectedRecord(DAY, "why", "{}")])
    assert quarantine.keys(DAY, "json") == [item.key, dated.key, item.key]
    assert quarantine.keys(DAY + timedelta(days=1), "json") == [item.key]
    assert Quarantine([]).keys(date(2026, 3, 9), "json") == []


def test_a_record_without_a_day_keeps_no_row_of_a_day_from_another_source():
    dayless = RejectedRecord(None, "why", "{}", (None, PHONE, "2371"), source="csv")
    quarantine = Quarantine([dayless, replace(dayless, day=DAY)])
    assert quarantine.keys(DAY, "json") == [dayless.key]
    assert quarantine.keys(DAY, "csv") == [dayless.key] * 2
