"""Which days a deep sync fetches, and with how few requests; the messages about a plan."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from etl.config.loader import parse_settings
from etl.date_ranges import DateRange
from etl.db.run_store import SyncState
from etl.services.plan import describe_plan, plan_resync
from etl.services.run import RunRequest

FIRST = date(2026, 1, 1)
DAYS = [FIRST + timedelta(days=number) for number in range(40)]
NIGHTLY = [DateRange(DAYS[33], DAYS[39])]
FULL = dict.fromkeys(DAYS, 5)


def sweep(stored, served_from, nightly=NIGHTLY, *, withdrawn=(), size=7):
    """The days to fetch, those to skip, and the number of requests."""
    requests = []

    def listed_days(window):
        requests.append(window)
        assert len(window) <= size
        return {day for day in window.days() if stored.get(day) and day >= served_from and day not in withdrawn}

    planned = plan_resync(stored, nightly, listed_days, size=size)
    assert all(len(window) <= size for window in planned.windows)
    return [day for window in planned.windows for day in window.days()], list(planned.skipped_days), len(requests)


def test_every_stored_day_is_fetched_after_one_request_if_all_are_served():
    assert sweep(FULL, FIRST) == (DAYS, [], 1)


@pytest.mark.parametrize("number", [1, 2, 17, 31, 32])
def test_a_deep_sync_starts_after_the_first_served_day_which_may_be_cut(number):
    fetched, left, requests = sweep(FULL, DAYS[number])
    assert (fetched, left) == (DAYS[number + 1 :], DAYS[: number + 1])
    assert requests <= 7, "bisection takes six requests"


@pytest.mark.parametrize("pivot", range(1, 33))
def test_an_empty_day_among_served_ones_does_not_end_the_search(pivot):
    fetched, left, requests = sweep(FULL, FIRST, withdrawn=(DAYS[0], DAYS[pivot]))
    first = 3 if pivot == 1 else 2
    assert (fetched, left) == (DAYS[first:], DAYS[:first])
    assert requests == 1


@pytest.mark.parametrize("number", [8, 17, 23])
@pytest.mark.parametrize("empty", range(0, 33, 4))
def test_several_empty_days_leave_the_end_of_retention_where_it_is(number, empty):
    withdrawn = DAYS[empty : empty + 4]
    served = min(day for day in DAYS[number:] if day not in withdrawn)
    fetched, _, requests = sweep(FULL, DAYS[number], withdrawn=withdrawn)
    assert fetched == DAYS[DAYS.index(served) + 1 :]
    assert requests <= 7


def test_a_day_of_an_account_with_few_days_is_judged_by_the_next_ones():
    sparse = {day: 5 * (number % 5 == 0) for number, day in enumerate(DAYS)}
    assert sweep(sparse, FIRST, withdrawn=(DAYS[0], DAYS[15]))[:2] == (DAYS[6:], DAYS[:6])
    assert sweep(FULL, DAYS[17], size=1)[:2] == (DAYS[18:], DAYS[:18])


def test_the_nightly_days_are_fetched_when_no_old_day_is_served():
    assert sweep(FULL, DAYS[39])[:2] == (DAYS[33:], DAYS[:33])


def test_days_without_records_are_no_evidence_and_fetched_like_their_neighbours():
    quiet = FULL | dict.fromkeys([*DAYS[:5], *DAYS[20:25]], 0)
    assert sweep(quiet, FIRST) == (DAYS, [], 1)
    assert sweep(quiet, DAYS[10])[:2] == (DAYS[11:], DAYS[:11])
    assert sweep(quiet, DAYS[22])[:2] == (DAYS[26:], DAYS[:26])
    assert sweep(dict.fromkeys(DAYS, 0), FIRST) == (DAYS, [], 0)


def test_days_that_are_not_stored_are_not_fetched_and_suspect_days_always():
    stored = {day: 5 for day in DAYS if day not in DAYS[10:12]}
    suspect = [DateRange(DAYS[3], DAYS[3]), *NIGHTLY]
    assert sweep(stored, DAYS[15], suspect)[0] == [DAYS[3], *DAYS[16:]]
    assert sweep(stored, FIRST)[0] == [*DAYS[:10], *DAYS[12:]]


def test_a_first_run_has_no_days_to_fetch_again():
    assert sweep({}, FIRST) == (DAYS[33:], [], 0)


@pytest.mark.parametrize(("suspect_days", "is_missing"), [((DAYS[3],), False), ((), True)])
def test_a_suspect_day_before_the_first_one_is_not_called_missing(suspect_days, is_missing):
    state = SyncState(first_day=DAYS[33], watermark=DAYS[39], suspect_days=suspect_days)
    windows = [DateRange(DAYS[3], DAYS[3]), *NIGHTLY]
    messages = list(describe_plan(parse_settings([]), RunRequest("sync"), state, DAYS[39], windows, DAYS[33:]))
    assert messages == [f"default: days from {DAYS[3]} on are missing and are fetched too"] * is_missing
