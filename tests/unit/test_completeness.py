"""Answers that a limit of the vendor cut are never taken as complete, whatever the limit."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.fake_vendor import (
    TODAY,
    FakeClient,
    day,
    days,
    expected_days,
    raising,
    read,
    records_by_day,
    records_per_day,
    vendor_record,
    within,
)

from etl.date_ranges import DateRange
from etl.errors import RequestRejected, RetryableError, SourceUnavailable
from etl.extract.answer_evidence import MIN_LIMIT, AnswerEvidence
from etl.extract.completeness import NewestRecords, contains_all
from etl.extract.run_evidence import RunEvidence
from etl.extract.source import Source
from etl.model import ReadStats, Record, RejectedRecord, single_slice_day

KEEPS = ["oldest", "newest", "any"]
ORDERS = ["ascending", "descending", "shuffled"]


def in_time(records):
    return sorted(records, key=lambda record: record["created_at"])


def limited(records, limit, keeps, order):
    """The records of an answer after a limit, in the vendor's order."""
    rng = random.Random(len(records))
    kept = in_time(records)
    if limit is not None and len(kept) > limit:
        if keeps == "any":
            kept = in_time(rng.sample(kept, limit))
        else:
            kept = kept[:limit] if keeps == "oldest" else kept[-limit:]
    if order == "shuffled" or keeps == "any":  # who sorts the answer sorts before it is cut
        rng.shuffle(kept)
    return kept[::-1] if order == "descending" else kept


def vendor_of(records, *, json, csv, newest=True):
    """A vendor with a limit, a kept end and an order for each call; None for a call that fails."""
    down = raising(RetryableError("down"))
    return FakeClient(
        down if json is None else lambda requested: limited(within(records, requested), *json),
        None if csv is None else lambda start: limited(within(records, DateRange(start, TODAY)), *csv),
        in_time(records) if newest else None,
    )


def sizes_of_days(draw):
    return draw(st.lists(st.sampled_from([0, 1, 3, 7, 12, 15, 25, 40]), min_size=14, max_size=14))


FORMS = st.tuples(st.none() | st.integers(MIN_LIMIT, 120), st.sampled_from(KEEPS), st.sampled_from(ORDERS))


@st.composite
def accounts(draw):
    return [
        record
        for number, size in enumerate(sizes_of_days(draw), start=-2)
        for record in records_per_day(number, number, size)
    ]


def fetched(vendor, *windows):
    """The complete days, and the other ones."""
    whole, still_open = {}, set()
    for window in windows:
        try:
            [batch] = vendor.fetch(window)
        except SourceUnavailable:
            still_open |= set(window.days())
            continue
        whole |= records_by_day(batch)
        still_open |= batch.unresolved_days.keys() | batch.incomplete_days
    return whole, still_open


@pytest.mark.fault(30)
@settings(deadline=None, max_examples=300, derandomize=True)
@given(accounts(), FORMS, st.none() | FORMS, st.booleans(), st.sampled_from([days(1, 7), days(3, 4), days(5, 11)]))
def test_no_incomplete_day_of_json_is_taken_as_complete(records, json, csv, newest, window):
    # If all records are of one day and no other call shows more, there is nothing to compare with.
    assume(newest or len({record["created_at"][:10] for record in records}) > 1)
    vendor = vendor_of(records, json=json, csv=csv, newest=newest)
    whole, still_open = fetched(vendor, window)
    expected = expected_days(records, window)
    for one, found in whole.items():
        if one not in still_open and found != expected[one]:
            pytest.fail(f"{one}: {found.total()} of {expected[one].total()} records, limit {json}")
    assert whole.keys() | still_open == set(window.days())


@settings(deadline=None, max_examples=300, derandomize=True)
@given(accounts(), FORMS, st.booleans(), st.sampled_from([days(1, 7), days(3, 4), days(5, 11), days(1, 11)]))
def test_no_incomplete_day_of_an_export_is_taken_as_complete(records, csv, newest, window):
    # Without a record before it, nothing shows that the first day of an export is complete; and only JSON or the newest
    # records, of which there are 100, show that records in the middle of an export are missing.
    assume(csv[1] != "any" or (newest and (csv[0] or 0) <= 100))
    whole, still_open = fetched(vendor_of(records, json=None, csv=csv, newest=newest), window)
    expected = expected_days(records, window)
    for one, found in whole.items():
        if one not in still_open and found != expected[one] and one != window.first:
            pytest.fail(f"{one}: {found.total()} of {expected[one].total()} records, limit {csv}")


def fitting(records, limit, keeps, order):
    """The records of an answer after a limit on its bytes, in the vendor's order."""
    kept = in_time(records)
    if keeps == "newest":
        kept.reverse()
    left = limit
    for number, record in enumerate(kept):
        left -= len(str(record))
        if left < 0:
            return limited(kept[:number], None, keeps, order)
    return limited(kept, None, keeps, order)


BYTES = st.tuples(
    # More than MIN_LIMIT records of some 900 bytes.
    st.none() | st.integers(12_000, 120_000), st.sampled_from(["oldest", "newest"]), st.sampled_from(ORDERS)
)  # fmt: skip


def with_texts(records):
    """The records with texts of different lengths."""
    rng = random.Random(len(records))
    return [record | {"status_info": "o" * rng.randrange(650, 900)} for record in records]


@settings(deadline=None, max_examples=300)
@given(accounts().map(with_texts), BYTES, BYTES, st.booleans(), st.sampled_from([days(1, 7), days(3, 4), days(5, 11)]))
def test_no_day_that_a_limit_on_bytes_truncates_is_taken_as_complete(records, json, csv, newest, window):
    assume(json[0] is None or csv[0] is None)
    vendor = FakeClient(
        lambda requested: fitting(within(records, requested), json[0] or 10**9, *json[1:]),
        lambda start: fitting(within(records, DateRange(start, TODAY)), csv[0] or 10**9, *csv[1:]),
        in_time(records) if newest else None,
    )
    whole, still_open = fetched(vendor, *[DateRange(one, one) for one in window.days()], window)
    expected = expected_days(records, window)
    # Without the newest records, a part of today's records looks like those that arrive between two requests.
    judged = {one for one in whole if one not in still_open and (one < TODAY or newest)}
    assert {one: whole[one] for one in judged if whole[one] != expected[one]} == {}
    assert whole.keys() | still_open == set(window.days())


def served(requested, limit, keeps):
    """The days of a request that are served by a vendor that limits their number."""
    more = timedelta(limit - 1)
    if keeps == "first":
        return DateRange(requested.first, min(requested.last, requested.first + more))
    return DateRange(max(requested.first, requested.last - more), requested.last)


@given(accounts(), st.integers(4, 12), st.sampled_from(["first", "last"]), st.sampled_from(ORDERS), st.booleans())
def test_no_incomplete_day_of_json_with_a_limit_of_days_is_taken_as_complete(records, limit, keeps, order, newest):
    vendor = FakeClient(
        lambda requested: limited(within(records, served(requested, limit, keeps)), None, "oldest", order),
        None,
        in_time(records) if newest else None,
    )
    whole, still_open = fetched(vendor, days(1, 10))
    expected = expected_days(records, days(1, 10))
    assert {one: found for one, found in whole.items() if one not in still_open and found != expected[one]} == {}
    assert whole.keys() | still_open == set(days(1, 10).days())


@given(accounts(), st.integers(3, 12), st.sampled_from(ORDERS), st.booleans(), st.booleans())
@example(records_per_day(0, 0, 12) + records_per_day(10, 10, 1), 3, "ascending", False, True)
def test_an_export_with_a_limit_of_days_is_continued(records, limit, order, newest, json_is_empty):
    vendor = FakeClient(
        (lambda _: []) if json_is_empty else raising(RetryableError("down")),
        lambda start: limited(within(records, served(DateRange(start, TODAY), limit, "first")), None, "oldest", order),
        in_time(records) if newest else None,
    )
    whole, still_open = fetched(vendor, days(1, 10))
    expected = expected_days(records, days(1, 10))
    assert {one: found for one, found in whole.items() if one not in still_open and found != expected[one]} == {}
    assert len(vendor.exports) < 30


def test_an_export_with_a_limit_of_days_is_continued_to_the_end():
    records = [record for number in range(-2, 12) for record in records_per_day(number, number, 20 - number)]
    vendor = FakeClient(
        raising(RetryableError("down")), lambda start: within(records, served(DateRange(start, TODAY), 5, "first"))
    )
    assert fetched(vendor, days(1, 10)) == (expected_days(records, days(1, 10)), set())


def test_a_limit_of_days_may_cut_the_day_next_to_hidden_ones():
    """The vendor counts days in a zone three hours behind: the last day of an answer ends at 03:00."""
    records = [vendor_record(f"{day(number)}T{hour}:00:00") for number in range(4, 12) for hour in ("02", "12")]

    def listed(requested):
        part = served(requested, 4, "first")
        return [
            record
            for record in records
            if (datetime.fromisoformat(record["created_at"]) - timedelta(hours=3)).date() in part
        ]

    assert fetched(FakeClient(listed), days(1, 7)) == (expected_days(records, days(1, 7)), set())


def test_a_day_that_another_answer_lists_is_not_empty():
    """Answers cover the last two days of a request, which hides a day if the request is padded."""
    records = records_per_day(-2, 11, 1)
    vendor = FakeClient(lambda requested: within(records, served(requested, 2, "last")))
    assert fetched(vendor, days(1, 7)) == (expected_days(records, days(1, 7)), set())


@settings(deadline=None, max_examples=100)
@given(accounts(), st.sampled_from(ORDERS), st.sampled_from([days(1, 7), days(3, 4), days(5, 11)]), st.booleans())
def test_answers_without_a_limit_are_accepted_in_any_order(records, order, window, newest):
    form = (None, "oldest", order)
    whole, still_open = fetched(vendor_of(records, json=form, csv=form, newest=newest), window)
    assert (whole, still_open) == (expected_days(records, window), set())


@settings(deadline=None, max_examples=100)
@given(st.integers(MIN_LIMIT, 60), st.sampled_from(KEEPS), st.sampled_from(ORDERS), st.booleans())
@example(10, "oldest", "ascending", True)
def test_a_limit_that_no_single_day_reaches_only_costs_requests(limit, keeps, order, newest):
    records = records_per_day(-9, 11, limit - 2)  # with one more, a limit on bytes may have truncated them
    vendor = vendor_of(records, json=(limit, keeps, order), csv=None, newest=newest)
    window = days(1, 10)
    assert fetched(vendor, window) == (expected_days(records, window), set())


@settings(deadline=None, max_examples=100)
@given(st.integers(MIN_LIMIT, 60))
def test_an_export_that_keeps_the_oldest_lines_is_continued(limit):
    records = records_per_day(-3, 11, (limit - 1) // 2)
    vendor = vendor_of(records, json=None, csv=(limit, "oldest", "ascending"))
    whole, still_open = fetched(vendor, days(1, 7))
    assert whole == {one: found for one, found in expected_days(records, days(1, 7)).items() if one in whole}
    assert still_open == set() or limit < 14


@pytest.mark.parametrize("newest", [True, False])
def test_an_account_with_three_records_costs_requests_only_for_empty_days(newest):
    records = [vendor_record(f"{day(number)}T10:00:00") for number in (2, 5, 9)]
    form = (None, "oldest", "ascending")
    vendor = vendor_of(records, json=form, csv=form, newest=newest)
    assert fetched(vendor, days(1, 7)) == (expected_days(records, days(1, 7)), set())
    # The newest records show which days are empty; without them each of the five is fetched once more.
    assert len(vendor.requested) == 1 + (0 if newest else 5)
    assert len(vendor.exports) == 1


@pytest.mark.parametrize("window", [days(4, 10), days(11, 11)])
@pytest.mark.parametrize("each", [5, 12, 100])
@pytest.mark.parametrize("order", ORDERS)
def test_an_ordinary_night_costs_at_most_two_additional_requests(window, each, order):
    # Days of different sizes: equal ones look like a limit on the records of a day, and are compared with the export.
    records = [record for number in range(-9, 11) for record in records_per_day(number, number, each + number % 7)]
    records += [vendor_record(f"{TODAY}T00:10:00", code_auth=f"{n:04}") for n in range(3)]
    form = (None, "oldest", order)
    vendor = vendor_of(records, json=form, csv=form)
    assert fetched(vendor, window) == (expected_days(records, window), set())
    assert len(vendor.requested) + len(vendor.exports) <= 1 + 2


# Other limits ---------------------------------------------------------------------------------------------------------


def with_unlisted(records, limit, keeps):
    """The records of an answer whose limit also counts rows that it does not list, one in six."""
    kept = in_time(records)
    rows = [row for number, record in enumerate(kept) for row in ([record, None] if number % 5 == 4 else [record])]
    return [row for row in (rows[:limit] if keeps == "oldest" else rows[-limit:]) if row]


def assert_no_day_is_wrong(vendor, window, records, *, complete=()):
    whole, still_open = fetched(vendor, window)
    expected = expected_days(records, window)
    assert {one: found for one, found in whole.items() if one not in still_open and found != expected[one]} == {}
    assert set(complete) <= whole.keys() - still_open


SIZES = st.lists(st.sampled_from([5, 12, 30, 60, 90]), min_size=5, max_size=5)


# The same examples in each build: rare ones show no limit, such as the sizes 5, 60, 5, 12, 60 with 43 rows.
@settings(deadline=None, max_examples=200, derandomize=True)
@given(SIZES, st.integers(20, 150), st.sampled_from(["oldest", "newest"]))
@example([30, 30, 60, 30, 30], 40, "newest")
@example([5, 12, 60, 12, 60], 63, "newest")
def test_no_day_is_wrong_under_a_limit_of_json_that_also_counts_unlisted_rows(sizes, limit, keeps):
    records = [record for number, size in enumerate(sizes, start=1) for record in records_per_day(number, number, size)]
    vendor = FakeClient(
        lambda requested: with_unlisted(within(records, requested), limit, keeps),
        lambda start: within(records, DateRange(start, TODAY)),
        records,
    )
    assert_no_day_is_wrong(vendor, days(2, 4), records, complete=days(2, 4).days())


@settings(deadline=None, max_examples=100, derandomize=True)
@given(SIZES, st.integers(20, 150))
@example([40, 40, 40, 40, 40], 140)
def test_no_day_of_an_export_is_wrong_under_a_limit_that_also_counts_unlisted_rows(sizes, limit):
    records = [record for number, size in enumerate(sizes, start=1) for record in records_per_day(number, number, size)]
    vendor = FakeClient(
        raising(RetryableError("down")),
        lambda start: with_unlisted(within(records, DateRange(start, TODAY)), limit, "oldest"),
        records,
    )
    assert_no_day_is_wrong(vendor, days(2, 5), records)


def test_no_day_is_wrong_if_each_answer_is_the_first_half_of_itself():
    records = records_per_day(1, 8, 40)

    def listed(requested):
        answer = in_time(within(records, requested))
        return answer[: len(answer) // 2]

    vendor = FakeClient(listed, lambda start: within(records, DateRange(start, TODAY)))
    assert_no_day_is_wrong(vendor, days(2, 6), records, complete=days(2, 6).days())


def test_a_day_shown_empty_is_requested_alone_if_there_is_no_export():
    records = [record for number in range(1, 6) for record in records_per_day(number, number, 4 + number)]

    def listed(requested):
        answer = within(records, requested)
        newest = max((record["created_at"][:10] for record in answer), default="")
        return [record for record in answer if record["created_at"].startswith(newest)]

    assert_no_day_is_wrong(FakeClient(listed), days(2, 5), records, complete=days(2, 5).days())


def test_json_alone_shows_no_day_empty_that_a_limit_on_days_hides():
    records = records_per_day(1, 8, 3)

    def listed(requested):
        answer = within(records, requested)
        days_listed = sorted({record["created_at"][:10] for record in answer})[:3]
        return [record for record in answer if record["created_at"][:10] in days_listed]

    source = FakeClient(listed).open_source()
    assert records_by_day(source.fetch_json(days(2, 6))) == expected_days(records, days(2, 6))


def test_a_round_limit_in_the_order_of_arrival_is_found():
    records = [*records_per_day(1, 4, 15), *records_per_day(5, 8, 10)]
    records += [record | {"code_auth": "late"} for record in records_per_day(4, 4, 20)]

    def listed(requested):
        return in_time(within(records, requested)[:100])

    vendor = FakeClient(listed, lambda start: within(records, DateRange(start, TODAY)), None)
    assert len(listed(days(1, 8))) == 100
    assert_no_day_is_wrong(vendor, days(2, 6), records, complete=days(2, 6).days())


@pytest.mark.parametrize("field", ["created_at", "phone", "code_auth"])
def test_an_export_with_other_keys_than_the_newest_records_is_refused(field):
    records = records_per_day(1, 8, 40)
    masked = {"created_at": lambda value: f"{value[:11]}23{value[13:]}", "phone": lambda _: "8924***5100",
              "code_auth": lambda _: "****"}[field]  # fmt: skip
    other = [record | {field: masked(record[field])} for record in records]
    vendor = FakeClient(raising(RetryableError("down")), lambda start: within(other, DateRange(start, TODAY)), records)
    assert fetched(vendor, days(2, 8)) == ({}, set(days(2, 8).days()))


@pytest.mark.parametrize("price", ["20", "0", "0.3"])
def test_an_export_with_other_prices_than_the_newest_records_is_refused(price):
    records = records_per_day(1, 8, 40)
    other = [record | {"price": price} for record in records]
    vendor = FakeClient(raising(RetryableError("down")), lambda start: within(other, DateRange(start, TODAY)), records)
    assert fetched(vendor, days(2, 8)) == ({}, set(days(2, 8).days()))


def test_an_export_with_a_corrected_price_is_accepted():
    records = records_per_day(1, 8, 40)
    corrected = [*records[:-10], *(record | {"price": "0.3"} for record in records[-10:])]
    vendor = FakeClient(
        raising(RetryableError("down")), lambda start: within(corrected, DateRange(start, TODAY)), records
    )
    assert fetched(vendor, days(2, 8)) == (expected_days(corrected, days(2, 8)), set())


def test_an_export_that_lacks_records_before_its_first_one_that_json_lists_is_truncated():
    records = records_per_day(1, 8, 40)
    vendor = FakeClient(
        lambda requested: within(records, requested)[-25:],
        lambda start: within(records, DateRange(start, TODAY))[-197:], records,
    )  # fmt: skip
    complete, still_open = fetched(vendor, days(4, 8))
    assert complete == expected_days(records, days(5, 8))
    assert still_open == {day(4)}


def test_the_first_day_of_a_young_account_is_complete_in_an_export_that_lists_more_than_is_known():
    records = records_per_day(6, 10, 31)
    vendor = FakeClient(raising(RetryableError("down")), lambda start: within(records, DateRange(start, TODAY)), None)
    known = dict.fromkeys(days(7, 10).days(), 31) | {day(6): 30}
    [batch] = vendor.fetch(days(4, 10), complete=known)
    assert records_by_day(batch).items() >= expected_days(records, days(6, 10)).items()


@pytest.mark.parametrize("newest", [57, 99])
def test_a_limit_shared_with_the_newest_records_is_found_on_a_single_day(newest):
    records = records_per_day(8, 10, 103)
    vendor = FakeClient(lambda requested: within(records, requested)[-newest:], None, records[-newest:])
    assert fetched(vendor, days(9, 9)) == ({}, {day(9)})


def test_a_round_first_answer_is_proven_complete_by_one_more_day_at_the_end_that_has_records():
    records = records_per_day(3, 11, 25)
    vendor = FakeClient(lambda requested: within(records, requested), None, None)
    assert fetched(vendor, days(3, 4)) == (expected_days(records, days(3, 4)), set())
    assert vendor.requested == [days(2, 6), days(2, 7)]


def test_a_source_with_another_client_judges_by_the_same_evidence():
    records = records_per_day(3, 9, 25)
    first, second = (FakeClient(lambda requested: within(records, requested), None, None) for _ in range(2))
    source = first.open_source()
    source.fetch(days(3, 8))
    other = source.with_client(second)
    assert other.fetch(days(9, 9)).days.keys() == {day(9)}
    assert second.requested == [days(8, 11)]


def test_a_first_window_too_large_for_an_answer_is_fetched_in_parts():
    """A gateway ends each request that takes too long; the newest records are all of the window."""
    records = records_per_day(6, 10, 30)

    def listed(requested):
        answer = within(records, requested)
        if len(answer) > 110:
            raise RetryableError("HTTP 504")
        return answer

    assert fetched(FakeClient(listed, None, records), days(6, 9)) == (expected_days(records, days(6, 9)), set())


def test_an_empty_export_does_not_show_days_empty_if_json_lists_unreadable_records():
    unreadable = [record | {"created_at": ""} for record in records_per_day(3, 3, 2)]
    vendor = FakeClient(lambda _: unreadable, lambda _: [], unreadable)
    whole, still_open = fetched(vendor, days(1, 7))
    assert (whole, still_open) == ({}, set(days(1, 7).days()))


def survey(listed, earliest="2026-03-01 10:00:00", latest="2026-03-02 10:00:00", size=0):
    return ReadStats(listed, listed, earliest, latest, ascending=True, descending=False, rejected=(), size=size)


def add_answer(evidence, stats, first=date(2026, 3, 1), last=date(2026, 3, 2), counts=None):
    evidence.add(replace(stats, counts=counts or {}), DateRange(first, last), counts or {})


def test_only_a_larger_answer_shows_that_a_smaller_one_reached_no_limit():
    sizes = AnswerEvidence(TODAY)
    add_answer(sizes, survey(50))
    assert sizes.prove_complete(survey(49))
    assert not sizes.prove_complete(survey(50))
    assert AnswerEvidence(TODAY).prove_complete(survey(MIN_LIMIT - 1)), "a limit is larger"


def test_a_limit_on_bytes_truncates_answers_of_different_numbers_of_records():
    sizes = AnswerEvidence(TODAY)
    add_answer(sizes, survey(50, size=10_100))
    assert not sizes.prove_complete(survey(48, size=10_000))
    assert not sizes.prove_complete(survey(52, size=9_000))
    assert sizes.prove_complete(survey(48, size=9_600))
    assert sizes.prove_complete(survey(48, size=8_000)), "a limit is larger"
    assert sizes.count_similar(survey(48, earliest="2026-03-01 11:00:00", size=10_000)) == 1
    assert sizes.count_similar(survey(48, size=9_600)) == 0


FIRST, SECOND = date(2026, 3, 1), date(2026, 3, 2)


@pytest.mark.parametrize(
    ("part", "counts", "is_truncated"),
    [
        (survey(30, "2026-03-01 09:00:00", "2026-03-01 10:00:00"), {FIRST: 30}, True),  # it lists an earlier day
        (survey(20, "2026-03-02 09:00:00", "2026-03-02 10:00:00"), {SECOND: 36}, True),  # it lists more of a day
        (survey(20, "2026-03-02 09:00:00", "2026-03-02 10:00:00"), {SECOND: 32}, False),
        (survey(0, None, None), {FIRST: 0}, False),
    ],
)
def test_an_answer_that_lacks_what_a_part_of_its_dates_lists_is_truncated(part, counts, is_truncated):
    whole = survey(32, "2026-03-02 00:10:00", "2026-03-02 10:00:00")
    for in_order in (True, False):
        evidence = AnswerEvidence(TODAY)
        answers = [(whole, FIRST, SECOND, {FIRST: 0, SECOND: 32}), (part, min(counts), max(counts), counts)]
        for answer in answers if in_order else answers[::-1]:
            add_answer(evidence, *answer)
        assert evidence.is_truncated(whole, DateRange(FIRST, SECOND)) == is_truncated
        assert not evidence.is_truncated(part, DateRange(min(counts), max(counts)))
    add_answer(evidence, survey(40), FIRST, TODAY)
    assert evidence.prove_complete(survey(31)) == (not is_truncated), "truncated answers differ in size: 32 and 40"
    assert evidence.prove_complete(survey(15))


def test_a_record_that_comes_in_between_two_requests_shows_no_limit():
    evidence = AnswerEvidence(TODAY)
    whole, range_ = survey(32), DateRange(FIRST, SECOND)
    add_answer(evidence, whole, FIRST, SECOND, {SECOND: 30})
    add_answer(evidence, survey(31, "2026-03-02 00:10:00"), SECOND, SECOND, {SECOND: 31})
    assert evidence.is_truncated(whole, range_), "it is requested again"
    add_answer(evidence, survey(40), FIRST, TODAY)
    assert (evidence.limit_varies(), evidence.prove_complete(survey(31))) == (False, True)


def test_records_that_arrive_today_between_two_requests_show_no_limit():
    evidence = AnswerEvidence(today=SECOND)
    whole = survey(32, "2026-03-01 00:10:00", "2026-03-01 10:00:00")
    add_answer(evidence, whole, FIRST, SECOND, {FIRST: 32, SECOND: 0})
    add_answer(evidence, survey(3, "2026-03-02 00:10:00"), SECOND, SECOND, {SECOND: 3})
    assert not evidence.is_truncated(whole, DateRange(FIRST, SECOND))
    assert evidence.most_kept(SECOND) == 0


def test_two_different_answers_of_one_size_indicate_a_limit_and_equal_ones_do_not():
    sizes = AnswerEvidence(TODAY)
    add_answer(sizes, survey(50))
    add_answer(sizes, survey(50))
    assert not sizes.suggest_limit(50)
    add_answer(sizes, survey(50, earliest="2026-03-01 11:00:00"))
    assert sizes.suggest_limit(50)
    add_answer(sizes, survey(51))
    assert not sizes.suggest_limit(51)


def test_an_answer_as_large_as_the_largest_of_earlier_runs_may_be_limited():
    assert AnswerEvidence(TODAY, largest_before=37).suggest_limit(37)
    assert not AnswerEvidence(TODAY, largest_before=37).suggest_limit(36)


def test_newest_records_with_unreadable_ones_are_not_a_complete_list():
    record = Record("2026-03-08 05:48:49", "+79925065531", "4092", 0, "ok", Decimal("3.25"))
    answered = {date(2026, 3, 8): single_slice_day(date(2026, 3, 8), [record])}
    assert NewestRecords(Counter([record]), listed=1, include_all=True).match_exactly(answered)
    unreadable = RejectedRecord(date(2026, 3, 8), "price", "{}")
    for item, is_known in ((unreadable, True), (replace(unreadable, day=None), False)):
        newest = NewestRecords(Counter([record]), listed=2, include_all=True, unreadable=(item,))
        assert not newest.match_exactly(answered)
        assert not newest.match_exactly(answered, [item, item])
        assert newest.match_exactly(answered, [item]) == is_known


# Rules about single days ----------------------------------------------------------------------------------------------


def newest_of(records, *, listed=None, include_all=True):
    kept = Counter(one for counted in expected_days(records, days(1, 12)).values() for one in counted.elements())
    unreadable = (RejectedRecord(None, "time", "{}"),) if listed else ()
    return NewestRecords(kept, listed or kept.total(), include_all, unreadable)


def listed_on(records, *numbers):
    """The given days of a listing."""
    return {
        day(number): single_slice_day(day(number), list(expected_days(records, days(1, 12))[day(number)].elements()))
        for number in numbers
    }


def test_the_newest_records_confirm_the_days_that_they_cover():
    records = records_per_day(8, 10, 3)
    assert newest_of(records).confirm(listed_on(records, 8, 9, 10)) == set(days(8, 10).days())
    assert newest_of(records).confirm(listed_on(records[:-1], 9, 10)) == {day(9)}
    assert newest_of(records, include_all=False).confirm(listed_on(records, 8, 9, 10)) == set(days(9, 10).days())
    assert newest_of(records, listed=10).confirm(listed_on(records, 9)) == frozenset()


def test_a_listing_that_lacks_a_record_of_another_one_is_incomplete():
    records = records_per_day(9, 9, 3)
    (one,), (fewer,) = listed_on(records, 9).values(), listed_on(records[1:], 9).values()
    assert contains_all(one, one)
    assert contains_all(one, fewer)
    assert not contains_all(fewer, one)
    assert not contains_all(one, *listed_on([*records, records[0]], 9).values())


@pytest.mark.parametrize("future", [True, False])
def test_a_day_before_hidden_records_is_complete_if_the_newest_records_show_it(future):
    """The request for the 10th ends today; the answer hides a record of today."""
    records = records_per_day(8, 11, 3)

    def listed(requested):
        if future and requested.last > TODAY:
            raise RequestRejected("in the future")
        return within(records[:-3], requested)

    [batch] = FakeClient(listed, newest=records).fetch(days(9, 10))
    assert records_by_day(batch) == expected_days(records, days(9, 10))
    assert batch.incomplete_days == frozenset()


def test_an_export_that_lacks_records_of_a_truncated_answer_is_refused():
    records = records_per_day(7, 11, 50)
    vendor = FakeClient(
        lambda requested: within(records, requested)[:45],
        lambda start: [one for one in within(records, DateRange(start, TODAY)) if one != records[30]],
    )
    [batch] = vendor.fetch(days(7, 9))
    assert set(batch.unresolved_days) == {day(7)}
    assert records_by_day(batch) == expected_days(records, days(8, 9))


@pytest.mark.parametrize("json", [True, False])
def test_the_first_day_of_an_export_that_cannot_start_earlier_proves_nothing(json):
    """The export cuts days in a zone three hours behind, and serves nothing before the 7th."""
    records = records_per_day(7, 11, 30)

    def listed(requested):
        if not json:
            raise RetryableError("down")
        if requested.first < day(7):
            raise RequestRejected("too early")
        return within(records, requested)[-10:]

    def exported(start):
        if start < day(7):
            raise RequestRejected("too early")
        return [one for one in within(records, DateRange(start, TODAY)) if str(one["created_at"]) >= f"{day(7)}T03"]

    [batch] = FakeClient(listed, exported).fetch(days(7, 9))
    assert records_by_day(batch).keys() == set(days(8 if json else 7, 9).days())


@settings(deadline=None, max_examples=200)
@given(accounts(), FORMS, st.sampled_from([days(1, 7), days(3, 4), days(5, 11)]))
@example(records_per_day(-2, 11, 3), (12, "oldest", "ascending"), days(1, 7))
def test_a_day_empty_in_json_is_incomplete_if_an_export_lists_a_record_of_it(records, csv, window):
    listed_days = set()

    def exported(start):
        listed = limited(within(records, DateRange(start, TODAY)), *csv)
        found = {date.fromisoformat(record["created_at"][:10]) for record in listed}
        listed_days.update(found - {start})  # the first day is padding
        return listed

    whole, still_open = fetched(FakeClient(lambda _: [], exported), *[window] * 2)
    empty = {one for one, found in whole.items() if not found} - still_open - {TODAY}
    assert not empty & listed_days


def test_a_truncated_export_confirms_no_empty_day_that_a_later_export_has():
    records = [
        record
        for number, size in ((2, 3), (3, 2), (6, 1), (7, 4), (9, 1))
        for record in records_per_day(number, number, size)
    ]
    form = (10, "oldest", "ascending")
    vendor = FakeClient(lambda _: [], lambda start: limited(within(records, DateRange(start, TODAY)), *form))
    whole, still_open = fetched(vendor, days(1, 7), days(8, 11))
    assert whole[day(9)] == expected_days(records, days(9, 9))[day(9)]
    assert day(2) in still_open


def test_an_export_that_hides_the_days_of_the_newest_records_shows_no_day_empty():
    records = records_per_day(2, 11, 30)
    vendor = FakeClient(raising(RetryableError("down")), lambda _: [], records)
    assert fetched(vendor, days(1, 7), days(8, 11)) == ({}, set(days(1, 11).days()))


@pytest.mark.parametrize("each", [12, 120], ids=["of many days", "of today"])
@pytest.mark.parametrize("exported", [None, lambda _: []], ids=["no export", "an empty one"])
def test_json_that_lists_nothing_of_a_day_of_the_newest_records_shows_no_day_empty(exported, each):
    vendor = FakeClient(lambda _: [], exported, records_per_day(-2, 11, each))
    assert fetched(vendor, days(1, 3), days(4, 10)) == ({}, set(days(1, 10).days()))


@pytest.mark.parametrize("windows", [[days(1, 10)], [days(1, 4), days(5, 10)], [days(1, 5), days(6, 10)]])
def test_the_day_on_which_json_begins_is_compared_with_the_export(windows):
    """JSON serves the last sixty records of the account only: a part of the 5th. Nothing is charged on the 4th."""
    records = records_per_day(-2, 3, 11) + records_per_day(5, 10, 11)
    vendor = FakeClient(
        lambda requested: within(records[-60:], requested), lambda start: within(records, DateRange(start, TODAY))
    )
    batches = vendor.fetch(*windows)
    assert {one: found for batch in batches for one, found in records_by_day(batch).items()} == expected_days(
        records, days(1, 10)
    )


def test_json_that_hid_a_day_shows_no_later_one_empty_where_the_export_is_truncated():
    records = records_per_day(1, 11, 12)
    form = (10, "oldest", "ascending")
    vendor = FakeClient(lambda _: [], lambda start: limited(within(records, DateRange(start, TODAY)), *form))
    batches = vendor.fetch(days(1, 3), days(4, 6))
    assert [set(batch.unresolved_days) for batch in batches] == [set(days(1, 3).days()), set(days(4, 6).days())]


def test_an_export_that_may_begin_no_earlier_serves_the_later_of_the_days_that_json_hides():
    records = records_per_day(-2, 11, 12)

    def exported(start):
        if start < day(4):
            raise RequestRejected("too early")
        return within(records, DateRange(start, TODAY))

    whole, still_open = fetched(FakeClient(lambda _: [], exported), days(1, 7), days(8, 10))
    assert whole == expected_days(records, days(4, 10))
    assert still_open == set(days(1, 3).days()), "JSON is known to hide days, and the export serves none of these"


@pytest.mark.parametrize(("newest", "is_open"), [(None, True), ("json", True), ("csv", False)])
def test_a_day_of_which_each_source_lacks_records_of_the_other_needs_the_newest_records(newest, is_open):
    """JSON cannot serve the day before the 7th, which is therefore compared with the export, which lists more of it."""
    records = records_per_day(7, 11, 8)
    sources = {"json": records[5:], "csv": records[:5] + records[6:]}

    def listed(requested):
        if requested.first < day(7):
            raise RequestRejected("too early")
        return within(sources["json"], requested)

    exported = lambda start: within(sources["csv"], DateRange(start, TODAY))  # noqa: E731
    [batch] = FakeClient(listed, exported, sources.get(newest)).fetch(days(7, 9))
    assert (day(7) in batch.unresolved_days) == is_open
    if not is_open:
        assert records_by_day(batch)[day(7)] == expected_days(sources["csv"], days(7, 7))[day(7)]


@pytest.mark.parametrize(("csv_lists", "newest"), [("evening", None), (None, "all")])
def test_a_truncated_first_day_of_an_account_stays_open(csv_lists, newest):
    """A wider JSON answer is the same and lacks newest records, or the export lists a record that it lacks."""
    records = records_per_day(1, 1, 17) + records_per_day(5, 9, 20)

    def listed(requested):
        if requested.first < day(1):
            raise RequestRejected("too early")
        return limited(within(records, requested), 16, "oldest", "ascending")

    def exported(start):
        if csv_lists is None or start < day(1):
            raise RequestRejected("too early")
        return within(records, DateRange(start, TODAY))[9:]  # days of another zone

    vendor = FakeClient(listed, exported, records if newest else None)
    assert day(1) in fetched(vendor, days(1, 1))[1]


def test_newest_records_that_are_not_ordered_by_time_are_no_evidence():
    older, wanted, later = records_per_day(5, 5, 7), records_per_day(6, 6, 4), records_per_day(8, 8, 98)
    records = [*older, *wanted, *later]
    newest = [*wanted, *older[2:], *later, *older[:2]]  # in the order in which the vendor added them
    vendor = FakeClient(lambda requested: limited(within(records, requested), 10, "oldest", "ascending"), None, newest)
    assert fetched(vendor, days(6, 7)) == (expected_days(records, days(6, 6)), {day(7)})


def test_a_request_for_one_day_with_records_shows_that_the_end_date_is_included():
    records = records_per_day(8, 9, 5)

    def listed(requested):
        if requested.first < day(8):
            raise RequestRejected("start_date is too early")
        return within(records, requested)

    vendor = FakeClient(listed, None, records)
    evidence = RunEvidence.begin(vendor, read, day(10), largest={"json": 10})
    source = Source(vendor, read, evidence, last=day(10))
    batch = source.fetch(days(8, 10))
    assert (batch.incomplete_days | batch.unresolved_days.keys()) <= {day(8)}
    assert records_by_day(batch)[day(9)] == expected_days(records, days(9, 9))[day(9)]


def test_newest_records_in_the_order_of_their_arrival_do_not_show_a_day_empty():
    before, late, after = records_per_day(6, 6, 12), records_per_day(7, 7, 1), records_per_day(8, 8, 99)
    newest = [*before[-1:], *after[::-1]]  # the record of the day arrived before all of them
    vendor = FakeClient(
        lambda requested: limited(within([*before, *late, *after], requested), 10, "oldest", "ascending"), None, newest
    )
    found, unconfirmed = fetched(vendor, days(7, 7))
    assert (found, unconfirmed) == ({}, {day(7)})


def test_a_limit_on_the_only_day_within_weeks_is_detected_by_a_request_up_to_the_newest_records():
    records = [*records_per_day(-20, -20, 17), *records_per_day(5, 8, 40)]
    vendor = FakeClient(
        lambda requested: limited(within(records, requested), 16, "oldest", "ascending"), None, records[-100:]
    )
    assert fetched(vendor, days(-20, -20)) == ({}, {day(-20)})
    unlimited = FakeClient(lambda requested: within(records, requested), None, records[-100:])
    assert fetched(unlimited, days(-20, -20)) == (expected_days(records, days(-20, -20)), set())
