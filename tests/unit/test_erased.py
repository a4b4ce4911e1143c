"""A forgotten row stands for the record that the vendor goes on listing, and for no other that can be told from it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.builders import DAY
from support.builders import listed as listed_of
from support.builders import listing as listing_of

from etl.changes import DayDiff, RowUpdate, StoredRow
from etl.load.diff import diff_day, diff_empty_day, fill_missing_fields
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
    """What forgetting makes of the rows: each gets an ordinal of its own."""
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
    return diff_day(DAY, whole, rows)


def test_a_day_without_a_forgotten_row_is_not_touched():
    listed = listed_of([CALL, STRANGER])
    assert apply_erasures(listed, stored_of([CALL, STRANGER]), NOTHING) is listed


def test_while_the_vendor_says_the_same_nothing_changes():
    listed = [CALL, CALL, MESSAGE, STRANGER]
    assert plan(listed, forget(stored_of(listed))) == DayDiff(DAY, unchanged=3)


def test_two_records_that_differ_in_their_code_alone_stay_two_rows():
    listed = [CALL, CALL._replace(code_auth="9999"), CALL._replace(code_auth="9999")]
    assert plan(listed, forget(stored_of(listed))) == DayDiff(DAY, unchanged=2)


def test_a_correction_of_a_forgotten_record_corrects_its_row_and_brings_no_number_back():
    rows = forget(stored_of([CALL, STRANGER]))
    corrected = CALL._replace(price=Decimal("0.500000"))
    (update,) = plan([corrected, STRANGER], rows).updates
    assert update.record == anonymous(corrected)
    assert not plan([corrected, STRANGER], rows).inserts


def test_a_forgotten_record_that_is_listed_more_often_or_no_longer_changes_its_row():
    rows = forget(stored_of([CALL, STRANGER]))
    assert plan([CALL, CALL, STRANGER], rows).updates == [RowUpdate(rows[0], anonymous(CALL), 2)]
    assert plan([STRANGER], rows).withdrawals == [rows[0]]


def test_a_forgotten_record_that_was_withdrawn_comes_back_forgotten():
    rows = [row._replace(withdrawn=True) for row in forget(stored_of([CALL]))]
    assert plan([CALL], rows).updates == [RowUpdate(rows[0], anonymous(CALL), 1)]


def test_a_late_record_that_differs_in_price_or_second_is_a_record_like_all_others():
    rows = forget(stored_of([CALL]))
    for late in (STRANGER._replace(price=Decimal(5)), STRANGER._replace(created_at=NEXT), MESSAGE):
        assert [insert.record for insert in plan([CALL, late], rows).inserts] == [late]


def test_a_late_record_that_cannot_be_told_from_a_forgotten_one_is_forgotten_with_it():
    rows = forget(stored_of([CALL]))
    change = plan([CALL, STRANGER], rows)
    assert (list(change.inserts), change.updates) == ([], [RowUpdate(rows[0], anonymous(CALL), 2)])


def test_one_of_two_equal_forgotten_rows_goes_when_one_of_the_records_goes():
    listed = [CALL, CALL._replace(code_auth="9999")]
    rows = forget(stored_of(listed))
    change = plan(listed[:1], rows)
    assert (change.unchanged, change.withdrawals, change.updates) == (1, [rows[1]], [])


def test_a_row_of_its_own_is_never_given_up_for_a_forgotten_one():
    rows = forget(stored_of([CALL, STRANGER]))
    corrected = STRANGER._replace(price=Decimal(7))
    assert plan([CALL, corrected], rows).updates == [RowUpdate(rows[1], corrected, 1)]


@pytest.mark.parametrize(
    "lacking", [frozenset({"status"}), frozenset({"status_info"}), frozenset({"status", "status_info"})]
)
def test_a_source_that_lacks_a_column_changes_no_forgotten_row(lacking):
    listed = [CALL, CALL, CALL._replace(code_auth="9999"), MESSAGE, STRANGER]
    rows = forget(stored_of(listed))
    seen = [one._replace(**{name: {"status": None, "status_info": ""}[name] for name in lacking}) for one in listed]
    assert plan(seen, rows, lacking) == DayDiff(DAY, unchanged=4)


def test_a_source_without_a_status_tells_a_late_record_from_a_forgotten_one_by_its_price():
    late = record("+71110001122", "5", status=None)
    rows = forget(stored_of([CALL]))
    change = plan([CALL._replace(status=None), late], rows, frozenset({"status"}))
    assert ([insert.record for insert in change.inserts], change.updates) == ([late], [])


def test_a_number_left_out_of_a_strangers_text_stays_out():
    told = STRANGER._replace(status_info="passed on to 89243555100; ok")
    rows = stored_of([told._replace(status_info="passed on to [forgotten]; ok")])
    assert plan([told], rows) == DayDiff(DAY, unchanged=1)
    other = told._replace(status_info="busy")
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
def test_whatever_a_day_holds_forgetting_leaves_nothing_to_write(listed, lacking):
    rows = forget(stored_of(listed))
    seen = [one._replace(**{name: {"status": None, "status_info": ""}[name] for name in lacking}) for one in listed]
    assert not plan(seen, rows, lacking)


@calm
@given(st.lists(RECORDS, max_size=8), st.lists(RECORDS, max_size=8))
def test_whatever_the_vendor_says_next_the_money_is_the_vendors(first, then):
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
    assert +by_second == Counter((one.created_at, one.status, one.price) for one in then)
    assert {one.record for one in current if one.record.phone == ERASED} <= {
        anonymous(one.record) for one in current if one.record.phone == ERASED
    }


def test_a_listing_stays_in_the_order_of_its_keys():
    listed = listed_of([CALL, STRANGER, record("", "9")])
    kept = apply_erasures(listed, forget(stored_of([CALL, STRANGER])), NOTHING)
    assert [item.record[:3] for item in kept] == sorted(item.record[:3] for item in kept)
    assert all(isinstance(item, CountedRecord) for item in kept)
