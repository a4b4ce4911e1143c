"""HTTP requests with limits of time and size, without redirects, and without secrets in errors.

The token is part of every URL, so that printing a URL prints the secret. Exceptions of requests and urllib3 contain
URLs: none of them leaves this module, not even as the context of another exception.
"""

from __future__ import annotations

import errno
import http.client
import logging
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO, Final
from urllib.parse import quote, urlsplit

import msgspec
import requests
import urllib3

from etl.errors import (
    AuthenticationError,
    BillingError,
    InvalidResponse,
    NoRecordsError,
    RequestRejected,
    RetryableError,
)
from etl.extract.connection_errors import RETRY_STATUSES, SettingNames, exception_chain, to_vendor_error
from etl.extract.deadline import DeadlineSession
from etl.extract.json_parser import error_reason, says_no_records
from etl.network import Route

log = logging.getLogger(__name__)
CHUNK_BYTES: Final = 1 << 16
MAX_ERROR_BODY_BYTES: Final = 1 << 16
"""Bytes of an error response that are read to find its reason."""
DISK_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CLOCK_TOLERANCE: Final = 300.0
"""Seconds by which the local clock and the vendor's may differ without a warning."""
CONTENT_CODINGS: Final = frozenset(
    {"gzip", "x-gzip", "br", "zstd", "deflate", "compress", "x-compress", "dcb", "dcz", "exi", "aes128gcm"}
)
"""Values of `Content-Encoding` that change the body. Source: IANA, HTTP Content Coding Registry."""
MASK: Final = b"***"
MIN_UNIQUE_TOKEN_LENGTH: Final = 16
"""Characters from which a token cannot be confused with other content of an answer; half as many if it has letters and
digits. The vendor's tokens are UUIDs."""
_LETTER_AND_DIGIT: Final = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9])")
_DIRECT: Final = Route()
_FIELD_NAMES: Final = SettingNames()


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The limits of one request.

    Attributes:
        timeout: Seconds to connect, and between two bytes.
        deadline: Seconds for the whole request.
        max_bytes: Size of the decoded body.
    """

    timeout: float
    deadline: float
    max_bytes: int


class Transport:
    """Sends requests to the vendor, with one session for each thread.

    Args:
        base_url: The URL of the API.
        token: Part of the path of every request.
        limits: Limits of each request.
        user_agent: The header `User-Agent`.
        redact: Removes secrets and personal data from the vendor's messages.
        route: The proxy and the trusted certificates.
        token_source: Where the token comes from, for error messages.
        names: Names of the settings, for error messages.

    Attributes:
        redact: Removes secrets and personal data from a text.
        clock_skew: Seconds by which the local clock is ahead of the vendor's `Date`; None before the first answer.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        limits: RequestLimits,
        *,
        user_agent: str,
        redact: Callable[[str], str],
        route: Route = _DIRECT,
        token_source: str = "",
        names: SettingNames = _FIELD_NAMES,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._masks = _token_masks(self._base_url, token)
        self._limits = limits
        self._route = route
        self._token_source = token_source
        self._names = names
        self.redact = redact
        self.clock_skew: float | None = None
        # urllib3 decodes a truncated gzip stream without an error: request none, and use our own decoder for one.
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._local = threading.local()
        self._sessions: list[DeadlineSession] = []

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions:
            session.close()

    def request(self, method: str, action: str, sink: IO[bytes], *, body: dict[str, str] | None = None) -> None:
        """Send one request and write the decoded body of its response to `sink`; log its outcome for debugging.

        Args:
            method: GET or POST.
            action: The path after the token, without leading or trailing slash.
            sink: May contain a part of the body if the request fails.
            body: The request body, sent as JSON.

        Raises:
            AuthenticationError: 401 or 403.
            RequestRejected: Any other 4xx, a certificate that cannot be trusted, or a proxy that refuses the tunnel.
            RetryableError: There was no complete response with status 200 within the limits.
            InvalidResponse: The body is too large or has an unsupported encoding.
        """
        started, size, outcome = time.monotonic(), sink.tell(), "failed"
        try:
            self._request(method, action, sink, body)
            outcome = f"HTTP {requests.codes.ok}"
        except BillingError as error:
            outcome = str(error)
            raise
        finally:
            call = " ".join([action, *(f"{name}={value}" for name, value in (body or {}).items())])
            log.debug("%s: %s, %d bytes, %.3f s", call, outcome, sink.tell() - size, time.monotonic() - started)

    def _request(self, method: str, action: str, sink: IO[bytes], body: dict[str, str] | None) -> None:
        failure: BillingError
        try:
            self._send(method, action, sink, body)
        except BillingError as error:
            failure = error
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
                raise  # from the sink, not from the vendor: a retry cannot help
            failure = to_vendor_error(error, self._route, urlsplit(self._base_url).hostname or "", self._names)
            for cause in exception_chain(error):
                cause.__traceback__ = None  # its urllib3 frames hold the error: a cycle
        except (ValueError, TypeError) as error:
            # urllib3 raises these for some invalid responses.
            failure = RetryableError(f"an answer that is not HTTP ({type(error).__name__})")
        else:
            return
        # Outside the except block, so that the new error has no context with the URL.
        try:
            raise failure
        finally:
            del failure  # this frame is in its traceback: a cycle that keeps all locals of the callers alive

    def _send(self, method: str, action: str, sink: IO[bytes], body: dict[str, str] | None) -> None:
        url = f"{self._base_url}/{quote(self._token, safe='')}/{action}/"
        session = self._session()
        session.deadline.start(self._limits.deadline, between_bytes=self._limits.timeout)
        with session.request(
            method, url, json=body, timeout=self._limits.timeout, stream=True, allow_redirects=False
        ) as response:
            self._record_clock_skew(response.headers.get("Date"))
            if response.status_code != requests.codes.ok:
                raise self._error_for_status(response)
            encoding = response.headers.get("Content-Encoding", "")
            received = response.raw.stream(CHUNK_BYTES, decode_content=False)
            chunks = _decode(received, encoding, self._limits.max_bytes, self._names.max_response_mb)
            # A record may contain the request URL, and no table may contain the token.
            for chunk in _mask_token(chunks, self._masks):
                sink.write(chunk)

    def _session(self) -> DeadlineSession:
        session: DeadlineSession | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = DeadlineSession(self._headers, self._route)
            self._sessions.append(session)
        return session

    def _error_for_status(self, response: requests.Response) -> BillingError:
        status = response.status_code
        if status in {401, 403}:
            source = f"; it comes from {self._token_source}" if self._token_source else ""
            return AuthenticationError(f"the vendor refused the token (HTTP {status}){source}")
        if 300 <= status < 400:
            return RetryableError(f"a redirect (HTTP {status}), which is never followed")
        if status in RETRY_STATUSES or status >= 500:
            wait = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            return RetryableError(f"HTTP {status}", retry_after=wait)
        if 400 <= status < 500:
            reason = self._error_reason(response)
            if says_no_records(reason):
                return NoRecordsError(f"HTTP {status}, {reason}")
            is_wrong_path = status == requests.codes.not_found
            hint = f"; is {self._names.api_url} right? It is {self.redact(self._base_url)}" if is_wrong_path else ""
            return RequestRejected(f"HTTP {status}, {reason}{hint}")
        return RetryableError(f"HTTP {status} instead of 200")

    def _error_reason(self, response: requests.Response) -> str:
        # The vendor's message may contain the URL or a phone number.
        body = response.raw.read(MAX_ERROR_BODY_BYTES, decode_content=False)
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            answer = None
        return error_reason(answer, self.redact)

    def _record_clock_skew(self, date_header: str | None) -> None:
        timestamp = _parse_http_date(date_header)
        if timestamp is not None:
            self.clock_skew = (datetime.now(UTC) - timestamp).total_seconds()


def parse_retry_after(header: str | None, now: datetime) -> float | None:
    """Parse `Retry-After`, a number of seconds or a date, to seconds; None if it is neither.

    Source: RFC 9110, 10.2.3. A past date is 0; an invalid or negative number is ignored.
    """
    if header is None:
        return None
    text = header.strip()
    if re.fullmatch(r"\d{1,18}", text, re.ASCII):
        return float(text)
    timestamp = _parse_http_date(text)
    return None if timestamp is None else max(0.0, (timestamp - now).total_seconds())


def _parse_http_date(text: str | None) -> datetime | None:
    try:
        timestamp = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    return timestamp.replace(tzinfo=UTC) if timestamp is not None and timestamp.tzinfo is None else timestamp


def _decode(chunks: Iterator[bytes], encoding: str, max_bytes: int, limit: str) -> Iterator[bytes]:
    """Yield the decoded body in chunks; a compressed body must not be truncated.

    Args:
        chunks: The body as received.
        encoding: The header `Content-Encoding`. Values that are not a coding (`utf-8`, `none`) are ignored, as browsers
            and curl do; the parsers reject a body that is compressed nevertheless.
        max_bytes: Maximum size of the decoded body.
        limit: Name of the setting with it.
    """
    codings = [token.strip() for token in encoding.lower().split(",") if token.strip() in CONTENT_CODINGS]
    match codings:
        case []:
            decoded = chunks
        case ["gzip" | "x-gzip"]:
            decoded = _gunzip(chunks)
        case _:
            raise InvalidResponse("an answer in an encoding that was not requested")
    total = 0
    for chunk in decoded:
        total += len(chunk)
        if total > max_bytes:
            raise InvalidResponse(f"an answer of more than {max_bytes >> 20} MB ({limit})")
        yield chunk


def _token_masks(base_url: str, token: str) -> dict[bytes, bytes]:
    """The replacements that mask the token in an answer without changing a record.

    A token that cannot be confused with a price, phone, code or text is replaced everywhere; a shorter one only in the
    API's URL: otherwise a token `2` would turn a price of 0.2 into 0.***.
    """
    spellings = {token.encode(), quote(token, safe="").encode()}
    if len(token) >= MIN_UNIQUE_TOKEN_LENGTH or (
        len(token) >= MIN_UNIQUE_TOKEN_LENGTH // 2 and _LETTER_AND_DIGIT.match(token)
    ):
        return dict.fromkeys(spellings, MASK)
    last_segment = base_url.rsplit("/", 1)[-1].encode()
    slashes = (b"/", rb"\/")  # the second is an escape that some JSON encoders use
    return {
        last_segment + slash + spelling + slash: last_segment + slash + MASK + slash
        for spelling in spellings
        for slash in slashes
    }


def _mask_token(chunks: Iterable[bytes], masks: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Yield the same bytes with the token masked, even if it spans two chunks."""
    overlap = max(map(len, masks)) - 1
    remaining = b""
    for chunk in chunks:
        masked = remaining + chunk
        for secret, mask in masks.items():
            masked = masked.replace(secret, mask)
        boundary = max(0, len(masked) - overlap)
        remaining = masked[boundary:]
        yield masked[:boundary]
    yield remaining


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(31)
    try:
        for chunk in chunks:
            remaining = chunk
            while remaining:
                if decoder.eof:  # a gzip body may have several members
                    decoder = zlib.decompressobj(31)
                yield decoder.decompress(remaining, CHUNK_BYTES)
                remaining = decoder.unconsumed_tail or decoder.unused_data
    except zlib.error:
        raise InvalidResponse("a broken gzip body") from None
    if not decoder.eof:
        raise RetryableError("a gzip body cut short")
