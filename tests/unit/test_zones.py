"""Wall clock and UTC: stretches of one offset agree with the zone at every second, for every zone."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from etl.zones import Stretch, is_repeated, stretches, utc_offset, utc_offsets

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)
CHANGES = [
    ("Europe/Berlin", date(2026, 10, 25)),
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # by half an hour
    ("America/St_Johns", date(2006, 10, 29)),  # at one minute past midnight
    ("Pacific/Apia", date(2011, 12, 30)),  # a day that never was
    ("Europe/Moscow", date(2026, 3, 8)),
]


def test_a_day_with_a_repeated_hour_has_three_stretches():
    midnight, two, three, next_midnight = map(
        datetime.fromisoformat, ("2026-10-25", "2026-10-25 02:00", "2026-10-25 03:00", "2026-10-26")
    )
    assert stretches(BERLIN, two.date()) == [
        Stretch(midnight, two, 120, None),
        Stretch(two, three, 120, 60),
        Stretch(three, next_midnight, 60, None),
    ]


def test_an_ordinary_day_is_one_stretch():
    day = date(2026, 3, 8)
    assert stretches(ZoneInfo("Europe/Moscow"), day) == [
        Stretch(*map(datetime.fromisoformat, ("2026-03-08", "2026-03-09")), 180, None)
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
            first, second = (moment.replace(tzinfo=zone, fold=fold).utcoffset() // MINUTE for fold in (0, 1))
            assert utc_offset(str(moment), zone) == part.offset == first
            assert part.second_offset == (second if second < first else None)
            assert is_repeated(str(moment), zone) == (part.second_offset is not None)
            moment += timedelta(seconds=97)


def test_an_offset_with_seconds_is_rounded_to_the_minute():
    moscow = ZoneInfo("Europe/Moscow")
    assert utc_offset("1900-01-01 12:00:00", moscow) == 150  # 2:30:17
    assert utc_offset("1965-01-01 12:00:00", ZoneInfo("Africa/Monrovia")) == -44  # -0:44:30


def test_a_skipped_time_has_the_offset_before_the_change():
    assert utc_offset("2026-03-29 02:30:00", BERLIN) == 60
    assert not is_repeated("2026-03-29 02:30:00", BERLIN)


def test_offsets_of_many_times_equal_those_of_single_times():
    times = [f"2026-10-25 0{hour}:{minute:02}:07" for hour in range(5) for minute in (0, 29, 30, 59)]
    times += [f"2026-10-26 0{hour}:00:00" for hour in range(3)]
    for zone in (BERLIN, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")):
        assert utc_offsets(times, zone) == [utc_offset(time, zone) for time in times]


def test_offsets_at_the_ends_of_the_calendar_stay_within_it():
    assert utc_offset("0001-01-01 00:00:00", ZoneInfo("Asia/Vladivostok")) == 0
    assert utc_offset("9999-12-31 23:59:59", ZoneInfo("Asia/Vladivostok")) == 600
    assert not is_repeated("9999-12-31 23:59:59", ZoneInfo("America/New_York"))
