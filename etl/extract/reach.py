"""How far a listing reaches, and whether it may have been cut: told by its ends and its number alone. Pure."""

from __future__ import annotations

from datetime import date
from typing import Final

from etl.model import Survey, Window
from etl.windows import ONE_DAY

ROUND: Final = 100
"""An answer of a multiple of so many records may have been cut by a limit that nobody documents (assumed).

Source: the vendor's reference allows `get_billing_record` 100 records."""


def is_round(listed: int) -> bool:
    """Whether a limit may have made the number of records what it is."""
    return listed > 0 and listed % ROUND == 0


def goes_beyond(asked: Window, survey: Survey) -> tuple[bool, bool]:
    """Whether the answer tells of days before or after those asked for, more than another zone could explain."""
    if survey.earliest is None:
        return False, False
    earliest, latest = ends_of(survey)
    return earliest < asked.first - ONE_DAY, latest > asked.last + ONE_DAY


def ends_of(survey: Survey) -> tuple[date, date]:
    """The first and the last day of a listing that has a good record."""
    return date.fromisoformat((survey.earliest or "")[:10]), date.fromisoformat((survey.latest or "")[:10])


def about(survey: Survey) -> str:
    """What an answer turned out to be, for a person."""
    first, last = ends_of(survey)
    return f"an answer about other days, {Window(first, last)},"


def overlaps(asked: Window, survey: Survey) -> bool:
    """Whether some day of a listing was asked for, in whatever zone."""
    earliest, latest = ends_of(survey)
    return latest >= asked.first - ONE_DAY and earliest <= asked.last + ONE_DAY
