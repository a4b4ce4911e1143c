"""The evidence of a run: all that it can judge the vendor's answers by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

from etl.extract.answer_evidence import AnswerEvidence
from etl.extract.completeness import NewestRecords
from etl.extract.newest import NewestSource


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """What both sources of a run, and their comparison, share. Thread-safe.

    Attributes:
        today: The current date in the vendor's wall clock.
        complete: Number of records of each day that an earlier run found complete: an answer with the same number
            needs no further evidence.
        json: Of the JSON answers of this run.
        csv: Of the CSV exports of this run.
        newest: Fetches the newest records of the account.
    """

    today: date
    complete: Mapping[date, int]
    json: AnswerEvidence
    csv: AnswerEvidence
    newest: NewestSource

    def get_newest(self) -> NewestRecords | None:
        """The newest records of the account, or None if they are unavailable.

        That these are all of its records counts only as long as no other answer, and no earlier run, has more.

        Raises:
            AuthenticationError: The vendor rejects the token.
        """
        newest = self.newest.get()
        most = max(self.json.largest, self.csv.largest, sum(self.complete.values()))
        return replace(newest, requested=newest.listed) if newest is not None and newest.listed < most else newest
