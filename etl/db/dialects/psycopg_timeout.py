"""A psycopg connection with a read timeout: psycopg itself waits without limit for a server that stops responding."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any

import psycopg


class TimeoutConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server does not respond in time.

    Attributes:
        read_timeout: Seconds to wait for the server; after that `psycopg.OperationalError` is raised.
    """

    read_timeout: float = math.inf

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """Wait as the driver does, for at most `read_timeout` seconds."""
        return super().wait(self._with_timeout(gen), *args, **options)

    def _with_timeout(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + self.read_timeout
        try:
            state = next(gen)
            while True:
                # The driver wakes up several times a second and sends 0 when nothing is ready.
                ready = yield state
                if not ready and time.monotonic() >= deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server stopped responding")
                state = gen.send(ready)
        except StopIteration as done:
            return done.value
