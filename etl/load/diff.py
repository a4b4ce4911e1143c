"""The difference between a day's stored rows and the vendor's records, with as few writes as possible. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import compress, groupby, islice
from operator import eq, not_
from typing import NamedTuple

from etl.changes import DayDiff, InsertBatch, RowInsert, RowUpdate, StoredRow, StoredRows
from etl.model import CountedRecord, CountedRecords, Record, RecordColumns, RecordKey
from etl.pii import ERASED


def diff_empty_day(day: date, records: CountedRecords) -> DayDiff:
    """Return the diff of a time slice without stored rows: every record is an insert."""
    times, phones, codes, *_ = records.columns
    ordinals = [1] * len(records)
    # In canonical order, records with equal keys are adjacent.
    for index in compress(range(1, len(times)), map(eq, times, islice(times, 1, None))):
        if phones[index] == phones[index - 1] and codes[index] == codes[index - 1]:
            ordinals[index] += ordinals[index - 1]
    return DayDiff(day, InsertBatch(records.columns, ordinals, records.repeats))


class Unequal(NamedTuple):
    """The records and rows of the keys whose records differ from their current rows, and of erased keys.

    Attributes:
        listed: In canonical order.
        stored: Withdrawn rows included.
        unchanged: How many current rows the other keys have.
    """

    listed: list[CountedRecord]
    stored: list[StoredRow]
    unchanged: int


def drop_unchanged(listed: CountedRecords, stored: StoredRows) -> Unequal:
    """Leave out the keys without a difference, nearly all on a usual night, by comparing columns.

    The keys of erased rows are never left out.
    """
    is_current = list(map(not_, stored.withdrawn))
    current = list(compress(zip(*stored.columns, stored.repeats, strict=True), is_current))
    distinct = set(current)
    different = distinct.symmetric_difference(zip(*listed.columns, listed.repeats, strict=True))
    if len(distinct) < len(current):  # an erasure made rows equal
        different |= {row for row, count in Counter(current).items() if count > 1}
    changed = {row[:3] for row in different}
    if ERASED in stored.columns[1]:  # these rows stand for records with other keys, even if they are withdrawn
        changed |= {key for key in zip(*stored.columns[:3], strict=True) if key[1] == ERASED}

    def is_changed(columns: RecordColumns) -> Iterator[bool]:
        return map(changed.__contains__, zip(*columns[:3], strict=True))

    rows = list(compress(stored, is_changed(stored.columns)))
    unchanged = len(current) - sum(not row.withdrawn for row in rows)
    return Unequal(list(compress(listed, is_changed(listed.columns))), rows, unchanged)


def diff_day(day: date, listed: Iterable[CountedRecord], stored: Iterable[StoredRow]) -> DayDiff:
    """Return the fewest writes that make the stored rows of a time slice equal to the vendor's records.

    For each key (created_at, phone, code_auth), records are matched with rows in this order:

    1. current rows with the same content;
    2. other current rows, which are corrected;
    3. withdrawn rows, which are restored.

    Remaining records are inserted, remaining current rows are withdrawn. A correction is therefore never counted as a
    withdrawal and an insert.

    Args:
        day: The day of the slice.
        listed: The vendor's records in canonical order.
        stored: The rows of the slice, withdrawn ones included.
    """
    diff = DayDiff(day)
    rows: defaultdict[RecordKey, list[StoredRow]] = defaultdict(list)
    for row in stored:
        rows[row.record[:3]].append(row)
    inserts: list[RowInsert] = []
    for key, variants in groupby(listed, key=lambda item: item.record[:3]):
        inserts += _diff_key(diff, list(variants), rows.pop(key, []))
    diff.inserts = InsertBatch.from_rows(inserts)
    for remaining in rows.values():
        diff.withdrawals.extend(row for row in remaining if not row.withdrawn)
    return diff


def _diff_key(diff: DayDiff, listed: list[CountedRecord], rows: list[StoredRow]) -> Iterator[RowInsert]:
    """Add the updates and withdrawals of one key to the diff, and yield its inserts."""
    rows.sort(key=lambda row: row.ordinal)
    last_ordinal = rows[-1].ordinal if rows else 0
    current = [row for row in rows if not row.withdrawn]
    withdrawn = [row for row in rows if row.withdrawn]
    unmatched = []
    for record, repeats in listed:
        same = [row for row in current if row.record == record]
        if not same:
            unmatched.append(CountedRecord(record, repeats))
            continue
        for row in _distribute_repeats(diff, record, repeats, same):
            current.remove(row)
    for record, repeats in unmatched:
        if current:
            diff.updates.append(RowUpdate(current.pop(0), record, repeats))
        elif withdrawn:
            restored = next((row for row in withdrawn if row.record == record), withdrawn[0])
            withdrawn.remove(restored)
            diff.updates.append(RowUpdate(restored, record, repeats))
        else:
            last_ordinal += 1
            yield RowInsert(record, last_ordinal, repeats)
    diff.withdrawals.extend(current)


def _distribute_repeats(diff: DayDiff, record: Record, repeats: int, rows: list[StoredRow]) -> Iterator[StoredRow]:
    """Add the updates of the rows with the content of a record to the diff, and yield those that have repeats of it."""
    # Several rows have the same content only after an erasure.
    for row in rows:
        times = repeats if row is rows[-1] else min(repeats, row.repeats)
        repeats -= times
        if times == row.repeats:
            diff.unchanged += 1
        elif times:
            diff.updates.append(RowUpdate(row, record, times))
        if times:
            yield row


def fill_missing_fields(
    listed: Iterable[CountedRecord], stored: Iterable[StoredRow], missing_fields: frozenset[str]
) -> Counter[Record]:
    """Fill the missing fields of a source from the stored rows, so that a missing column changes nothing.

    Args:
        listed: The source's records; their missing fields are null or empty.
        stored: The rows of the same time slice.
        missing_fields: Attributes that the source does not have.

    Returns:
        Complete records, counted.
    """
    known = [name not in missing_fields for name in Record._fields]
    completed: Counter[Record] = Counter()
    by_known: defaultdict[tuple[object, ...], list[StoredRow]] = defaultdict(list)
    by_key: defaultdict[RecordKey, list[StoredRow]] = defaultdict(list)

    def known_part(record: Record) -> tuple[object, ...]:
        return tuple(value for value, is_known in zip(record, known, strict=True) if is_known)

    # Current rows first: a withdrawn row is used only without a current one.
    for row in sorted(stored, key=lambda row: (row.withdrawn, row.ordinal)):
        by_known[known_part(row.record)].append(row)
        by_key[row.record[:3]].append(row)
    unmatched: list[CountedRecord] = []
    for record, repeats in listed:
        rows = by_known.get(known_part(record), [])
        if not rows:
            unmatched.append(CountedRecord(record, repeats))
            continue
        remaining = repeats
        for row in rows:
            taken = min(remaining, row.repeats) if not row.withdrawn else 0
            if taken:
                completed[row.record] += taken
                remaining -= taken
                by_key[row.record[:3]].remove(row)
        if remaining:
            completed[rows[0].record] += remaining
    for record, repeats in unmatched:
        rows = by_key.get(record[:3], [])
        template = rows.pop(0).record if rows else record
        fields = (
            vendor_value if is_known else stored_value
            for vendor_value, stored_value, is_known in zip(record, template, known, strict=True)
        )
        completed[Record(*fields)] += repeats  # type: ignore[arg-type]  # values in the order of the fields
    return completed
