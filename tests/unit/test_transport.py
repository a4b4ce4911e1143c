"""One HTTP request to a faulty server: its errors, and that they contain no secret."""

from __future__ import annotations

import gzip
import io
import socket
import threading
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import AuthenticationError, BillingError, InvalidResponse, RequestRejected, RetryableError
from etl.extract.csv_parser import parse_csv
from etl.extract.json_parser import parse_envelope
from etl.extract.transport import RequestLimits, Transport, parse_retry_after
from etl.log import Redactor
from etl.sandbox import Dataset, Sandbox
from etl.services.setting_errors import environment_names

calm = settings(deadline=None)
TOKEN = "5ecre7-t0ken-of-the-acc0unt"
TODAY = date(2026, 3, 11)
NOW = datetime.combine(TODAY, time(9, 30))
ASKED = {"start_date": "2026-03-09", "end_date": "2026-03-10"}


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    dataset = Dataset(seed=1, today=TODAY, days=3, per_day=4, until=NOW.time())
    with Sandbox(token=TOKEN, dataset=dataset, now=NOW) as running:
        yield running


@contextmanager
def opened(
    url: str, *, token: str = TOKEN, timeout: float = 20, deadline: float = 20, max_bytes: int = 1 << 26
) -> Iterator[Transport]:
    limits = RequestLimits(timeout, deadline, max_bytes)
    transport = Transport(
        url, token, limits, user_agent="billing-etl/test", redact=Redactor([token]), names=environment_names()
    )
    try:
        yield transport
    finally:
        transport.close()


def ask(transport: Transport) -> bytes:
    sink = io.BytesIO()
    transport.request("POST", "post_billing_data", sink, body=ASKED)
    return sink.getvalue()


def failure(transport: Transport) -> BillingError:
    with pytest.raises(BillingError) as refused:
        ask(transport)
    return refused.value


def text_of(error: BaseException) -> str:
    """All text of an error and its causes, including the traceback."""
    texts = ["".join(traceback.format_exception(error))]
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            texts += [str(one), repr(one), repr(vars(one)), repr(one.args)]
            waiting += [one.__cause__, one.__context__, *one.args, *vars(one).values()]
    return "\n".join(texts)


# Faults of an answer -------------------------------------------------------------------------------------------------

FAULTS = {
    "cut": ({"fault": "cut"}, RetryableError, "an answer cut short"),
    "cut before its first byte": ({"fault": "cut", "share": 0.0}, RetryableError, "an answer cut short"),
    "chunked and cut": ({"fault": "cut_chunked"}, RetryableError, "an answer cut short"),
    "reset": ({"fault": "reset"}, RetryableError, "the connection failed (ConnectionError)"),
    "gzip cut": ({"fault": "truncated_gzip"}, RetryableError, "a gzip body cut short"),
    "gzip cut before its first byte": (
        {"fault": "truncated_gzip", "share": 0.0},
        RetryableError,
        "a gzip body cut short",
    ),
    "redirect": ({"fault": "redirect"}, RetryableError, "a redirect (HTTP 302), which is never followed"),
    "redirect for good": (
        {"fault": "redirect", "status": 308},
        RetryableError,
        "a redirect (HTTP 308), which is never followed",
    ),
    "url repeated": ({"fault": "echo_url"}, RequestRejected, "HTTP 400, "),
    "url repeated by a failure": ({"fault": "echo_url", "status": 500}, RetryableError, "HTTP 500"),
    "token refused": (
        {"fault": "status", "status": 401},
        AuthenticationError,
        "the vendor refused the token (HTTP 401)",
    ),
    "forbidden": ({"fault": "status", "status": 403}, AuthenticationError, "the vendor refused the token (HTTP 403)"),
    **{
        f"status {status}": ({"fault": "status", "status": status}, RetryableError, f"HTTP {status}")
        for status in (408, 425, 429, 500, 502, 503, 504, 599)
    },
    **{
        f"status {status}": ({"fault": "status", "status": status}, RequestRejected, f"HTTP {status}, ")
        for status in (400, 402, 404, 405, 409, 410, 422, 451)
    },
    **{
        f"status {status}": (
            {"fault": "status", "status": status, "body": ""},
            RetryableError,
            f"HTTP {status} instead of 200",
        )
        for status in (201, 202, 203, 204, 205, 206)
    },
}


@pytest.mark.fault(1, 19)
@pytest.mark.parametrize(("fault", "kind", "words"), FAULTS.values(), ids=FAULTS)
def test_every_fault_raises_its_error_class(vendor, fault, kind, words):
    vendor.faults.add(**fault)
    with opened(vendor.url) as transport:
        error = failure(transport)
    assert type(error) is kind
    assert str(error).startswith(words)


@pytest.mark.fault(113, 114)
@pytest.mark.parametrize("fault", [fault for fault, _, _ in FAULTS.values()], ids=FAULTS)
def test_neither_an_error_nor_its_causes_contain_the_token(vendor, fault):
    vendor.faults.add(**fault)
    with opened(vendor.url) as transport:
        error = failure(transport)
    assert TOKEN not in text_of(error)
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize("fault", [fault for fault, _, _ in FAULTS.values()], ids=FAULTS)
def test_the_request_after_a_failed_one_is_answered(vendor, fault):
    vendor.faults.add(**fault)
    with opened(vendor.url) as transport:
        failure(transport)
        assert ask(transport).startswith(b'{"success": true')
    assert len(vendor.requests) == 2


@pytest.mark.fault(9)
def test_a_reset_within_the_body_is_an_error(vendor):
    vendor.faults.add("reset_midway")
    with opened(vendor.url) as transport:
        assert type(failure(transport)) is RetryableError


def test_a_complete_answer_is_returned_unchanged(vendor):
    vendor.faults.add("status", status=200, body="слово\r\n\u0000")
    with opened(vendor.url) as transport:
        assert ask(transport) == "слово\r\n\u0000".encode()
    [request] = vendor.requests
    assert (request.action, request.params) == ("post_billing_data", ASKED)


def test_the_transport_accepts_an_empty_answer(vendor):
    vendor.faults.add("empty_body")
    with opened(vendor.url) as transport:
        assert ask(transport) == b""


@pytest.mark.fault(23, 26)
def test_a_redirect_is_never_followed(vendor):
    with Sandbox(token=TOKEN, dataset=vendor.dataset, now=NOW) as elsewhere:
        for status in (301, 302, 303, 307, 308):
            vendor.faults.add("redirect", status=status, location=elsewhere.root)
            with opened(vendor.url) as transport:
                assert type(failure(transport)) is RetryableError
        assert elsewhere.requests == []


def test_another_token_is_refused(vendor):
    with opened(vendor.url, token="another-token") as transport:
        assert type(failure(transport)) is AuthenticationError


@pytest.mark.fault(25)
def test_a_plain_request_ignores_the_proxies_of_the_environment(vendor, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with opened(vendor.url) as transport:
        assert ask(transport)


def test_the_vendors_clock_is_known_after_an_answer(vendor):
    with opened(vendor.url) as transport:
        assert transport.clock_skew is None
        vendor.set_now(datetime(2000, 1, 1))  # noqa: DTZ001 - the vendor's wall clock
        ask(transport)
        assert transport.clock_skew > 20 * 365 * 86400
        vendor.faults.add("status", status=200, headers={"Date": "soon"})
        before = transport.clock_skew
        ask(transport)
        assert transport.clock_skew == before


# Contents of errors --------------------------------------------------------------------------------------------------


def test_the_vendors_reason_is_part_of_the_error(vendor):
    vendor.faults.add("status", status=400, body='{"success": false, "error": "id record  not found", "data": {}}')
    with opened(vendor.url) as transport:
        assert str(failure(transport)) == 'HTTP 400, "id record not found"'


@pytest.mark.parametrize("status", [400, 404])
def test_an_error_that_says_that_there_are_no_records_does_not_ask_for_the_url(vendor, status):
    vendor.faults.add("status", status=status, body='{"success": false, "error": "records not found", "data": {}}')
    with opened(vendor.url) as transport:
        assert str(failure(transport)) == f'HTTP {status}, "records not found"'


@pytest.mark.parametrize(
    "body", ["", "<html>no</html>", "[]", '{"error": null}', "[" * 5000, '"\\ud800"', '{"error": 5}']
)
def test_an_unreadable_reason_is_ignored(vendor, body):
    vendor.faults.add("status", status=400, body=body)
    with opened(vendor.url) as transport:
        assert str(failure(transport)) == "HTTP 400, without a reason"


def test_a_reason_is_reported_without_token_and_phones(vendor):
    vendor.faults.add("status", status=400, body=f'{{"error": "no call to 89243555100 by {TOKEN}"}}')
    with opened(vendor.url) as transport:
        assert str(failure(transport)) == 'HTTP 400, "no call to *** by ***"'


def test_a_truncated_reason_contains_no_part_of_the_token(vendor):
    for length in range(170, 205):
        vendor.faults.add("status", status=400, body=f'{{"error": "{"x" * length} {TOKEN}"}}')
        with opened(vendor.url) as transport:
            assert TOKEN[:6] not in str(failure(transport)), length


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, None), ({"Retry-After": "7"}, 7.0), ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0)],
)
def test_retry_after_is_part_of_the_error(vendor, headers, seconds):
    for status in (429, 503):
        vendor.faults.add("status", status=status, headers=headers)
        with opened(vendor.url) as transport:
            error = failure(transport)
            assert isinstance(error, RetryableError)
            assert error.retry_after == seconds


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    ("header", "seconds"),
    {
        "0": 0.0,
        " 120 ": 120.0,
        "99999999": 99999999.0,
        "Wed, 11 Mar 2026 09:31:00 GMT": 60.0,
        "Wed, 11 Mar 2026 12:31:00 +0300": 60.0,
        "Wed, 11 Mar 2026 09:31:00 -0000": 60.0,
        "Wednesday, 11-Mar-26 09:31:00 GMT": 60.0,
        "Wed, 11 Mar 2026 09:29:00 GMT": 0.0,
        "Fri, 31 Dec 2099 23:59:59 GMT": 2329223399.0,
        **dict.fromkeys(
            ("-5", "1.5", "abc", "", "  ", "１２", "1e5", "9" * 19, "soon, 5", "Wed, 99 Mar 2026 09:31:00 GMT")
        ),
        None: None,
    }.items(),
)
def test_retry_after_is_a_number_of_seconds_or_a_date(header, seconds):
    assert parse_retry_after(header, datetime(2026, 3, 11, 9, 30, tzinfo=UTC)) == seconds


@calm
@given(st.text(max_size=40) | st.text("0123456789 :,+-GMTJanWed", max_size=40))
def test_no_header_raises_an_unexpected_error(header):
    seconds = parse_retry_after(header, datetime(2026, 3, 11, tzinfo=UTC))
    assert seconds is None or seconds >= 0


# Time ----------------------------------------------------------------------------------------------------------------
# The slow answers below are complete in the end, so a request without a deadline would succeed.


@pytest.mark.fault(10)
@pytest.mark.parametrize("fault", ["drip_headers", "drip_body"])
def test_a_slow_answer_ends_at_the_deadline(vendor, fault):
    vendor.faults.add(fault, seconds=0.01)
    with opened(vendor.url, deadline=0.2) as transport:
        assert type(failure(transport)) is RetryableError


@pytest.mark.parametrize("fault", ["drip_headers", "drip_body"])
def test_a_slow_answer_within_the_deadline_is_read_completely(vendor, fault):
    vendor.faults.add(fault, seconds=0.0)
    with opened(vendor.url) as transport:
        assert ask(transport).startswith(b'{"success": true')


@pytest.mark.fault(14)
@pytest.mark.parametrize("fault", ["hang", "drip_headers", "drip_body"])
def test_a_silent_server_ends_at_the_timeout(vendor, fault):
    vendor.faults.add(fault, seconds=600)
    with opened(vendor.url, timeout=0.05) as transport:
        error = failure(transport)
    assert (type(error), str(error)) == (RetryableError, "no byte within BILLING_TIMEOUT")


@pytest.mark.fault(11)
@pytest.mark.parametrize("fault", ["hang", "drip_headers", "drip_body"])
def test_the_deadline_is_named_if_it_is_shorter_than_the_timeout(vendor, fault):
    vendor.faults.add(fault, seconds=600)
    with opened(vendor.url, deadline=0.05) as transport:
        error = failure(transport)
    assert (type(error), str(error)) == (RetryableError, "no complete answer within BILLING_REQUEST_DEADLINE")


def test_every_request_has_its_own_deadline(vendor):
    with opened(vendor.url, deadline=0.2) as transport:
        for _ in range(2):
            vendor.faults.add("hang", seconds=600)
            failure(transport)
        assert ask(transport)


@pytest.mark.parametrize("fault", ["hang", "drip_headers", "drip_body"])
def test_no_timeout_error_contains_the_token(vendor, fault):
    vendor.faults.add(fault, seconds=600)
    with opened(vendor.url, timeout=0.05) as transport:
        error = failure(transport)
    assert TOKEN not in text_of(error)


# Size ----------------------------------------------------------------------------------------------------------------


def test_an_answer_of_the_maximum_size_is_read_and_a_larger_one_refused(vendor):
    for size, kind in ((1 << 20, None), ((1 << 20) + 1, InvalidResponse)):
        vendor.faults.add("status", status=200, body="x" * size)
        with opened(vendor.url, max_bytes=1 << 20) as transport:
            if kind is None:
                assert len(ask(transport)) == size
            else:
                error = failure(transport)
                assert (type(error), str(error)) == (kind, "an answer of more than 1 MB (BILLING_MAX_RESPONSE_MB)")


@pytest.mark.fault(8)
def test_a_decompression_bomb_is_refused(vendor):
    vendor.faults.add("gzip_bomb", megabytes=64)
    sink = io.BytesIO()
    with opened(vendor.url, max_bytes=1 << 20) as transport, pytest.raises(InvalidResponse):
        transport.request("POST", "post_billing_data", sink, body=ASKED)
    assert len(sink.getvalue()) <= 1 << 20


def test_an_unrequested_compressed_answer_is_decompressed(vendor):
    vendor.faults.add("gzip_bomb", megabytes=1)
    with opened(vendor.url) as transport:
        assert ask(transport).lstrip().startswith(b'{"success": true')


@pytest.mark.fault(4)
@pytest.mark.parametrize("share", [n / 10 for n in range(10)])
def test_an_incomplete_compressed_answer_is_an_error(vendor, share):
    vendor.faults.add("truncated_gzip", share=share)
    with opened(vendor.url) as transport:
        assert type(failure(transport)) is RetryableError


# Other servers -------------------------------------------------------------------------------------------------------


@contextmanager
def raw_server(*answer: bytes, silent: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """Sends these bytes to one client and closes, or waits for it to close; yields its URL and the request."""
    requests: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            requests.append(connection.recv(1 << 16))
            while not requests[0].endswith(b"}"):
                requests[0] += connection.recv(1 << 16)
            for part in answer:
                connection.sendall(part)
            if silent:
                connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api", requests
        thread.join()


def http(body: bytes, *headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode() + body


GZIP = ("Content-Encoding: gzip", "Connection: close")

INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"

BROKEN = {
    "nothing": (b"", RetryableError),
    "no HTTP": (b"220 mail.example.com ESMTP\r\n", RetryableError),
    "half a status line": (b"HTTP/1.1 2", RetryableError),
    "two lengths": (http(b"{}", "Content-Length: 2", "Content-Length: 3"), RetryableError),
    "too many headers": (http(b"", *(f"X-{n}: 1" for n in range(120))), RetryableError),
    "a chunk of no length": (http(b"zz\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), RetryableError),
    "no last chunk": (http(b"2\r\n{}\r\n", "Transfer-Encoding: chunked"), RetryableError),
    "more promised than sent": (http(b"{}", "Content-Length: 3"), RetryableError),
    "gzip with a wrong sum": (http(gzip.compress(b"x" * 99)[:-8] + b"\0" * 8, *GZIP), InvalidResponse),
    "no gzip": (http(b"{}", *GZIP), InvalidResponse),
    "bytes behind the gzip": (http(gzip.compress(b"{}") + b"{}", *GZIP), InvalidResponse),
    "a second gzip cut": (http(gzip.compress(b"{}") * 2, *GZIP)[:-5], RetryableError),
    "deflate": (http(zlib.compress(b"{}"), "Content-Encoding: deflate"), InvalidResponse),
    "brotli beside what is no coding": (http(b"{}", "Content-Encoding: utf-8, br"), InvalidResponse),
    "interim answers without end": (INTERIM * 17 + http(b"{}", "Content-Length: 2"), RetryableError),
    "an interim answer alone": (INTERIM, RetryableError),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", RetryableError),
    "gzip twice": (http(gzip.compress(gzip.compress(b"{}")), "Content-Encoding: gzip, gzip"), InvalidResponse),
}


@pytest.mark.fault(2, 7, 27, 28)
@pytest.mark.parametrize(("answer", "kind"), BROKEN.values(), ids=BROKEN)
def test_an_invalid_http_answer_is_an_error(answer, kind):
    with raw_server(answer) as (url, _), opened(url) as transport:
        error = failure(transport)
    assert type(error) is kind
    assert TOKEN not in text_of(error)


ODD = {
    "half a header and nothing": (b"HTTP/1.1 200 OK\r\nContent-Le", b""),
    "until the end of the connection": (http(b"{}", "Connection: close"), b"{}"),
    "no last line end": (http(b"2\r\n{}\r\n0\r\n", "Transfer-Encoding: chunked"), b"{}"),
    "many chunks": (http(b"1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), b"{}"),
    "gzip": (http(gzip.compress(b"{}"), *GZIP), b"{}"),
    "gzip in capitals": (http(gzip.compress(b"{}"), "Content-Encoding: GZIP "), b"{}"),
    "two gzip members": (http(gzip.compress(b"{") + gzip.compress(b"}"), *GZIP), b"{}"),
    "large gzip": (http(gzip.compress(bytes(300_000)), *GZIP), bytes(300_000)),
    **{
        f"plain, and called {name}": (http(b"{}", f"Content-Encoding: {name}", "Content-Length: 2"), b"{}")
        for name in (
            "identity",
            "",
            "utf-8",
            "UTF8",
            "none",
            "windows-1251",
            "identity, utf-8",
            "binary",
            "text/csv; x=y",
        )
    },
    "gzip beside what is no coding": (http(gzip.compress(b"{}"), "Content-Encoding: utf-8, gzip", GZIP[1]), b"{}"),
    "gzip in two headers": (http(gzip.compress(b"{}"), "Content-Encoding: identity", *GZIP), b"{}"),
    "gzip without its header": (http(gzip.compress(b"{}"), "Content-Encoding: utf-8", GZIP[1]), gzip.compress(b"{}")),
    **{
        f"{status} before it, {times} times": (
            f"HTTP/1.1 {status} Wait\r\nLink: </x>\r\n\r\n".encode() * times + http(b"{}", "Content-Length: 2"),
            b"{}",
        )
        for status, times in [(100, 1), (102, 1), (103, 1), (103, 3), (199, 16)]
    },
}


@pytest.mark.fault(3)
@pytest.mark.parametrize(("answer", "body"), ODD.values(), ids=ODD)
def test_an_unusual_but_complete_answer_is_accepted(answer, body):
    with raw_server(answer) as (url, _), opened(url) as transport:
        assert ask(transport) == body


@pytest.mark.parametrize("status", [100, 103])
def test_the_deadline_includes_interim_answers(status):
    interim = INTERIM.replace(b"103", b"%d" % status)
    with raw_server(interim, silent=True) as (url, _), opened(url, deadline=0.2) as transport:
        error = failure(transport)
    assert (type(error), str(error)) == (RetryableError, "no complete answer within BILLING_REQUEST_DEADLINE")


@pytest.mark.parametrize("body", [gzip.compress(b"{}"), zlib.compress(b"{}")], ids=["gzip", "deflate"])
def test_a_compressed_body_without_its_header_is_an_error(body):
    with raw_server(http(body, "Content-Encoding: utf-8", "Connection: close")) as (url, _), opened(url) as transport:
        text = ask(transport)
    with pytest.raises(InvalidResponse):
        parse_envelope(text)
    with pytest.raises(InvalidResponse):
        parse_csv(io.BytesIO(text))


@pytest.mark.parametrize("token", [TOKEN, "a-token-without-digits", "s3cr3t-0", "2", "ok", "price", "0.2", "{}"])
def test_an_answer_that_repeats_the_url_is_only_changed_in_the_token(token):
    records = b'[{"price": 0.2, "status_info": "ok", "code_auth": "0222"}, {"price": 2, "status_info": "{}"}]'
    addresses = [f"https://vendor/api/{quote(token, safe='')}/post_billing_data/", rf"\/api\/{token}\/get_balance\/"]
    body = records + "".join(addresses).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    masked = b"https://vendor/api/***/post_billing_data/" + rb"\/api\/***\/get_balance\/"
    for answer in (http(body, "Connection: close"), http(chunks, "Transfer-Encoding: chunked")):
        with raw_server(answer) as (url, _), opened(url, token=token) as transport:
            assert ask(transport) == records + masked


@pytest.mark.parametrize("token", [TOKEN, "a-token-without-digits", "s3cr3t-0"])
def test_an_unmistakable_token_is_masked_everywhere(token):
    with raw_server(http(f'"{token}" {token}!'.encode())) as (url, _), opened(url, token=token) as transport:
        assert ask(transport) == b'"***" ***!'


def test_a_request_has_a_user_agent_and_refuses_compression():
    with raw_server(http(b"", "Content-Length: 0")) as (url, requests), opened(url + "/") as transport:
        ask(transport)
    head, _, body = requests[0].decode().partition("\r\n\r\n")
    line, *headers = head.split("\r\n")
    assert line == f"POST /api/{TOKEN}/post_billing_data/ HTTP/1.1"
    assert {"User-Agent: billing-etl/test", "Accept-Encoding: identity", "Content-Type: application/json"} <= {*headers}
    assert body == '{"start_date": "2026-03-09", "end_date": "2026-03-10"}'


@pytest.mark.fault(29)
def test_an_unreachable_server_is_distinguished_from_a_broken_one():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with opened(f"http://127.0.0.1:{port}/api") as transport:
        error = failure(transport)
    assert (type(error), str(error)) == (RetryableError, "the connection was refused (see BILLING_API_URL)")
    assert TOKEN not in text_of(error)


@pytest.mark.parametrize("url", [f"http://{'a' * 70}", "http://127.0.0.1:1:2", "ftp://127.0.0.1", "http://", "no url"])
def test_the_error_of_an_invalid_url_does_not_contain_the_token(url):
    with opened(url) as transport:
        assert TOKEN not in text_of(failure(transport))


@pytest.mark.fault(29)
def test_the_error_of_a_server_without_tls_does_not_contain_the_token(vendor):
    with opened(vendor.url.replace("http:", "https:")) as transport:
        error = failure(transport)
    assert (type(error), str(error)) == (RetryableError, "the TLS connection failed (see BILLING_API_URL)")
    assert TOKEN not in text_of(error)
