"""Tells a service that waits for it when a run begins and how it ended, as Healthchecks has it.

Source: the public reference of Healthchecks, "Pinging API": a POST to the check's address and `/start`, then to the
address and `/` with the exit code; `rid` joins the two, and the body is kept as a log. What answers counts as told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode, urlsplit

TIMEOUT_SECONDS: Final = 8.0
"""Seconds that the end of a run waits for the service in all, however it drips."""
_TIMEOUT: Final = 5.0
"""Seconds to connect, or between bytes."""
_MAX_BODY_BYTES: Final = 10_000
"""Bytes; older services keep no more."""

log = logging.getLogger(__name__)


class Heartbeat:
    """The heartbeat of one run. Whatever the service does, the run goes on and ends as it would without.

    Args:
        url: The check's address, a secret; None is nobody to tell.
        run_id: A UUID.
        redact: Takes secrets out of a text.
    """

    def __init__(self, url: str | None, run_id: str, redact: Callable[[str], str]) -> None:
        self._url = url
        self._run_id = run_id
        self._redact = redact
        self._begun: _BackgroundPost | None = None

    def start(self) -> None:
        """Say that the run begins, while it does."""
        if self._url is not None:
            self._begun = _BackgroundPost(ping_url(self._url, "start", self._run_id), "")

    def finish(self, exit_code: int, summary: str, *, patience: float = TIMEOUT_SECONDS) -> None:
        """Say how the run ended, and wait until that was heard.

        Args:
            exit_code: Of the process.
            summary: For people.
            patience: Seconds to wait at the most.
        """
        if self._url is None:
            return
        deadline = time.monotonic() + patience
        if self._begun is not None:
            # The other way round the service would think that the next run had begun.
            self._begun.wait(patience / 4, "beginning")
        last = _BackgroundPost(ping_url(self._url, str(exit_code), self._run_id), self._redact(summary))
        last.wait(deadline - time.monotonic(), "end")


def ping_url(url: str, event: str, run_id: str) -> str:
    """Where an event is told; what the address asks for by itself stays."""
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode({"rid": run_id}))))
    return parts._replace(path=f"{parts.path.rstrip('/')}/{event}", query=query).geturl()


class _BackgroundPost:
    """A request in a thread of its own, which is left to itself when it takes too long.

    No timeout of the library covers a name that is not found, or an answer that drips.
    """

    def __init__(self, url: str, body: str) -> None:
        self._url = url
        self._body = body.encode("utf-8", "replace")[:_MAX_BODY_BYTES]
        self._trouble = "no answer in time"
        self._thread = threading.Thread(target=self._send, name="heartbeat", daemon=True)
        self._thread.start()

    def wait(self, seconds: float, event: str) -> None:
        """Wait for it; a warning if it was not heard."""
        self._thread.join(max(seconds, 0))
        if self._trouble:
            log.warning("the heartbeat did not tell of the run's %s: %s", event, self._trouble)

    def _send(self) -> None:
        import requests

        try:
            with requests.Session() as session:
                session.trust_env = False
                answer = session.post(
                    self._url, self._body, timeout=_TIMEOUT, allow_redirects=False, stream=True,
                    headers={"Content-Type": "text/plain; charset=utf-8"},
                )  # fmt: skip
                self._trouble = "" if answer.ok and not answer.is_redirect else f"HTTP {answer.status_code}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no reason for a run to fail
            # Its words hold the address, which is a secret.
            self._trouble = type(error).__name__
