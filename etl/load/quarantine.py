"""Keep the stored rows that rejected records of an answer may belong to. Pure.

A rejected record is still on the vendor's list. A row that it may belong to is kept: it is neither withdrawn nor
reduced until the record is valid again or no longer listed. A record may belong to every row that agrees with the
readable fields of its key, if at least created_at, phone or code is readable; a day alone matches no row. If several
rows agree, all of them are kept, because any of them may be the listed one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import compress
from operator import eq
from typing import TypeAlias

from etl.changes import DayDiff, StoredRow
from etl.load.diff import diff_day
from etl.model import CountedRecord, PartialKey, Record, RejectedRecord
from etl.pii import ERASED
from etl.unreadable_days import readable_day

_FieldMask: TypeAlias = tuple[bool, ...]
"""For each field of a key, whether it is readable and not empty."""


class Quarantine:
    """The partial keys of an answer's rejected records, by day, and by source where the day is unknown."""

    def __init__(self, rejected: Iterable[RejectedRecord]) -> None:
        self._by_day: defaultdict[date | str, list[PartialKey]] = defaultdict(list)
        for item in rejected:
            if any(item.key):
                self._by_day[readable_day(item) or item.source].append(item.key)

    def keys(self, day: date, source: str) -> list[PartialKey]:
        """The keys of a day, and those of an unknown day in the source from which the day is taken.

        Where the other source lists the day, a record that it does not list is no record of the day.
        """
        return [*self._by_day.get(day, ()), *self._by_day.get(source, ())]


def quarantine_rows(
    day: date, listed: Sequence[CountedRecord], stored: Sequence[StoredRow], keys: Sequence[PartialKey]
) -> Counter[Record]:
    """Return the stored records, counted, to add to an answer so that no kept row changes.

    Args:
        day: The day of the rows.
        listed: The valid records of a time slice in canonical order, erased ones as stored.
        stored: The rows of the slice.
        keys: Partial keys of the rejected records that may belong to it.
    """
    held = _hold_exact_matches(listed, stored, keys)
    completed = Counter(dict(listed)) + held
    in_order = [CountedRecord(*pair) for pair in sorted(completed.items(), key=lambda pair: pair[0][:3])]
    matcher = _KeyMatcher(keys)
    for row, repeats in _reductions(diff_day(day, in_order, stored)):
        if matcher.may_match(row.record):
            held[row.record] += repeats
    return held


def _reductions(diff: DayDiff) -> Iterator[tuple[StoredRow, int]]:
    """The rows that a diff withdraws or reduces, and by how many repeats."""
    for row in diff.withdrawals:
        yield row, row.repeats
    for row, _, repeats in diff.updates:
        if not row.withdrawn and repeats < row.repeats:
            yield row, row.repeats - repeats


def _hold_exact_matches(
    listed: Iterable[CountedRecord], stored: Iterable[StoredRow], keys: Iterable[PartialKey]
) -> Counter[Record]:
    """The rows to keep for rejected records with a complete key, where another record of the key is new.

    Without this, the new record would be taken for a correction of the row. Of several rows, those with the fewest
    fields in common with the new records are kept.
    """
    complete = Counter(key for key in keys if None not in key)
    held: Counter[Record] = Counter()
    if not complete:
        return held
    records: defaultdict[PartialKey, list[Record]] = defaultdict(list)
    for item in listed:
        if item.record[:3] in complete:
            records[item.record[:3]].append(item.record)
    rows: defaultdict[PartialKey, list[StoredRow]] = defaultdict(list)
    for row in stored:
        if row.record[:3] in complete and not row.withdrawn:
            rows[row.record[:3]].append(row)
    for key, key_rows in rows.items():
        current = {row.record for row in key_rows}
        new = [record for record in records[key] if record not in current]
        if not new:
            continue
        unlisted = [row for row in key_rows if row.record not in records[key]]
        unlisted.sort(key=lambda row: max(sum(map(eq, row.record, record)) for record in new))
        for row in unlisted[: complete[key]]:
            held[row.record] += row.repeats
    return held


class _KeyMatcher:
    """Matches stored records with the readable fields of partial keys."""

    def __init__(self, keys: Iterable[PartialKey]) -> None:
        self._values: defaultdict[_FieldMask, set[tuple[str | None, ...]]] = defaultdict(set)
        for key in keys:
            if any(mask := tuple(map(bool, key))):
                self._values[mask].add(tuple(compress(key, mask)))
        self._times = {key[0] or None for key in keys if any(key)}

    def may_match(self, record: Record) -> bool:
        """Whether a key may be the record's. Of an erased record only the time is known."""
        if record.phone == ERASED:
            return None in self._times or record.created_at in self._times
        return any(tuple(compress(record, mask)) in values for mask, values in self._values.items())
