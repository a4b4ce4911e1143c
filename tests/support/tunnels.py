"""A TLS server and a forward proxy between the program and the vendor, on the loopback."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, NamedTuple

from support.external_tools import tool


class Authority(NamedTuple):
    """A certificate authority with the certificate of one server."""

    ca_file: Path
    certificate: Path
    key: Path


def new_authority(folder: Path, *, names: str = "IP:127.0.0.1,DNS:localhost", days: int = 2) -> Authority:
    """Create an authority and a server certificate for these names; expired if `days` is negative."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    ca_key, request, extensions = folder / "ca.key", folder / "server.csr", folder / "server.ext"
    extensions.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
    for arguments in (
        ("req", "-x509", *key, "-keyout", ca_key, "-out", made.ca_file, "-days", "2", "-subj", "/CN=test authority"),
        ("req", *key, "-keyout", made.key, "-out", request, "-subj", "/CN=test server"),
        (
            *("x509", "-req", "-in", request, "-CA", made.ca_file, "-CAkey", ca_key, "-CAcreateserial"),
            *("-extfile", extensions, "-days", str(days), "-out", made.certificate),
        ),
    ):
        subprocess.run([tool("openssl"), *map(str, arguments)], check=True, capture_output=True)
    return made


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of clients: some tests are about clients that disconnect or refuse the certificate."""


@contextmanager
def serving(handler: type[StreamRequestHandler], port: int = 0) -> Iterator[int]:
    """Serve each connection in a thread; yields the port, a free one unless given."""
    with _Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _pump(source: socket.socket, sink: socket.socket, log: bytearray | None = None) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(1 << 16):
            if log is not None:
                log += chunk
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def join(client: socket.socket, server: socket.socket, log: bytearray | None = None) -> None:
    """Copy bytes in both directions until both sides have closed."""
    back = threading.Thread(target=_pump, args=(server, client), daemon=True)
    back.start()
    _pump(client, server, log)
    back.join()


@contextmanager
def https_in_front_of(root: str, authority: Authority, log: bytearray | None = None) -> Iterator[str]:
    """Serve an http server at an https URL.

    Args:
        root: The http URL, without a path.
        authority: The authority of the certificate.
        log: Receives the decrypted bytes that clients send.
    """
    host, _, port = root.removeprefix("http://").partition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)

    class Terminator(StreamRequestHandler):
        def handle(self) -> None:
            with (
                context.wrap_socket(self.connection, server_side=True) as client,
                socket.create_connection((host, int(port))) as server,
            ):
                join(client, server, log)

    with serving(Terminator) as own_port:
        yield f"https://127.0.0.1:{own_port}"


class ForwardProxy:
    """A tunnelling proxy.

    Attributes:
        port: Its port.
        seen: The first line and the headers of each request.
    """

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url_with(self, userinfo: str) -> str:
        """Its URL with user and password."""
        return f"http://{userinfo}@127.0.0.1:{self.port}"


@contextmanager
def forward_proxy(*, credentials: str | None = None, answer: str | None = None) -> Iterator[ForwardProxy]:
    """A forward proxy on the loopback.

    Args:
        credentials: The `user:password` that it requires.
        answer: Sent for every request instead of opening a tunnel; may be empty.
    """
    proxy = ForwardProxy()
    wanted = "Basic " + base64.b64encode((credentials or "").encode()).decode()

    class Tunnel(StreamRequestHandler):
        rbufsize = 0  # bytes of the tunnel may not stay in a buffer

        def handle(self) -> None:
            if self.connection.recv(1, socket.MSG_PEEK) == b"\x16":  # TLS, as at a real proxy's plain port
                self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            lines = []
            while line := self.rfile.readline().decode("latin-1").strip():
                lines.append(line)
            proxy.seen.append("\n".join(lines))
            given = [line.partition(": ")[2] for line in lines if line.startswith("Proxy-Authorization: ")]
            if answer is not None:
                self.wfile.write(answer.encode())
            elif credentials is not None and given != [wanted]:
                self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            elif not lines[0].startswith("CONNECT "):
                self.wfile.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            else:
                host, _, port = lines[0].split(" ")[1].rpartition(":")
                with socket.create_connection((host, int(port))) as server:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    join(self.connection, server)

    with serving(Tunnel) as proxy.port:
        yield proxy
