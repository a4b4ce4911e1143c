"""The evidence of a run: all that it can judge the vendor's answers by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from etl.extract.answer_evidence import AnswerEvidence
from etl.extract.completeness import NewestRecords


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """What both sources of a run, and their comparison, share. Thread-safe.

    Attributes:
        today: The current date in the vendor's wall clock.
        complete: Number of records of each day that an earlier run found complete: an answer with the same number
            needs no further evidence.
        json: Of the JSON answers of this run.
        csv: Of the CSV exports of this run.
        get_newest: Returns the newest records of the account, or None if they are unavailable.
    """

    today: date
    complete: Mapping[date, int]
    json: AnswerEvidence
    csv: AnswerEvidence
    get_newest: Callable[[], NewestRecords | None]
