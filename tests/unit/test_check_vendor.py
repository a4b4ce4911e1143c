"""The result of `check` for the vendor's newest record."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from etl.checks.vendor import NewestRecord, check_newest, describe_newest
from etl.errors import DatabaseError, VendorError

CREATED_AT = datetime(2026, 3, 10, 14, 3, 12)  # noqa: DTZ001 - the vendor's wall clock
FOUND = "newest record at the vendor 2026-03-10 14:03:12, in the database:"
COMMAND = "billing-etl backfill --since 2026-03-10 --until 2026-03-10"


@pytest.mark.parametrize(
    ("is_stored", "watermark", "note", "message", "is_warning"),
    [
        (True, 10, "", f"{FOUND} yes", False),
        (False, 9, "", f"{FOUND} no; the next sync fetches it", False),
        (False, None, "", f"{FOUND} no; the next sync fetches it", False),
        (False, None, "there is no database yet", f"{FOUND} no; there is no database yet", False),
        (False, 10, "", f"{FOUND} no, although its day is complete; run: {COMMAND}", True),
    ],
)
def test_a_missing_newest_record_of_a_complete_day_is_a_warning(is_stored, watermark, note, message, is_warning):
    newest = NewestRecord(CREATED_AT, is_stored, watermark and date(2026, 3, watermark), note)
    check = describe_newest(newest)
    assert (check.message, check.is_warning, check.error) == (message, is_warning, None)


def test_an_unreadable_newest_record_is_a_warning_and_an_empty_list_is_not():
    unreadable = describe_newest(NewestRecord(rejection_reason="price is missing"))
    assert (unreadable.message, unreadable.is_warning) == ("the newest record cannot be read: price is missing", True)
    assert not describe_newest(NewestRecord()).is_warning


def test_a_failed_request_or_lookup_is_a_warning():
    def fail(error: Exception):
        def raise_it(*_args):
            raise error

        return raise_it

    fetched = check_newest(fail(VendorError("HTTP 500")), lambda _answer: NewestRecord())
    assert (fetched.is_warning, fetched.error) == (True, None)
    assert "cannot be fetched (HTTP 500)" in fetched.message
    looked_up = check_newest(list, fail(DatabaseError("no route")))
    assert (looked_up.is_warning, looked_up.error) == (True, None)
    assert "cannot be looked up in the database (no route)" in looked_up.message
