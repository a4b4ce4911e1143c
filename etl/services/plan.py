"""The windows that a run fetches, and its rules for loading them. Pure.

A deep sync compares every stored day that the vendor still serves, as a nightly sync compares those of the lookback. A
vendor that keeps a limited number of months answers for older days with an empty list. Compared with it, each of these
days would be suspect, and fetched again by every run. So a deep sync first searches for the oldest day with records
that is still served, and begins after it: that day itself may be incomplete.
"""

from __future__ import annotations

import shlex
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from typing import Final

from etl.config.schema import Settings
from etl.date_ranges import (
    ONE_DAY,
    DateRange,
    exclude_days,
    first_outside,
    plan_history,
    plan_lookback_apart,
    split_into_windows,
    sync_range,
)
from etl.db.run_store import SyncState
from etl.errors import CheckFailedError, ConfigError
from etl.load.policy import LoadPolicy
from etl.services.context import build_load_policy
from etl.services.run import RunRequest

DEFAULT_HISTORY_DAYS: Final = 30
"""Days that a first sync reaches back without BILLING_START_DATE."""

SAMPLE_DAYS: Final = 7
"""Stored days with records of which, if the vendor lists none, it serves none any more. Assumed."""


def plan_request(
    settings: Settings, request: RunRequest, state: SyncState, today: date, complete: Collection[date]
) -> tuple[list[DateRange], list[date]]:
    """The windows to fetch, and the suspect days among them that lie outside the requested range.

    Args:
        settings: Settings of the account.
        request: The command and its range.
        state: The account's state before the run.
        today: In the vendor's wall clock.
        complete: Complete days of the account.
    """
    if request.command == "sync":
        requested = sync_range(
            start=settings.start_date or today - timedelta(days=DEFAULT_HISTORY_DAYS),
            watermark=state.watermark,
            first_synced=state.first_day if state.watermark or settings.start_date is None else None,
            today=today,
            lookback=settings.lookback_days,
            since=request.since,
            until=request.until,
        )
    else:
        since, until = request.span()
        last = min(until, today)
        requested = DateRange(since, last) if since <= last else None
    # Every run fetches suspect days again, until the vendor lists them plausibly.
    suspect = [] if request.command == "accept" else [day for day in state.suspect_days if day <= today]
    extra: list[date] = []
    if _is_nightly(request):
        last = request.until or today
        missing = plan_history(settings.start_date, state.first_day, complete)
        apart = plan_lookback_apart(state.first_day, state.watermark, settings.lookback_days, complete)
        extra = [day for day in (*missing, *apart) if day <= last]
    if not request.names_a_range:
        return split_into_windows(requested, [*suspect, *extra], size=settings.window_days), []
    own = split_into_windows(requested, extra, size=settings.window_days)
    elsewhere = [day for day in suspect if not any(day in window for window in own)]
    windows = own + split_into_windows(None, elsewhere, size=1)
    return sorted(windows, key=lambda window: window.first), elsewhere


def plan_load(settings: Settings, request: RunRequest, state: SyncState, today: date) -> LoadPolicy:
    """The rules of a run for comparing and writing.

    A first sync without a start date begins its history at the first day that the vendor serves.
    """
    is_nightly = _is_nightly(request)
    return replace(
        build_load_policy(settings, today, full_compare=request.command == "backfill"),
        accepted_days=request.accepted_days,
        begins_where_served=is_nightly and settings.start_date is None and state.watermark is None,
        start=settings.start_date if is_nightly else None,
    )


def _is_nightly(request: RunRequest) -> bool:
    return request.command == "sync" and request.since is None


def first_served_day(windows: list[DateRange], first: date, refused: Collection[date]) -> date | None:
    """The day after those that the vendor refuses, if it refuses the first day of a history and serves a later one."""
    served = first_outside(first, refused)
    return served if first < served <= windows[-1].last else None


def without_purged(windows: list[DateRange], purged: Collection[date], request: RunRequest) -> list[DateRange]:
    """The windows without purged days: their records would be counted twice in the total of their month.

    Raises:
        ConfigError: A range that was named holds purged days.
    """
    if purged and request.command != "sync":
        raise ConfigError(f"{describe_purged(purged)}, and are not fetched again; choose other days")
    return exclude_days(windows, purged) if purged else windows


def describe_purged(days: Collection[date]) -> str:
    """A clause about days whose records were purged."""
    count = "1 day" if len(days) == 1 else f"{len(days):,} days"
    return f"the records of {count} from {min(days)} to {max(days)} were purged"


def describe_plan(
    settings: Settings,
    request: RunRequest,
    state: SyncState,
    today: date,
    windows: list[DateRange],
    complete: Collection[date],
) -> Iterator[str]:
    """Messages about days that are not set and days that cannot be fetched."""
    label = settings.account
    if state.first_day is None and request.command == "sync" and request.since is None and windows:
        default = f"{DEFAULT_HISTORY_DAYS} days back; BILLING_START_DATE sets another day"
        reason = "BILLING_START_DATE" if settings.start_date else default
        yield f"{label}: a first sync, beginning with {windows[0].first} ({reason})"
    elif state.first_day and request.since is None:
        earlier = (day for window in windows for day in window.days() if day < state.first_day)
        known = {*complete, *state.suspect_days}
        if missing := next((day for day in earlier if day not in known), None):
            yield f"{label}: days from {missing} on are missing and are fetched too"
    if request.until and request.until > today:
        yield f"{label}: {request.until} is in the future; fetching up to today, {today}"


def require_active(label: str, request: RunRequest, state: SyncState) -> None:
    """Refuse to run a retired account that the request names; a sync of all accounts skips it.

    Raises:
        ConfigError: It is retired.
    """
    if state.retired_at and (request.command != "sync" or request.explicit_account):
        raise ConfigError(
            f"the account {label} is retired since {state.retired_at:%Y-%m-%d}; "
            f"billing-etl account resume {shlex.quote(label)} brings it back"
        )


def require_suspect(label: str, request: RunRequest, state: SyncState) -> None:
    """Refuse an `accept` of a day that is not suspect.

    Raises:
        CheckFailedError: Nothing is stored, or the day is not suspect.
    """
    if request.command != "accept" or request.since in state.suspect_days:
        return
    day = request.since
    if state.first_day is None:
        raise CheckFailedError(f"nothing of the account {label} is stored yet; run: billing-etl sync")
    if request.even_if_not_suspect:
        return
    suspect = ", ".join(map(str, state.suspect_days)) or "none"
    raise CheckFailedError(
        f"{day} is not suspect, and there is nothing to accept (suspect days: {suspect}); billing-etl backfill --since "
        f"{day} --until {day} fetches it again, and accept --even-if-not-suspect takes whatever the vendor has"
    )


def describe_cure(settings: Settings, day: date) -> str:
    """What to do about a day that lacks records which only `get_billing_record` lists."""
    account = f" --account {shlex.quote(settings.account)}" if settings.labels else ""
    return (
        "; if they are still missing tomorrow, and the vendor says that they are no charges, store the day without "
        f"them: billing-etl accept {day} --even-if-not-suspect{account}"
    )


@dataclass(frozen=True, slots=True)
class ResyncPlan:
    """The windows of a deep sync.

    Attributes:
        skipped_days: Stored days that are not fetched, because the vendor may not serve them any more.
    """

    windows: list[DateRange]
    skipped_days: tuple[date, ...]


def plan_resync(
    stored: Mapping[date, int],
    nightly: list[DateRange],
    listed_days: Callable[[DateRange], Collection[date]],
    *,
    size: int,
) -> ResyncPlan:
    """Extend the windows of a nightly sync to all stored days that the vendor still serves.

    Args:
        stored: Number of records of each stored day. A day without records does not show what is served.
        nightly: Windows of the nightly sync; they are fetched in any case.
        listed_days: Returns the days of a range of which the vendor lists a record.
        size: Days a window.
    """
    recent = {day for window in nightly for day in window.days()}
    old = sorted(stored.keys() - recent)
    first_served = _first_served([day for day in old if stored[day]], listed_days, min(size, SAMPLE_DAYS))
    return ResyncPlan(
        split_into_windows(None, recent.union(day for day in old if day >= first_served), size=size),
        tuple(day for day in old if day < first_served),
    )


def _first_served(days: list[date], listed_days: Callable[[DateRange], Collection[date]], size: int) -> date:
    """The first day that is served for certain, and completely; the first possible date if all are.

    It is found by bisection, one request of a few days in a row a step. A day counts as not served only if none of
    SAMPLE_DAYS days from it on is: the records of single days may have been withdrawn.

    Args:
        days: Stored days with records, ascending.
        listed_days: Returns the days of a range of which the vendor lists a record.
        size: Days of a request.
    """

    @cache
    def listed_from(index: int) -> Collection[date]:
        windows = split_into_windows(None, days[index : index + SAMPLE_DAYS], size=size)
        return next(filter(None, map(listed_days, windows)), ())

    if not days or days[0] in listed_from(0):
        return date.min
    indexes = range(len(days))
    first = 0 if listed_from(0) else bisect_left(indexes, True, lo=1, key=lambda index: bool(listed_from(index)))  # noqa: FBT003 - the first True after the Falses
    return min(listed_from(first)) + ONE_DAY if first < len(days) else date.max
