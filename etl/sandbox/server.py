"""The door: an HTTP server on the loopback, in a thread for a test or in the foreground for a person."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from etl.sandbox.admin_api import ADMIN_PREFIX, handle_admin
from etl.sandbox.dataset import Dataset
from etl.sandbox.endpoints import Endpoints, parse_request, shift_dates
from etl.sandbox.faults import inject
from etl.sandbox.responses import Response, error_response, send
from etl.sandbox.state import MOSCOW, VendorState, current_time, generate_dataset

HOST: Final = "127.0.0.1"
DEFAULT_TOKEN: Final = "00000000-0000-4000-8000-000000000000"  # noqa: S105 - known to all, opens nothing
VENDOR_PATH: Final = ["api", "v1", "authcalls"]


class Sandbox(VendorState):
    """The vendor's imitation as a server in a thread.

    Everything it is made of may be changed while it runs, from any thread.

    Args:
        port: 0 for any free one.
        token: The account's; others may be added to `tokens`.
        dataset: What the vendor has; seeded up to `now` unless given.
        now: The vendor's wall clock, standing still; the real time of Moscow unless given.
    """

    def __init__(
        self,
        port: int = 0,
        token: str = DEFAULT_TOKEN,
        dataset: Dataset | None = None,
        now: datetime | None = None,
    ) -> None:
        super().__init__(dataset, now)
        self.token: Final = token
        self.tokens = {token}
        """Those that are not refused."""
        self._port = port
        self._calls = Endpoints(self.dataset)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address of the calls, without the token, as `BILLING_API_URL` has it."""
        return f"{self.root}/{'/'.join(VENDOR_PATH)}"

    @property
    def root(self) -> str:
        """The address of the server itself."""
        port = self._server.server_port if self._server else self._port
        return f"http://{HOST}:{port}"

    def start(self) -> None:
        """Begin to serve.

        Raises:
            OSError: The port is taken, or none; the text is one line.
        """
        try:
            self._server = _Server(self._port, self)
        except (OSError, OverflowError) as error:
            number, reason = (error.errno, error.strerror) if isinstance(error, OSError) else (errno.EINVAL, error)
            raise OSError(number, f"port {self._port} of {HOST} cannot be opened: {reason}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, also in the middle of a hang or a drip."""
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join()
            self._server.close()
            self._server = self._thread = None

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def answer(self, method: str, target: str, body: bytes) -> Response:
        """Answer a request, well or spoiled."""
        path = [unquote(part) for part in urlsplit(target).path.split("/") if part]
        with self.dataset.lock:
            if path[:1] == [ADMIN_PREFIX]:
                answer = handle_admin(self, method, path[1:], body)
            elif path[:3] == VENDOR_PATH:
                answer = self._vendor_answer(method, path[3:], body, self.root + target)
            else:
                answer = error_response("no such address", 404)
            date = format_datetime(self.now.replace(tzinfo=MOSCOW).astimezone(UTC), usegmt=True)
        return replace(answer, headers={"Server": "billing-sandbox", "Date": date} | answer.headers)

    def _vendor_answer(self, method: str, path: list[str], body: bytes, url: str) -> Response:
        request = parse_request(method, path[1:], body)
        self.requests.append(request)
        fault = self.faults.next_for(request.action)
        if path and path[0] in self.tokens:
            days = fault.days if fault and fault.fault == "other_days" else 0
            answer = self._calls.answer(shift_dates(request, days, self.now), self.policies, self.now)
        else:
            answer = error_response("invalid token", 401)
        return inject(fault, answer, url) if fault else answer


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, port: int, sandbox: Sandbox) -> None:
        self.sandbox: Final = sandbox
        self.stopping: Final = threading.Event()
        self._open: dict[Any, threading.Thread] = {}
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking a name server for the name of the loopback."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give each connection a daemon thread, so that a hanging one keeps no process alive."""
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._open[request] = thread
        thread.start()

    def close_request(self, request: Any) -> None:
        super().close_request(request)
        self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """End every connection, and wait until none is left."""
        self.stopping.set()
        self.server_close()
        for connection, thread in list(self._open.items()):
            with contextlib.suppress(OSError):  # it may have ended by itself
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.server.sandbox.answer(self.command, self.path, body)
        if not send(answer, self.connection, self.server.stopping):
            self.close_connection = True

    do_POST = do_GET  # noqa: N815 - the library's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing: a request's path holds the token."""


def serve(*, port: int = 8080, token: str = DEFAULT_TOKEN, seed: int = 1) -> None:
    """Serve in the foreground, from the main thread, until SIGINT or SIGTERM.

    Raises:
        OSError: The port is taken, or none; the text is one line.
    """
    sandbox = Sandbox(port, token, generate_dataset(seed, current_time()))
    done = threading.Event()
    before = {number: signal.signal(number, lambda *_: done.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with sandbox:
            sys.stdout.write(
                f"sandbox: {sandbox.url}\n"
                f"token:   {token}\n"
                f"try:     curl {sandbox.url}/{token}/get_billing_record/3/\n"
                f"state:   curl {sandbox.root}/{ADMIN_PREFIX}/state (Ctrl+C ends it)\n"
            )
            sys.stdout.flush()
            done.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
