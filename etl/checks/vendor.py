"""Whether the vendor's newest record is in the database. A sync does not depend on it: at worst a warning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, TypeVar

from etl.checks.runner import CheckResult
from etl.errors import BillingError

T = TypeVar("T")

COMPARED_RECORDS: Final = 5
"""Newest records to request: the order of the vendor's answer is not documented, and several may share a second."""
_NAME: Final = "records"


@dataclass(frozen=True, slots=True)
class NewestRecord:
    """The vendor's newest record, looked up in the database.

    Attributes:
        created_at: In the vendor's wall clock; None where no valid record is listed.
        is_stored: Whether the database has it.
        watermark: The account's last contiguous complete day; None before the first sync.
        note: Why the database cannot have it; empty where it can.
        rejection_reason: Why the first invalid record of the answer was rejected; empty without one.
    """

    created_at: datetime | None = None
    is_stored: bool = False
    watermark: date | None = None
    note: str = ""
    rejection_reason: str = ""


def check_newest(fetch: Callable[[], T], look_up: Callable[[T], NewestRecord]) -> CheckResult:
    """Check whether the vendor's newest record is in the database.

    Args:
        fetch: Requests the vendor's newest COMPARED_RECORDS records.
        look_up: Compares them with the database.
    """
    try:
        answer = fetch()
    except BillingError as error:
        return CheckResult(
            _NAME, f"the newest records cannot be fetched ({error}); sync works without them", is_warning=True
        )
    try:
        return describe_newest(look_up(answer))
    except BillingError as error:
        return CheckResult(_NAME, f"the newest record cannot be looked up in the database ({error})", is_warning=True)


def describe_newest(newest: NewestRecord) -> CheckResult:
    """The result for the newest record. Pure."""
    if newest.created_at is None:
        if newest.rejection_reason:
            return CheckResult(_NAME, f"the newest record cannot be read: {newest.rejection_reason}", is_warning=True)
        return CheckResult(_NAME, "the vendor lists no record")
    found = f"newest record at the vendor {newest.created_at:%Y-%m-%d %H:%M:%S}, in the database:"
    if newest.is_stored:
        return CheckResult(_NAME, f"{found} yes")
    if newest.note:
        return CheckResult(_NAME, f"{found} no; {newest.note}")
    day = newest.created_at.date()
    if newest.watermark is None or day > newest.watermark:
        return CheckResult(_NAME, f"{found} no; the next sync fetches it")
    command = f"billing-etl backfill --since {day} --until {day}"
    return CheckResult(_NAME, f"{found} no, although its day is complete; run: {command}", is_warning=True)
