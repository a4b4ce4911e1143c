"""What `check` says of the vendor's newest record."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from etl.checks.vendor import describe_newest
from etl.model import Record, RejectedRecord
from etl.services.recent import Recent, RecentRecord, StoredAccount

NEWEST = Record("2026-03-10 14:03:12", "+79243555100", "", 1, "ok", Decimal("0.200000"))
FOUND = "newest record at the vendor 2026-03-10 14:03:12, in the database:"
CURE = "billing-etl backfill --since 2026-03-10 --until 2026-03-10"


@pytest.mark.parametrize(
    ("stored", "watermark", "note", "message", "is_warning"),
    [
        (True, 10, "", f"{FOUND} yes", False),
        (False, 9, "", f"{FOUND} no; the next sync fetches it", False),
        (False, None, "", f"{FOUND} no; the next sync fetches it", False),
        (False, None, "there is no database yet", f"{FOUND} no; there is no database yet", False),
        (False, 10, "", f"{FOUND} no, although its day is complete; run: {CURE}", True),
    ],
)  # fmt: skip
def test_a_missing_newest_record_is_a_warning_where_its_day_is_complete(stored, watermark, note, message, is_warning):
    account = StoredAccount(1, watermark and date(2026, 3, watermark), note)
    check = describe_newest(Recent((RecentRecord(NEWEST, stored),), (), note), account)
    assert (check.message, check.is_warning, check.error) == (message, is_warning, None)


def test_a_newest_record_that_cannot_be_read_is_a_warning_and_none_at_all_is_not():
    unreadable = describe_newest(Recent((), (RejectedRecord(None, "price is missing", "{}"),)), StoredAccount(1))
    assert (unreadable.message, unreadable.is_warning) == ("the newest record cannot be read: price is missing", True)
    assert not describe_newest(Recent(()), StoredAccount(1)).is_warning
