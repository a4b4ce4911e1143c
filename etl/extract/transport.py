"""One HTTP request, safely: bounded in time and size, never redirected, and no secret leaves with an error.

The token is part of every URL, so whatever prints a URL prints the secret. Exceptions of requests and urllib3 carry
URLs: none of them crosses this border, not even as the context of another.
"""

from __future__ import annotations

import errno
import http.client
import re
import ssl
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO, Any, Final
from urllib.parse import quote

import msgspec
import requests
import urllib3

from etl.errors import AuthenticationError, InvalidResponse, RequestRejected, RetryableError, VendorError
from etl.extract.deadline import DeadlineExceeded, DeadlineSession, TooManyInterim
from etl.extract.json_parser import error_reason

CHUNK: Final = 1 << 16
ERROR_BODY: Final = 1 << 16
"""Bytes of an error's body that are read for its reason."""
DISK_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CLOCK_TOLERANCE: Final = 300.0
"""Seconds by which this machine's clock and the vendor's may differ without a word."""
CODINGS: Final = frozenset(
    {"gzip", "x-gzip", "br", "zstd", "deflate", "compress", "x-compress", "dcb", "dcz", "exi", "aes128gcm"}
)
"""What a `Content-Encoding` may name that changes the body. Source: IANA, HTTP Content Coding Registry."""
MASK: Final = b"***"
UNMISTAKABLE: Final = 16
"""Characters of a token that nothing else in an answer is; half as many where letters and digits are among them. The
vendor's own is a UUID."""
_LETTER_AND_DIGIT: Final = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9])")
RETRY_STATUSES: Final = frozenset({408, 425, 429})
"""Client errors that may pass by themselves; all 5xx and 3xx count as passing too."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may cost: seconds to connect or between bytes, seconds in all, decoded bytes."""

    timeout: float
    deadline: float
    max_bytes: int


class Transport:
    """The way to the vendor; each thread has a session of its own.

    Attributes:
        redact: Cleans the vendor's own words.
        clock_skew: Seconds by which this machine's clock is ahead of the vendor's `Date`, once an answer told.
    """

    def __init__(
        self, base_url: str, token: str, limits: RequestLimits, *, user_agent: str, redact: Callable[[str], str]
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._masks = _masks(self._base_url, token)
        self._limits = limits
        self.redact = redact
        self.clock_skew: float | None = None
        # A gzip stream cut short decodes without an error: better none at all, and our own decoder where one comes.
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._of_thread = threading.local()
        self._sessions: list[DeadlineSession] = []

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions:
            session.close()

    def request(self, method: str, action: str, sink: IO[bytes], *, body: dict[str, str] | None = None) -> None:
        """Send one request and write the decoded body of its answer to `sink`.

        Args:
            method: GET or POST.
            action: The part of the path behind the token, without slashes at its ends.
            sink: Holds a part of the answer when the request fails.
            body: Sent as JSON.

        Raises:
            AuthenticationError: 401 or 403.
            RequestRejected: Any other 4xx, or a certificate that cannot be trusted.
            RetryableError: No complete answer with status 200 came within the limits.
            InvalidResponse: It is larger than allowed, or encoded in a way that cannot be decoded.
        """
        failure: VendorError
        try:
            self._send(method, action, sink, body)
        except VendorError as error:
            failure = error
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
                raise  # of the sink: no question to the vendor mends that
            failure = _to_vendor_error(error)
            for cause in _exception_chain(error):
                cause.__traceback__ = None  # a frame of urllib3 in it holds the error: none would ever be freed
        except (ValueError, TypeError) as error:
            # urllib3 lets some of what a broken server sends through as these.
            failure = RetryableError(f"an answer that is not HTTP ({type(error).__name__})")
        else:
            return
        # Outside of the except block: the new error gets no context that would hold the URL.
        try:
            raise failure
        finally:
            del failure  # this frame is in its traceback: a cycle that holds all that the frames above it hold

    def _send(self, method: str, action: str, sink: IO[bytes], body: dict[str, str] | None) -> None:
        url = f"{self._base_url}/{quote(self._token, safe='')}/{action}/"
        session = self._session()
        session.deadline.start(self._limits.deadline, between_bytes=self._limits.timeout)
        with session.request(
            method, url, json=body, timeout=self._limits.timeout, stream=True, allow_redirects=False
        ) as response:
            self._note_clock(response.headers.get("Date"))
            if response.status_code != requests.codes.ok:
                raise self._judge(response)
            encoding = response.headers.get("Content-Encoding", "")
            parts = _decode(response.raw.stream(CHUNK, decode_content=False), encoding, self._limits.max_bytes)
            # A record may repeat the URL it came from, and no table may hold the token.
            for part in _mask(parts, self._masks):
                sink.write(part)

    def _session(self) -> DeadlineSession:
        session: DeadlineSession | None = getattr(self._of_thread, "session", None)
        if session is None:
            session = self._of_thread.session = DeadlineSession(self._headers)
            self._sessions.append(session)
        return session

    def _judge(self, response: requests.Response) -> VendorError:
        status = response.status_code
        if status in {401, 403}:
            return AuthenticationError(f"the vendor refused the token (HTTP {status})")
        if 300 <= status < 400:
            return RetryableError(f"a redirect (HTTP {status}), which is never followed")
        if status in RETRY_STATUSES or status >= 500:
            wait = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            return RetryableError(f"HTTP {status}", retry_after=wait)
        if 400 <= status < 500:
            return RequestRejected(f"HTTP {status}, {self._reason(response)}")
        return RetryableError(f"HTTP {status} instead of 200")

    def _reason(self, response: requests.Response) -> str:
        # The vendor's words may repeat the URL, or name a phone.
        body = response.raw.read(ERROR_BODY, decode_content=False)
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            answer = None
        return error_reason(answer, self.redact)

    def _note_clock(self, date_header: str | None) -> None:
        moment = _parse_http_date(date_header)
        if moment is not None:
            self.clock_skew = (datetime.now(UTC) - moment).total_seconds()


def parse_retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait, from a number of seconds or a date; None where the header says neither.

    Source: RFC 9110, 10.2.3. A date that has passed is 0; a negative or broken number is no header.
    """
    if header is None:
        return None
    text = header.strip()
    if re.fullmatch(r"\d{1,18}", text, re.ASCII):
        return float(text)
    moment = _parse_http_date(text)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def _parse_http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _to_vendor_error(error: Exception) -> VendorError:
    """An error without a URL for one that has it. The words come from its type, never from its text."""
    causes = list(_exception_chain(error))

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if caused_by(ssl.SSLCertVerificationError):
        return RequestRejected("the server's certificate cannot be trusted")
    if caused_by(DeadlineExceeded):
        return RetryableError("no complete answer within BILLING_REQUEST_DEADLINE")
    if caused_by(TooManyInterim):
        return RetryableError("interim answers without end")
    # Before the timeouts: urllib3 makes these two a kind of timeout.
    if caused_by(urllib3.exceptions.NameResolutionError):
        return RetryableError("the host name cannot be resolved (see BILLING_API_URL)")
    if caused_by(ConnectionRefusedError):
        return RetryableError("the connection was refused")
    if caused_by(TimeoutError, urllib3.exceptions.TimeoutError):
        return RetryableError("no byte within BILLING_TIMEOUT")
    if caused_by(ssl.SSLError):
        return RetryableError("the TLS connection failed")
    if caused_by(urllib3.exceptions.IncompleteRead, http.client.IncompleteRead):
        return RetryableError("an answer cut short")
    return RetryableError(f"the connection failed ({type(error).__name__})")


def _exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that it was made from, however requests and urllib3 packed it."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]


def _decode(parts: Iterator[bytes], encoding: str, max_bytes: int) -> Iterator[bytes]:
    """The body in clear, piece by piece; a compressed one must come to its own end.

    Args:
        parts: The body as it came.
        encoding: The header `Content-Encoding`. What is no coding (`utf-8`, `none`) says nothing about the body: it
            is handed on as it came, as browsers and curl do, and a parser refuses what is compressed after all.
        max_bytes: Of the body in clear.
    """
    codings = [token.strip() for token in encoding.lower().split(",") if token.strip() in CODINGS]
    match codings:
        case []:
            pieces = parts
        case ["gzip" | "x-gzip"]:
            pieces = _decompress(parts)
        case _:
            raise InvalidResponse("an answer in an encoding that was not asked for")
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > max_bytes:
            raise InvalidResponse(f"an answer of more than {max_bytes >> 20} MB (BILLING_MAX_RESPONSE_MB)")
        yield piece


def _masks(base_url: str, token: str) -> dict[bytes, bytes]:
    """What is replaced by what in an answer, so that no table holds the token and no record is changed.

    A token that no price, phone, code or word of a record can be is replaced wherever it stands; any other only in the
    API's own address: else a token `2` would turn a price of 0.2 into 0.***.
    """
    forms = {token.encode(), quote(token, safe="").encode()}
    if len(token) >= UNMISTAKABLE or (len(token) >= UNMISTAKABLE // 2 and _LETTER_AND_DIGIT.match(token)):
        return dict.fromkeys(forms, MASK)
    before = base_url.rsplit("/", 1)[-1].encode()
    slashes = (b"/", rb"\/")  # the second, as some writers of JSON spell it
    return {before + slash + form + slash: before + slash + MASK + slash for form in forms for slash in slashes}


def _mask(parts: Iterable[bytes], masks: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """The same bytes with the masks put on, also where two parts share what is masked."""
    shared = max(map(len, masks)) - 1
    rest = b""
    for part in parts:
        clean = rest + part
        for secret, mask in masks.items():
            clean = clean.replace(secret, mask)
        cut = max(0, len(clean) - shared)
        rest = clean[cut:]
        yield clean[:cut]
    yield rest


def _decompress(parts: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(31)
    try:
        for part in parts:
            rest = part
            while rest:
                if decoder.eof:  # one gzip member ended, another begins
                    decoder = zlib.decompressobj(31)
                yield decoder.decompress(rest, CHUNK)
                rest = decoder.unconsumed_tail or decoder.unused_data
    except zlib.error:
        raise InvalidResponse("a broken gzip body") from None
    if not decoder.eof:
        raise RetryableError("a gzip body cut short")
