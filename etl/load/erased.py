"""Which of the vendor's records are a forgotten person's, when nothing that tells the person may be kept. Pure.

A forgotten row keeps its second, status, price and repeats. The vendor goes on listing the record with its phone; a
record that no row of its own key accounts for stands for the forgotten row

- of the same second, status and price: all such records do, so that the number cannot come back even where a stranger's
  late record cannot be told from it; or
- of the same second whose status and price nobody lists any more: it was corrected.

Any other is a record like all others. A bad record is a forgotten one if it is equal to it but for what was left out.
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
    listed: list[CountedRecord], stored: Iterable[StoredRow], lacking: frozenset[str]
) -> list[CountedRecord]:
    """A day as the vendor lists it, with forgotten records and mentions left out as they are in the stored rows.

    Args:
        listed: In canonical order.
        stored: The day's rows.
        lacking: The attributes that the source does not carry.

    Returns:
        The same list where nothing of the day was forgotten.
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
    own = {row.record[:3] for row in stored}
    kept: Counter[Record] = Counter()
    unclaimed: defaultdict[str, list[CountedRecord]] = defaultdict(list)
    for item in listed:
        if item.record.created_at in rows and item.record[:3] not in own:
            unclaimed[item.record.created_at].append(item)
        else:
            kept[_strip_mention(item.record, mentions)] += item.repeats
    for second, items in unclaimed.items():
        for record, repeats in _match_erased(items, rows[second], lacking):
            kept[record] += repeats
    return [CountedRecord(*pair) for pair in sorted(kept.items(), key=lambda pair: pair[0][:3])]


def _match_erased(
    items: list[CountedRecord], rows: list[StoredRow], lacking: frozenset[str]
) -> Iterable[CountedRecord]:
    def content(record: Record) -> tuple[Any, ...]:
        return (record.price, None if "status" in lacking else record.status)

    known = {content(row.record) for row in rows}
    alike = [item for item in items if content(item.record) in known]
    others = [item for item in items if content(item.record) not in known]
    met = {content(item.record) for item in alike}
    corrected = sum(content(row.record) not in met and not row.withdrawn for row in rows)
    for record, repeats in (*alike, *others[:corrected]):
        yield CountedRecord(record._replace(phone=ERASED, code_auth="", status_info=""), repeats)
    yield from others[corrected:]


def _strip_mention(record: Record, mentions: Iterable[Record]) -> Record:
    """The record with the stored text, if that is its own but for a number left out."""
    for stored in mentions:
        if stored[:3] == record[:3]:
            parts = map(re.escape, stored.status_info.split(ERASED_MENTION))
            if re.fullmatch(".{1,40}".join(parts), record.status_info, re.DOTALL):
                return record._replace(status_info=stored.status_info)
    return record
