"""The choice between the vendor's two sources for each window, and the verification of their answers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.fake_vendor import (
    NOW,
    TODAY,
    FakeClient,
    day,
    days,
    expected_days,
    origin,
    raising,
    read,
    records_by_day,
    records_of,
    records_per_day,
    vendor_record,
    within,
)

from etl.date_ranges import DateRange
from etl.errors import (
    AuthenticationError,
    InvalidResponse,
    NoRecordsError,
    RequestRejected,
    RetryableError,
    SourceUnavailable,
)
from etl.extract.client import Client, RetryPolicy
from etl.extract.run_evidence import RunEvidence
from etl.extract.source import Source
from etl.extract.transport import RequestLimits, Transport
from etl.log import Redactor
from etl.model import WindowData
from etl.sandbox import Dataset, Sandbox

TOKEN = "5ecre7-t0ken-of-the-acc0unt"


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """A vendor for property tests, which send hundreds of requests."""
    with Sandbox(token=TOKEN, dataset=Dataset(1, TODAY, days=14, per_day=8, until=NOW.time()), now=NOW) as running:
        yield running


@pytest.fixture
def vendor(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


@contextmanager
def source_of(
    vendor: Sandbox,
    *,
    last: date = TODAY,
    today: date = TODAY,
    attempts: int = 1,
    complete: Mapping[date, int] | None = None,
) -> Iterator[Source]:
    limits = RequestLimits(20, 20, 1 << 26)
    transport = Transport(vendor.url, TOKEN, limits, user_agent="test", redact=Redactor([TOKEN]))
    try:
        client = Client(transport, RetryPolicy(attempts, max_wait=0))
        yield Source(client, read, RunEvidence.begin(client, read, today, complete), last=last)
    finally:
        transport.close()


def fetch(vendor: Sandbox, *windows: DateRange, **options: object) -> list[WindowData]:
    with source_of(vendor, **options) as source:  # type: ignore[arg-type]  # handed on
        return [source.fetch(window) for window in windows]


def requests(vendor: Sandbox, action: str = "post_billing_data") -> list[tuple[str, ...]]:
    return [tuple(request.params.values()) for request in vendor.requests if request.action == action]


# Padded requests -----------------------------------------------------------------------------------------------------


def test_a_request_covers_a_day_before_and_two_days_after_the_window(vendor):
    [batch] = fetch(vendor, days(2, 4))
    assert requests(vendor) == [("2026-03-01", "2026-03-06")]
    assert (batch.window, batch.requested, origin(batch)) == (days(2, 4), days(1, 6), "json")
    assert (batch.rejected, batch.incomplete_days, batch.unresolved_days) == ((), frozenset(), {})
    assert records_by_day(batch) == expected_days(vendor.dataset.records, days(2, 4))


def test_a_day_without_records_is_returned_empty(vendor):
    vendor.dataset.replace([vendor_record("2026-03-03T10:00:00")])
    [batch] = fetch(vendor, days(2, 4))
    assert {one: len(records) for one, records in batch.days.items()} == {day(2): 0, day(3): 1, day(4): 0}


def test_records_listed_twice_are_returned_twice(vendor):
    vendor.dataset.replace([vendor_record("2026-03-03T10:00:00")] * 3)
    [batch] = fetch(vendor, days(3, 3))
    assert len(batch.days[day(3)]) == 3


WINDOWS = st.tuples(st.integers(0, 10), st.integers(0, 10)).map(lambda ends: days(min(ends), max(ends)))


@settings(deadline=None)
@given(
    st.sampled_from(["inclusive", "exclusive"]),
    st.integers(-24, 24).map(lambda halves: halves / 2),
    st.booleans(),
    st.sampled_from(["ascending", "descending", "shuffled"]),
    WINDOWS,
)
@example("exclusive", -12, True, "shuffled", days(9, 10))
@example("exclusive", 12, True, "ascending", days(10, 10))
@example("inclusive", -12, True, "descending", days(10, 10))
def test_complete_days_are_equal_for_every_reading_of_dates(shared, end_date, offset, future, order, window):
    shared.reset()
    shared.policies.end_date = end_date
    shared.policies.zone_offset_hours = offset
    shared.policies.refuse_future = future
    shared.policies.order = order
    [batch] = fetch(shared, window)
    assert records_by_day(batch) == expected_days(shared.dataset.records, window)


@settings(deadline=None)
@given(
    st.sampled_from(["inclusive", "exclusive"]),
    st.integers(-12, 12),
    st.booleans(),
    st.integers(5, 11).map(lambda first: days(first, 11)),
)
def test_today_is_returned_as_far_as_listed_and_other_days_are_unaffected(shared, end_date, offset, future, window):
    shared.reset()
    shared.policies.end_date = end_date
    shared.policies.zone_offset_hours = offset
    shared.policies.refuse_future = future
    [batch] = fetch(shared, window)
    expected = expected_days(shared.dataset.records, window)
    assert records_by_day(batch).pop(TODAY) <= expected.pop(TODAY)
    assert {one: records for one, records in records_by_day(batch).items() if one != TODAY} == expected


@settings(deadline=None)
@given(st.sampled_from(["inclusive", "exclusive"]), st.integers(-12, 12), WINDOWS)
def test_the_export_is_equal_for_every_reading_of_its_date(shared, end_date, offset, window):
    shared.reset()
    shared.policies.end_date = end_date
    shared.policies.zone_offset_hours = offset
    shared.faults.add("status", action="post_billing_data", times=None)
    [batch] = fetch(shared, window)
    assert (origin(batch), records_by_day(batch)) == ("csv", expected_days(shared.dataset.records, window))


def test_the_sources_agree_in_every_format(vendor):
    vendor.policies = vendor.policies.changed(
        {
            "json": {"status": "bool", "phone": "+7", "price": "noise", "code": "number"},
            "csv": {"phone": "7", "decimal": ",", "time": "dotted", "header": "russian", "encoding": "cp1251"},
        }
    )
    with source_of(vendor) as source:
        window = days(1, 11)
        assert records_by_day(source.fetch_json(window)) == records_by_day(source.fetch_csv(window))
        assert records_by_day(source.fetch_json(window)) == expected_days(vendor.dataset.records, window)


# Start and end of requests -------------------------------------------------------------------------------------------


def test_an_end_date_in_the_future_is_requested_first(vendor):
    fetch(vendor, days(9, 11))
    assert requests(vendor) == [("2026-03-08", "2026-03-13")]


def test_requests_end_today_after_a_refused_future_end_date(vendor):
    vendor.dataset.add([vendor_record("2026-03-11T09:00:00")])
    vendor.policies.refuse_future = True
    batches = fetch(vendor, days(3, 8), days(9, 10), days(11, 11))
    assert requests(vendor) == [
        ("2026-03-02", "2026-03-10"),
        ("2026-03-08", "2026-03-12"),
        ("2026-03-08", "2026-03-11"),
        ("2026-03-10", "2026-03-11"),
    ]
    assert [records_by_day(batch) for batch in batches] == [
        expected_days(vendor.dataset.records, batch.window) for batch in batches
    ]
    assert requests(vendor, "get_billing_csv") == []


def test_requests_end_yesterday_if_the_vendor_is_a_day_behind(vendor):
    vendor.policies.refuse_future = True
    vendor.policies.zone_offset_hours = -12
    [batch] = fetch(vendor, days(9, 10))
    assert ("2026-03-08", "2026-03-10") in requests(vendor)
    assert records_by_day(batch) == expected_days(vendor.dataset.records, batch.window)


def test_today_may_be_a_future_end_date_for_a_vendor_that_is_a_day_behind(vendor):
    vendor.policies.refuse_future = True
    vendor.policies.zone_offset_hours = -12
    fetch(vendor, days(8, 9))
    assert requests(vendor)[:2] == [("2026-03-07", "2026-03-11"), ("2026-03-07", "2026-03-10")]


@pytest.mark.parametrize("most", [4, 5, 6, 7, 8, 9, 10])
def test_a_refusal_of_many_days_is_not_taken_for_one_of_the_future(most):
    records = records_per_day(-5, 11, 3)

    def listed(requested):
        if len(requested) > most:
            raise RequestRejected("too many days")
        return within(records, requested)

    batches = FakeClient(listed, raising(RetryableError("down"))).fetch(days(-2, 4), days(5, 11))
    found = {one: counted for batch in batches for one, counted in records_by_day(batch).items()}
    assert found == expected_days(records, days(-2, 11))


def test_a_refused_request_is_retried_from_a_day_later_and_from_the_last_day(vendor):
    vendor.faults.add("status", action="post_billing_data", status=400, times=None)
    [batch] = fetch(vendor, days(2, 4))
    assert requests(vendor) == [(f"2026-03-0{first}", "2026-03-06") for first in (1, 2, 3, 4)]
    assert origin(batch) == "csv"


def test_the_export_is_used_when_every_start_and_end_date_is_refused(vendor):
    vendor.faults.add("status", action="post_billing_data", status=400, times=None)
    [batch] = fetch(vendor, days(9, 11))
    ends = (13, 12, 11, 10)
    assert requests(vendor)[:8] == [(f"2026-03-0{first}", f"2026-03-{end}") for first in (8, 9) for end in ends]
    assert origin(batch) == "csv"


@pytest.mark.parametrize("source", ["post_billing_data", "get_billing_csv"])
@pytest.mark.parametrize("served", [2, 5, 7, 8])
def test_days_before_the_first_served_day_stay_open_and_others_are_fetched(source, served):
    records = records_per_day(-5, 10, 3)

    def listed(requested):
        if source == "get_billing_csv" or requested.first < day(served):
            raise RequestRejected("too early")
        return within(records, requested)

    def exported(start):
        if source == "post_billing_data" or start < day(served):
            raise RequestRejected("too early")
        return within(records, DateRange(start, TODAY))

    batches = FakeClient(listed, exported).fetch(days(2, 7), days(8, 10))
    found = {one: counted for batch in batches for one, counted in records_by_day(batch).items()}
    assert found == expected_days(records, days(served, 10))
    assert {one for batch in batches for one in batch.unresolved_days} == set(days(2, 10).days()) - found.keys()


def refusing_once(listed):
    """The same answers, except that the first request is refused."""
    seen = []

    def answer(requested):
        seen.append(requested)
        if len(seen) == 1:
            raise RequestRejected("not now")
        return listed(requested)

    return answer


@pytest.mark.parametrize("behind", [0, 15])
def test_a_temporary_refusal_of_the_first_date_skips_no_day(behind):
    records = records_per_day(1, 12, 3)

    def listed(requested):
        """Days are cut in a zone this many hours behind."""
        moved = ((record, datetime.fromisoformat(record["created_at"]) - timedelta(hours=behind)) for record in records)
        return [one for one, moment in moved if moment.date() in requested]

    [batch] = FakeClient(refusing_once(listed)).fetch(days(3, 4))
    assert records_by_day(batch) == expected_days(records, days(3, 4))


def test_a_refusal_shown_temporary_by_a_later_request_skips_no_day():
    """The window is refused, and twice the day before its later half; its earlier half is not."""
    records = records_per_day(1, 12, 30)
    refused = iter([True, True, False, True, False, True])

    def listed(requested):
        if next(refused, False):
            raise RequestRejected("not now")
        behind = ((record, datetime.fromisoformat(record["created_at"]) - timedelta(hours=15)) for record in records)
        return [one for one, moment in behind if moment.date() in requested]

    vendor = FakeClient(listed)
    [batch] = vendor.fetch(days(2, 7))
    assert [requested.first for requested in vendor.requested[3:6]] == [day(4), day(5), day(4)]
    assert records_by_day(batch) == expected_days(records, days(2, 7))


def test_the_export_is_requested_when_the_day_before_is_refused():
    """JSON cuts days in a zone behind, so it has only a part of the first day that it serves."""
    records = records_per_day(3, 12, 30)

    def listed(requested):
        if requested.first < day(3):
            raise RequestRejected("too early")
        behind = ((record, datetime.fromisoformat(record["created_at"]) - timedelta(hours=3)) for record in records)
        return [one for one, moment in behind if moment.date() in requested]

    def exported(start):
        if start < day(3):
            raise RequestRejected("too early")
        return within(records, DateRange(start, TODAY))

    vendor = FakeClient(listed, exported)
    [batch] = vendor.fetch(days(3, 5))
    assert records_by_day(batch) == expected_days(records, days(3, 5))
    assert vendor.exports[:2] == [day(2), day(3)]


def test_a_record_added_between_two_requests_is_requested_again():
    records = records_per_day(3, 10, 3)
    answers = iter([records[:-1]])
    vendor = FakeClient(lambda requested: within(next(answers, records), requested), newest=records)
    [batch] = vendor.fetch(days(8, 10))
    assert records_by_day(batch) == expected_days(records, days(8, 10))
    assert (vendor.requested[-1], vendor.exports) == (days(8, 12), [])


def test_a_record_that_is_withdrawn_between_two_requests_leaves_no_day_open():
    records = records_per_day(3, 11, 4)

    class WithdrawingVendor(FakeClient):
        def get_newest_records(self, count, read):
            answer = super().get_newest_records(count, read)
            self.newest = records
            return answer

    newest = [*records, vendor_record(f"{day(9)}T10:00:00", code_auth="9999")]
    vendor = WithdrawingVendor(
        lambda requested: within(records, requested), lambda start: within(records, DateRange(start, TODAY)), newest
    )
    [batch] = vendor.fetch(days(5, 11))
    assert (batch.unresolved_days, records_by_day(batch)) == ({}, expected_days(records, days(5, 11)))


@pytest.mark.parametrize("again", [True, False])
def test_a_day_that_lacks_newest_records_stays_open(again):
    records = records_per_day(3, 11, 4)

    class LaggingVendor(FakeClient):
        def get_newest_records(self, count, read):
            answer = super().get_newest_records(count, read)
            self.newest = self.newest if again else None
            return answer

    newest = [*records, vendor_record(f"{day(9)}T10:00:00", code_auth="9999")]
    [batch] = LaggingVendor(lambda requested: within(records, requested), None, newest).fetch(days(5, 11))
    assert batch.unresolved_days.keys() == {day(9)}


def test_a_temporary_refusal_of_a_window_is_no_evidence_about_its_days():
    records = records_per_day(1, 12, 3)
    refused = iter([True] * 4)

    def answer(select):
        def answer(requested):
            if next(refused, False):
                raise RequestRejected("not now")
            return select(requested)

        return answer

    vendor = FakeClient(answer(partial(within, records)), answer(raising(RequestRejected("never"))))
    [batch] = vendor.fetch(days(3, 3))
    assert (records_by_day(batch), batch.refused) == (expected_days(records, days(3, 3)), frozenset())


@pytest.mark.parametrize("under_way", [0, 1])
def test_an_export_refused_for_its_date_is_requested_from_a_later_day(under_way):
    records = records_per_day(6, 12, 3)

    def exported(start):
        if start < day(6):
            raise RequestRejected("too early")
        return within(records, DateRange(start, TODAY))

    vendor = FakeClient(raising(RetryableError("HTTP 503")), exported)
    source = vendor.open_source()
    source._active_windows |= {days(1, 3)} if under_way else set()
    batch = source.fetch(days(4, 10))
    assert records_by_day(batch) == expected_days(records, days(6, 10))
    assert (batch.unresolved_days.keys(), batch.refused) == (set(days(4, 5).days()), frozenset())


# Answers that may be cut ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize(("each", "known", "requests"), [(20, (2, 2), 3), (26, (2, 2), 1), (26, (4, 5), 3)])
def test_an_ordered_answer_beyond_the_window_with_the_known_records_needs_other_evidence_only_if_its_size_is_round(
    vendor, order, each, known, requests
):
    vendor.dataset.replace(records_per_day(-3, 10, each))
    vendor.policies.order = order
    complete = dict.fromkeys(days(*known).days(), each) | {days(3, 3).first: 19}
    [batch] = fetch(vendor, days(2, 3), complete=complete)
    assert records_by_day(batch) == expected_days(vendor.dataset.records, days(2, 3))
    assert len(vendor.requests) == requests


def test_a_complete_round_answer_needs_no_export(vendor):
    sizes = {number: 25 + number for number in range(-9, 11)} | {0: 4, 7: 25}  # 200 from day 0 to day 7
    vendor.dataset.replace(
        [record for number, each in sizes.items() for record in records_per_day(number, number, each)]
    )
    vendor.policies.order = "shuffled"
    [batch] = fetch(vendor, days(1, 5))
    assert sum(sizes[number] for number in range(8)) == 200
    assert records_by_day(batch) == expected_days(vendor.dataset.records, days(1, 5))
    assert requests(vendor, "get_billing_csv") == []


def test_an_answer_that_ends_in_the_window_is_compared_with_the_newest_records(vendor):
    vendor.dataset.replace(records_per_day(1, 10, 25)[:-1])
    [batch] = fetch(vendor, days(8, 10))
    assert records_by_day(batch) == expected_days(vendor.dataset.records, days(8, 10))
    assert [request.action for request in vendor.requests] == ["post_billing_data", "get_billing_record"]


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["ascending", "descending", "shuffled"]),
    st.sampled_from([None, 100, 200, 300, 400, 1000]),
    st.sampled_from([None, 1000, 2000]),
    st.integers(15, 200),
    WINDOWS,
)
def test_no_answer_cut_by_any_limit_is_taken_as_complete(shared, order, json, csv, each, window):
    shared.reset()
    shared.dataset.replace(records_per_day(0, 10, each))
    shared.policies.order = order
    shared.policies.json_limit = json
    shared.policies.csv_limit = csv
    [batch] = fetch(shared, window)
    expected = expected_days(shared.dataset.records, window)
    assert records_by_day(batch) == {day: expected[day] for day in batch.days}
    # Without a limit only a round number is refused: at the ends of all data it looks like a cut answer.
    assert not batch.unresolved_days or (json is not None and csv is not None) or each % 25 == 0


@pytest.mark.parametrize("limit", [100, 300])
def test_a_limit_that_keeps_the_newest_of_an_ascending_answer_is_detected(limit):
    records = records_per_day(1, 10, 40)
    vendor = FakeClient(
        lambda requested: within(records, requested)[-limit:], lambda start: within(records, DateRange(start, TODAY))
    )
    [batch] = vendor.fetch(days(2, 6))
    assert records_by_day(batch) == expected_days(records, days(2, 6))


def test_a_limit_that_keeps_the_oldest_of_a_descending_answer_is_detected():
    records = records_per_day(1, 10, 40)
    vendor = FakeClient(
        lambda requested: within(records, requested)[:100][::-1],
        lambda start: within(records, DateRange(start, TODAY)),
    )
    [batch] = vendor.fetch(days(2, 6))
    assert records_by_day(batch) == expected_days(records, days(2, 6))


def test_an_export_that_keeps_the_newest_of_an_ascending_listing_is_detected():
    records = records_per_day(1, 10, 150)
    vendor = FakeClient(raising(RetryableError("down")), lambda start: within(records, DateRange(start, TODAY))[-1000:])
    [batch] = vendor.fetch(days(2, 6))
    assert records_by_day(batch) == expected_days(records, days(6, 6)), "the day that a later, smaller export shows"
    assert batch.unresolved_days.keys() == set(days(2, 5).days())


def test_records_of_one_second_do_not_show_the_order_of_an_answer():
    # A hundred records of one second after the window, newest first and cut: the window's record is missing.
    records = [vendor_record("2026-03-05T10:00:00", code_auth="0001")]
    records += [vendor_record("2026-03-06T10:00:00", code_auth=f"{n:04}") for n in range(100)]
    vendor = FakeClient(lambda requested: within(records, requested)[::-1][:100], lambda _: records)
    [batch] = vendor.fetch(days(5, 5))
    assert records_by_day(batch) == expected_days(records, days(5, 5))
    vendor = FakeClient(lambda requested: within(records, requested)[::-1][:100])
    [batch] = vendor.fetch(days(5, 5))
    assert records_by_day(batch) in ({}, expected_days(records, days(5, 5)))


def test_invalid_records_count_towards_the_size_of_an_answer():
    records = [
        vendor_record("2026-03-04T10:00:00"),
        vendor_record("2026-03-05T10:00:00"),
        *[vendor_record("2026-03-05T25:00:00", code_auth=f"{n:04}") for n in range(150)],
    ]
    records.append(vendor_record("2026-03-06T10:00:00"))
    vendor = FakeClient(lambda requested: within(records, requested)[-100:], lambda _: records)
    [batch] = vendor.fetch(days(5, 5))
    assert (origin(batch), records_by_day(batch)) == ("csv", expected_days(records, days(5, 5)))


# The export where JSON fails -----------------------------------------------------------------------------------------


def test_one_export_serves_all_remaining_windows(vendor):
    vendor.faults.add("status", action="post_billing_data", times=None, skip=1)
    batches = fetch(vendor, days(1, 2), days(3, 4), days(5, 6), days(9, 11))
    assert list(map(origin, batches)) == ["json", "csv", "csv", "csv"]
    assert [records_by_day(batch) for batch in batches] == [
        expected_days(vendor.dataset.records, batch.window) for batch in batches
    ]
    assert requests(vendor, "get_billing_csv") == [("2026-03-02",)]
    assert len(requests(vendor)) == 3, "the third shows that the failure does not depend on the days"


def test_the_export_covers_all_days_of_the_run(vendor):
    vendor.faults.add("status", action="post_billing_data", times=None)
    [batch] = fetch(vendor, days(3, 4), last=day(9))
    assert batch.requested == days(2, 9)
    [batch] = fetch(vendor, days(3, 4), last=day(3))
    assert batch.requested == days(2, 4)


@pytest.mark.parametrize(
    "fault",
    [
        *({"fault": name} for name in ("html", "empty_body", "refusal", "null_data", "invalid_json", "cut", "reset")),
        *({"fault": "status", "status": status} for status in (204, 302, 400, 404, 429, 500)),
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_the_export_is_used_for_every_fault_of_json(vendor, fault):
    vendor.faults.add(**fault, action="post_billing_data", times=None)
    [batch] = fetch(vendor, days(2, 5))
    assert (origin(batch), records_by_day(batch)) == ("csv", expected_days(vendor.dataset.records, days(2, 5)))


@pytest.mark.fault(20)
@pytest.mark.parametrize("fault", ["html", "refusal", "cut_text", "invalid_json", "null_data", "empty_body"])
def test_an_export_that_is_not_csv_is_retried(vendor, fault):
    vendor.faults.add("status", action="post_billing_data", times=None)
    vendor.faults.add(fault, action="get_billing_csv")
    [batch] = fetch(vendor, days(2, 5), attempts=2)
    assert records_by_day(batch) == expected_days(vendor.dataset.records, days(2, 5))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_ends_the_run_at_once(vendor, status):
    vendor.faults.add("status", status=status, action="post_billing_data")
    with pytest.raises(AuthenticationError):
        fetch(vendor, days(2, 5), attempts=3)
    assert len(vendor.requests) == 1


def test_a_token_refused_by_the_export_ends_the_run(vendor):
    vendor.faults.add("status", action="post_billing_data", times=None)
    vendor.faults.add("status", action="get_billing_csv", status=403)
    with pytest.raises(AuthenticationError):
        fetch(vendor, days(2, 5))


def test_the_vendor_is_unavailable_when_both_sources_fail(vendor):
    vendor.faults.add("status", action="post_billing_data", status=503, times=None)
    vendor.faults.add("html", action="get_billing_csv", times=None)
    with pytest.raises(SourceUnavailable) as failed:
        fetch(vendor, days(2, 5), attempts=2)
    assert str(failed.value) == "JSON: HTTP 503; CSV: an HTML or XML page in place of a CSV"
    assert failed.value.__context__ is None


def test_the_failure_of_both_sources_does_not_contain_the_token(vendor):
    vendor.faults.add("echo_url", times=None)
    with pytest.raises(SourceUnavailable) as failed:
        fetch(vendor, days(2, 5))
    assert TOKEN not in str(failed.value)


def test_a_column_missing_from_the_export_is_reported(vendor):
    vendor.faults.add("status", action="post_billing_data", times=None)
    vendor.policies = vendor.policies.changed({"csv": {"columns": ("created_at", "phone", "code_auth", "price")}})
    [batch] = fetch(vendor, days(2, 5))
    assert all(batch.days[day].missing_fields == {"status", "status_info"} for day in batch.days)
    assert all(record[3:5] == (None, "") for day in batch.days for record in records_of(batch, day))


def test_no_export_file_stays_on_the_disk(vendor, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    vendor.faults.add("status", action="post_billing_data", times=None)
    vendor.faults.add("cut_text", action="get_billing_csv", times=2)
    with source_of(vendor) as source, pytest.raises(SourceUnavailable):
        source.fetch(days(2, 5))
    with source_of(vendor) as source:
        assert origin(source.fetch(days(2, 5))) == "csv"
        assert [path for path in tmp_path.iterdir() if path.name.startswith("billing")] == []
    assert list(tmp_path.iterdir()) == []


# Empty answers and answers about other days --------------------------------------------------------------------------


@pytest.mark.fault(22)
def test_the_export_is_used_when_it_contradicts_an_empty_answer(vendor):
    vendor.faults.add("empty_list", action="post_billing_data", times=None)
    batches = fetch(vendor, days(2, 5), days(6, 8))
    assert [(origin(batch), records_by_day(batch)) for batch in batches] == [
        ("csv", expected_days(vendor.dataset.records, batch.window)) for batch in batches
    ]
    assert len(requests(vendor, "get_billing_csv")) == 1


def test_an_empty_answer_confirmed_by_the_export_is_accepted(vendor):
    vendor.dataset.replace([vendor_record("2026-03-10T10:00:00")])
    [batch] = fetch(vendor, days(2, 5))
    assert (origin(batch), batch.incomplete_days, records_by_day(batch)) == (
        "json",
        frozenset(),
        expected_days([], days(2, 5)),
    )


def test_an_empty_answer_is_accepted_when_the_export_is_unavailable(vendor):
    vendor.dataset.replace([vendor_record("2026-03-09T10:00:00")])
    vendor.faults.add("status", action="get_billing_csv", times=None)
    first, second = fetch(vendor, days(2, 3), days(4, 5))
    assert (origin(first), records_by_day(first)) == ("json", expected_days([], days(2, 3)))
    assert (origin(second), records_by_day(second)) == ("json", expected_days([], days(4, 5)))
    assert len(requests(vendor, "get_billing_csv")) == 2, "the second shows that the failure does not depend on the day"


def test_days_that_an_answer_may_not_cover_stay_open_without_the_export(vendor):
    vendor.dataset.replace([vendor_record("2026-03-08T10:00:00"), vendor_record("2026-03-10T10:00:00")])
    vendor.policies.refuse_future = True
    vendor.faults.add("status", action="get_billing_csv", times=None)
    [batch] = fetch(vendor, days(8, 11))
    assert (batch.incomplete_days, records_by_day(batch)) == (
        frozenset(),
        expected_days(vendor.dataset.records, days(8, 11)),
    )
    # In the case above the newest records of the account show that there are no later ones.
    vendor.faults.add("status", action="get_billing_record", times=None)
    [batch] = fetch(vendor, days(8, 11))
    assert records_by_day(batch) == expected_days(vendor.dataset.records, days(8, 10))
    assert {day(10)} <= batch.incomplete_days <= {day(10), day(11)}


def test_an_answer_about_other_days_is_retried(vendor):
    vendor.dataset.replace(records_per_day(-40, 10, 3))
    vendor.faults.add("other_days", action="post_billing_data")
    [batch] = fetch(vendor, days(6, 8), attempts=2)
    assert (origin(batch), records_by_day(batch), batch.unresolved_days) == (
        "json",
        expected_days(vendor.dataset.records, days(6, 8)),
        {},
    )
    assert len(requests(vendor)) == 2


@pytest.mark.parametrize("later", [30, 7, -7, -30])
def test_an_answer_about_other_days_is_not_used(vendor, later):
    vendor.faults.add("other_days", days=-later, action="post_billing_data", times=None)
    vendor.dataset.replace(records_per_day(-40, 50, 3))
    [batch] = fetch(vendor, days(6, 8))
    assert (origin(batch), records_by_day(batch)) == ("csv", expected_days(vendor.dataset.records, days(6, 8)))


def test_a_window_has_no_days_when_both_sources_answer_about_others(vendor):
    vendor.dataset.replace(records_per_day(-40, 10, 3))
    vendor.faults.add("other_days", action="get_billing_csv", times=None)
    vendor.faults.add("other_days", action="post_billing_data", times=1)
    first, second = fetch(vendor, days(2, 3), days(7, 8))
    assert (first.days, first.unresolved_days.keys()) == ({}, {day(2), day(3)})
    assert "an answer about other days, 2026-01-30..2026-02-03," in first.unresolved_days[day(2)]
    assert (records_by_day(second), second.unresolved_days) == (expected_days(vendor.dataset.records, days(7, 8)), {})
    assert len(requests(vendor, "get_billing_csv")) == 1


def test_an_answer_about_other_days_is_reported_for_every_fault_of_the_export(vendor):
    vendor.dataset.replace(records_per_day(-40, 10, 3))
    vendor.faults.add("other_days", action="post_billing_data", times=None)
    vendor.faults.add("status", action="get_billing_csv", times=None)
    batches = fetch(vendor, days(2, 3), days(7, 8))
    assert [(batch.days, len(batch.unresolved_days)) for batch in batches] == [({}, 2), ({}, 2)]
    assert len(requests(vendor, "get_billing_csv")) == 2, "a failed export is not retried for every window"


@pytest.mark.parametrize("shift", [3, -3])
def test_an_answer_partly_about_other_days_is_confirmed_or_used_in_part(vendor, shift):
    vendor.dataset.replace(records_per_day(-9, 20, 3))
    vendor.faults.add("other_days", action="post_billing_data", days=shift, times=None)
    # The request covers the 3rd to the 8th; the answer has the first or the last days of the window.
    left_out = {day(6)} if shift > 0 else {day(4), day(5)}
    [batch] = fetch(vendor, days(4, 6))
    assert (records_by_day(batch), batch.unresolved_days) == (expected_days(vendor.dataset.records, days(4, 6)), {})
    vendor.faults.add("status", action="get_billing_csv", times=None)
    [batch] = fetch(vendor, days(4, 6))
    assert batch.unresolved_days.keys() >= left_out
    assert records_by_day(batch) == {day: expected_days(vendor.dataset.records, days(4, 6))[day] for day in batch.days}


def test_an_answer_with_all_records_instead_of_the_requested_days_is_used():
    records = [record for record in records_per_day(-9, 10, 3) if "2026-03-05" not in str(record["created_at"])]
    [batch] = FakeClient(lambda _: records).fetch(days(5, 6))
    assert (origin(batch), records_by_day(batch), batch.unresolved_days) == (
        "json",
        expected_days(records, days(5, 6)),
        {},
    )


@pytest.mark.parametrize("near", [4, 10])
def test_an_answer_about_neighbouring_days_may_be_cut_in_another_zone(near):
    records = [vendor_record(f"{day(near)}T12:00:00")]
    [batch] = FakeClient(lambda _: records, lambda _: []).fetch(days(6, 7))
    assert (batch.unresolved_days, records_by_day(batch)) == ({}, expected_days([], days(6, 7)))


def test_no_day_is_closed_whose_records_have_the_month_before_the_day():
    records = [vendor_record(f"03.{number:02}.2026 1{n}:00:00") for number in (1, 2, 4, 5) for n in range(3)]
    [batch] = FakeClient(lambda _: records, raising(RetryableError("down"))).fetch(days(1, 6))
    assert batch.days.keys() & {day(1), day(2), day(4), day(5)} == set()


def test_an_export_about_other_days_is_not_used():
    own = FakeClient(raising(RetryableError("down")), lambda _: records_per_day(-9, -8, 5))
    [batch] = own.fetch(days(6, 8))
    assert (batch.days, batch.unresolved_days.keys()) == ({}, {day(6), day(7), day(8)})


@pytest.mark.parametrize("known", [0, 3])
def test_a_day_that_was_complete_without_records_needs_no_evidence_of_a_truncated_export(known):
    records = records_per_day(4, 10, 100)
    own = FakeClient(raising(RetryableError("down")), lambda start: within(records, DateRange(start, TODAY)), records)
    [batch] = own.fetch(days(1, 3), complete={day(1): 0, day(2): known})
    assert batch.days.keys() == ({day(1), day(2)} if known == 0 else {day(1)})
    assert batch.unresolved_days.keys() == set(days(1, 3).days()) - batch.days.keys()


@pytest.mark.parametrize(
    "bad",
    [{"created_at": "12/29/2021 2:06 PM"}, {"created_at": "2026-03-06T14:06"}, {"status": "да"}, {"price": "free"}],
)
@pytest.mark.parametrize("source", ["json", "csv"])
def test_an_answer_with_only_unreadable_records_completes_none_of_their_days(source, bad):
    records = [vendor_record(f"{day(number)}T10:00:00") | bad for number in (6, 7, 8)]
    own = (
        FakeClient(lambda _: records)
        if source == "json"
        else FakeClient(raising(RetryableError("down")), lambda _: records)
    )
    [batch] = own.fetch(days(6, 8))
    assert batch.days == {}
    assert batch.unresolved_days.keys() == set(days(6, 8).days())
    assert all("can be read" in reason for reason in batch.unresolved_days.values())


UNKNOWN_TIMES = [lambda moment: f"{moment:%m/%d/%Y %I:%M %p}", lambda moment: int(moment.timestamp())]


def with_time(record: dict[str, object], spell) -> dict[str, object]:
    """A copy with a time that no program can read for certain."""
    return record | {"created_at": spell(datetime.fromisoformat(str(record["created_at"])))}


@pytest.mark.parametrize("spell", UNKNOWN_TIMES)
def test_the_records_of_an_unreadable_answer_are_not_rejected_where_the_export_has_all_its_days(spell, caplog):
    records = records_per_day(1, 11, 6)
    own = FakeClient(
        lambda requested: [with_time(record, spell) for record in within(records, requested)],
        lambda start: within(records, DateRange(start, TODAY)),
    )
    with caplog.at_level("WARNING"):
        [batch] = own.fetch(days(4, 8))
    assert (origin(batch), records_by_day(batch)) == ("csv", expected_days(records, days(4, 8)))
    assert rejected(batch) == []
    [warning] = caplog.messages
    assert "none of the 48 records of the answer can be read" in warning
    assert f"the CSV export is used for {days(4, 8)}" in warning


def test_the_records_of_an_unreadable_answer_are_not_rejected_where_records_before_it_can_be_read():
    records = records_per_day(1, 10, 6)
    own = FakeClient(
        lambda requested: [
            record if str(record["created_at"]) < "2026-03-04" else with_time(record, UNKNOWN_TIMES[0])
            for record in within(records, requested)
        ],
        lambda start: within(records, DateRange(start, TODAY)),
    )
    [batch] = own.fetch(days(4, 8))
    assert (origin(batch), records_by_day(batch)) == ("csv", expected_days(records, days(4, 8)))
    assert rejected(batch) == []


def test_the_records_of_an_unreadable_answer_are_rejected_if_the_export_lists_fewer():
    records, hidden = records_per_day(1, 11, 6), records_per_day(6, 6, 200)[1:]
    own = FakeClient(
        lambda requested: [with_time(record, UNKNOWN_TIMES[0]) for record in within(records + hidden, requested)],
        lambda start: within(records, DateRange(start, TODAY)),
    )
    [batch] = own.fetch(days(4, 8))
    assert len(batch.rejected) == len(within(records, days(3, 10))) + len(hidden)


def test_the_unreadable_records_of_an_answer_that_is_used_for_a_day_are_rejected():
    records = records_per_day(1, 11, 6)
    unreadable = {str(day(5)), str(day(6))}
    own = FakeClient(
        lambda requested: [
            with_time(record, UNKNOWN_TIMES[0]) if str(record["created_at"])[:10] in unreadable else record
            for record in within(records, requested)
        ],
        lambda start: within(records, DateRange(start, TODAY)),
    )
    [batch] = own.fetch(days(4, 8))
    assert (origin(batch), records_by_day(batch)) == ("csv and json", expected_days(records, days(4, 8)))
    assert len(batch.rejected) == 12


def test_an_account_without_records_is_empty_in_both_sources(vendor):
    vendor.dataset.replace([])
    for faulty in ("get_billing_csv", "post_billing_data"):
        vendor.faults.add("status", action=faulty, times=None)
        [batch] = fetch(vendor, days(2, 5))
        assert records_by_day(batch) == expected_days([], days(2, 5))
        vendor.faults.clear()


# Rejected records ----------------------------------------------------------------------------------------------------


def rejected(batch: WindowData) -> list[tuple[date | None, str]]:
    return sorted(((item.day, item.reason) for item in batch.rejected), key=str)


@pytest.mark.parametrize("source", ["json", "csv"])
def test_invalid_records_are_returned_with_the_window_of_their_day_or_all(vendor, source):
    vendor.dataset.replace(
        [
            vendor_record("2026-03-02T10:00:00"),
            vendor_record("2026-03-02T10:00:01", price="free"),
            vendor_record("2026-03-04T10:00:02", status="ok"),
            vendor_record("2026-03-04T10:00:03"),
            vendor_record("soon"),
        ]
    )
    if source == "csv":
        vendor.faults.add("status", action="post_billing_data", times=None)
    one, other = fetch(vendor, days(1, 3), days(4, 5))
    assert (origin(one), origin(other)) == (source, "json" if source == "json" else "csv")
    timeless = (None, "created_at has an unknown time format")
    assert rejected(one) == sorted([(day(2), "price is not a number"), timeless], key=str)
    assert rejected(other) == sorted([(day(4), "status is not an integer"), timeless], key=str)


def test_an_invalid_record_in_several_parts_of_an_answer_is_returned_once():
    records = records_per_day(1, 10, 50)
    bad = vendor_record("soon")
    own = FakeClient(lambda requested: [bad, *within(records, requested)][:200])
    [batch] = own.fetch(days(3, 4))
    assert rejected(batch) == [(None, "created_at has an unknown time format")]
    assert records_by_day(batch) == expected_days(records, days(3, 4))


@pytest.mark.fault(109)
@pytest.mark.parametrize(
    ("skew", "warnings"),
    [
        (None, []),
        (299.0, []),
        (3600.0, ["this machine's clock is 60 minutes ahead of the vendor's"]),
        (-3600.0, ["this machine's clock is 60 minutes behind the vendor's"]),
    ],
)
def test_a_wrong_clock_is_reported_once_even_if_nothing_can_be_fetched(caplog, skew, warnings):
    vendor = FakeClient(raising(RetryableError("HTTP 503")))
    vendor.clock_skew = skew
    source = vendor.open_source()
    for one in (TODAY - timedelta(days=1), TODAY):
        with pytest.raises(SourceUnavailable):
            source.fetch(DateRange(one, one))
    assert [text for text in caplog.messages if "clock" in text] == warnings


def test_an_end_date_accepted_for_one_window_is_not_used_for_a_window_after_it():
    """Today and later were rejected temporarily; the next window starts after the accepted end date."""
    records = records_per_day(6, 11, 3)
    rejected = iter([True, True])

    def listed(requested):
        if next(rejected, False):
            raise RequestRejected("not now")
        return within(records, requested)

    vendor = FakeClient(listed)
    [_, batch] = vendor.fetch(days(8, 10), days(11, 11))
    assert vendor.requested[2].last == day(10)
    assert records_by_day(batch) == expected_days(records, days(11, 11))


# Days that make each request for them fail ---------------------------------------------------------------------------


def test_a_day_whose_answers_fail_leaves_the_other_days_complete():
    records = records_per_day(-10, 10, 5)

    def listed(requested):
        if day(4) in requested:
            raise InvalidResponse("HTTP 500")
        return within(records, requested)

    client = FakeClient(listed, newest=records)
    batches = client.fetch(days(-8, -2), days(-1, 5), days(6, 9))
    expected = expected_days(records, days(-8, 9))
    found = {one: counted for batch in batches for one, counted in records_by_day(batch).items()}
    # A request for one day shows the days beside the broken one that no other time zone makes a part of it.
    assert found == {one: expected[one] for one in expected if one not in days(3, 5)}
    assert {one: reason for batch in batches for one, reason in batch.unresolved_days.items()}.keys() == {
        *days(3, 5).days()
    }
    assert {one for batch in batches for one in batch.failed} == {*days(3, 5).days()}


def test_later_exports_serve_the_days_after_one_that_makes_exports_fail():
    records = records_per_day(-10, 11, 5)

    def exported(start):
        if start <= day(4):
            raise InvalidResponse("a phone that a spreadsheet has changed")
        return within(records, DateRange(start, day(11)))

    client = FakeClient(raising(InvalidResponse("HTTP 503")), exported)
    batches = client.fetch(days(-1, 2), days(3, 6), days(7, 9))
    found = {one: counted for batch in batches for one, counted in records_by_day(batch).items()}
    assert found == {one: counted for one, counted in expected_days(records, days(-1, 9)).items() if one >= day(6)}
    assert {one for batch in batches for one in batch.unresolved_days} == {*days(-1, 5).days()}


def test_both_sources_that_fail_for_all_days_end_the_run():
    client = FakeClient(raising(InvalidResponse("HTTP 503")), raising(InvalidResponse("HTTP 502")))
    with pytest.raises(SourceUnavailable, match="JSON: HTTP 503; CSV: HTTP 502"):
        client.fetch(days(1, 5))
    assert len(client.requested) == 1, "no part of the window is requested: no other day is known to have records"


def test_a_failure_of_all_requests_with_records_is_no_failure_of_a_day():
    records = records_per_day(-10, 11, 5)

    def listed(requested):
        if within(records, requested):
            raise InvalidResponse("HTTP 503")
        return []

    client = FakeClient(listed, partial(since, records), records)
    [batch] = client.fetch(days(1, 7), complete=dict.fromkeys(days(-10, -1).days(), 5))
    assert (origin(batch), records_by_day(batch)) == ("csv", expected_days(records, days(1, 7)))
    assert len(client.requested) == 2


# Days that are known to be empty -------------------------------------------------------------------------------------


def test_a_late_record_of_a_known_empty_day_is_found_behind_a_limit():
    records = [*records_per_day(1, 4, 15), vendor_record(f"{day(5)}T10:00:00"), *records_per_day(6, 7, 15)]
    late = [vendor_record(f"{day(5)}T12:00:00"), *records]
    late.sort(key=lambda record: str(record["created_at"]))
    client = FakeClient(
        lambda requested: within(late, requested)[:37], lambda start: within(late, DateRange(start, day(11))), late
    )
    complete = {day(number): 15 for number in (1, 2, 3, 4, 6, 7)} | {day(5): 0}
    [batch] = client.fetch(days(5, 5), complete=complete)
    assert records_by_day(batch) == expected_days(late, days(5, 5))


def test_a_late_record_of_a_known_empty_day_is_found_if_json_hides_days():
    records = [*records_per_day(1, 4, 15), *records_per_day(6, 7, 15)]
    late = [*records, vendor_record(f"{day(5)}T12:00:00")]

    def last_day_only(requested):
        listed = within(late, requested)
        last = max((str(record["created_at"])[:10] for record in listed), default="")
        return [record for record in listed if str(record["created_at"]).startswith(last)]

    client = FakeClient(last_day_only, lambda start: within(late, DateRange(start, day(11))))
    complete = {day(number): 15 for number in (1, 2, 3, 4, 6, 7)} | {day(5): 0}
    [batch] = client.fetch(days(4, 7), complete=complete)
    assert records_by_day(batch)[day(5)].total() == 1


# Errors that say that there are no records ----------------------------------------------------------------------------


def denying(records):
    """Answers of a vendor that has an error in place of an empty list."""

    def listed(requested):
        return within(records, requested) or raising(NoRecordsError('HTTP 404, "records not found"'))(requested)

    return listed


DOWN = raising(RetryableError("HTTP 503"))


@pytest.mark.parametrize("exported", [True, False], ids=["an export", "no export"])
def test_days_before_the_first_record_are_empty_if_an_error_says_that_they_have_none(exported):
    records = records_per_day(6, 11, 20)
    client = FakeClient(denying(records), partial(since, records) if exported else DOWN, records)
    batches = client.fetch(days(-20, -14), days(-13, -7), days(-6, 0), days(1, 7))
    found = {one: counted for batch in batches for one, counted in records_by_day(batch).items()}
    assert found == expected_days(records, days(-20, 7))


@pytest.mark.parametrize("number", [-20, 1, 8])
def test_days_around_rare_records_are_empty_if_an_error_says_that_they_have_none(number):
    records = [vendor_record(f"{day(one)}T10:00:00") for one in (-10, -3)]
    [batch] = FakeClient(denying(records), DOWN, records).fetch(days(number, number + 2))
    assert records_by_day(batch) == expected_days(records, days(number, number + 2))


def test_an_error_that_there_are_no_records_shows_no_day_empty_if_nothing_is_known_of_the_account():
    [batch] = FakeClient(denying([]), denying([])).fetch(days(1, 5))
    assert (batch.days, batch.unresolved_days.keys()) == ({}, {*days(1, 5).days()})
    assert "BILLING_API_URL" not in str(batch.unresolved_days)


def test_an_error_that_there_are_no_records_is_not_believed_if_a_wider_request_lists_some():
    records = records_per_day(-20, 11, 20)

    def listed(requested):
        if requested.last < day(4):
            raise NoRecordsError('HTTP 400, "records not found"')
        return within(records, requested)

    [batch] = FakeClient(listed, DOWN, records).fetch(days(-10, -4))
    assert batch.days == {}


def test_an_error_for_every_day_is_not_believed_if_the_account_has_records():
    records = records_per_day(-20, 11, 20)
    [batch] = FakeClient(denying([]), DOWN, records).fetch(days(-10, -4))
    assert batch.days == {}


# Times in the future -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["2026-03-16T10:00:00", "9999-12-31T23:59:59"])
def test_records_of_the_future_make_no_request_invalid(moment):
    records = [*records_per_day(8, 8, 120), vendor_record(moment)]
    for json in (raising(InvalidResponse("HTTP 503")), partial(within, records)):
        client = FakeClient(json, lambda _start: records, records)
        [batch] = client.fetch(days(5, 11))
        assert batch.days.get(day(8)) is None or records_by_day(batch)[day(8)].total() == 120


# Limits of both sources ----------------------------------------------------------------------------------------------


def since(records, start, limit=None, keeps="newest"):
    """The export of records since a day, of which a limit keeps the newest or the oldest."""
    listed = within(records, DateRange(start, day(11)))
    if limit is None:
        return listed
    return listed[-limit:] if keeps == "newest" else listed[:limit]


def test_an_export_that_lists_less_of_a_day_than_json_does_not_replace_it():
    records = [*records_per_day(0, 0, 40), *records_per_day(1, 1, 20), *records_per_day(2, 11, 40)]
    client = FakeClient(
        lambda requested: within(records, requested)[:30], lambda start: since(records, start, limit=412), records
    )
    [batch] = client.fetch(days(1, 7))
    # JSON lists the first day alone in full; the limit of the export leaves 12 of its 20 records.
    assert (batch.days.keys(), batch.unresolved_days.keys()) == (set(days(2, 7).days()), {day(1)})


@pytest.mark.parametrize("each", [5, 15])
def test_an_export_that_begins_after_stored_records_leaves_its_first_day_as_it_is(each):
    records = records_per_day(-10, 11, each)
    listed = sum(str(record["created_at"]) >= str(day(4)) for record in records)
    client = FakeClient(
        raising(InvalidResponse("HTTP 503")), lambda start: since(records, start, limit=listed - 2), records
    )
    complete = dict.fromkeys(days(-10, 10).days(), each)
    [batch] = client.fetch(days(4, 10), complete=complete)
    assert batch.unresolved_days.keys() == {day(4)}
    assert records_by_day(batch) == expected_days(records, days(5, 10))


@pytest.mark.parametrize("shown", [70, 100, 130])
def test_an_export_whose_end_is_cut_is_not_compared_with_records_that_it_cannot_have(shown):
    """The newest records of its last day are all later than its last one."""
    records = records_per_day(-10, 10, 60)
    newest = records[-100:]
    client = FakeClient(
        raising(InvalidResponse("HTTP 503")), lambda start: since(records, start, 480 + shown, "oldest"), newest
    )
    [batch] = client.fetch(days(2, 8))
    assert records_by_day(batch) == expected_days(records, days(2, 8))


def test_an_export_that_begins_with_the_first_record_of_a_json_answer_has_the_first_day():
    records = records_per_day(3, 11, 40)
    client = FakeClient(lambda requested: within(records, requested)[:30], partial(since, records), records)
    batches = client.fetch(days(-8, -2), days(-1, 5), days(6, 9))
    found = {one: counted for batch in batches for one, counted in records_by_day(batch).items()}
    assert found == expected_days(records, days(-8, 9))


# Claims to have more records -----------------------------------------------------------------------------------------


def always(_requested: DateRange, _listed: int) -> set[str]:
    return {"total", "meta.last"}


def test_a_claim_that_an_empty_answer_makes_too_is_ignored():
    records = records_per_day(1, 11, 12)
    claiming = FakeClient(partial(within, records), newest=records, claims=always)
    silent = FakeClient(partial(within, records), newest=records)
    windows = (days(2, 6), days(7, 9))
    assert list(map(records_by_day, claiming.fetch(*windows))) == list(map(records_by_day, silent.fetch(*windows)))
    [probe] = [request for request in claiming.requested if request.last < day(-300)]
    assert len(probe) == 1
    assert [request for request in claiming.requested if request != probe] == silent.requested


@pytest.mark.parametrize("limit", [5, 12, 30])
@pytest.mark.parametrize("void", [set(), {"total"}])
def test_a_claim_of_a_paginated_answer_is_honoured(limit, void):
    """The pages are in order, so that nothing but the claim shows that they are cut."""
    records = records_per_day(1, 11, 12)
    paged = FakeClient(
        lambda requested: within(records, requested)[:limit],
        claims=lambda requested, listed: void | ({"has_more"} if len(within(records, requested)) > listed else set()),
    )
    expected = expected_days(records, days(3, 5))
    [batch] = paged.fetch(days(3, 5))
    assert all(listed == expected[one] for one, listed in records_by_day(batch).items())
    assert batch.days.keys() | batch.unresolved_days.keys() == expected.keys()


@pytest.mark.parametrize(
    "answer_for_a_quiet_day",
    [raising(RequestRejected("HTTP 400")), raising(RetryableError("HTTP 503")), lambda _: records_per_day(1, 3, 12)],
)
def test_a_claim_counts_if_there_is_no_empty_answer(answer_for_a_quiet_day):
    def listed(requested: DateRange) -> list[dict[str, object]]:
        return within(records, requested) if requested.last > day(-300) else answer_for_a_quiet_day(requested)

    records = records_per_day(3, 3, 12)
    [batch] = FakeClient(listed, claims=always).fetch(days(3, 3))
    assert batch.unresolved_days.keys() == {day(3)}


@pytest.mark.parametrize("serves_old_days", [True, False])
@pytest.mark.parametrize("per_day", [3, 12])
def test_a_claim_is_ignored_if_the_parts_of_an_answer_list_no_more(per_day, serves_old_days):
    """As of a field `total` that is the amount of an answer."""

    def listed(requested: DateRange) -> list[dict[str, object]]:
        if requested.last < day(-300) and not serves_old_days:
            raise RequestRejected("HTTP 400")
        return within(records, requested)

    def amount(_requested: DateRange, listed: int) -> set[str]:
        return {"total"} if listed else set()

    records = records_per_day(1, 11, per_day)
    claiming, silent = FakeClient(listed, newest=records, claims=amount), FakeClient(listed, newest=records)
    windows = (days(2, 6), days(7, 9))
    assert list(map(records_by_day, claiming.fetch(*windows))) == list(map(records_by_day, silent.fetch(*windows)))
    assert len(claiming.requested) == len(silent.requested) + 3


@pytest.mark.parametrize("limit", [10, 30, 50, 60, 65, 80, 100])
@pytest.mark.parametrize("newest_first", [True, False])
def test_a_claim_counts_if_a_part_of_an_answer_lists_more(limit, newest_first):
    def listed(requested: DateRange) -> list[dict[str, object]]:
        answer = within(records, requested)
        return answer[::-1][:limit] if newest_first else answer[:limit]

    records = records_per_day(1, 11, 12)
    expected = expected_days(records, days(2, 9))
    [batch] = FakeClient(
        listed, claims=lambda requested, listed: {"total"} if len(within(records, requested)) > listed else set()
    ).fetch(days(2, 9))
    assert all(listed == expected[one] for one, listed in records_by_day(batch).items())
    assert batch.days.keys() | batch.unresolved_days.keys() == expected.keys()


def test_a_token_that_the_request_for_a_quiet_day_shows_to_be_refused_is_reported():
    def listed(requested: DateRange) -> list[dict[str, object]]:
        if requested.last < day(-300):
            raise AuthenticationError("HTTP 401")
        return records_per_day(1, 11, 12)

    with pytest.raises(AuthenticationError):
        FakeClient(listed, claims=always).fetch(days(3, 3))


# The oldest days -----------------------------------------------------------------------------------------------------


def days_still_listed(client: FakeClient, window: DateRange) -> frozenset[date]:
    return client.open_source().days_still_listed(window)


@pytest.mark.parametrize("keeps", [slice(None, 25), slice(-25, None)])
def test_old_days_that_a_limit_hides_behind_those_around_them_are_still_listed(keeps):
    records = records_per_day(1, 11, 30)
    client = FakeClient(lambda requested: within(records, requested)[keeps])
    assert days_still_listed(client, days(2, 5)) == {day(2)}
    assert days_still_listed(
        FakeClient(lambda requested: within(records_per_day(6, 11, 30), requested)), days(2, 5)
    ) == (frozenset())


def test_the_old_days_that_are_still_listed_take_one_request():
    client = FakeClient(partial(within, records_per_day(4, 9, 2)))
    assert days_still_listed(client, days(2, 5)) == {day(4), day(5)}
    assert days_still_listed(client, days(1, 1)) == frozenset()
    assert len(client.requested) == 2


def test_a_vendor_that_refuses_many_days_is_asked_for_the_first_and_the_last_day():
    def listed(requested: DateRange) -> list[dict[str, object]]:
        if len(requested) > 4:
            raise RequestRejected("HTTP 400, at most 4 days")
        return within(records_per_day(1, 9, 2), requested)

    assert days_still_listed(FakeClient(listed), days(2, 6)) == {day(2), day(6)}


def test_the_export_shows_the_old_days_if_json_is_unavailable():
    records = records_per_day(4, 9, 2)
    client = FakeClient(raising(RetryableError("HTTP 503")), lambda start: within(records, DateRange(start, TODAY)))
    assert days_still_listed(client, days(2, 5)) == {day(4), day(5)}
    assert days_still_listed(FakeClient(raising(RequestRejected("HTTP 400"))), days(2, 5)) == frozenset()
