"""The difference between a day's stored rows and the vendor's records, with as few writes as possible. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import compress, groupby, islice
from operator import eq
from typing import TypeAlias

from etl.changes import DayDiff, InsertBatch, RowInsert, RowUpdate, StoredRow
from etl.model import CountedRecord, CountedRecords, Record

Key: TypeAlias = tuple[str, str, str]
"""created_at, phone, code_auth."""


def diff_empty_day(day: date, listing: CountedRecords) -> DayDiff:
    """The change for a slice of a day of which nothing is stored."""
    times, phones, codes, *_ = listing.columns
    ordinals = [1] * len(listing)
    # In canonical order different records of one key stand together.
    for number in compress(range(1, len(times)), map(eq, times, islice(times, 1, None))):
        if phones[number] == phones[number - 1] and codes[number] == codes[number - 1]:
            ordinals[number] += ordinals[number - 1]
    return DayDiff(day, InsertBatch(listing.columns, ordinals, listing.repeats))


def diff_day(day: date, listed: Sequence[CountedRecord], stored: Sequence[StoredRow]) -> DayDiff:
    """The change that makes what is stored of a slice of a day equal to what is listed, with as few writes as can be.

    Within one key (second, phone, code) rows are matched in this order: current rows of the same content; other
    current rows, which then are corrected; withdrawn rows, which come back. Only what is left over is new or
    withdrawn. So a correction never counts as a withdrawal.
    """
    change = DayDiff(day)
    differing = _changed_keys(listed, stored)
    rows: defaultdict[Key, list[StoredRow]] = defaultdict(list)
    for row in stored:
        if (key := row.record[:3]) in differing:
            rows[key].append(row)
        elif not row.withdrawn:
            change.unchanged += 1
    left_to_merge = [item for item in listed if item.record[:3] in differing]
    new: list[RowInsert] = []
    for key, variants in groupby(left_to_merge, key=lambda item: item.record[:3]):
        new += _diff_key(change, list(variants), rows.pop(key, []))
    change.inserts = InsertBatch.of(new)
    for left in rows.values():
        change.withdrawals.extend(row for row in left if not row.withdrawn)
    return change


def _changed_keys(listed: Iterable[CountedRecord], stored: Iterable[StoredRow]) -> set[Key]:
    """The keys whose listed records are not just the current rows: of a usual night they are few."""
    current = [(row.record, row.repeats) for row in stored if not row.withdrawn]
    once = set(current)
    different = once.symmetric_difference(listed)
    if len(once) < len(current):  # a person was forgotten
        different |= {pair for pair, count in Counter(current).items() if count > 1}
    return {record[:3] for record, _ in different}


def _diff_key(change: DayDiff, listed: list[CountedRecord], rows: list[StoredRow]) -> Iterator[RowInsert]:
    """Add to the change what becomes of a key's rows, and give what is new."""
    rows.sort(key=lambda row: row.ordinal)
    last_ordinal = rows[-1].ordinal if rows else 0
    current = [row for row in rows if not row.withdrawn]
    withdrawn = [row for row in rows if row.withdrawn]
    left = []
    for record, repeats in listed:
        same = [row for row in current if row.record == record]
        if not same:
            left.append(CountedRecord(record, repeats))
            continue
        for row in same:
            current.remove(row)
        _distribute_repeats(change, record, repeats, same)
    for record, repeats in left:
        if current:
            change.updates.append(RowUpdate(current.pop(0), record, repeats))
        elif withdrawn:
            back = next((row for row in withdrawn if row.record == record), withdrawn[0])
            withdrawn.remove(back)
            change.updates.append(RowUpdate(back, record, repeats))
        else:
            last_ordinal += 1
            yield RowInsert(record, last_ordinal, repeats)
    change.withdrawals.extend(current)


def _distribute_repeats(change: DayDiff, record: Record, repeats: int, rows: list[StoredRow]) -> None:
    # More than one row only where a person was forgotten: that made different rows equal.
    for row in rows:
        times = repeats if row is rows[-1] else min(repeats, row.repeats)
        repeats -= times
        if times == row.repeats:
            change.unchanged += 1
        elif times:
            change.updates.append(RowUpdate(row, record, times))
        else:
            change.withdrawals.append(row)


def fill_missing_fields(
    listed: Iterable[CountedRecord], stored: Iterable[StoredRow], lacking: frozenset[str]
) -> Counter[Record]:
    """Fill in what a source lacks from what is stored, so that a missing column changes nothing.

    Args:
        listed: The source's records, whose lacking fields hold the value for "none".
        stored: The day's rows.
        lacking: The attributes that the source does not carry.

    Returns:
        Whole records and how often each is listed.
    """
    known = [name not in lacking for name in Record._fields]
    completed: Counter[Record] = Counter()
    by_known: defaultdict[tuple[object, ...], list[StoredRow]] = defaultdict(list)
    by_key: defaultdict[Key, list[StoredRow]] = defaultdict(list)

    def known_part(record: Record) -> tuple[object, ...]:
        return tuple(value for value, told in zip(record, known, strict=True) if told)

    # Current rows first: a withdrawn one lends its values only where nothing else does.
    for row in sorted(stored, key=lambda row: (row.withdrawn, row.ordinal)):
        by_known[known_part(row.record)].append(row)
        by_key[row.record[:3]].append(row)
    unmatched: list[CountedRecord] = []
    for record, repeats in listed:
        rows = by_known.get(known_part(record), [])
        if not rows:
            unmatched.append(CountedRecord(record, repeats))
            continue
        left = repeats
        for row in rows:
            taken = min(left, row.repeats) if not row.withdrawn else 0
            if taken:
                completed[row.record] += taken
                left -= taken
                by_key[row.record[:3]].remove(row)
        if left:
            completed[rows[0].record] += left
    for record, repeats in unmatched:
        rows = by_key.get(record[:3], [])
        lent = rows.pop(0).record if rows else record
        whole = (theirs if told else ours for theirs, ours, told in zip(record, lent, known, strict=True))
        completed[Record(*whole)] += repeats  # type: ignore[arg-type]  # the fields' own values, in their order
    return completed
