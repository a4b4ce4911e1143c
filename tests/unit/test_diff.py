"""The difference between a stored day and the vendor's, and when it makes the day suspect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.builders import DAY
from support.builders import listed as listed_of
from support.builders import listing as listing_of

from etl.changes import DayDiff, InsertBatch, RowCounts, RowInsert, RowUpdate, StoredRow, StoredRows
from etl.load.diff import diff_day, diff_empty_day, drop_unchanged, fill_missing_fields
from etl.load.plausibility import implausibility
from etl.model import Record

calm = settings(deadline=None)
SHARE = Decimal("0.2")


def record(price: str = "0.2", *, status: int | None = 1, info: str = "ok", code: str = "2371") -> Record:
    # Each record has its own strings, like those of a reader: equal but not identical.
    second, phone = "2026-03-09T10:00:00".replace("T", " "), "89243555100".replace("8", "+7")
    return Record(second, phone, code, status, info, Decimal(price).quantize(Decimal("1.000000")))


CALL = record()
MESSAGE = record("3.25", info="SMS delivered")
PENDING = record("0", status=0, info="pending")
OTHER = record(code="9999")


def row(content: Record, *, ordinal: int = 1, repeats: int = 1, withdrawn: bool = False) -> StoredRow:
    return StoredRow(Record(*content), ordinal, repeats, withdrawn)


def plan(listed: Iterable[Record], *stored: StoredRow) -> DayDiff:
    whole = diff_day(DAY, listed_of(listed), stored)
    unequal = drop_unchanged(listing_of(listed), StoredRows.from_rows(stored))
    change = diff_day(DAY, unequal.listed, unequal.stored)
    assert replace(change, unchanged=change.unchanged + unequal.unchanged) == whole
    assert {row.record[:3] for row in unequal.stored} == {
        key for key in (row.record[:3] for row in stored) if _differs(key, listed, stored)
    }
    return whole


def _differs(key: tuple[str, str, str], listed: Iterable[Record], stored: Iterable[StoredRow]) -> bool:
    rows = [(row.record, row.repeats) for row in stored if row.record[:3] == key and not row.withdrawn]
    return sorted(rows, key=repr) != sorted(Counter(one for one in listed if one[:3] == key).items(), key=repr)


def apply(change: DayDiff, stored: Iterable[StoredRow]) -> list[StoredRow]:
    """The rows after the change is written."""
    rows = {row.key: row for row in stored}
    for update in change.updates:
        rows[update.row.key] = update.row._replace(record=update.record, repeats=update.repeats, withdrawn=False)
    for one in change.withdrawals:
        rows[one.key] = one._replace(withdrawn=True)
    for insert in change.inserts:
        row = StoredRow(insert.record, insert.ordinal, insert.repeats, withdrawn=False)
        assert row.key not in rows
        rows[row.key] = row
    return list(rows.values())


def current(rows: Iterable[StoredRow]) -> Counter[Record]:
    """The current records of the day, as a multiset."""
    count: Counter[Record] = Counter()
    for one in rows:
        count[one.record] += one.repeats if not one.withdrawn else 0
    return +count


# Matching ------------------------------------------------------------------------------------------------------------


def test_a_first_load_inserts_all_with_ordinals_among_those_that_share_a_key():
    change = diff_empty_day(DAY, listing_of([MESSAGE, CALL, OTHER, CALL]))
    assert list(change.inserts) == [RowInsert(MESSAGE, 1, 1), RowInsert(CALL, 2, 2), RowInsert(OTHER, 1, 1)]


def test_ordinals_start_again_for_each_time_phone_and_code():
    variants = [CALL, CALL._replace(created_at="2026-03-09 10:00:01"), CALL._replace(phone="112"), OTHER]
    change = diff_empty_day(DAY, listing_of([*variants, *(one._replace(status=2) for one in variants)]))
    assert Counter(insert.ordinal for insert in change.inserts) == {1: 4, 2: 4}


def test_a_day_equal_to_the_stored_one_needs_no_change():
    change = plan([CALL, CALL, MESSAGE], row(CALL, repeats=2), row(MESSAGE, ordinal=2))
    assert change == DayDiff(DAY, unchanged=2)
    assert not change


def test_a_correction_is_never_a_withdrawal():
    change = plan([CALL], row(PENDING))
    assert change == DayDiff(DAY, updates=[RowUpdate(row(PENDING), CALL, 1)])
    assert change
    assert change.restored == 0


def test_a_row_with_equal_content_stays_and_the_other_one_is_corrected():
    corrected = record("3.5", info="SMS delivered")
    change = plan([corrected, CALL], row(MESSAGE), row(CALL, ordinal=2))
    assert change == DayDiff(DAY, updates=[RowUpdate(row(MESSAGE), corrected, 1)], unchanged=1)


def test_a_change_to_a_null_status_is_a_correction():
    nothing = record(status=None)
    assert plan([nothing], row(CALL)).updates == [RowUpdate(row(CALL), nothing, 1)]
    assert plan([CALL], row(nothing)).updates == [RowUpdate(row(nothing), CALL, 1)]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (5, 3)])
def test_repeats_of_a_row_increase_and_decrease(before, after):
    stored = row(CALL, repeats=before)
    assert plan([CALL] * after, stored) == DayDiff(DAY, updates=[RowUpdate(stored, CALL, after)])


def test_a_record_with_many_repeats_is_unchanged_when_listed_as_often_again():
    assert plan([CALL] * 1000, row(CALL, repeats=1000)) == DayDiff(DAY, unchanged=1)


def test_the_first_of_two_candidate_rows_is_corrected():
    stored = [row(CALL), row(MESSAGE, ordinal=2)]
    assert plan([PENDING], *stored) == DayDiff(DAY, updates=[RowUpdate(stored[0], PENDING, 1)], withdrawals=[stored[1]])


def test_a_record_with_another_key_is_new_and_the_old_one_is_withdrawn():
    assert plan([OTHER], row(CALL)) == DayDiff(
        DAY, inserts=InsertBatch.from_rows([RowInsert(OTHER, 1, 1)]), withdrawals=[row(CALL)]
    )


def test_an_extra_row_of_a_key_is_withdrawn():
    stored = [row(CALL), row(MESSAGE, ordinal=2)]
    assert plan([MESSAGE], *stored) == DayDiff(DAY, withdrawals=[row(CALL)], unchanged=1)


def test_all_rows_of_a_day_that_turned_empty_are_withdrawn():
    stored = [row(CALL), row(OTHER), row(MESSAGE, ordinal=2, withdrawn=True)]
    assert plan([], *stored) == DayDiff(DAY, withdrawals=[row(CALL), row(OTHER)])


def test_a_withdrawn_row_stays_unchanged_while_not_listed():
    assert not plan([CALL], row(CALL), row(MESSAGE, ordinal=2, withdrawn=True))


def test_a_returned_record_keeps_its_row():
    gone = row(CALL, withdrawn=True)
    change = plan([CALL, CALL], gone)
    assert change == DayDiff(DAY, updates=[RowUpdate(gone, CALL, 2)])
    assert change.restored == 1


def test_a_returned_record_reuses_the_withdrawn_row_with_equal_content():
    stored = [row(PENDING, withdrawn=True), row(CALL, ordinal=2, withdrawn=True)]
    assert plan([CALL], *stored).updates == [RowUpdate(stored[1], CALL, 1)]


def test_a_record_that_returns_changed_reuses_the_withdrawn_row():
    gone = [row(PENDING, withdrawn=True), row(MESSAGE, ordinal=2, withdrawn=True)]
    assert plan([CALL], *gone).updates == [RowUpdate(gone[0], CALL, 1)]


def test_a_current_row_is_corrected_before_a_withdrawn_one_is_restored():
    stored = [row(CALL, withdrawn=True), row(PENDING, ordinal=2)]
    assert plan([CALL], *stored) == DayDiff(DAY, updates=[RowUpdate(stored[1], CALL, 1)])


def test_a_new_record_gets_the_next_ordinal_after_withdrawn_rows():
    stored = [row(CALL, ordinal=1), row(PENDING, ordinal=2, withdrawn=True)]
    change = plan([CALL, MESSAGE, record("9")], *stored)
    assert change == DayDiff(
        DAY,
        inserts=InsertBatch.from_rows([RowInsert(record("9"), 3, 1)]),
        updates=[RowUpdate(stored[1], MESSAGE, 1)],
        unchanged=1,
    )


def test_the_order_of_stored_rows_is_irrelevant():
    stored = [row(PENDING), row(CALL, ordinal=2), row(MESSAGE, ordinal=3, withdrawn=True)]
    listed = [MESSAGE, record("9"), record("8")]
    assert plan(listed, *stored) == plan(listed, *reversed(stored))


# Properties ----------------------------------------------------------------------------------------------------------

RECORDS = st.builds(
    Record,
    st.sampled_from(["2026-03-09 10:00:00", "2026-03-09 10:00:01"]),
    st.sampled_from(["", "+79243555100"]),
    st.just("2371"),
    st.sampled_from([None, 0, 1]),
    st.sampled_from(["", "ok", "pending"]),
    st.sampled_from([Decimal("0.000000"), Decimal("0.200000"), Decimal("3.250000")]),
)
LISTED = st.lists(RECORDS, max_size=8)
HISTORIES = st.lists(LISTED, max_size=5)


def stored_by(history: Iterable[Iterable[Record]]) -> list[StoredRow]:
    """The rows after a history of answers."""
    rows: list[StoredRow] = []
    for listed in history:
        rows = apply(plan(listed, *rows), rows)
    return rows


@calm
@given(HISTORIES, LISTED)
def test_the_change_makes_any_stored_day_equal_to_the_vendors(history, listed):
    before = stored_by(history)
    after = apply(plan(listed, *before), before)
    assert current(after) == Counter(listed)


@pytest.mark.fault(66)
@calm
@given(HISTORIES, LISTED)
def test_ordinals_of_a_key_are_unique(history, listed):
    rows = stored_by([*history, listed])
    identities = [(row.record[:3], row.ordinal) for row in rows]
    assert len(set(identities)) == len(rows)
    assert all(row.ordinal >= 1 and row.repeats >= 1 for row in rows)


@calm
@given(HISTORIES, LISTED)
def test_no_row_is_lost_or_moved_to_another_key(history, listed):
    before = stored_by(history)
    after = {one.key: one for one in apply(plan(listed, *before), before)}
    for one in before:
        assert (after[one.key].record[:3], after[one.key].ordinal) == (one.record[:3], one.ordinal)


@calm
@given(HISTORIES, LISTED)
def test_no_two_current_rows_are_equal(history, listed):
    rows = [one.record for one in stored_by([*history, listed]) if not one.withdrawn]
    assert len(set(rows)) == len(rows)


@calm
@given(HISTORIES, LISTED)
def test_the_same_answer_twice_changes_nothing(history, listed):
    rows = stored_by([*history, listed])
    assert not plan(listed, *rows)
    assert plan(listed, *rows).unchanged == len(set(listed))


@calm
@given(HISTORIES, LISTED)
def test_a_listed_key_loses_no_more_rows_than_necessary(history, listed):
    before = stored_by(history)
    change = plan(listed, *before)
    had = Counter(row.record[:3] for row in before if not row.withdrawn)
    has = Counter(one[:3] for one in set(listed))
    assert Counter(row.record[:3] for row in change.withdrawals) == had - has


@calm
@given(LISTED)
def test_a_first_load_equals_a_merge_into_an_empty_day(listed):
    assert list(diff_empty_day(DAY, listing_of(listed)).inserts) == list(plan(listed).inserts)


# A source that lacks a column ----------------------------------------------------------------------------------------

LACKING = st.sampled_from([frozenset({"status"}), frozenset({"status_info"}), frozenset({"status", "status_info"})])


def without(one: Record, lacking: Iterable[str]) -> Record:
    """The record from a source that lacks these fields."""
    return one._replace(**{name: {"status": None, "status_info": ""}[name] for name in lacking})


def complete(listed: Iterable[Record], stored: Iterable[StoredRow], lacking: frozenset[str]) -> Counter[Record]:
    return fill_missing_fields(listed_of(listed), stored, lacking)


def test_missing_fields_are_taken_from_the_row_with_equal_known_fields():
    lacking = frozenset({"status_info"})
    listed = [without(one, lacking) for one in (MESSAGE, CALL)]
    assert complete(listed, [row(CALL), row(MESSAGE, ordinal=2)], lacking) == {CALL: 1, MESSAGE: 1}


def test_a_corrected_record_keeps_fields_that_the_source_lacks():
    lacking = frozenset({"status_info"})
    corrected = record("3.5", info="")
    assert complete([corrected], [row(MESSAGE)], lacking) == {record("3.5", info="SMS delivered"): 1}


def test_fields_of_a_new_record_that_the_source_lacks_are_empty():
    lacking = frozenset({"status", "status_info"})
    assert complete([without(OTHER, lacking)], [row(CALL)], lacking) == {without(OTHER, lacking): 1}


def test_missing_fields_come_from_a_withdrawn_row_only_without_a_current_one():
    lacking = frozenset({"status_info"})
    old, new = record(info="old"), record(info="new")
    stored = [row(old, withdrawn=True), row(new, ordinal=2)]
    assert complete([without(CALL, lacking)], stored, lacking) == {new: 1}
    assert complete([without(CALL, lacking)], stored[:1], lacking) == {old: 1}


def test_missing_fields_of_a_correction_come_from_a_current_row_first():
    lacking = frozenset({"status_info"})
    stored = [row(record(info="old"), withdrawn=True), row(record(info="new"), ordinal=2)]
    assert complete([record("9", info="")], stored, lacking) == {record("9", info="new"): 1}


def test_missing_fields_of_a_correction_never_come_from_an_unchanged_row():
    lacking = frozenset({"status_info"})
    stored = [row(CALL), row(MESSAGE, ordinal=2)]
    listed = [without(CALL, lacking), record("9", info="")]
    assert complete(listed, stored, lacking) == {CALL: 1, record("9", info="SMS delivered"): 1}


def test_repeats_are_distributed_among_rows_with_equal_known_fields():
    lacking = frozenset({"status_info"})
    stored = [row(record(info="a"), repeats=2), row(record(info="b"), ordinal=2, repeats=1)]
    listed = [without(CALL, lacking)]
    assert complete(listed * 3, stored, lacking) == {record(info="a"): 2, record(info="b"): 1}
    assert complete(listed * 5, stored, lacking) == {record(info="a"): 4, record(info="b"): 1}
    assert complete(listed * 2, stored, lacking) == {record(info="a"): 2}


@calm
@given(HISTORIES, LISTED, LACKING)
def test_a_missing_column_changes_nothing_when_known_fields_are_equal(history, listed, lacking):
    rows = stored_by([*history, listed])
    seen = [without(record, lacking) for record in listed]
    completed = complete(seen, rows, lacking)
    assert completed == Counter(listed)
    assert not diff_day(DAY, listed_of(completed.elements()), rows)


@calm
@given(HISTORIES, LISTED, LACKING)
def test_a_missing_column_does_not_affect_the_known_fields(history, listed, lacking):
    seen = [without(record, lacking) for record in listed]
    completed = complete(seen, stored_by(history), lacking)
    assert Counter(without(one, lacking) for one in completed.elements()) == Counter(seen)


# Suspect days --------------------------------------------------------------------------------------------------------


def many(count: int, *, repeats: int = 1, first: int = 0) -> list[StoredRow]:
    return [row(record(code=f"{number:04}"), repeats=repeats) for number in range(first, first + count)]


def doubted(listed: Iterable[StoredRow], stored: list[StoredRow], share: Decimal = SHARE) -> str | None:
    rows, counted = RowCounts(), listed_of(record.record for record in listed for _ in range(record.repeats))
    rows.add(diff_day(DAY, counted, stored))
    assert rows.current == sum(not row.withdrawn for row in stored)
    return implausibility(rows, listed=len(counted), max_withdrawn_share=share)


@pytest.mark.parametrize(
    ("records", "gone", "suspect"),
    [(20, 3, False), (20, 4, False), (20, 5, True), (100, 20, False), (100, 21, True), (21, 4, False), (21, 5, True)],
)
def test_a_day_is_suspect_when_strictly_more_than_the_share_vanishes(records, gone, suspect):
    stored = many(records)
    assert doubted(stored[gone:], stored) == (f"{gone} of {records} records are gone" if suspect else None)


def test_the_share_applies_from_twenty_records_on():
    assert doubted(many(20)[5:], many(20)) == "5 of 20 records are gone"
    assert doubted(many(19)[5:], many(19)) is None
    assert doubted(many(1), many(19)) is None


def test_the_share_is_a_setting():
    assert doubted(many(20)[1:], many(20), Decimal(0)) == "1 of 20 records are gone"
    assert doubted(many(20), many(20), Decimal(0)) is None
    assert doubted(many(1), many(100), Decimal(1)) is None
    assert doubted(many(200)[1:], many(200), Decimal("0.005")) is None


def test_a_day_that_turns_empty_is_suspect_whatever_its_size():
    assert doubted([], many(1)) == "all 1 records are gone"
    assert doubted([], many(50)) == "all 50 records are gone"
    assert doubted([], many(500), Decimal(1)) == "all 500 records are gone"


def test_a_day_of_which_all_records_are_replaced_is_suspect_from_five_on():
    assert (doubted(many(5, first=100), many(5)) or "").startswith("all 5 records are replaced by others")
    assert doubted(many(3, first=100), many(5)) is not None
    assert doubted(many(2, first=100), many(5)) is None
    assert doubted(many(4, first=100), many(4)) is None
    assert doubted([*many(5, first=100), *many(1)], many(5)) is None
    assert doubted(many(5, first=100), many(5), Decimal(1)) is None


def test_a_day_of_which_only_unreadable_records_may_be_left_is_suspect():
    rows = RowCounts(withdrawn=1, unchanged=2)  # two rows are held by records that cannot be read
    assert implausibility(rows, listed=0, max_withdrawn_share=SHARE) == "all 3 records are gone or cannot be read"
    assert implausibility(replace(rows, withdrawn=0), listed=0, max_withdrawn_share=SHARE) is None
    assert implausibility(rows, listed=2, max_withdrawn_share=SHARE) is None


def test_a_day_that_was_empty_may_stay_empty():
    assert doubted([], []) is None
    assert doubted([], [row._replace(withdrawn=True) for row in many(30)]) is None


def test_withdrawn_rows_do_not_count_as_rows_of_the_day():
    stored = [*many(20), *(row._replace(withdrawn=True) for row in many(80, first=20))]
    assert doubted(stored[5:20], stored) == "5 of 20 records are gone"


def test_repeats_are_not_counted():
    stored = many(20, repeats=10)
    assert doubted(stored[4:], stored) is None
    assert doubted(stored[5:], stored) == "5 of 20 records are gone"
    assert doubted([row._replace(repeats=1) for row in stored], stored) is None


def test_corrections_and_additions_never_count():
    stored = many(20)
    corrected = [row._replace(record=row.record._replace(price=Decimal("9.000000"))) for row in stored]
    assert doubted(corrected, stored) is None
    assert doubted(many(500), stored) is None
    assert doubted([*corrected[4:], *many(500, first=20)], stored) is None


def test_additions_do_not_offset_vanished_records():
    assert doubted(many(500, first=5), many(20)) == "5 of 20 records are gone"


@pytest.mark.parametrize(
    ("records", "doubled", "suspect"),
    [(20, 10, False), (20, 11, True), (21, 10, False), (21, 11, True), (19, 19, False)],
)
def test_a_day_is_suspect_when_over_half_is_listed_more_often(records, doubled, suspect):
    stored = many(records)
    listed = [row._replace(repeats=2) for row in stored[:doubled]] + stored[doubled:]
    words = f"{doubled} of {records} records are listed more often than before"
    assert doubted(listed, stored) == (words if suspect else None)


def test_returned_records_are_additions_whatever_their_repeats():
    stored = [*many(20), *(row._replace(withdrawn=True) for row in many(40, first=20))]
    listed = [row._replace(repeats=3) for row in stored[20:]] + stored[:20]
    assert doubted(listed, stored) is None


def test_a_snapshot_of_the_stored_rows_is_never_suspect():
    assert doubted(many(40, repeats=2), many(40, repeats=2), Decimal(0)) is None
