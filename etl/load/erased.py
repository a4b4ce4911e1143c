"""Match the vendor's records with erased rows, although nothing that identifies the person is stored. Pure.

An erased row keeps its created_at, status, price and repeats. The vendor still lists the record with its phone. So in a
second with erased rows each listed record, a repeat being a record of its own, belongs to the first of these that
applies and has repeats left:

1. a current row in clear with the same content;
2. an erased row with the same status and price. A record that no row in clear could account for is erased even if no
   repeats are left, so that an erased phone never returns; another person's late record with the same content cannot
   be distinguished from it;
3. a row in clear of its key that is corrected, or is listed more often or again;
4. an erased row whose status and price are not listed any more: the record was corrected;
5. a new row in clear.

What 1 leaves is exactly what the previous answer made erased rows, and 2 finds all of those: the same answer again
changes nothing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import compress
from typing import TypeAlias

from etl.changes import StoredRow
from etl.model import CountedRecord, Record, RecordKey
from etl.pii import ERASED, ERASED_MENTION

_Content: TypeAlias = tuple[Decimal, int | None]
"""What an erased row has in common with its record: price, and the status if the source has it."""
_KnownFields: TypeAlias = tuple[object, ...]
"""A record without the fields that the source does not have."""


def apply_erasures(
    listed: list[CountedRecord], stored: Iterable[StoredRow], missing_fields: frozenset[str]
) -> list[CountedRecord]:
    """Return the vendor's records with erased records and mentions in the erased form of the stored rows.

    Args:
        listed: The vendor's records of a time slice, in canonical order; some may have their erased form already.
        stored: The rows of the slice.
        missing_fields: Attributes that the source does not have.

    Returns:
        `listed` itself if no stored row is erased.
    """
    rows: defaultdict[str, list[StoredRow]] = defaultdict(list)
    mentions = []
    for row in stored:
        if row.record.phone == ERASED:
            rows[row.record.created_at].append(row)
        elif ERASED_MENTION in row.record.status_info:
            mentions.append(row.record)
    if not rows and not mentions:
        return listed
    for row in stored:
        if row.record.phone != ERASED and row.record.created_at in rows:
            rows[row.record.created_at].append(row)
    kept: Counter[Record] = Counter()
    seconds: defaultdict[str, Counter[Record]] = defaultdict(Counter)
    for record, repeats in listed:
        counted = seconds[record.created_at] if record.created_at in rows else kept
        counted[_strip_mention(record, mentions)] += repeats
    for second, records in seconds.items():
        kept.update(_Second(rows[second], missing_fields).match(records))
    return [CountedRecord(*pair) for pair in sorted(kept.items(), key=lambda pair: pair[0][:3])]


class _Second:
    """The rows of one second, and how many of their repeats are free: no record accounts for them yet."""

    def __init__(self, rows: Sequence[StoredRow], missing_fields: frozenset[str]) -> None:
        self._has_status = "status" not in missing_fields
        self._is_known = [name not in missing_fields for name in Record._fields]
        in_clear = [row for row in rows if row.record.phone != ERASED]
        erased = [row for row in rows if row.record.phone == ERASED]
        self._records_in_clear = {self._known(row.record) for row in in_clear}
        self._keys_in_clear = {row.record[:3] for row in in_clear}
        self._erased_contents = {self._content(row.record) for row in erased}
        self._free_of_record: Counter[_KnownFields] = Counter()
        self._free_of_key: Counter[RecordKey] = Counter()
        self._free_erased: Counter[_Content] = Counter()
        for row in in_clear:
            self._free_of_record[self._known(row.record)] += 0 if row.withdrawn else row.repeats
            self._free_of_key[row.record[:3]] += 0 if row.withdrawn else row.repeats
        for row in erased:
            self._free_erased[self._content(row.record)] += 0 if row.withdrawn else row.repeats

    def match(self, records: Counter[Record]) -> Counter[Record]:
        """Return the records of the second, those of erased rows in their erased form."""
        matched: Counter[Record] = Counter()
        remaining = +Counter({record: self._count_changed(record, count) for record, count in records.items()})
        kept = records - remaining
        listed_erased = set()
        for record in sorted(remaining, key=self._may_be_in_clear):
            if count := self._find_erased(record, remaining[record]):
                matched[_erase(record)] += count
                remaining[record] -= count
                listed_erased.add(record[:3])
        for record in +remaining:
            count = self._find_in_clear(record, remaining[record])
            kept[record] += count
            remaining[record] -= count
        free = self._free_erased.total()

        def rank(record: Record) -> tuple[bool, ...]:
            # Another record of a phone and code that is erased above is more likely the person's than a new phone.
            return record.phone != ERASED, record[:3] not in listed_erased, record[:3] in self._keys_in_clear

        for record in sorted(+remaining, key=rank):
            is_corrected = free > 0 and self._content(record) not in self._erased_contents
            matched[_erase(record) if is_corrected else record] += remaining[record]
            free -= remaining[record] if is_corrected else 0
        return kept + matched

    def _count_changed(self, record: Record, count: int) -> int:
        """The repeats of a record that no current row in clear has."""
        taken = min(count, self._free_of_record[self._known(record)])
        self._free_of_record[self._known(record)] -= taken
        self._free_of_key[record[:3]] -= taken
        return count - taken

    def _find_erased(self, record: Record, count: int) -> int:
        """The repeats of a record that belong to erased rows with its content."""
        content = self._content(record)
        if content not in self._erased_contents:
            return 0
        taken = min(count, self._free_erased[content])
        self._free_erased[content] -= taken
        return taken if self._may_be_in_clear(record) else count

    def _may_be_in_clear(self, record: Record) -> bool:
        """Whether a row in clear could account for a record: it is corrected, listed more often, or listed again."""
        return self._free_of_key[record[:3]] > 0 or self._known(record) in self._records_in_clear

    def _find_in_clear(self, record: Record, count: int) -> int:
        """The repeats of a record that belong to rows in clear."""
        taken = min(count, self._free_of_key[record[:3]])
        self._free_of_key[record[:3]] -= taken
        return count if self._known(record) in self._records_in_clear else taken

    def _known(self, record: Record) -> _KnownFields:
        return tuple(compress(record, self._is_known))

    def _content(self, record: Record) -> _Content:
        return record.price, record.status if self._has_status else None


def _erase(record: Record) -> Record:
    return record._replace(phone=ERASED, code_auth="", status_info="")


def _strip_mention(record: Record, mentions: Iterable[Record]) -> Record:
    """Return the record with the stored text if both texts differ only in erased phone numbers."""
    for stored in mentions:
        if stored[:3] == record[:3]:
            parts = map(re.escape, stored.status_info.split(ERASED_MENTION))
            if re.fullmatch(".{1,40}".join(parts), record.status_info, re.DOTALL):
                return record._replace(status_info=stored.status_info)
    return record
