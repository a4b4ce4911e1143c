"""An HTTP session with a deadline for the whole request, however slowly the response arrives.

A timeout starts again with every byte. Here, each read of the socket is limited to the remaining time of the request.
"""

from __future__ import annotations

import base64
import http.client
import io
import time
from collections.abc import Mapping
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from etl.network import Proxy, Route

BUFFER_BYTES: Final = 1 << 16
"""Bytes read from a socket in one call."""
MAX_INTERIM_RESPONSES: Final = 16
"""Interim responses that are skipped before the final one."""


class DeadlineExceeded(OSError):
    """The deadline of the whole request has passed."""


class TooManyInterimResponses(http.client.HTTPException):
    """There were more than MAX_INTERIM_RESPONSES interim responses."""


class Deadline:
    """The deadline of the current request, and its timeout between two bytes."""

    def __init__(self) -> None:
        self._ends_at = 0.0
        self._between_bytes = 0.0

    def start(self, seconds: float, *, between_bytes: float) -> None:
        """Start the deadline of a request.

        Args:
            seconds: Seconds for the whole request.
            between_bytes: Maximum seconds to wait for the next byte.
        """
        self._ends_at = time.monotonic() + seconds
        self._between_bytes = between_bytes

    def remaining(self) -> float:
        """Seconds to wait for the next byte.

        Raises:
            DeadlineExceeded: The deadline has passed.
        """
        seconds_left = self._ends_at - time.monotonic()
        if seconds_left <= 0:
            raise DeadlineExceeded
        return min(seconds_left, self._between_bytes)


class _DeadlineReader(io.RawIOBase):
    """A raw stream that reads a socket within the deadline."""

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open until the response is read
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.remaining())
        try:
            count: int | None = self._raw.readinto(buffer)
        except TimeoutError:
            self._deadline.remaining()  # raises DeadlineExceeded if the deadline has passed
            raise
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineSocket:
    """A socket with the only method that an HTTPResponse uses."""

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline), BUFFER_BYTES)


class _FinalResponse(http.client.HTTPResponse):
    """The final response to a request: all interim responses are skipped, while http.client skips only 100.

    Source: RFC 9110, 15.2: a client must be able to parse interim responses, even if it does not expect any.
    """

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]  # untyped
            _, status, _ = line
            if not 100 <= status < 200 or status == http.client.SWITCHING_PROTOCOLS:
                return line
            http.client.parse_headers(self.fp)
        raise TooManyInterimResponses


class _DeadlineAdapter(HTTPAdapter):
    """An adapter whose connections read their responses, headers included, within the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__(max_retries=0)  # `client` is the only layer of retries

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        deadline = self._deadline

        class Response(_FinalResponse):
            def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
                super().__init__(_DeadlineSocket(sock, deadline), *args, **kwargs)  # type: ignore[arg-type]  # all that it uses

        class Plain(HTTPConnection):
            response_class = Response

        class Secure(HTTPSConnection):
            response_class = Response

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        self._pool_classes = {"http": PlainPool, "https": SecurePool}
        self.poolmanager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = self._pool_classes
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """The header with the proxy's user and password, in UTF-8: requests would refuse a Cyrillic password."""
        credentials = Proxy(proxy, "").credentials()
        if credentials is None:
            return {}
        return {"Proxy-Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


class DeadlineSession(requests.Session):
    """A session with a deadline for the current request.

    Args:
        headers: Headers of every request.
        route: The proxy of https requests and the trusted certificates. Nothing is read from the environment.
    """

    def __init__(self, headers: Mapping[str, str], route: Route) -> None:
        super().__init__()
        # Else a .netrc would be read, and http requests would show the token to a proxy.
        self.trust_env = False
        if route.proxy is not None:
            self.proxies = {"https": route.proxy.url}
        if route.ca_path is not None:
            self.verify = str(route.ca_path)
        self.headers.update(headers)
        self.deadline = Deadline()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _DeadlineAdapter(self.deadline))
