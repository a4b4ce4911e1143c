"""The lateness of changes, computed from the fetches of their days."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from etl.ops.lateness import FetchRun, JournalEntry, compute_lateness

MOSCOW = ZoneInfo("Europe/Moscow")
FIRST = date(2026, 3, 1)
DAY = timedelta(days=1)


def night(number):
    """01:30 in Moscow, this many days after FIRST."""
    return datetime(2026, 3, 1, 22, 30, tzinfo=UTC) + (number - 1) * DAY


def look(number, lookback=3):
    today = FIRST + number * DAY
    return FetchRun(number, night(number), today - lookback * DAY, today)


def change(number, day, kind="late", hour=12):
    """A change of a record of that day and hour in March, seen by the run of that night."""
    made = datetime(2026, 3, day, hour, tzinfo=MOSCOW)
    return JournalEntry(number, made.date(), night(number), kind, made)


def hours(spread):
    return tuple(round(delay / timedelta(hours=1), 1) for delay in (spread.p50, spread.p99, spread.longest))


NIGHTS = [look(number) for number in range(1, 30)]


def test_changes_seen_by_nightly_runs_are_within_the_lookback():
    seen = compute_lateness([change(9, 8), change(9, 7), change(10, 9), change(10, 9, "corrected")], NIGHTS, MOSCOW, 3)
    assert (seen.arrived.records, hours(seen.arrived)) == (3, (37.5, 61.5, 61.5))
    assert (seen.changed.records, hours(seen.changed)) == (1, (37.5, 37.5, 37.5))
    assert (seen.missed, seen.needed) == (0, 3)


def test_the_share_counts_records():
    changes = [change(9, 8)] * 98 + [change(10, 8), change(9, 7)]
    assert hours(compute_lateness(changes, NIGHTS, MOSCOW, 3).arrived) == (37.5, 61.5, 61.5)
    assert hours(compute_lateness([*changes[:-1], change(9, 8)], NIGHTS, MOSCOW, 3).arrived) == (37.5, 37.5, 61.5)


def test_a_deep_sync_after_a_week_shows_that_the_lookback_is_too_short():
    sweeps = [FetchRun(100, night(20), FIRST, FIRST + 20 * DAY), FetchRun(101, night(27), FIRST, FIRST + 27 * DAY)]
    seen = compute_lateness([replace(change(27, 5), run_id=101)], [*NIGHTS[:19], *sweeps], MOSCOW, 3)
    assert (seen.arrived.records, seen.missed, seen.needed) == (1, 1, 23)


def test_a_change_after_a_long_gap_is_missed_with_unknown_delay():
    seen = compute_lateness(
        [change(100, 5)], [*NIGHTS[:8], FetchRun(100, night(25), FIRST, FIRST + 25 * DAY)], MOSCOW, 3
    )
    assert (seen.arrived, seen.missed) == (None, 1)


def test_a_missed_night_does_not_make_the_lookback_too_short():
    looks = [look(8), FetchRun(9, night(12), FIRST + 5 * DAY, FIRST + 12 * DAY)]
    assert compute_lateness([change(9, 8)], looks, MOSCOW, 3).missed == 0
    assert compute_lateness([change(9, 6)], looks, MOSCOW, 3).missed == 1, "three days old when it left the lookback"


def test_a_change_of_a_day_without_earlier_fetch_is_ignored():
    assert compute_lateness([change(9, 7)], [look(9)], MOSCOW, 3).arrived is None
    assert compute_lateness([change(9, 7)], [FetchRun(8, night(8), FIRST, FIRST)], MOSCOW, 3).arrived is None
    assert compute_lateness([], NIGHTS, MOSCOW, 3).arrived is None
