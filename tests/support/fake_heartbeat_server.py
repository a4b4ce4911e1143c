"""A fake of a monitoring service that receives heartbeats over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class HeartbeatServer(ThreadingHTTPServer):
    """Records the pings: (path, body). It answers with `status`, or sends a byte every 50 ms if `trickles` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pings: list[tuple[str, str]] = []
        self.status = 200
        self.trickles = False
        self.closed = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/ping/check"


class Handler(BaseHTTPRequestHandler):
    server: HeartbeatServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.pings.append((self.path, body))
        if self.server.trickles:
            with suppress(ConnectionError):  # the client has disconnected
                while not self.server.closed.wait(0.05):
                    self.wfile.write(b"H")
            return
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def heartbeat_server() -> Iterator[HeartbeatServer]:
    """Run a server for the block."""
    with HeartbeatServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closed.set()
            server.shutdown()
            thread.join()
