"""Heartbeats: report the start and the end of a run to a monitoring service such as Healthchecks.

Source: the public reference of Healthchecks, "Pinging API": a POST to the check's URL with `/start`, then to the URL
with `/` and the exit code. The parameter `rid` joins both requests, and the body is stored as a log. A 2xx status is
success.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode, urlsplit

from etl.network import Route

TIMEOUT_SECONDS: Final = 8.0
"""Total time that the end of a run waits for the service."""
_READ_TIMEOUT_SECONDS: Final = 5.0
"""Timeout to connect, and between bytes."""
_MAX_BODY_BYTES: Final = 10_000
"""Older versions of the service store no more."""
_DIRECT: Final = Route()

log = logging.getLogger(__name__)


class Heartbeat:
    """The heartbeat of one run. A failing service never changes the run or its exit code.

    Args:
        url: The check's URL, a secret; None disables the heartbeat.
        run_id: A UUID.
        redact: Redacts secrets in a text.
        route: The route to the service.
    """

    def __init__(self, url: str | None, run_id: str, redact: Callable[[str], str], route: Route = _DIRECT) -> None:
        self._url = url
        self._run_id = run_id
        self._redact = redact
        self._route = route
        self._start: _BackgroundPost | None = None

    def start(self) -> None:
        """Report the start of the run, in the background."""
        if self._url is not None:
            self._start = _BackgroundPost(ping_url(self._url, "start", self._run_id), "", self._route)

    def finish(self, exit_code: int, summary: str, *, patience: float = TIMEOUT_SECONDS) -> None:
        """Report the end of the run, and wait for the response.

        Args:
            exit_code: The exit code of the process.
            summary: The text of the log.
            patience: Timeout in seconds.
        """
        if self._url is None:
            return
        deadline = time.monotonic() + patience
        if self._start is not None:
            # In the reverse order, the service would see the start of another run.
            self._start.wait(patience / 4, "start")
        url = ping_url(self._url, str(exit_code), self._run_id)
        end = _BackgroundPost(url, self._redact(summary), self._route)
        end.wait(deadline - time.monotonic(), "end")


def ping_url(url: str, event: str, run_id: str) -> str:
    """The URL of an event; the query of the check's URL is kept."""
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode({"rid": run_id}))))
    return parts._replace(path=f"{parts.path.rstrip('/')}/{event}", query=query).geturl()


class _BackgroundPost:
    """A POST request in a daemon thread, abandoned after a timeout.

    The library's timeouts do not cover name resolution and slow responses.
    """

    def __init__(self, url: str, body: str, route: Route) -> None:
        self._url = url
        self._route = route
        self._body = body.encode("utf-8", "replace")[:_MAX_BODY_BYTES]
        self._problem = "no answer in time"
        self._thread = threading.Thread(target=self._send, name="heartbeat", daemon=True)
        self._thread.start()

    def wait(self, seconds: float, event: str) -> None:
        """Wait for the response; log a warning if the request has failed."""
        self._thread.join(max(seconds, 0))
        if self._problem:
            log.warning("the heartbeat did not report the run's %s: %s", event, self._problem)

    def _send(self) -> None:
        import requests

        try:
            with requests.Session() as session:
                session.trust_env = False  # a .netrc would be read
                if self._route.proxy is not None:
                    session.proxies = {"https": self._route.proxy.url}
                if self._route.ca_path is not None:
                    session.verify = str(self._route.ca_path)
                response = session.post(
                    self._url, self._body, timeout=_READ_TIMEOUT_SECONDS, allow_redirects=False, stream=True,
                    headers={"Content-Type": "text/plain; charset=utf-8"},
                )  # fmt: skip
                self._problem = "" if response.ok and not response.is_redirect else f"HTTP {response.status_code}"
        except Exception as error:  # noqa: BLE001 - no error may make a run fail
            # Its message contains the URL, which is a secret.
            self._problem = type(error).__name__
