"""From a feed to canonical records: accepted and rejected records, and the survey of the listing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.date_ranges import DateRange
from etl.errors import InvalidResponse
from etl.model import Feed, RawRecord, ReadStats, Record, RejectedRecord, raw_record
from etl.transform.reader import read_feed
from etl.transform.rejection import MAX_PAYLOAD_DEPTH

calm = settings(deadline=None)
MOSCOW = ZoneInfo("Europe/Moscow")
MARCH_9 = date(2026, 3, 9)
WINDOW = DateRange(date(2026, 3, 8), MARCH_9)


def raw(time: object, **fields: object) -> RawRecord:
    return raw_record(**{"created_at": time, "phone": "", "code_auth": "", "price": 1, **fields})


def times_and_survey(*feed: object, malformed: Iterable[RejectedRecord] = ()) -> tuple[list[str], ReadStats]:
    rows = [item if isinstance(item, RawRecord) else raw(item) for item in feed]
    kept: list[Record] = []
    survey = read_feed(Feed(iter(rows), malformed=tuple(malformed)), WINDOW, MOSCOW, kept.extend)
    return [record.created_at for record in kept], survey


def test_a_feed_is_read_into_records():
    kept: list[Record] = []
    row = RawRecord("2026-03-09T10:00:00", "71", True, None, "89243555100", "0,2")
    read_feed(Feed([row, row]), WINDOW, MOSCOW, kept.extend)
    record = Record("2026-03-09 10:00:00", "+79243555100", "0071", 1, "", Decimal("0.200000"))
    assert kept == [record, record]


@pytest.mark.fault(61)
def test_records_of_other_days_are_surveyed_and_excluded():
    kept, survey = times_and_survey(
        *("2026-03-07T23:59:59", "2026-03-08T00:00:00", "2026-03-09T23:59:59", "2026-03-10T00:00:00")
    )
    assert kept == ["2026-03-08 00:00:00", "2026-03-09 23:59:59"]
    assert survey == ReadStats(4, 2, "2026-03-07 23:59:59", "2026-03-10 00:00:00", True, False, ())


def test_the_day_of_a_record_is_that_of_the_wall_clock():
    kept, _ = times_and_survey("2026-03-07T21:00:00Z", "2026-03-09T21:00:00Z")
    assert kept == ["2026-03-08 00:00:00"]


def test_a_feed_without_records_is_ordered():
    assert times_and_survey() == ([], ReadStats(0, 0, None, None, True, True, ()))


@calm
@given(st.lists(st.builds("2026-03-{:02}T{:02}:00:00".format, st.integers(6, 12), st.integers(0, 23)), max_size=8))
def test_a_survey_has_the_ends_and_the_order_of_a_listing(times):
    _, survey = times_and_survey(*times)
    canonical = [time.replace("T", " ") for time in times]
    assert (survey.listed, survey.earliest, survey.latest) == (
        len(times),
        min(canonical, default=None),
        max(canonical, default=None),
    )
    assert survey.ascending is (canonical == sorted(canonical))
    assert survey.descending is (canonical == sorted(canonical, reverse=True))


@pytest.mark.parametrize(
    "lost", [{"phone": "8,999E+10"}, {"code_auth": Decimal("1E+3")}, {"phone": "########", "price": "x"}]
)
def test_a_key_lost_by_a_spreadsheet_refuses_the_whole_answer(lost):
    with pytest.raises(InvalidResponse, match="beyond recovery") as refusal:
        times_and_survey("2026-03-09T10:00:00", raw("2026-03-09T11:00:00", **lost))
    assert not any(str(value) in str(refusal.value) for value in lost.values() if len(str(value)) > 1)


def test_an_invalid_record_is_rejected_and_the_rest_of_its_day_kept():
    bad = raw("2026-03-09T25:00:00", phone="89243555100")
    kept, survey = times_and_survey("2026-03-09T10:00:00", bad, "2026-03-09T11:00:00")
    assert kept == ["2026-03-09 10:00:00", "2026-03-09 11:00:00"]
    assert survey.listed == 3
    assert survey.kept == 2
    assert survey.rejected == (
        RejectedRecord(
            MARCH_9,
            "created_at has an unknown time format",
            '{"code_auth": "", "created_at": "2026-03-09T25:00:00", "phone": "89243555100", "price": 1}',
            (None, "+79243555100", ""),
        ),
    )


@pytest.mark.parametrize("prices", [("0,20", "1.234"), ("1.234", "0,20"), ("1 234,5", "-12.500")])
def test_a_point_beside_a_decimal_comma_refuses_the_whole_answer(prices):
    feed = [raw("2026-03-09T10:00:00", price=price) for price in (*prices, *["0.20"] * 6_000)]
    for batches in (feed, feed[::-1], [feed[0], *feed[2:], feed[1]]):
        with pytest.raises(InvalidResponse, match="prices with a decimal comma"):
            times_and_survey(*batches)


def test_days_that_other_records_have_in_the_american_order_are_surveyed():
    _, survey = times_and_survey(
        "03.09.2026 10:00:00", "03.31.2026 10:00:00", "08.03.2026 10:00:00", "2026-03-08 10:00:00"
    )
    assert survey.swapped == {MARCH_9}


@pytest.mark.parametrize(
    ("bad", "day"),
    [
        (raw("2026-03-09T10:00:00", price=None), MARCH_9),
        (raw("2026-03-09T10:00:00", status="ok"), MARCH_9),
        (raw("2026-03-09T10:00:00", phone=[]), MARCH_9),
        (raw("2026-03-09"), MARCH_9),
        (raw(None), None),
        (raw("soon"), None),
        (raw_record(), None),
    ],
)
def test_an_invalid_record_of_the_window_or_of_no_day_is_rejected(bad, day):
    _, survey = times_and_survey(bad)
    assert [item.day for item in survey.rejected] == [day]


@pytest.mark.parametrize("time", ["2026-03-07T25:00:00", "2026-03-10"])
def test_an_invalid_record_of_another_day_is_ignored(time):
    assert times_and_survey(raw(time)) == ([], ReadStats(1, 0, None, None, True, True, ()))


def test_an_invalid_record_with_a_valid_time_is_rejected_only_on_its_day():
    _, survey = times_and_survey(raw("2026-03-07T10:00:00", price="free"), raw("2026-03-10T10:00:00", price="free"))
    assert survey.rejected == ()


@pytest.mark.parametrize("time", ["2026-03-07T21:30:00Z", "2026-03-08T00:30:00", "08.03.2026 00:30:00"])
def test_an_invalid_record_with_a_valid_time_belongs_to_its_local_day(time):
    _, survey = times_and_survey(raw(time, price="free"))
    assert [item.day for item in survey.rejected] == [date(2026, 3, 8)]


@pytest.mark.parametrize("time", ["2026-03-09T21:30:00Z", "2026-03-10T00:30:00", "10.03.2026 00:30:00"])
def test_an_invalid_record_of_the_next_local_day_is_ignored(time):
    assert times_and_survey(raw(time, price="free"))[1].rejected == ()


def test_an_item_that_is_not_a_record_is_rejected_if_it_may_be_of_the_window():
    here, nowhere, elsewhere = (RejectedRecord(day, "why", "[]") for day in (MARCH_9, None, date(2026, 3, 10)))
    _, survey = times_and_survey("2026-03-09T10:00:00", malformed=[here, nowhere, elsewhere])
    assert survey.rejected == (here, nowhere)
    assert survey.listed == 4


@pytest.mark.fault(47)
def test_a_deeply_nested_field_rejects_only_its_record():
    # The decoder can go this deep from a low stack; the payload is rendered from a higher one.
    deep: list[object] = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    kept, survey = times_and_survey(raw("2026-03-09T10:00:00", status_info=deep), "2026-03-09T10:00:01")
    assert kept == ["2026-03-09 10:00:01"]
    [bad] = survey.rejected
    assert bad.reason == "a field is a list or an object"
    assert bad.payload.count("[") == MAX_PAYLOAD_DEPTH - 1
    assert json.loads(bad.payload)["price"] == 1
