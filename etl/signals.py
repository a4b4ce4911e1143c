"""SIGINT and SIGTERM, answered where the program can bear it.

Python raises whatever a signal handler raises between any two instructions of the main thread. In the middle of a
driver's or a pool's bookkeeping that leaves a connection behind which still holds its locks, or is swallowed by the
interpreter. So transactions are held back from it: there a signal waits for the next `check`, or for the end.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from etl.errors import Stopped

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS: Final = 4.0
"""After a signal: what is not rolled back by then is left to the database."""


class _Switch:
    """What the process knows of its signal: there is one process, and it is stopped once."""

    held_back = 0
    received: int | None = None


_switch = _Switch()


def stop_on_signals() -> None:
    """From here on SIGINT and SIGTERM raise `Stopped` in the main thread, and end the process in any case."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _receive)


def ignore_signals() -> None:
    """Nothing is left to stop: what was found out so far is how the process ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def held_back() -> Iterator[None]:
    """Let a signal wait until the block is done, or comes to a `check`.

    Raises:
        Stopped: Before or after the block, if a signal came.
    """
    check()
    _switch.held_back += 1
    try:
        yield
    finally:
        _switch.held_back -= 1
    check()


def check() -> None:
    """Answer a signal that waits.

    Raises:
        Stopped: If there is one.
    """
    if _switch.received is not None:
        raise Stopped(_switch.received)


def _receive(number: int, _frame: FrameType | None) -> None:
    ignore_signals()
    _switch.received = number
    # A database that does not answer must not keep a stopped program.
    timer = threading.Timer(GRACE_SECONDS, _leave, [number])
    timer.daemon = True
    timer.start()
    if not _switch.held_back:
        raise Stopped(number)


def _leave(number: int) -> None:
    os.write(2, f"billing-etl: stopped by {signal.Signals(number).name}, not waiting any longer\n".encode())
    os._exit(128 + number)
