"""The vendor's calls: which failures are retried, how often and after which wait, and that no secret is reported."""

from __future__ import annotations

import logging
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from typing import BinaryIO

import pytest

from etl.date_ranges import DateRange
from etl.errors import (
    AuthenticationError,
    BillingError,
    Interrupted,
    InvalidResponse,
    RequestRejected,
    RetryableError,
    UnknownRecordError,
    VendorError,
)
from etl.extract.client import Client, RetryPolicy
from etl.extract.csv_parser import parse_csv
from etl.extract.transport import RequestLimits, Transport
from etl.log import Redactor
from etl.model import Feed, RawRecord
from etl.sandbox import Dataset, Sandbox
from etl.sandbox.faults import FAULTS

TOKEN = "5ecre7-t0ken-of-the-acc0unt"
PHONE = "89243555100"
TODAY = date(2026, 3, 11)
NOW = datetime.combine(TODAY, time(9, 30))
ASKED = DateRange(date(2026, 3, 9), date(2026, 3, 10))


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    dataset = Dataset(seed=1, today=TODAY, days=3, per_day=4, until=NOW.time())
    with Sandbox(token=TOKEN, dataset=dataset, now=NOW) as running:
        yield running


def read_all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


@contextmanager
def client_of(vendor: Sandbox, *, attempts: int = 3, timeout: float = 20) -> Iterator[Client]:
    transport = Transport(
        vendor.url, TOKEN, RequestLimits(timeout, 20, 1 << 20), user_agent="test", redact=Redactor([TOKEN])
    )
    try:
        yield Client(transport, RetryPolicy(attempts, max_wait=0))
    finally:
        transport.close()


def read_rows(feed: Feed) -> Feed:
    feed.rows = list(feed.rows)
    return feed


class FailingTransport:
    """Raises each of these errors in turn, then answers."""

    clock_skew = None
    redact = str

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.requests = 0

    def request(self, method: str, action: str, sink: BinaryIO, *, body: dict[str, str] | None = None) -> None:
        self.requests += 1
        sink.write(b'{"success": true, "error": "", "data": [')
        if self.errors:
            raise self.errors.pop(0)
        sink.write(b"]}")


# The calls -----------------------------------------------------------------------------------------------------------


def test_get_records_returns_the_vendors_values_unchanged(vendor):
    vendor.dataset.replace(
        [
            {"created_at": f"2026-03-{day:02}T10:00:00", "code_auth": "", "status": 1, "status_info": "ok",
             "phone": PHONE, "price": Decimal("0.2")}
            for day in (8, 9, 10, 11)
        ]
    )  # fmt: skip
    with client_of(vendor) as client:
        feed = client.get_records(ASKED, read_rows)
    assert list(feed.rows) == [
        RawRecord(f"2026-03-{day}T10:00:00", "", 1, "ok", PHONE, Decimal("0.2")) for day in ("09", "10")
    ]
    [request] = vendor.requests
    assert (request.action, request.params) == (
        "post_billing_data",
        {"start_date": "2026-03-09", "end_date": "2026-03-10"},
    )


def test_get_export_writes_the_export_unchanged(vendor):
    with client_of(vendor) as client:
        lines = client.get_export(date(2026, 3, 10), read_all).splitlines()
    assert lines[0] == b"created_at;code_auth;status;status_info;phone;price"
    assert len(lines) - 1 == sum(record["created_at"] >= "2026-03-10" for record in vendor.dataset.records)
    [request] = vendor.requests
    assert (request.action, request.params) == ("get_billing_csv", {"start_date": "2026-03-10"})


def test_get_balance_returns_the_exact_amount(vendor):
    with client_of(vendor) as client:
        balance = client.get_balance()
    assert balance == {"balance": vendor.dataset.balance, "price": Decimal("0.2"), "balance_limit": Decimal("0.0")}


@pytest.mark.parametrize("data", ["null", "[]", "{}", '{"price": 1}', "5"])
def test_an_invalid_balance_is_refused(vendor, data):
    vendor.faults.add("status", status=200, body=f'{{"success": true, "error": "", "data": {data}}}')
    with client_of(vendor, attempts=1) as client, pytest.raises(InvalidResponse, match="without a balance"):
        client.get_balance()


def test_get_newest_records_returns_the_vendors_values_unchanged(vendor):
    with client_of(vendor) as client:
        feed = client.get_newest_records(3, read_rows)
    assert [row.created_at for row in feed.rows] == [record["created_at"] for record in vendor.dataset.records[:-4:-1]]
    [request] = vendor.requests
    assert (request.action, request.params) == ("get_billing_record", {"n": "3"})


def test_an_account_with_fewer_records_lists_them_all(vendor):
    with client_of(vendor) as client:
        assert len(client.get_newest_records(100, read_rows).rows) == len(vendor.dataset.records) < 100


@pytest.mark.parametrize("count", [-1, 0, 101])
def test_newest_records_are_from_one_to_a_hundred(vendor, count):
    with client_of(vendor) as client, pytest.raises(ValueError, match="from 1 to 100"):
        client.get_newest_records(count, read_rows)
    assert vendor.requests == []


def test_get_status_returns_the_exact_values(vendor):
    with client_of(vendor) as client:
        status = client.get_status("1")
    oldest = vendor.dataset.records[0]
    assert status == {"id": 1} | {name: value for name, value in oldest.items() if name != "code_auth"}
    assert isinstance(status["price"], Decimal)


@pytest.mark.parametrize("status", [200, 400, 404])
def test_an_unknown_id_is_not_retried(vendor, status):
    vendor.faults.add("status", status=status, body='{"success": false, "error": "id record not found", "data": {}}')
    with client_of(vendor) as client, pytest.raises(UnknownRecordError, match='"id record not found"') as caught:
        client.get_status("1")
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert len(vendor.requests) == 1


def test_another_refusal_is_not_an_unknown_id(vendor):
    vendor.faults.add(
        "status", status=400, body='{"success": false, "error": "Blocking a client by balance", "data": {}}'
    )
    with client_of(vendor) as client, pytest.raises(RequestRejected, match="Blocking") as caught:
        client.get_status("1")
    assert not isinstance(caught.value, UnknownRecordError)


@pytest.mark.parametrize("data", ["null", "[]", "{}", '{"price": 1}', "5"])
def test_an_invalid_status_is_refused(vendor, data):
    vendor.faults.add("status", status=200, body=f'{{"success": true, "error": "", "data": {data}}}')
    with client_of(vendor, attempts=1) as client, pytest.raises(InvalidResponse, match="without a status"):
        client.get_status("1")


@pytest.mark.parametrize("record_id", ["", ".", "..", "1/2", "a b", "1\n", "1?x", "%2e", "\u0661", "1" * 129])
def test_an_id_that_is_not_valid_in_a_path_is_not_sent(vendor, record_id):
    with client_of(vendor) as client, pytest.raises(ValueError, match="is not valid in a path"):
        client.get_status(record_id)
    assert vendor.requests == []


@pytest.mark.fault(33)
def test_a_byte_order_mark_before_json_is_ignored(vendor):
    vendor.faults.add("json_bom")
    with client_of(vendor, attempts=1) as client:
        assert client.get_records(ASKED, read_rows).rows


# Retries -------------------------------------------------------------------------------------------------------------

PASSING = {
    **{name: {"fault": name} for name in ("cut", "cut_chunked", "reset", "reset_midway", "truncated_gzip", "redirect")},
    **{name: {"fault": name} for name in ("html", "empty_body", "cut_text", "refusal", "null_data", "invalid_json")},
    "gzip_bomb": {"fault": "gzip_bomb", "megabytes": 2},
    **{f"status {status}": {"fault": "status", "status": status} for status in (429, 500, 503)},
    "hang": {"fault": "hang", "seconds": 600},
}
"""Temporary faults of an answer."""


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_temporary_faults_are_retried(vendor, fault):
    vendor.faults.add(**fault, times=2)
    with client_of(vendor, timeout=0.1 if fault["fault"] == "hang" else 20) as client:
        assert list(client.get_records(ASKED, read_rows).rows)
    assert len(vendor.requests) == 3


@pytest.mark.fault(18)
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("attempts", [1, 2])
def test_the_number_of_attempts_is_limited_by_the_setting(vendor, fault, attempts):
    vendor.faults.add(**fault, times=None)
    with (
        client_of(vendor, attempts=attempts, timeout=0.1 if fault["fault"] == "hang" else 20) as client,
        pytest.raises(RetryableError),
    ):
        client.get_records(ASKED, read_rows)
    assert len(vendor.requests) == attempts


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"fault": "status", "status": 401}, AuthenticationError),
        ({"fault": "status", "status": 403}, AuthenticationError),
        ({"fault": "status", "status": 400}, RequestRejected),
        ({"fault": "status", "status": 404}, RequestRejected),
        ({"fault": "echo_url"}, RequestRejected),
    ],
)
def test_permanent_faults_are_not_retried(vendor, fault, kind):
    vendor.faults.add(**fault)
    with client_of(vendor) as client, pytest.raises(BillingError) as refused:
        client.get_records(ASKED, read_rows)
    assert type(refused.value) is kind
    assert len(vendor.requests) == 1


@pytest.mark.fault(12)
@pytest.mark.parametrize(
    "error", [Interrupted(signal.SIGTERM), KeyboardInterrupt(), MemoryError(), ZeroDivisionError()]
)
def test_signals_and_bugs_are_not_retried(error):
    transport = FailingTransport(error)
    with pytest.raises(type(error)):
        Client(transport, RetryPolicy(5, max_wait=0)).get_records(ASKED, read_rows)
    assert transport.requests == 1


def test_the_last_error_is_raised():
    transport = FailingTransport(RetryableError("first"), RetryableError("second"))
    with pytest.raises(RetryableError, match="second"):
        Client(transport, RetryPolicy(2, max_wait=0)).get_records(ASKED, read_rows)


def test_a_partial_answer_is_discarded_before_a_retry(vendor):
    with client_of(vendor) as client:
        whole = client.get_export(TODAY, read_all)
        vendor.faults.add("cut", action="get_billing_csv", share=0.9)
        assert client.get_export(TODAY, read_all) == whole
    transport = FailingTransport(RetryableError("cut"))
    assert list(Client(transport, RetryPolicy(2, max_wait=0)).get_records(ASKED, read_rows).rows) == []


def test_an_empty_export_is_retried(vendor):
    vendor.faults.add("empty_body", times=2)
    with client_of(vendor) as client:
        client.get_export(TODAY, parse_csv)
    assert len(vendor.requests) == 3


# Waiting -------------------------------------------------------------------------------------------------------------


def waits(caplog, *errors: VendorError, max_wait: float) -> list[float]:
    """The waits before each retry, from the log."""
    with caplog.at_level(logging.WARNING, "etl.extract.client"):
        Client(FailingTransport(*errors), RetryPolicy(len(errors) + 1, max_wait)).get_records(ASKED, read_rows)
    return [record.args[2] for record in caplog.records]


@pytest.mark.fault(16)
def test_retry_after_is_limited_by_the_setting(caplog):
    wishes = (0.02, 99_999_999.0, 1e300)
    assert waits(caplog, *(RetryableError("503", retry_after=wish) for wish in wishes), max_wait=0.02) == [0.02] * 3


def test_retry_after_is_respected(caplog):
    [wait] = waits(caplog, RetryableError("429", retry_after=0.02), max_wait=0.03)
    assert 0.02 <= wait <= 0.03


def test_no_wait_is_longer_than_the_setting(caplog):
    errors = [RetryableError("503")] * 8 + [RetryableError("429", retry_after=0.0)]
    assert all(0 <= wait <= 0.001 for wait in waits(caplog, *errors, max_wait=0.001))


def test_retry_after_is_ignored_when_waiting_is_off(vendor):
    vendor.faults.add("status", status=503, headers={"Retry-After": "8640000"}, times=2)
    vendor.faults.add("status", status=429, headers={"Retry-After": "Fri, 31 Dec 2099 23:59:59 GMT"})
    with client_of(vendor, attempts=4) as client:
        assert client.get_balance()
    assert len(vendor.requests) == 4


# Secrets -------------------------------------------------------------------------------------------------------------

SPOILING = {name: {"fault": name} for name in FAULTS} | {
    "status": {"fault": "status", "body": f"{TOKEN} {PHONE}"},
    "html": {"fault": "html", "body": f"<html>{TOKEN} {PHONE}</html>"},
    "refusal": {"fault": "refusal", "body": f"no call to {PHONE} by /authcalls/{TOKEN}/"},
    "long refusal": {"fault": "refusal", "body": "x" * 190 + TOKEN},
    "invalid_json": {"fault": "invalid_json", "body": f"{{{TOKEN} {PHONE}"},
    "status 400": {"fault": "status", "status": 400, "body": f'{{"error": "{TOKEN} {PHONE}"}}'},
    "status 401": {"fault": "status", "status": 401, "body": f'{{"error": "{TOKEN} {PHONE}"}}'},
    "gzip_bomb": {"fault": "gzip_bomb", "megabytes": 2},
}
"""All faults; those that repeat the request do so with the token and a phone."""


def text_of(error: BaseException) -> str:
    texts = ["".join(traceback.format_exception(error))]
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            texts += [str(one), repr(one), repr(vars(one))]
            waiting += [one.__cause__, one.__context__, *one.args, *vars(one).values()]
    return "\n".join(texts)


@pytest.mark.fault(115)
@pytest.mark.parametrize("call", ["get_records", "get_export", "get_balance"])
@pytest.mark.parametrize("fault", SPOILING.values(), ids=SPOILING)
def test_errors_and_logs_contain_neither_token_nor_phone(vendor, caplog, call, fault):
    vendor.faults.add(**{"seconds": 600, **fault}, times=None)
    output = ""
    arguments = {"get_records": (ASKED, read_rows), "get_export": (TODAY, parse_csv), "get_balance": ()}[call]
    with caplog.at_level(logging.DEBUG, "etl"), client_of(vendor, attempts=2, timeout=0.1) as client:
        try:
            getattr(client, call)(*arguments)
        except BillingError as error:
            output = text_of(error)
    output += "\n".join(f"{record.getMessage()} {record.args}" for record in caplog.records if "etl" in record.name)
    assert TOKEN not in output
    assert TOKEN[:10] not in output
    assert PHONE not in output


def test_every_retry_is_logged_with_its_reason(vendor, caplog):
    vendor.faults.add("status", status=503)
    with caplog.at_level(logging.WARNING, "etl"), client_of(vendor) as client:
        client.get_balance()
    assert [record.getMessage() for record in caplog.records] == [
        "get_balance: HTTP 503; retrying in 0.0 s (attempt 1 of 3)"
    ]
