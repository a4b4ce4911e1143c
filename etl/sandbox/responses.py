"""HTTP responses, and the ways of sending them, whole or broken off."""

from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass, field
from http.client import responses
from typing import Any, Literal, TypeAlias

from etl.sandbox.formats import write_json

Delivery: TypeAlias = Literal[
    "whole", "cut", "cut_chunked", "reset", "reset_midway", "hang", "drip_headers", "drip_body"
]


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response.

    Attributes:
        headers: Without `Content-Length` and `Transfer-Encoding`.
        delivery: How the response is sent.
        share: Fraction of the body that an incomplete delivery sends.
        seconds: Between the bytes of a drip (1 by default); duration of a hang (until the server stops by default).
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delivery: Delivery = "whole"
    share: float = 0.5
    seconds: float | None = None

    @property
    def head(self) -> bytes:
        """The status line and the headers, including the blank line."""
        framing = {"Content-Length": str(len(self.body) or int(self.delivery == "cut"))}
        if self.delivery == "cut_chunked":
            framing = {"Transfer-Encoding": "chunked"}
        lines = [f"{name}: {value}\r\n" for name, value in (self.headers | framing).items()]
        return f"HTTP/1.1 {self.status} {responses.get(self.status, '')}\r\n{''.join(lines)}\r\n".encode("latin-1")


def json_response(value: Any, status: int = 200) -> Response:
    """A response with a JSON document."""
    return json_text_response(write_json(value), status)


def json_text_response(text: str, status: int = 200) -> Response:
    """A response with encoded JSON; characters that UTF-8 cannot encode are escaped."""
    return Response(text.encode("utf-8", "backslashreplace"), status, {"Content-Type": "application/json"})


def error_response(message: str, status: int = 400) -> Response:
    """An error response in the vendor's format."""
    return json_response({"success": False, "error": message, "data": {}}, status)


def send(response: Response, connection: socket.socket, stop: threading.Event) -> bool:
    """Send a response by its delivery.

    Returns:
        Whether the connection can be reused.
    """
    body = response.body
    partial_body = body[: int(len(body) * response.share)]
    match response.delivery:
        case "whole":
            connection.sendall(response.head + body)
            return True
        case "cut":
            connection.sendall(response.head + partial_body)
        case "cut_chunked":
            connection.sendall(response.head + b"%x\r\n" % (len(body) or 1) + partial_body)
        case "reset":
            _reset_connection(connection)
        case "reset_midway":
            connection.sendall(response.head + partial_body)
            _reset_connection(connection)
        case "hang":
            stop.wait(response.seconds)
        case "drip_headers":
            _drip(response.head + body, response, connection, stop)
        case "drip_body":
            connection.sendall(response.head)
            _drip(body, response, connection, stop)
    return False


def _reset_connection(connection: socket.socket) -> None:
    """Close with RST instead of FIN: a linger time of zero discards unsent data."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.close(connection.detach())


def _drip(data: bytes, response: Response, connection: socket.socket, stop: threading.Event) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))
        if stop.wait(1 if response.seconds is None else response.seconds):
            return
