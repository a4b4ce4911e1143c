"""Fault injection: a queue of faults that alter the next matching responses.

status          `status` (503) with a JSON error, or with `body`; with 200 it is an arbitrary response
html            200, an HTML page, as a proxy's login page
empty_body      200 and nothing
cut             the correct response, shorter than its Content-Length
cut_chunked     the correct response, chunked, cut within a chunk
cut_text        the correct response without its end, with a matching length: invalid JSON, or a CSV cut within a line
reset           RST instead of a response
reset_midway    RST in the middle of the body
hang            no byte, for `seconds` or until the server stops
drip_headers    a byte every `seconds` (1), from the status line on
drip_body       the same from the body on; a large `seconds` imitates a server that stalls within a response
truncated_gzip  the correct response compressed, without the end of the stream, with a matching length
gzip_bomb       the correct response after `megabytes` of spaces, compressed
redirect        `status` (302) to the same path at `location`
refusal         200 and success: false; for a CSV call, JSON under the name of a CSV
null_data       200, success: true and data: null
invalid_json    200 and text that is almost JSON
json_bom        the correct response after a byte order mark
echo_url        `status` (400) and an error text with the URL, token included
empty_list      200 and no records; for a CSV, only its first line
other_days      the correct response to the request shifted `days` (30) days back
"""

from __future__ import annotations

import gzip
import threading
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from http.client import responses
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from etl.sandbox.responses import Delivery, Response, error_response, json_response

HTML: Final = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><h1>Proxy</h1></body></html>\n"


@dataclass
class Fault:
    """A queued fault.

    Attributes:
        fault: A name in FAULTS.
        action: The call it applies to; `*` for any.
        times: Number of responses it alters; None until the queue is cleared.
        skip: Number of matching responses to leave unaltered first.
        status: HTTP status; None for the fault's default.
        headers: Added to those of the response.
        body: Replaces the fault's default text, where it has one.
        share: Fraction of the correct response that is sent before the cut.
        seconds: As in `Response`.
        megabytes: Decompressed size of `gzip_bomb`.
        days: Days that the request is shifted back; forward if negative.
        location: Scheme and host of the `redirect`.
    """

    fault: str
    action: str = "*"
    times: int | None = 1
    skip: int = 0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    share: float = 0.5
    seconds: float | None = None
    megabytes: int = 200
    days: int = 30
    location: str = "http://elsewhere.invalid"

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"there is no fault {self.fault!r}; the faults are {', '.join(FAULTS)}")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is 1 or more, or None, not {self.times}")


class Faults:
    """The queue of faults. The first one that matches a call alters its response."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._queue: deque[Fault] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, fault: str, **options: Any) -> None:
        """Append a fault; the options are the attributes of `Fault`.

        Raises:
            ValueError: Unknown fault, or `times` below 1.
            TypeError: Unknown option.
        """
        with self._lock:
            self._queue.append(Fault(fault, **options))

    def clear(self) -> None:
        """Empty the queue."""
        with self._lock:
            self._queue.clear()

    def pending(self) -> list[dict[str, Any]]:
        """The queued faults, with their remaining `times`."""
        with self._lock:
            return [asdict(fault) for fault in self._queue]

    def next_for(self, action: str) -> Fault | None:
        """Take the next fault for a call and count it down; None if no fault matches."""
        with self._lock:
            for fault in self._queue:
                if fault.action not in {"*", action}:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._queue.remove(fault)
                return fault
            return None


def inject(fault: Fault, response: Response, url: str) -> Response:
    """Alter a response; `url` is the requested URL, token included."""
    altered = FAULTS[fault.fault](fault, response, url)
    return replace(altered, headers=altered.headers | fault.headers, share=fault.share, seconds=fault.seconds)


def _status(fault: Fault, _response: Response, _url: str) -> Response:
    status = fault.status or 503
    response = error_response(responses.get(status, "error"), status)
    return response if fault.body is None else replace(response, body=fault.body.encode())


def _html(fault: Fault, _response: Response, _url: str) -> Response:
    return Response((fault.body or HTML).encode(), 200, {"Content-Type": "text/html; charset=utf-8"})


def _cut_text(fault: Fault, response: Response, _url: str) -> Response:
    part = response.body[: int(len(response.body) * fault.share)]
    # Strip line ends again: the removed character may have been the first of its line.
    return replace(response, body=part.rstrip(b"\r\n")[:-1].rstrip(b"\r\n"))


def _truncated_gzip(fault: Fault, response: Response, _url: str) -> Response:
    body = gzip.compress(response.body, mtime=0)
    return replace(_gzipped(response), body=body[: int(len(body) * fault.share)])


def _gzip_bomb(fault: Fault, response: Response, _url: str) -> Response:
    compressor = zlib.compressobj(wbits=31)  # 31: with gzip's header and trailer
    spaces = b" " * 2**20
    parts = [compressor.compress(spaces) for _ in range(fault.megabytes)]
    parts += [compressor.compress(response.body), compressor.flush()]
    return replace(_gzipped(response), body=b"".join(parts))


def _gzipped(response: Response) -> Response:
    return replace(response, headers=response.headers | {"Content-Encoding": "gzip"})


def _redirect(fault: Fault, _response: Response, url: str) -> Response:
    return Response(b"", fault.status or 302, {"Location": fault.location.rstrip("/") + urlsplit(url).path})


def _refusal(fault: Fault, response: Response, _url: str) -> Response:
    return replace(response, status=200, body=error_response(fault.body or "internal error").body)


def _null_data(_fault: Fault, _response: Response, _url: str) -> Response:
    return json_response({"success": True, "error": "", "data": None})


def _invalid_json(fault: Fault, response: Response, _url: str) -> Response:
    text = fault.body or "{'success': True, 'error': '', 'data': [}"
    return replace(response, status=200, body=text.encode())


def _json_bom(_fault: Fault, response: Response, _url: str) -> Response:
    return replace(response, body=b"\xef\xbb\xbf" + response.body)


def _echo_url(fault: Fault, _response: Response, url: str) -> Response:
    return error_response(f"cannot handle {url}", fault.status or 400)


def _empty_list(_fault: Fault, response: Response, _url: str) -> Response:
    if response.headers.get("Content-Type") == "text/csv":
        return replace(response, body=b"".join(response.body.splitlines(keepends=True)[:1]))
    return json_response({"success": True, "error": "", "data": []})


def _delivered(delivery: Delivery) -> Callable[[Fault, Response, str], Response]:
    return lambda _fault, response, _url: replace(response, delivery=delivery)


FAULTS: Final[dict[str, Callable[[Fault, Response, str], Response]]] = {
    "status": _status,
    "html": _html,
    "empty_body": lambda _fault, response, _url: replace(response, status=200, body=b""),
    "cut_text": _cut_text,
    "truncated_gzip": _truncated_gzip,
    "gzip_bomb": _gzip_bomb,
    "redirect": _redirect,
    "refusal": _refusal,
    "null_data": _null_data,
    "invalid_json": _invalid_json,
    "json_bom": _json_bom,
    "echo_url": _echo_url,
    "empty_list": _empty_list,
    "other_days": lambda _fault, response, _url: response,  # the request is shifted, not the response
    **{delivery: _delivered(delivery) for delivery in get_args(Delivery) if delivery != "whole"},
}
