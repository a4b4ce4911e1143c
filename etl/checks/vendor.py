"""Whether the vendor's newest record is in the database. A sync does not depend on it: at worst a warning."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine

from etl.checks.runner import CheckResult
from etl.db.bindings import Binding
from etl.errors import BillingError
from etl.extract.client import Client
from etl.services.recent import (
    ReadFeed,
    Recent,
    StoredAccount,
    compare_newest,
    fetch_newest,
    find_stored_account,
    newest_record,
)

COMPARED_RECORDS: Final = 5
"""Records: the order of the vendor's answer is not stated, and some share a second."""
NAME: Final = "records"


def check_newest(engine: Engine, label: str, binding: Binding, client: Client, read: ReadFeed) -> CheckResult:
    """Look for the vendor's newest record in the database.

    Args:
        engine: Of the database.
        label: The account's.
        binding: The settings that its rows depend on.
        client: A hurried one.
        read: The transform of a feed.
    """
    try:
        newest = fetch_newest(client, COMPARED_RECORDS, read)
    except BillingError as error:
        return CheckResult(
            NAME, f"the newest records cannot be fetched ({error}); sync works without them", is_warning=True
        )
    try:
        account = find_stored_account(engine, label, binding)
        recent = compare_newest(engine, account, newest, COMPARED_RECORDS)
    except BillingError as error:
        return CheckResult(NAME, f"the newest record cannot be looked up in the database ({error})", is_warning=True)
    return describe_newest(recent, account)


def describe_newest(recent: Recent, account: StoredAccount) -> CheckResult:
    """The line of the check. Pure."""
    newest = newest_record(recent.records)
    if newest is None:
        if recent.rejected:
            return CheckResult(NAME, f"the newest record cannot be read: {recent.rejected[0].reason}", is_warning=True)
        return CheckResult(NAME, "the vendor lists no record")
    found = f"newest record at the vendor {newest.created_at:%Y-%m-%d %H:%M:%S}, in the database:"
    if newest.stored:
        return CheckResult(NAME, f"{found} yes")
    if recent.note:
        return CheckResult(NAME, f"{found} no; {recent.note}")
    day = newest.created_at.date()
    if account.watermark is None or day > account.watermark:
        return CheckResult(NAME, f"{found} no; the next sync fetches it")
    cure = f"billing-etl backfill --since {day} --until {day}"
    return CheckResult(NAME, f"{found} no, although its day is complete; run: {cure}", is_warning=True)
