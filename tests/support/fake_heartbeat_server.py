"""A service that waits for the heartbeat of a job, over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service(ThreadingHTTPServer):
    """Keeps what it is told: (path, body). It answers with `status`, or drips for as long as it is left alone."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.told: list[tuple[str, str]] = []
        self.status = 200
        self.drips = False
        self.closed = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/ping/check"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.told.append((self.path, body))
        if self.server.drips:
            with suppress(ConnectionError):  # whoever waited has left
                while not self.server.closed.wait(0.05):
                    self.wfile.write(b"H")
            return
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def waiting_service() -> Iterator[Service]:
    """One that is up for the block."""
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closed.set()
            server.shutdown()
            thread.join()
