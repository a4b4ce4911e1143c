"""The evidence of a run: all that it can judge the vendor's answers by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

from etl.date_ranges import WEEK, DateRange
from etl.extract.answer_evidence import AnswerEvidence
from etl.extract.client import Client
from etl.extract.completeness import NewestRecords
from etl.extract.newest import NewestSource
from etl.extract.padding import covered_days
from etl.extract.unlisted import UnlistedRecords
from etl.model import FeedReader, ReadStats, RejectedRecord

MIN_KNOWN_RECORDS: Final = 30
"""Records that a random part of an answer is likely to lack some of. Assumed."""


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """What both sources of a run, and their comparison, share. Thread-safe.

    Attributes:
        today: The current date in the vendor's wall clock.
        complete_counts: Number of records of each day that an earlier run found complete.
        json: Sizes and days of this run's JSON answers.
        csv: Sizes and days of this run's CSV exports.
        newest: Fetches the newest records of the account.
        unlisted: Those of them that a person has accepted not to be charges.
        accepted_days: Days to take although newest records are missing.
    """

    today: date
    complete_counts: Mapping[date, int]
    json: AnswerEvidence
    csv: AnswerEvidence
    newest: NewestSource
    unlisted: UnlistedRecords = field(default_factory=UnlistedRecords)
    accepted_days: frozenset[date] = frozenset()

    @classmethod
    def begin(
        cls,
        client: Client,
        read_feed: FeedReader,
        today: date,
        complete_counts: Mapping[date, int] | None = None,
        largest: Mapping[str, int] | None = None,
        unlisted: Iterable[RejectedRecord] = (),
        accepted_days: frozenset[date] = frozenset(),
    ) -> RunEvidence:
        """The evidence at the start of a run.

        Args:
            client: Requests the newest records.
            read_feed: Parses them.
            today: The current date in the vendor's wall clock.
            complete_counts: Number of records of each day that an earlier run found complete.
            largest: Records in the largest answer of earlier runs, by source.
            unlisted: Quarantined records that only `get_billing_record` lists.
            accepted_days: Days to take although newest records are missing.
        """
        most = largest or {}
        json, csv = (AnswerEvidence(today, most.get(name)) for name in ("json", "csv"))
        newest = NewestSource(client, read_feed)
        return cls(today, complete_counts or {}, json, csv, newest, UnlistedRecords(unlisted), accepted_days)

    def with_client(self, client: Client) -> RunEvidence:
        """The same evidence; newest records that are not fetched yet are requested by another client."""
        return replace(self, newest=self.newest.with_client(client))

    def is_new(self, day: date, count: int) -> bool:
        """Whether a day has another number of records than an earlier run found; the same needs no further evidence."""
        return self.complete_counts.get(day) != count

    def lists_known_records(self, stats: ReadStats, requested: DateRange) -> bool:
        """Whether an answer lists at least as many records of each covered day as an earlier run, and of many in all.

        No limit then left a random part of it.
        """
        covered = covered_days(requested)
        known = {day: count for day, count in self.complete_counts.items() if covered is not None and day in covered}
        is_listed = all(stats.counts.get(day, 0) >= count for day, count in known.items())
        return is_listed and sum(known.values()) >= MIN_KNOWN_RECORDS

    def is_recent(self, window: DateRange) -> bool:
        """Whether a window ends within the last week: the newest records may be of its days."""
        return window.last >= self.today - WEEK

    def get_newest(self) -> NewestRecords | None:
        """The newest records of the account, or None if they are unavailable.

        That these are all of its records counts only as long as no other answer, and no earlier run, has more.

        Raises:
            AuthenticationError: The vendor rejects the token.
        """
        if (newest := self.newest.get()) is None:
            return None
        newest = self.unlisted.ignored_in(newest)
        most = max(self.json.largest, self.csv.largest, sum(self.complete_counts.values()))
        return replace(newest, include_all=False) if newest.listed < most else newest
