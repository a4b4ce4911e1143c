"""SIGINT and SIGTERM, answered where the program can bear it.

Python raises whatever a signal handler raises between any two instructions of the main thread. In the middle of a
driver's or a pool's bookkeeping that leaves a connection behind which still holds its locks, or is swallowed by the
interpreter. So a signal is deferred during a transaction: it waits for the next `raise_if_interrupted`, or for the end.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from etl.errors import Interrupted

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS: Final = 4.0
"""After a signal: what is not rolled back by then is left to the database."""


class _SignalState:
    """What the process knows of its signal: there is one process, and it is stopped once."""

    depth = 0
    received: int | None = None


_state = _SignalState()


def install_handlers() -> None:
    """From here on SIGINT and SIGTERM raise `Interrupted` in the main thread, and end the process in any case."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _handle)


def ignore_signals() -> None:
    """Nothing is left to stop: what was found out so far is how the process ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def deferred() -> Iterator[None]:
    """Let a signal wait until the block is done, or comes to a `raise_if_interrupted`.

    Raises:
        Interrupted: Before or after the block, if a signal came.
    """
    raise_if_interrupted()
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
    raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Answer a signal that waits.

    Raises:
        Interrupted: If there is one.
    """
    if _state.received is not None:
        raise Interrupted(_state.received)


def _handle(number: int, _frame: FrameType | None) -> None:
    ignore_signals()
    _state.received = number
    # A database that does not answer must not keep a stopped program.
    timer = threading.Timer(GRACE_SECONDS, _force_exit, [number])
    timer.daemon = True
    timer.start()
    if not _state.depth:
        raise Interrupted(number)


def _force_exit(number: int) -> None:
    os.write(2, f"billing-etl: stopped by {signal.Signals(number).name}, not waiting any longer\n".encode())
    os._exit(128 + number)
