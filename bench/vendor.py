"""A stand-in for the vendor that answers from bytes made beforehand, as a process of its own.

The sandbox of the project writes every answer anew and under a lock, which would stand in everybody's time alike and
bring all ratios closer to one. This one knows three calls: for the records of a range, where start and end date are
inclusive, for the newest records, and for the balance, which never changes. It takes any token. The first part of the
path says in which mood it is:

    /first      the records as they were at first
    /revised    after one in 25 of the last three days has changed
    /slow       as /first, a tenth of a second later
    /slower     the same, two tenths
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.records import Load

DELAYS = {"slow": 0.1, "slower": 0.2}
NEWEST = 100
"""The most records that the vendor lists of the newest ones."""
ANSWER = b'{"success": true, "error": "", "data": [%b]}'
BALANCE = b'{"success": true, "error": "", "data": {"balance": 5.0, "price": 0.2, "balance_limit": 0.0}}'


class Days:
    """The days of one mood, as pieces of JSON."""

    def __init__(self, load: Load, *, revised: bool) -> None:
        self._pieces = {
            day: ", ".join([charge.as_json() for charge in load.charges(day, revised=revised)]).encode()
            for day in load.newest(load.days)
        }

        newest = [charge.as_json() for charge in load.charges(load.last, revised=revised)]
        self._newest = newest[: -NEWEST - 1 : -1]

    def answer(self, first: date, last: date) -> bytes:
        wanted = [self._pieces.get(first + timedelta(days=ahead)) for ahead in range((last - first).days + 1)]
        return ANSWER % b", ".join(filter(None, wanted))

    def newest(self, count: int) -> bytes:
        """The last records, newest first; the last day has enough of them."""
        return ANSWER % ", ".join(self._newest[:count]).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    days: dict[str, Days]

    def do_POST(self) -> None:
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mood, _token, call, *_ = [*self.path.strip("/").split("/"), "", ""]
        time.sleep(DELAYS.get(mood, 0))
        if call != "post_billing_data" or mood not in self.days:
            self.send_error(404)
            return
        first, last = (date.fromisoformat(asked[name]) for name in ("start_date", "end_date"))
        self._answer(self.days[mood].answer(first, last))

    def do_GET(self) -> None:
        mood, _token, call, count, *_ = [*self.path.strip("/").split("/"), "", "", ""]
        time.sleep(DELAYS.get(mood, 0))
        if call == "get_balance":
            self._answer(BALANCE)
        elif call == "get_billing_record" and mood in self.days:
            self._answer(self.days[mood].newest(int(count)))
        else:
            self.send_error(404)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@contextlib.contextmanager
def serving(load: Load) -> Iterator[str]:
    """The address of a vendor that has these records, as long as the block lasts."""
    command = [sys.executable, "-m", "bench.vendor", str(load.days), str(load.per_day), load.last.isoformat()]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout
            port = process.stdout.readline().strip()
            if not port:
                raise RuntimeError("the vendor did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("days", type=int)
    parser.add_argument("per_day", type=int)
    parser.add_argument("last", type=date.fromisoformat)
    load = Load(**vars(parser.parse_args()))
    first = Days(load, revised=False)
    Handler.days = {"first": first, **dict.fromkeys(DELAYS, first), "revised": Days(load, revised=True)}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
