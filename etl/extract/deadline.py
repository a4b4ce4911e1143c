"""HTTP under a deadline for the whole request, whatever the pace at which the answer comes in.

A timeout alone starts again with every byte. Here each read of the socket may take no longer than the request has left.
"""

from __future__ import annotations

import http.client
import io
import time
from collections.abc import Mapping
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

BUFFER: Final = 1 << 16
"""Bytes read from a socket at once."""
MOST_INTERIM: Final = 16
"""Interim answers that are skipped before the final one."""


class DeadlineExceeded(OSError):
    """The time for the whole request is up."""


class TooManyInterim(http.client.HTTPException):
    """More interim answers came than are skipped."""


class Deadline:
    """When the request under way must be over, and how long the next byte may take."""

    def __init__(self) -> None:
        self._ends = 0.0
        self._between_bytes = 0.0

    def start(self, seconds: float, *, between_bytes: float) -> None:
        """Begin a request.

        Args:
            seconds: For all of it.
            between_bytes: The longest wait for the next byte.
        """
        self._ends = time.monotonic() + seconds
        self._between_bytes = between_bytes

    def remaining(self) -> float:
        """Seconds that the next byte may take.

        Raises:
            DeadlineExceeded: None are left.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded
        return min(left, self._between_bytes)


class _DeadlineReader(io.RawIOBase):
    """Reads a socket under the deadline."""

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open until the answer is read
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.remaining())
        try:
            count: int | None = self._raw.readinto(buffer)
        except TimeoutError:
            self._deadline.remaining()  # says so, if it was the deadline
            raise
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineSocket:
    """The one thing of a socket that an HTTPResponse uses."""

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline), BUFFER)


class _FinalResponse(http.client.HTTPResponse):
    """The final answer to a request: interim ones before it are skipped, and not 100 alone.

    Source: RFC 9110, 15.2: a client must be able to parse interim answers, even where it does not expect any.
    """

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MOST_INTERIM + 1):
            line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # it has no type
            _, status, _ = line
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                return line
            http.client.parse_headers(self.fp)
        raise TooManyInterim


class _DeadlineAdapter(HTTPAdapter):
    """An adapter whose connections read their answers, the headers included, under the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__(max_retries=0)  # retries are one layer, in `client`

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        deadline = self._deadline

        class Response(_FinalResponse):
            def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
                super().__init__(_DeadlineSocket(sock, deadline), *args, **kwargs)  # type: ignore[arg-type]  # all it uses

        class Plain(HTTPConnection):
            response_class = Response

        class Secure(HTTPSConnection):
            response_class = Response

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


class DeadlineSession(requests.Session):
    """A session with a deadline for the request under way."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__()
        # A proxy or a .netrc from the environment would be shown the token.
        self.trust_env = False
        self.headers.update(headers)
        self.deadline = Deadline()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _DeadlineAdapter(self.deadline))
