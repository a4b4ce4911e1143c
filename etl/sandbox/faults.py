"""What goes wrong, on demand: a queue of faults, each of which spoils the next answers it fits.

status          `status` (503) with a JSON error, or with `body`; with 200 it is any answer at all
html            200, an HTML page, as a proxy's login page
empty_body      200 and nothing
cut             the right answer, broken off against its Content-Length
cut_chunked     the right answer, chunked, broken off within a chunk
cut_text        the right answer without its end and with an honest length: invalid JSON, or a CSV cut in mid-line
reset           RST instead of an answer
reset_midway    RST in the middle of the body
hang            no byte, for `seconds` or as long as the server lives
drip_headers    a byte every `seconds` (1), from the status line on
drip_body       the same from the body on; a large `seconds` is a server that falls silent in mid-answer
truncated_gzip  the right answer compressed, the end of the stream missing, the length honest
gzip_bomb       the right answer after `megabytes` of spaces, compressed
redirect        `status` (302) to the same path at `location`
refusal         200 and success: false; for a CSV call, JSON under the name of a CSV
null_data       200, success: true and data: null
invalid_json    200 and something that is nearly JSON
json_bom        the right answer after a byte order mark
echo_url        `status` (400) and an error text that repeats the URL, token and all
empty_list      200 and no records; for a CSV, its first line alone
other_days      the right answer to the question as it would have been `days` (30) days earlier
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
    """One fault of the queue.

    Attributes:
        fault: Its name, one of the list above.
        action: The call that it hits, `*` for any.
        times: How many answers it spoils; None until the queue is cleared.
        skip: How many answers that it fits go out well before.
        headers: Set on the spoiled answer, over those it has.
        body: Instead of the fault's own text, where it has one.
        share: How much of the right answer goes out before it is cut.
        days: How much earlier the question would have been; a negative number is later.
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
            raise ValueError(f"there is no fault {self.fault!r}, but {', '.join(FAULTS)}")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is 1 or more, or None, not {self.times}")


class Faults:
    """The queue. The first fault that fits a call, in the order they were added, spoils its answer."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._queue: deque[Fault] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, fault: str, **options: Any) -> None:
        """Append a fault; the options are the attributes of `Fault`.

        Raises:
            ValueError: There is no such fault, or it would never come.
            TypeError: There is no such option.
        """
        with self._lock:
            self._queue.append(Fault(fault, **options))

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._queue.clear()

    def pending(self) -> list[dict[str, Any]]:
        """List what is still to come, with the times that are left."""
        with self._lock:
            return [asdict(fault) for fault in self._queue]

    def next_for(self, action: str) -> Fault | None:
        """Return the fault that this call meets, counted down."""
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


def inject(fault: Fault, answer: Response, url: str) -> Response:
    """Make of the answer what the fault makes of it; `url` is what the client asked for, token included."""
    spoiled = FAULTS[fault.fault](fault, answer, url)
    return replace(spoiled, headers=spoiled.headers | fault.headers, share=fault.share, seconds=fault.seconds)


def _status(fault: Fault, _answer: Response, _url: str) -> Response:
    status = fault.status or 503
    answer = error_response(responses.get(status, "error"), status)
    return answer if fault.body is None else replace(answer, body=fault.body.encode())


def _html(fault: Fault, _answer: Response, _url: str) -> Response:
    return Response((fault.body or HTML).encode(), 200, {"Content-Type": "text/html; charset=utf-8"})


def _cut_text(fault: Fault, answer: Response, _url: str) -> Response:
    part = answer.body[: int(len(answer.body) * fault.share)]
    # Once more behind the letter: it may have been the first one of a line.
    return replace(answer, body=part.rstrip(b"\r\n")[:-1].rstrip(b"\r\n"))


def _truncated_gzip(fault: Fault, answer: Response, _url: str) -> Response:
    body = gzip.compress(answer.body, mtime=0)
    return replace(_gzipped(answer), body=body[: int(len(body) * fault.share)])


def _gzip_bomb(fault: Fault, answer: Response, _url: str) -> Response:
    compressor = zlib.compressobj(wbits=31)  # 31: with gzip's header and trailer
    spaces = b" " * 2**20
    parts = [compressor.compress(spaces) for _ in range(fault.megabytes)]
    parts += [compressor.compress(answer.body), compressor.flush()]
    return replace(_gzipped(answer), body=b"".join(parts))


def _gzipped(answer: Response) -> Response:
    return replace(answer, headers=answer.headers | {"Content-Encoding": "gzip"})


def _redirect(fault: Fault, _answer: Response, url: str) -> Response:
    return Response(b"", fault.status or 302, {"Location": fault.location.rstrip("/") + urlsplit(url).path})


def _refusal(fault: Fault, answer: Response, _url: str) -> Response:
    return replace(answer, status=200, body=error_response(fault.body or "internal error").body)


def _null_data(_fault: Fault, _answer: Response, _url: str) -> Response:
    return json_response({"success": True, "error": "", "data": None})


def _invalid_json(fault: Fault, answer: Response, _url: str) -> Response:
    text = fault.body or "{'success': True, 'error': '', 'data': [}"
    return replace(answer, status=200, body=text.encode())


def _json_bom(_fault: Fault, answer: Response, _url: str) -> Response:
    return replace(answer, body=b"\xef\xbb\xbf" + answer.body)


def _echo_url(fault: Fault, _answer: Response, url: str) -> Response:
    return error_response(f"cannot handle {url}", fault.status or 400)


def _empty_list(_fault: Fault, answer: Response, _url: str) -> Response:
    if answer.headers.get("Content-Type") == "text/csv":
        return replace(answer, body=b"".join(answer.body.splitlines(keepends=True)[:1]))
    return json_response({"success": True, "error": "", "data": []})


def _delivered(delivery: Delivery) -> Callable[[Fault, Response, str], Response]:
    return lambda _fault, answer, _url: replace(answer, delivery=delivery)


FAULTS: Final[dict[str, Callable[[Fault, Response, str], Response]]] = {
    "status": _status,
    "html": _html,
    "empty_body": lambda _fault, answer, _url: replace(answer, status=200, body=b""),
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
    "other_days": lambda _fault, answer, _url: answer,  # it is the question that is another
    **{delivery: _delivered(delivery) for delivery in get_args(Delivery) if delivery != "whole"},
}
