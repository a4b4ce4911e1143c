"""Match the vendor's records with erased rows, although nothing that identifies the person is stored. Pure.

An erased row keeps its created_at, status, price and repeats. The vendor still lists the record with its phone. A
record without a row of its key counts as the record of an erased row

- with the same created_at, status and price. This holds for every such record, so that an erased phone never returns;
  another person's late record with the same content cannot be distinguished from it; or
- with the same created_at, whose status and price no record has any more: the record was corrected.

All other records are kept unchanged.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from etl.changes import StoredRow
from etl.model import CountedRecord, Record
from etl.pii import ERASED, ERASED_MENTION


def apply_erasures(
    listed: list[CountedRecord], stored: Iterable[StoredRow], missing_fields: frozenset[str]
) -> list[CountedRecord]:
    """Return the vendor's records with erased records and mentions in the erased form of the stored rows.

    Args:
        listed: The vendor's records of a time slice, in canonical order.
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
    stored_keys = {row.record[:3] for row in stored}
    kept: Counter[Record] = Counter()
    unclaimed: defaultdict[str, list[CountedRecord]] = defaultdict(list)
    for item in listed:
        if item.record.created_at in rows and item.record[:3] not in stored_keys:
            unclaimed[item.record.created_at].append(item)
        else:
            kept[_strip_mention(item.record, mentions)] += item.repeats
    for second, items in unclaimed.items():
        for record, repeats in _match_erased(items, rows[second], missing_fields):
            kept[record] += repeats
    return [CountedRecord(*pair) for pair in sorted(kept.items(), key=lambda pair: pair[0][:3])]


def _match_erased(
    items: list[CountedRecord], rows: list[StoredRow], missing_fields: frozenset[str]
) -> Iterable[CountedRecord]:
    def content(record: Record) -> tuple[Any, ...]:
        return (record.price, None if "status" in missing_fields else record.status)

    known = {content(row.record) for row in rows}
    matching = [item for item in items if content(item.record) in known]
    unmatched = [item for item in items if content(item.record) not in known]
    matched = {content(item.record) for item in matching}
    corrected = sum(content(row.record) not in matched and not row.withdrawn for row in rows)
    for record, repeats in (*matching, *unmatched[:corrected]):
        yield CountedRecord(record._replace(phone=ERASED, code_auth="", status_info=""), repeats)
    yield from unmatched[corrected:]


def _strip_mention(record: Record, mentions: Iterable[Record]) -> Record:
    """Return the record with the stored text if both texts differ only in erased phone numbers."""
    for stored in mentions:
        if stored[:3] == record[:3]:
            parts = map(re.escape, stored.status_info.split(ERASED_MENTION))
            if re.fullmatch(".{1,40}".join(parts), record.status_info, re.DOTALL):
                return record._replace(status_info=stored.status_info)
    return record
