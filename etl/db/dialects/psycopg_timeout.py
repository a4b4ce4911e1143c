"""A PostgreSQL server that takes a statement and falls silent is given up: its driver alone would wait for ever."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any

import psycopg


class TimeoutConnection(psycopg.Connection[Any]):
    """A connection whose every wait for the server ends.

    Attributes:
        read_timeout: Seconds of one wait; then the connection is closed and `psycopg.OperationalError` raised.
    """

    read_timeout: float = math.inf

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """Wait as the driver does, and no longer than `read_timeout`."""
        return super().wait(self._watched(gen), *args, **options)

    def _watched(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        ends = time.monotonic() + self.read_timeout
        try:
            wanted = next(gen)
            while True:
                # The driver looks up several times a second, with nothing in its hands.
                ready = yield wanted
                if not ready and time.monotonic() >= ends:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server fell silent")
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value
