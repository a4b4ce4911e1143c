"""Wall clock and UTC: stretches of one offset agree with the zone at every second, whatever the zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from etl.zones import Stretch, all_to_utc, is_repeated, stretches, to_utc

BERLIN = ZoneInfo("Europe/Berlin")
CHANGES = [
    ("Europe/Berlin", date(2026, 10, 25)),
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # by half an hour
    ("America/St_Johns", date(2006, 10, 29)),  # at one minute past midnight
    ("Pacific/Apia", date(2011, 12, 30)),  # a day that never was
    ("Europe/Moscow", date(1919, 7, 1)),  # by seconds
    ("Europe/Moscow", date(2026, 3, 8)),
    ("Africa/Monrovia", date(1972, 1, 7)),
]


def test_the_day_of_a_repeated_hour_has_three_stretches():
    midnight, two, three, next_midnight = map(
        datetime.fromisoformat, ("2026-10-25", "2026-10-25 02:00", "2026-10-25 03:00", "2026-10-26")
    )
    assert stretches(BERLIN, two.date()) == [
        Stretch(midnight, two, 7200, None),
        Stretch(two, three, 7200, 3600),
        Stretch(three, next_midnight, 3600, None),
    ]


def test_a_plain_day_is_one_stretch():
    day = date(2026, 3, 8)
    assert stretches(ZoneInfo("Europe/Moscow"), day) == [
        Stretch(*map(datetime.fromisoformat, ("2026-03-08", "2026-03-09")), 10800, None)
    ]


@pytest.mark.parametrize(("name", "day"), CHANGES, ids=str)
def test_stretches_cover_the_day_and_agree_with_each_time_in_utc(name, day):
    zone = ZoneInfo(name)
    parts = stretches(zone, day)
    begins = datetime.fromisoformat(str(day))
    assert [parts[0].since, *(part.until for part in parts)] == [
        *(part.since for part in parts),
        begins + timedelta(days=1),
    ]
    for part in parts:
        moment = part.since
        while moment < part.until:
            utc = datetime.fromisoformat(to_utc(str(moment), zone))
            assert (moment - utc).total_seconds() == part.offset
            second = moment.replace(tzinfo=zone, fold=1).astimezone(UTC).replace(tzinfo=None)
            later = (second - utc).total_seconds()
            assert part.second_offset == (part.offset - later if later > 0 else None)
            assert is_repeated(str(moment), zone) == (part.second_offset is not None)
            moment += timedelta(seconds=97)


def test_a_time_that_the_clock_leaves_out_has_the_offset_before():
    assert to_utc("2026-03-29 02:30:00", BERLIN) == "2026-03-29 01:30:00"
    assert not is_repeated("2026-03-29 02:30:00", BERLIN)


def test_many_times_are_converted_as_each_alone():
    times = [f"2026-10-25 0{hour}:{minute:02}:07" for hour in range(5) for minute in (0, 29, 30, 59)]
    for zone in (BERLIN, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")):
        assert all_to_utc(times, zone) == [to_utc(time, zone) for time in times]


def test_the_ends_of_the_calendar_are_left_as_they_are():
    zone = ZoneInfo("Asia/Vladivostok")
    assert to_utc("0001-01-01 00:00:00", zone) == "0001-01-01 00:00:00"
    assert not is_repeated("9999-12-31 23:59:59", ZoneInfo("America/New_York"))
