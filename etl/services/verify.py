"""Verification: fetch days again and compare their records with the stored rows. Read-only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from sqlalchemy import Connection, Engine, func, select

from etl.config.schema import Settings
from etl.date_ranges import DateRange, exclude_days, split_into_windows
from etl.db.day_conditions import IS_COMPLETE
from etl.db.days import purged_days, stored_counts
from etl.db.engine import read_connection
from etl.db.errors import translate_errors
from etl.db.limits import longest_text
from etl.db.run_store import find_account
from etl.db.store import read_database
from etl.db.tables import synced_days
from etl.errors import CheckFailedError, SourceUnavailable
from etl.load.compare import compare_window
from etl.load.policy import LoadPolicy
from etl.model import WindowData
from etl.run_counts import RecordChange
from etl.services.context import (
    AccountHistory,
    build_load_policy,
    open_client,
    open_source,
    require_account_settings,
    utc_now,
)
from etl.services.database import open_engine
from etl.transform.snapshots import snapshot_days

INCOMPLETE: Final = "the answer may not have all of the day"
"""Why a complete day is not compared with an answer."""


@dataclass(frozen=True, slots=True)
class DayDifference:
    """The difference between a stored day and the vendor's. The fields are keys of `verify --json`.

    Attributes:
        day: The day in the vendor's wall clock.
        source: Name of the compared source, `json` or `csv`.
        missing: Number of listed records without a row.
        different: Number of rows with other attributes or another number of repeats.
        surplus: Number of rows without a listed record.
        vendor_records: Number of listed records, repeats included.
        wrong_totals: The rows are equal, but the stored totals of the day differ from theirs.
        records: The first records that differ.
    """

    day: date
    source: str
    missing: int
    different: int
    surplus: int
    vendor_records: int
    wrong_totals: bool = False
    records: tuple[RecordChange, ...] = ()


def complete_range(connection: Connection, account_id: int | None) -> DateRange | None:
    """The range from the first to the last closed day; None if no day is closed."""
    column = synced_days.c
    query = select(func.min(column.day), func.max(column.day)).where(column.account_id == account_id, IS_COMPLETE)
    first, last = connection.execute(query).one()
    return DateRange(first, last) if first else None


def plan_verify(
    connection: Connection, account_id: int | None, since: date | None, until: date | None, today: date, *, size: int
) -> list[DateRange]:
    """The windows to compare, without purged days.

    Args:
        connection: Connection to read with.
        account_id: `accounts.id`; None if the account never synced.
        since: First day; None for the first closed day.
        until: Last day; None for the last closed day.
        today: The present day in the vendor's wall clock; later days are left out.
        size: Maximum days of a window.

    Raises:
        CheckFailedError: None of the days is stored, so that an empty comparison would pass.
    """
    if account_id is None:
        raise CheckFailedError("nothing to verify: the account was never synced; run: billing-etl sync")
    closed = complete_range(connection, account_id)
    first = since or (closed.first if closed else None)
    last = min(until or (closed.last if closed else today), today)
    if first is None:
        raise CheckFailedError("nothing to verify: no day is complete yet")
    if first > last:
        raise CheckFailedError(f"nothing to verify: {first} comes after {last}, the last day that can be compared")
    requested = DateRange(first, last)
    stored = stored_counts(connection, account_id)
    purged = purged_days(connection, account_id, requested)
    if not any(day in requested for day in stored):
        suffix = "; the records of these days were purged" if purged else ""
        raise CheckFailedError(f"nothing to verify: no day from {first} to {last} is stored{suffix}")
    return exclude_days(split_into_windows(requested, (), size=size), purged)


def verify_windows(
    engine: Engine,
    account_id: int | None,
    windows: Iterable[DateRange],
    fetch: Callable[[DateRange], WindowData],
    policy: LoadPolicy,
) -> Iterator[list[DayDifference]]:
    """Compare windows and yield the differing days of each.

    Args:
        engine: Engine of the database.
        account_id: `accounts.id`; None for an account without stored rows.
        windows: Windows to compare, in ascending order.
        fetch: Fetches a window from the source to compare with.
        policy: A policy with `full_compare`: digests do not show rows that another program changed.

    Raises:
        SourceUnavailable: After the last window, if the answers for some days were incomplete.
    """
    unverified: dict[date, str] = {}
    for window in windows:
        data = fetch(window)
        snapshots = snapshot_days(data.days)
        with read_connection(engine) as connection, connection.begin():
            days = compare_window(connection, account_id, data, snapshots, policy)
            outcomes = [day.outcome() for day in days]
        source = "".join(data.sources)
        compared = {outcome.day for outcome in outcomes}
        unverified |= {day: INCOMPLETE for day in data.days if day not in compared} | dict(data.unresolved_days)
        del data, snapshots, days  # frees the memory of this window before the next is fetched
        yield [
            DayDifference(
                outcome.day,
                source,
                missing=outcome.rows.new,
                different=outcome.rows.changed,
                surplus=outcome.rows.withdrawn,
                vendor_records=outcome.records,
                wrong_totals=outcome.wrong_totals,
                records=outcome.changed_records,
            )
            for outcome in outcomes
            if outcome.rows or outcome.wrong_totals
        ]
    if unverified:
        day, reason = min(unverified.items())
        raise SourceUnavailable(f"{len(unverified)} days cannot be verified, beginning with {day} ({reason})")


@dataclass(slots=True)
class VerifyResult:
    """The result of the verification of one account.

    Attributes:
        days: Number of compared days.
        differences: The days that differ, by source and day.
        incomplete: The vendor did not answer for every window; None if it did.
    """

    days: int
    differences: list[DayDifference] = field(default_factory=list)
    incomplete: SourceUnavailable | None = None


def verify_account(
    settings: Settings,
    since: date | None,
    until: date | None,
    sources: Sequence[str],
    *,
    redact: Callable[[str], str],
    clock: Callable[[], datetime] = utc_now,
) -> VerifyResult:
    """Compare the stored days of an account with the vendor's.

    Args:
        settings: The settings of the account.
        since: First day; the first complete one if None.
        until: Last day; the last complete one if None.
        sources: `json`, `csv` or both.
        redact: Removes secrets from a text.
        clock: The present time, aware.

    Raises:
        CheckFailedError: None of the days is stored: there is nothing to compare.
        ConfigError: There is no token, or the account is bound to other settings.
        DatabaseError: The database is missing, cannot be read, or has another schema.
    """
    settings.require_token()
    engine = open_engine(settings.database_url)
    today = settings.today(clock())
    with translate_errors():
        with read_database(engine) as connection:
            require_account_settings(connection, settings)
            account_id = find_account(connection, settings.account)
            account = AccountHistory(account_id, longest=longest_text(connection))
            windows = plan_verify(connection, account_id, since, until, today, size=settings.window_days)
        result = VerifyResult(sum(map(len, windows)))
        policy = build_load_policy(settings, today, full_compare=True)
        with open_client(settings, redact) as client:
            for name in sources:
                source = open_source(settings, client, today=today, last=windows[-1].last, account=account)
                fetch = source.fetch_json if name == "json" else source.fetch_csv
                try:
                    for differences in verify_windows(engine, account_id, windows, fetch, policy):
                        result.differences += differences
                except SourceUnavailable as error:
                    result.incomplete = error
    return result
