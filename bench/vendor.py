"""A fake vendor in its own process that answers with prepared bytes.

The project's sandbox builds each answer under a lock; that time would be part of every measurement and bring all ratios
closer to one. This one has three calls: the records of a range (start and end date inclusive), the newest records, and
the balance, which never changes. It accepts any token. The first part of the path selects a variant:

    /first      the original records
    /revised    after changes of one in 25 records of the last three days
    /slow       as /first, a tenth of a second later
    /slower     as /first, two tenths of a second later
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
"""Maximum number of newest records."""
ANSWER = b'{"success": true, "error": "", "data": [%b]}'
BALANCE = b'{"success": true, "error": "", "data": {"balance": 5.0, "price": 0.2, "balance_limit": 0.0}}'


class Days:
    """The days of one variant, as pieces of JSON."""

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
        request: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        variant, _token, call, *_ = [*self.path.strip("/").split("/"), "", ""]
        time.sleep(DELAYS.get(variant, 0))
        if call != "post_billing_data" or variant not in self.days:
            self.send_error(404)
            return
        first, last = (date.fromisoformat(request[name]) for name in ("start_date", "end_date"))
        self._answer(self.days[variant].answer(first, last))

    def do_GET(self) -> None:
        variant, _token, call, count, *_ = [*self.path.strip("/").split("/"), "", "", ""]
        time.sleep(DELAYS.get(variant, 0))
        if call == "get_balance":
            self._answer(BALANCE)
        elif call == "get_billing_record" and variant in self.days:
            self._answer(self.days[variant].newest(int(count)))
        else:
            self.send_error(404)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Log nothing."""


@contextlib.contextmanager
def serving(load: Load) -> Iterator[str]:
    """Run a vendor with these records for the block; yields its URL."""
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
