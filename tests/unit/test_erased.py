"""An erased row stands for the record that the vendor still lists, and for no other distinguishable record."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.builders import DAY
from support.builders import listed as listed_of
from support.builders import listing as listing_of

from etl.changes import DayDiff, RowUpdate, StoredRow, StoredRows
from etl.load.diff import diff_day, diff_empty_day, drop_unchanged, fill_missing_fields
from etl.load.erased import apply_erasures
from etl.model import CountedRecord, Record
from etl.pii import ERASED

calm = settings(deadline=None)
SECOND, NEXT = "2026-03-09 10:00:00", "2026-03-09 10:00:01"
NOTHING: frozenset[str] = frozenset()


def record(phone, price="0.2", *, status: int | None = 1, info="ok", code="0371", second=SECOND):
    return Record(second, phone, code, status, info, Decimal(price).quantize(Decimal("1.000000")))


CALL, MESSAGE = record("+79243555100"), record("+79243555100", "3.25", info="SMS")
STRANGER = record("+79990001122", code="1111")


def stored_of(listed):
    return [
        StoredRow(insert.record, insert.ordinal, insert.repeats, withdrawn=False)
        for insert in diff_empty_day(DAY, listing_of(listed)).inserts
    ]


def anonymous(one: Record) -> Record:
    return one._replace(phone=ERASED, code_auth="", status_info="")


def forget(rows, phone="+79243555100"):
    """The rows after an erasure: each gets its own ordinal."""
    ordinals = Counter(row.record.created_at for row in rows if row.record.phone == ERASED)

    def of(row):
        if row.record.phone != phone:
            return row
        ordinals[row.record.created_at] += 1
        return row._replace(record=anonymous(row.record), ordinal=ordinals[row.record.created_at])

    return list(map(of, rows))


def plan(listed, rows, lacking=NOTHING):
    kept = apply_erasures(listed_of(listed), rows, lacking)
    whole = listed_of(fill_missing_fields(kept, rows, lacking).elements()) if lacking else kept
    change = diff_day(DAY, whole, rows)
    if not lacking:
        unequal = drop_unchanged(listing_of(listed), StoredRows.from_rows(rows))
        reduced = diff_day(DAY, apply_erasures(unequal.listed, unequal.stored, lacking), unequal.stored)
        assert replace(reduced, unchanged=reduced.unchanged + unequal.unchanged) == change
    return change


def written(rows, change):
    """The rows after a change is written."""
    after = {row.key: row for row in rows}
    for update in change.updates:
        after[update.row.key] = update.row._replace(record=update.record, repeats=update.repeats, withdrawn=False)
    for row in change.withdrawals:
        after[row.key] = row._replace(withdrawn=True)
    for insert in change.inserts:
        row = StoredRow(insert.record, insert.ordinal, insert.repeats, withdrawn=False)
        assert row.key not in after
        after[row.key] = row
    return list(after.values())


def current(rows):
    return Counter({row: row.repeats for row in rows if not row.withdrawn})


def phones(rows):
    return {row.record.phone for row in rows}


def test_a_day_without_an_erased_row_is_unchanged():
    listed = listed_of([CALL, STRANGER])
    assert apply_erasures(listed, stored_of([CALL, STRANGER]), NOTHING) is listed


def test_an_unchanged_listing_changes_nothing():
    listed = [CALL, CALL, MESSAGE, STRANGER]
    assert plan(listed, forget(stored_of(listed))) == DayDiff(DAY, unchanged=3)


def test_two_records_that_differ_only_in_code_stay_two_rows():
    listed = [CALL, CALL._replace(code_auth="9999"), CALL._replace(code_auth="9999")]
    assert plan(listed, forget(stored_of(listed))) == DayDiff(DAY, unchanged=2)


def test_a_correction_of_an_erased_record_corrects_its_row_without_the_number():
    rows = forget(stored_of([CALL, STRANGER]))
    corrected = CALL._replace(price=Decimal("0.500000"))
    (update,) = plan([corrected, STRANGER], rows).updates
    assert update.record == anonymous(corrected)
    assert not plan([corrected, STRANGER], rows).inserts


def test_an_erased_row_follows_changed_repeats_and_withdrawals():
    rows = forget(stored_of([CALL, STRANGER]))
    assert plan([CALL, CALL, STRANGER], rows).updates == [RowUpdate(rows[0], anonymous(CALL), 2)]
    assert plan([STRANGER], rows).withdrawals == [rows[0]]


def test_a_withdrawn_erased_record_returns_erased():
    rows = [row._replace(withdrawn=True) for row in forget(stored_of([CALL]))]
    assert plan([CALL], rows).updates == [RowUpdate(rows[0], anonymous(CALL), 1)]


def test_a_late_record_with_another_price_or_time_is_not_erased():
    rows = forget(stored_of([CALL]))
    for late in (STRANGER._replace(price=Decimal(5)), STRANGER._replace(created_at=NEXT), MESSAGE):
        assert [insert.record for insert in plan([CALL, late], rows).inserts] == [late]


def test_a_late_record_indistinguishable_from_an_erased_one_is_erased():
    rows = forget(stored_of([CALL]))
    change = plan([CALL, STRANGER], rows)
    assert (list(change.inserts), change.updates) == ([], [RowUpdate(rows[0], anonymous(CALL), 2)])


def test_one_of_two_equal_erased_rows_is_withdrawn_with_one_of_the_records():
    listed = [CALL, CALL._replace(code_auth="9999")]
    rows = forget(stored_of(listed))
    change = plan(listed[:1], rows)
    assert (change.unchanged, change.withdrawals, change.updates) == (1, [rows[1]], [])


def test_a_correction_of_one_of_two_equal_erased_records_stays_erased():
    rows = forget(stored_of([CALL, CALL]))
    corrected = CALL._replace(price=Decimal("7.500000"), status=0)
    after = written(rows, plan([CALL, corrected], rows))
    assert {(row.record, row.repeats) for row in current(after)} == {(anonymous(CALL), 1), (anonymous(corrected), 1)}
    assert not plan([CALL, corrected], after)


def test_a_late_record_of_an_erased_key_leaves_the_erased_records_erased():
    rows = forget(stored_of([CALL, CALL, STRANGER]))
    after = written(rows, plan([CALL, CALL, MESSAGE, STRANGER], rows))
    assert {(row.record, row.repeats) for row in after} == {(anonymous(CALL), 2), (MESSAGE, 1), (STRANGER, 1)}
    assert not plan([CALL, CALL, MESSAGE, STRANGER], after)
    corrected = CALL._replace(price=Decimal("7.500000"))
    after = written(after, plan([CALL, corrected, MESSAGE, STRANGER], after))
    assert [row.record for row in after if row.record.phone == CALL.phone] == [MESSAGE]


def test_a_correction_to_the_content_of_an_erased_record_keeps_its_own_row():
    rows = forget(stored_of([CALL, STRANGER._replace(price=Decimal(3))]))
    (update,) = plan([CALL, STRANGER], rows).updates
    assert (update.row, update.record) == (rows[1], STRANGER)


def test_more_repeats_of_a_row_in_clear_do_not_go_to_an_equal_erased_row():
    rows = forget(stored_of([CALL, STRANGER]))
    assert plan([CALL, STRANGER, STRANGER], rows).updates == [RowUpdate(rows[1], STRANGER, 2)]


def test_the_phone_and_code_of_an_erased_record_are_erased_before_new_ones():
    rows = forget(stored_of([CALL, CALL]))
    corrected, late = CALL._replace(price=Decimal(7)), record("", "9")
    change = plan([CALL, corrected, late], rows)
    assert {insert.record for insert in change.inserts} == {anonymous(corrected), late}


def test_a_correction_of_one_of_two_equal_erased_rows_is_no_withdrawal():
    listed = [CALL, CALL._replace(code_auth="9999")]
    rows = forget(stored_of(listed))
    corrected = listed[1]._replace(price=Decimal(7))
    change = plan([CALL, corrected], rows)
    assert (change.unchanged, change.withdrawals, list(change.inserts)) == (1, [], [])
    assert change.updates == [RowUpdate(rows[1], anonymous(corrected), 1)]


def test_a_record_keeps_its_own_row_rather_than_an_erased_one():
    rows = forget(stored_of([CALL, STRANGER]))
    corrected = STRANGER._replace(price=Decimal(7))
    assert plan([CALL, corrected], rows).updates == [RowUpdate(rows[1], corrected, 1)]


@pytest.mark.parametrize(
    "lacking", [frozenset({"status"}), frozenset({"status_info"}), frozenset({"status", "status_info"})]
)
def test_a_source_that_lacks_a_column_changes_no_erased_row(lacking):
    listed = [CALL, CALL, CALL._replace(code_auth="9999"), MESSAGE, STRANGER]
    rows = forget(stored_of(listed))
    seen = [
        record._replace(**{name: {"status": None, "status_info": ""}[name] for name in lacking}) for record in listed
    ]
    assert plan(seen, rows, lacking) == DayDiff(DAY, unchanged=4)


def test_a_late_record_is_distinguished_by_price_when_the_source_lacks_a_status():
    late = record("+71110001122", "5", status=None)
    rows = forget(stored_of([CALL]))
    change = plan([CALL._replace(status=None), late], rows, frozenset({"status"}))
    assert ([insert.record for insert in change.inserts], change.updates) == ([late], [])


def test_a_number_erased_from_another_records_text_stays_erased():
    original = STRANGER._replace(status_info="passed on to 89243555100; ok")
    rows = stored_of([original._replace(status_info="passed on to [forgotten]; ok")])
    assert plan([original], rows) == DayDiff(DAY, unchanged=1)
    other = original._replace(status_info="busy")
    assert plan([other], rows).updates == [RowUpdate(rows[0], other, 1)]


RECORDS = st.builds(
    record,
    st.sampled_from(["", "+79243555100", "+79990001122"]),
    st.sampled_from(["0", "0.2"]),
    status=st.sampled_from([None, 0, 1]),
    info=st.sampled_from(["", "ok"]),
    code=st.sampled_from(["", "0371"]),
    second=st.sampled_from([SECOND, NEXT]),
)


@calm
@given(st.lists(RECORDS, max_size=10), st.sampled_from([NOTHING, frozenset({"status"}), frozenset({"status_info"})]))
def test_an_erasure_leaves_nothing_to_write_for_any_day(listed, lacking):
    rows = forget(stored_of(listed))
    seen = [
        record._replace(**{name: {"status": None, "status_info": ""}[name] for name in lacking}) for record in listed
    ]
    assert not plan(seen, rows, lacking)


PERSON = "+79243555100"
ONE_SECOND = RECORDS.map(lambda one: one._replace(created_at=SECOND))
LACKING = st.sampled_from([NOTHING, frozenset({"status"}), frozenset({"status_info"})])


@st.composite
def histories(draw):
    """The answers of a vendor who corrects, withdraws, repeats and adds records of one second."""
    listing = draw(st.lists(ONE_SECOND, max_size=6))
    answers = [listing]
    for _ in range(draw(st.integers(1, 4))):
        kept = [one for one in listing if draw(st.integers(0, 4))]
        other = draw(st.lists(ONE_SECOND, max_size=len(kept)))
        corrected = [one._replace(status=new.status, price=new.price) for one, new in zip(kept, other, strict=False)]
        repeated = draw(st.lists(st.sampled_from(kept), max_size=2)) if kept else []
        listing = [*corrected, *kept[len(corrected) :], *repeated, *draw(st.lists(ONE_SECOND, max_size=2))]
        answers.append(listing)
    return answers


@calm
@given(histories(), st.lists(st.sampled_from(["", PERSON, "+79990001122"])), LACKING)
def test_rows_equal_each_answer_and_the_same_answer_again_changes_nothing(answers, erased, lacking):
    rows = stored_of(answers[0])
    for answer in answers:
        rows = written(rows, plan(answer, rows))
        amounts = Counter()
        for row, repeats in current(rows).items():
            amounts[row.record.status, row.record.price] += repeats
        assert amounts == Counter((one.status, one.price) for one in answer)
        in_clear = Counter()
        for row, repeats in current(rows).items():
            if row.record.phone != ERASED:
                in_clear[row.record] += repeats
        assert in_clear <= Counter(answer)
        seen = [one._replace(**{name: {"status": None, "status_info": ""}[name] for name in lacking}) for one in answer]
        assert not plan(answer, rows)
        assert not plan(seen, rows, lacking)
        if erased:
            rows = forget(rows, erased.pop())
            assert not plan(answer, rows)
            assert not plan(seen, rows, lacking)


@calm
@given(st.lists(ONE_SECOND, max_size=8), st.lists(st.lists(ONE_SECOND, max_size=8), max_size=3))
def test_corrections_and_withdrawals_of_an_erased_person_restore_no_phone(first, corrections):
    rows, listing = forget(stored_of(first)), first
    for answer in corrections:
        own = [one for one in listing if one.phone == PERSON]
        own = [one._replace(status=new.status, price=new.price) for one, new in zip(own, answer, strict=False)]
        listing = [*(one for one in listing if one.phone != PERSON), *own]
        rows = written(rows, plan(listing, rows))
        assert PERSON not in phones(rows)


def test_a_listing_keeps_the_order_of_its_keys():
    listed = listed_of([CALL, STRANGER, record("", "9")])
    kept = apply_erasures(listed, forget(stored_of([CALL, STRANGER])), NOTHING)
    assert [item.record[:3] for item in kept] == sorted(item.record[:3] for item in kept)
    assert all(isinstance(item, CountedRecord) for item in kept)
