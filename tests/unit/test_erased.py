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
    ordinals: Counter[str] = Counter()

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


@calm
@given(st.lists(RECORDS, max_size=8), st.lists(RECORDS, max_size=8))
def test_amounts_equal_the_vendors_after_an_erasure_and_any_change(first, then):
    rows = forget(stored_of(first))
    change = plan(then, rows)
    after = {row.key: row for row in rows}
    for update in change.updates:
        after[update.row.key] = update.row._replace(record=update.record, repeats=update.repeats)
    for row in change.withdrawals:
        after[row.key] = row._replace(repeats=0)
    current = [*after.values(), *change.inserts]
    by_second = Counter()
    for one in current:
        by_second[one.record.created_at, one.record.status, one.record.price] += one.repeats
    assert +by_second == Counter((record.created_at, record.status, record.price) for record in then)
    assert {row.record for row in current if row.record.phone == ERASED} <= {
        anonymous(row.record) for row in current if row.record.phone == ERASED
    }


def test_a_listing_keeps_the_order_of_its_keys():
    listed = listed_of([CALL, STRANGER, record("", "9")])
    kept = apply_erasures(listed, forget(stored_of([CALL, STRANGER])), NOTHING)
    assert [item.record[:3] for item in kept] == sorted(item.record[:3] for item in kept)
    assert all(isinstance(item, CountedRecord) for item in kept)
