"""An answer, and the ways in which it may, or may not, reach the client."""

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
    """What goes back to the client, and how.

    Attributes:
        headers: Without those that follow from the body.
        share: How much of the body goes out where the delivery does not finish.
        seconds: Between two bytes of a drip; until a hang ends, which otherwise lasts as long as the server.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delivery: Delivery = "whole"
    share: float = 0.5
    seconds: float | None = None

    @property
    def head(self) -> bytes:
        """The status line and the headers, with the blank line."""
        framing = {"Content-Length": str(len(self.body) or int(self.delivery == "cut"))}
        if self.delivery == "cut_chunked":
            framing = {"Transfer-Encoding": "chunked"}
        lines = [f"{name}: {value}\r\n" for name, value in (self.headers | framing).items()]
        return f"HTTP/1.1 {self.status} {responses.get(self.status, '')}\r\n{''.join(lines)}\r\n".encode("latin-1")


def json_response(value: Any, status: int = 200) -> Response:
    """Answer with a JSON document."""
    return json_text_response(write_json(value), status)


def json_text_response(text: str, status: int = 200) -> Response:
    """Answer with JSON that is text already; what UTF-8 cannot hold is escaped."""
    return Response(text.encode("utf-8", "backslashreplace"), status, {"Content-Type": "application/json"})


def error_response(message: str, status: int = 400) -> Response:
    """Answer with an error, as the vendor writes it."""
    return json_response({"success": False, "error": message, "data": {}}, status)


def send(answer: Response, connection: socket.socket, stopping: threading.Event) -> bool:
    """Send the answer in its own way.

    Returns:
        Whether the client may ask again on this connection.
    """
    body = answer.body
    part = body[: int(len(body) * answer.share)]
    match answer.delivery:
        case "whole":
            connection.sendall(answer.head + body)
            return True
        case "cut":
            connection.sendall(answer.head + part)
        case "cut_chunked":
            connection.sendall(answer.head + b"%x\r\n" % (len(body) or 1) + part)
        case "reset":
            _reset(connection)
        case "reset_midway":
            connection.sendall(answer.head + part)
            _reset(connection)
        case "hang":
            stopping.wait(answer.seconds)
        case "drip_headers":
            _drip(answer.head + body, answer, connection, stopping)
        case "drip_body":
            connection.sendall(answer.head)
            _drip(body, answer, connection, stopping)
    return False


def _reset(connection: socket.socket) -> None:
    """Close with RST: the connection lingers for no second, and leaves without the usual farewell."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.close(connection.detach())


def _drip(data: bytes, answer: Response, connection: socket.socket, stopping: threading.Event) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))
        if stopping.wait(1 if answer.seconds is None else answer.seconds):
            return
