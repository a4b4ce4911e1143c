"""Records that only `get_billing_record` lists, on days that a person has accepted without them. Pure.

Such a record is quarantined with its day, and is no evidence against an answer any more. It stays in the quarantine
until JSON or the export lists it. Another one is evidence as before. That the vendor may list there what it never
charges is assumed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Final, NamedTuple

from etl.extract.completeness import NewestRecords
from etl.model import DayRecords, RecordKey, RejectedRecord
from etl.pii import ERASED

UNLISTED: Final = "get_billing_record lists it, and neither JSON nor the CSV export"
"""The reason of these records in the quarantine."""


class _Accepted(NamedTuple):
    """A quarantined record of this kind.

    Attributes:
        key: Its key; the phone may be erased.
        listed: How often `get_billing_record` listed the key when the day was accepted.
    """

    key: RecordKey
    listed: int
    item: RejectedRecord

    def has(self, key: RecordKey) -> bool:
        """Whether it is the record of a key; of an erased person only the time is known."""
        return key == self.key or (self.key[1] == ERASED and key[0] == self.key[0])


class UnlistedRecords:
    """The accepted ones of an account.

    Args:
        rejected: Its quarantined records with the reason UNLISTED.
    """

    def __init__(self, rejected: Iterable[RejectedRecord] = ()) -> None:
        self._by_day: defaultdict[date | None, list[_Accepted]] = defaultdict(list)
        for item in rejected:
            fields = json.loads(item.payload)
            key: RecordKey = (fields["created_at"], fields["phone"], fields["code_auth"])
            self._by_day[item.day].append(_Accepted(key, int(fields["listed"]), item))

    def ignored_in(self, newest: NewestRecords) -> NewestRecords:
        """The newest records without the accepted ones."""
        if not self._by_day:
            return newest
        ignored = {
            key
            for day in newest.days()
            for key, times in newest.keys_of(day).items()
            if any(one.has(key) and times <= one.listed for one in self._by_day.get(day, ()))
        }
        records = Counter({record: times for record, times in newest.records.items() if record[:3] not in ignored})
        return replace(newest, records=records, ignored=newest.records.total() - records.total())

    def missing_from(self, days: Mapping[date, DayRecords]) -> Iterator[RejectedRecord]:
        """The accepted records of these days that an answer still lacks."""
        for day in days.keys() & self._by_day.keys():
            listed = Counter(record[:3] for record in days[day].records())
            for one in self._by_day[day]:
                if sum(times for key, times in listed.items() if one.has(key)) < one.listed:
                    yield one.item


def reject_unlisted(day: date, newest: NewestRecords, records: DayRecords) -> list[RejectedRecord]:
    """The newest records of a day that an answer lacks, as rejected records.

    They have no key for the comparison with stored rows: a row of theirs is withdrawn, as JSON and the export show it.
    """
    expected = newest.keys_of(day)
    missing = expected - Counter(key for record in records.records() if (key := record[:3]) in expected)
    return [
        RejectedRecord(
            day,
            UNLISTED,
            json.dumps(
                {"code_auth": code, "created_at": time, "listed": expected[time, phone, code], "phone": phone},
                ensure_ascii=False,
            ),
        )
        for time, phone, code in sorted(missing)
    ]
