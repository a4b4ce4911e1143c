"""The vendor's calls about charges, each asked again while asking may help.

All of them only read, so each may be asked again. This is the one layer of retries: full jitter between tries,
`Retry-After` where the vendor sends it, both bounded by the settings.
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

from etl.errors import InvalidResponse, RequestRejected, RetryableError, UnknownRecordError, VendorError
from etl.extract.json_parser import parse_answer, parse_data
from etl.extract.spool import disk_full_guard
from etl.extract.transport import Transport
from etl.model import DateRange, Feed

IN_MEMORY: Final = 1 << 20
"""Bytes of a JSON answer that are kept in memory; a larger one goes to a temporary file."""
INITIAL_BACKOFF_SECONDS: Final = 1.0
"""Seconds: the longest wait before the second try; it doubles with every further one."""

MAX_NEWEST_RECORDS: Final = 100
"""Records of one answer to `get_billing_record`, at the most. Source: the vendor's reference."""
RECORD_ID: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~:-]{1,128}", re.ASCII)
"""An id: one segment of a path that needs no escape. Assumed; the independent client has integers."""
NO_SUCH_RECORD: Final = "record not found"
"""Part of the vendor's error for an unknown id. Source: the vendor's reference, `get_status`."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often one request is tried, and how many seconds lie between two tries at the most."""

    attempts: int
    max_wait: float


class Client:
    """The vendor's API, one method a call.

    Every method raises what `Transport.request` raises once its tries are used up.
    """

    def __init__(self, transport: Transport, policy: RetryPolicy) -> None:
        self._transport = transport
        self._policy = policy

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the vendor's, once an answer told."""
        return self._transport.clock_skew

    def get_records(self, asked: DateRange, read: Callable[[Feed], T]) -> T:
        """What `read` makes of the records of the days asked for.

        Args:
            asked: The first and the last day of the question.
            read: Gets the records, and reads them to the end. An answer that it cannot use is asked for again.

        Source: the vendor's reference, `post_billing_data`. Whether the last day is included, and in which zone days
        are cut, it does not say; that the body is JSON is assumed from the independent client.
        """
        dates = {"start_date": asked.first.isoformat(), "end_date": asked.last.isoformat()}
        fetch = partial(self._read_records, "POST", "post_billing_data", read, dates)
        return self._ask("post_billing_data", fetch)

    def get_newest_records(self, count: int, read: Callable[[Feed], T]) -> T:
        """What `read` makes of the last records that the vendor has.

        Args:
            count: From 1 to MAX_NEWEST_RECORDS; an account with fewer records has all of them listed.
            read: As for `get_records`.

        Raises:
            ValueError: The count lies outside of these limits.

        Source: the vendor's reference, `get_billing_record`: at most 100. The order is not stated, nor is by what
        records are the last ones; that it is `created_at` is assumed.
        """
        if not 1 <= count <= MAX_NEWEST_RECORDS:
            raise ValueError(f"the number of records is from 1 to {MAX_NEWEST_RECORDS}, not {count}")
        fetch = partial(self._read_records, "GET", f"get_billing_record/{count}", read)
        return self._ask("get_billing_record", fetch)

    def get_export(self, start: date, read: Callable[[BinaryIO], T]) -> T:
        """What `read` makes of the export of all records since a day.

        Args:
            start: Its first day.
            read: Gets a file without a name, which is gone afterwards, however the process ends. One that it cannot
                use is asked for again.

        Raises:
            DiskFullError: There is none for the file, or for what `read` puts beside it.

        Source: the vendor's reference, `get_billing_csv`; that it reaches up to now is assumed.
        """

        def fetch() -> T:
            with disk_full_guard(), tempfile.TemporaryFile(prefix="billing-etl-") as sink:
                self._transport.request("GET", f"get_billing_csv/{start.isoformat()}", sink)
                return read(sink)

        return self._ask("get_billing_csv", fetch)

    def get_balance(self) -> dict[str, Any]:
        """The account's balance and limits.

        Source: the vendor's reference, `get_balance`: `{"balance": 5.0, "price": 0.2, "balance_limit": 0.0}`.
        """

        def fetch() -> dict[str, Any]:
            data = parse_data(self._read("GET", "get_balance"), self._transport.redact)
            if not isinstance(data, dict) or "balance" not in data:
                raise InvalidResponse("an answer without a balance")
            return data

        return self._ask("get_balance", fetch)

    def get_status(self, record_id: str) -> dict[str, Any]:
        """One authorisation as the vendor has it now, its numbers exact.

        Args:
            record_id: From the call that started the authorisation; billing records do not carry it.

        Raises:
            UnknownRecordError: The vendor has none with this id.
            ValueError: It is not of the form RECORD_ID.

        Source: the vendor's reference, `get_status`: `id, created_at, phone, status, status_info, price`; an unknown
        id is HTTP 400 "id record not found". That the same words may come with another status is assumed.
        """
        if not RECORD_ID.fullmatch(record_id):
            raise ValueError("an id that cannot stand in a path")

        def fetch() -> dict[str, Any]:
            unknown: str | None = None
            try:
                data = parse_data(self._read("GET", f"get_status/{record_id}"), self._transport.redact)
            except (RequestRejected, InvalidResponse) as error:
                if NO_SUCH_RECORD not in str(error).casefold():
                    raise
                unknown = str(error)
            if unknown is not None:
                raise UnknownRecordError(unknown)
            if not isinstance(data, dict) or "status" not in data:
                raise InvalidResponse("an answer without a status")
            return data

        return self._ask("get_status", fetch)

    def _read_records(
        self, method: str, action: str, read: Callable[[Feed], T], body: dict[str, str] | None = None
    ) -> T:
        with disk_full_guard(), tempfile.SpooledTemporaryFile(IN_MEMORY, prefix="billing-etl-") as sink:
            self._transport.request(method, action, sink, body=body)
            return read(parse_answer(sink, self._transport.redact))

    def _read(self, method: str, action: str, body: dict[str, str] | None = None) -> bytes:
        sink = io.BytesIO()
        self._transport.request(method, action, sink, body=body)
        return sink.getvalue()

    def _ask(self, call: str, attempt: Callable[[], T]) -> T:
        def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            wait = state.next_action.sleep if state.next_action else 0.0
            log.warning(
                "%s: %s; asking again in %.1f s (try %d of %d)",
                call, str(error), wait, state.attempt_number, self._policy.attempts,
            )  # fmt: skip

        retrying = Retrying(
            stop=stop_after_attempt(self._policy.attempts),
            wait=self._wait,
            retry=retry_if_exception_type(RetryableError),
            before_sleep=tell,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except VendorError as error:
            # Without tenacity's frames, which hold the error, and so all that the frames above them hold.
            raise error.with_traceback(None)  # noqa: B904 - it is the same error

    def _wait(self, state: RetryCallState) -> float:
        jitter = wait_random_exponential(multiplier=INITIAL_BACKOFF_SECONDS, max=self._policy.max_wait)(state)
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, RetryableError) else None
        return jitter if asked is None else min(max(asked, jitter), self._policy.max_wait)
