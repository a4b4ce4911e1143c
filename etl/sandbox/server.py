"""An HTTP server on the loopback, in a thread for tests or in the foreground for people."""

from __future__ import annotations

import contextlib
import errno
import shlex
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
DEFAULT_TOKEN: Final = "00000000-0000-4000-8000-000000000000"  # noqa: S105 - public, grants nothing
VENDOR_PATH: Final = ["api", "v1", "authcalls"]


class Sandbox(VendorState):
    """The imitation of the vendor as a server in a thread.

    Args:
        port: TCP port; 0 for any free port.
        token: The account's token; more may be added to `tokens`.
        dataset: As in `VendorState`.
        now: As in `VendorState`.
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
        """Accepted tokens."""
        self._port = port
        self._endpoints = Endpoints(self.dataset)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """URL of the calls, without the token: the value of `BILLING_API_URL`."""
        return f"{self.root}/{'/'.join(VENDOR_PATH)}"

    @property
    def root(self) -> str:
        """URL of the server."""
        port = self._server.server_port if self._server else self._port
        return f"http://{HOST}:{port}"

    def start(self) -> None:
        """Start serving.

        Raises:
            OSError: The port is taken or invalid; the text is one line.
        """
        try:
            self._server = _Server(self._port, self)
        except (OSError, OverflowError) as error:
            code, reason = (error.errno, error.strerror) if isinstance(error, OSError) else (errno.EINVAL, error)
            raise OSError(code, f"port {self._port} of {HOST} cannot be opened: {reason}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, even during a hang or a drip."""
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
        """Answer a request, with any queued fault injected."""
        path = [unquote(part) for part in urlsplit(target).path.split("/") if part]
        with self.dataset.lock:
            if path[:1] == [ADMIN_PREFIX]:
                response = handle_admin(self, method, path[1:], body)
            elif path[:3] == VENDOR_PATH:
                response = self._vendor_answer(method, path[3:], body, self.root + target)
            else:
                response = error_response("no such address", 404)
            date = format_datetime(self.now.replace(tzinfo=MOSCOW).astimezone(UTC), usegmt=True)
        return replace(response, headers={"Server": "billing-sandbox", "Date": date} | response.headers)

    def _vendor_answer(self, method: str, path: list[str], body: bytes, url: str) -> Response:
        request = parse_request(method, path[1:], body)
        self.requests.append(request)
        fault = self.faults.next_for(request.action)
        if path and path[0] in self.tokens:
            days = fault.days if fault and fault.fault == "other_days" else 0
            response = self._endpoints.answer(shift_dates(request, days, self.now), self.policies, self.now)
        else:
            response = error_response("invalid token", 401)
        return inject(fault, response, url) if fault else response


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, port: int, sandbox: Sandbox) -> None:
        self.sandbox: Final = sandbox
        self.stop_event: Final = threading.Event()
        self._open: dict[Any, threading.Thread] = {}
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        """Bind without a DNS lookup of the host name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve each connection in a daemon thread, so that a hang does not keep the process alive."""
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._open[request] = thread
        thread.start()

    def close_request(self, request: Any) -> None:
        super().close_request(request)
        self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnected."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Close all connections and wait for their threads."""
        self.stop_event.set()
        self.server_close()
        for connection, thread in list(self._open.items()):
            with contextlib.suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        response = self.server.sandbox.answer(self.command, self.path, body)
        if not send(response, self.connection, self.server.stop_event):
            self.close_connection = True

    do_POST = do_GET  # noqa: N815 - the library's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Log nothing: the path of a request contains the token."""


def serve(*, port: int = 8080, token: str = DEFAULT_TOKEN, seed: int = 1) -> None:
    """Serve in the foreground, from the main thread, until SIGINT or SIGTERM.

    Raises:
        OSError: The port is taken or invalid; the text is one line.
    """
    sandbox = Sandbox(port, token, generate_dataset(seed, current_time()))
    stop = threading.Event()
    previous = {signum: signal.signal(signum, lambda *_: stop.set()) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        with sandbox:
            sys.stdout.write(
                f"sandbox: {sandbox.url}\n"
                f"token:   {token}\n"
                f"state:   {sandbox.root}/{ADMIN_PREFIX}/state\n"
                "\nTo use it, in another terminal (Ctrl+C ends it here):\n"
                f"export BILLING_API_URL={shlex.quote(sandbox.url)}\n"
                f"export BILLING_API_TOKEN={shlex.quote(token)}\n"
                "export BILLING_DATABASE_URL=sqlite:///sandbox.db\n"
                "billing-etl sync\n"
            )
            sys.stdout.flush()
            stop.wait()
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
