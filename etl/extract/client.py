"""The client of the vendor's API, with retries.

All calls are read-only, so that each may be retried. This is the only layer of retries: full jitter between attempts,
or `Retry-After` if the vendor sends it, both limited by the settings.
"""

from __future__ import annotations

import io
import logging
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, BinaryIO, Final, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from etl.date_ranges import DateRange
from etl.errors import BillingError, InvalidResponse, RequestRejected, RetryableError, UnknownRecordError
from etl.extract.json_parser import parse_answer, parse_envelope
from etl.extract.spool import disk_full_guard
from etl.extract.transport import Transport
from etl.model import Feed

MAX_BYTES_IN_MEMORY: Final = 1 << 20
"""Size from which a JSON answer is spooled to a temporary file."""
INITIAL_BACKOFF_SECONDS: Final = 1.0
"""Maximum wait before the second attempt; it doubles with every further attempt."""

MAX_NEWEST_RECORDS: Final = 100
"""Records of one answer to `get_billing_record`. Source: the vendor's reference."""
RECORD_ID: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~:-]{1,128}", re.ASCII)
"""The format of an id: a path segment without escapes. Assumed; the independent client has integers."""
UNKNOWN_RECORD_TEXT: Final = "record not found"
"""Part of the vendor's error for an unknown id. Source: the vendor's reference, `get_status`."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The number of attempts of one request, and the maximum wait between two of them in seconds."""

    attempts: int
    max_wait: float


class Client:
    """The vendor's API, with one method for each call.

    Every method raises the errors of `Transport.request` after its last attempt.
    """

    def __init__(self, transport: Transport, policy: RetryPolicy) -> None:
        self._transport = transport
        self._policy = policy

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which the local clock is ahead of the vendor's; None before the first answer with a `Date`."""
        return self._transport.clock_skew

    def get_records(self, requested: DateRange, read: Callable[[Feed], T], *, retry: bool = True) -> T:
        """Request the records of a date range and return the result of `read`.

        Args:
            requested: The first and the last date of the request.
            read: Consumes the whole feed. A `RetryableError` of it retries the request.
            retry: Whether to retry the request at all.

        Source: the vendor's reference, `post_billing_data`. It documents neither whether the last day is included nor
        the time zone of a day; that the body is JSON is assumed from the independent client.
        """
        dates = {"start_date": requested.first.isoformat(), "end_date": requested.last.isoformat()}
        fetch = partial(self._fetch_records, "POST", "post_billing_data", read, dates)
        return self._with_retry("post_billing_data", fetch, retry=retry)

    def get_newest_records(self, count: int, read: Callable[[Feed], T]) -> T:
        """Request the newest records of the account and return the result of `read`.

        Args:
            count: From 1 to MAX_NEWEST_RECORDS; for an account with fewer records, all are listed.
            read: Consumes the whole feed; see `get_records`.

        Raises:
            ValueError: The count is out of range.

        Source: the vendor's reference, `get_billing_record`: at most 100. The order is not documented; that the newest
        records are the last ones by `created_at` is assumed.
        """
        if not 1 <= count <= MAX_NEWEST_RECORDS:
            raise ValueError(f"the number of records is from 1 to {MAX_NEWEST_RECORDS}, not {count}")
        fetch = partial(self._fetch_records, "GET", f"get_billing_record/{count}", read)
        return self._with_retry("get_billing_record", fetch)

    def get_export(self, start: date, read: Callable[[BinaryIO], T], *, retry: bool = True) -> T:
        """Download the export of all records since a day and return the result of `read`.

        Args:
            start: The start date.
            read: Consumes the export, an unnamed temporary file that is deleted even if the process is killed. A
                `RetryableError` of it retries the request.
            retry: Whether to retry the request at all.

        Raises:
            DiskFullError: The disk is too small for the export or the temporary files of `read`.

        Source: the vendor's reference, `get_billing_csv`; that it extends to the present is assumed.
        """

        def fetch() -> T:
            with disk_full_guard(), tempfile.TemporaryFile(prefix="billing-etl-") as sink:
                self._transport.request("GET", f"get_billing_csv/{start.isoformat()}", sink)
                return read(sink)

        return self._with_retry("get_billing_csv", fetch, retry=retry)

    def get_balance(self) -> dict[str, Any]:
        """The account's balance and limits.

        Source: the vendor's reference, `get_balance`: `{"balance": 5.0, "price": 0.2, "balance_limit": 0.0}`.
        """

        def fetch() -> dict[str, Any]:
            data = self._fetch_data("get_balance")
            if not isinstance(data, dict) or "balance" not in data:
                raise InvalidResponse("an answer without a balance")
            return data

        return self._with_retry("get_balance", fetch)

    def get_status(self, record_id: str) -> dict[str, Any]:
        """The current state of one authorisation, with exact numbers.

        Args:
            record_id: The id from the call that started the authorisation; billing records do not contain it.

        Raises:
            UnknownRecordError: The vendor has no authorisation with this id.
            ValueError: The id does not match RECORD_ID.

        Source: the vendor's reference, `get_status`: `id, created_at, phone, status, status_info, price`; an unknown
        id is HTTP 400 "id record not found". That the same text may come with another status is assumed.
        """
        if not RECORD_ID.fullmatch(record_id):
            raise ValueError("an id that is not valid in a path")

        def fetch() -> dict[str, Any]:
            unknown: str | None = None
            try:
                data = self._fetch_data(f"get_status/{record_id}")
            except (RequestRejected, InvalidResponse) as error:
                if UNKNOWN_RECORD_TEXT not in str(error).casefold():
                    raise
                unknown = str(error)
            if unknown is not None:
                raise UnknownRecordError(unknown)
            if not isinstance(data, dict) or "status" not in data:
                raise InvalidResponse("an answer without a status")
            return data

        return self._with_retry("get_status", fetch)

    def _fetch_records(
        self, method: str, action: str, read: Callable[[Feed], T], body: dict[str, str] | None = None
    ) -> T:
        with disk_full_guard(), tempfile.SpooledTemporaryFile(MAX_BYTES_IN_MEMORY, prefix="billing-etl-") as sink:
            self._transport.request(method, action, sink, body=body)
            size = sink.tell()
            feed = parse_answer(sink, self._transport.redact)
            feed.size = size
            return read(feed)

    def _fetch_data(self, action: str) -> Any:
        sink = io.BytesIO()
        self._transport.request("GET", action, sink)
        return parse_envelope(sink.getvalue(), self._transport.redact)

    def _with_retry(self, call: str, attempt: Callable[[], T], *, retry: bool = True) -> T:
        """Call `attempt` until it succeeds, raises another error than RetryableError or is out of attempts."""

        def log_retry(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            wait = state.next_action.sleep if state.next_action else 0.0
            log.warning(
                "%s: %s; retrying in %.1f s (attempt %d of %d)",
                call, str(error), wait, state.attempt_number, self._policy.attempts,
            )  # fmt: skip

        retrying = Retrying(
            stop=stop_after_attempt(self._policy.attempts if retry else 1),
            wait=self._backoff,
            retry=retry_if_exception_type(RetryableError),
            before_sleep=log_retry,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except BillingError as error:
            # Without the frames of tenacity: they hold the error, a cycle that keeps all locals of the callers alive.
            raise error.with_traceback(None)  # noqa: B904 - the same error

    def _backoff(self, state: RetryCallState) -> float:
        jitter = wait_random_exponential(multiplier=INITIAL_BACKOFF_SECONDS, max=self._policy.max_wait)(state)
        error = state.outcome.exception() if state.outcome else None
        retry_after = error.retry_after if isinstance(error, RetryableError) else None
        return jitter if retry_after is None else min(max(retry_after, jitter), self._policy.max_wait)
