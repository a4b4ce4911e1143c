"""Deferred handling of SIGINT and SIGTERM.

An exception from a signal handler is raised between any two instructions of the main thread. Inside the code of a
driver or a connection pool it can leak a connection that holds locks, or be swallowed by the interpreter. During a
transaction a signal is therefore deferred until the next `raise_if_interrupted`, or until the end of the transaction.

Only the main thread runs handlers, so only its own blocks defer a signal. Another thread ends at its next block. In a
process without these handlers, such as one that uses `etl.api`, nothing here has an effect.
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
"""Time to roll back after a signal; then the process exits, and the database rolls back."""


class _SignalState:
    """The state of the process: the received signal, and the timer of the forced exit."""

    received: int | None = None
    grace_seconds = GRACE_SECONDS
    timer: threading.Timer | None = None


class _ThreadState(threading.local):
    """The state of a thread: nesting depth of `deferred`."""

    depth = 0


_state = _SignalState()
_thread = _ThreadState()


def install_handlers(*, grace_seconds: float = GRACE_SECONDS) -> None:
    """Install the handlers: SIGINT and SIGTERM raise Interrupted in the main thread, and exit after `grace_seconds`.

    Called from another thread, it installs nothing.
    """
    _state.grace_seconds = grace_seconds
    if threading.current_thread() is threading.main_thread():
        for signum in SIGNALS:
            signal.signal(signum, _handle)


def ignore_signals() -> None:
    """Ignore further signals: the exit code is already determined."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def forget_signal() -> None:
    """Forget a received signal and cancel the forced exit, in a process that continues."""
    _state.received = None
    if _state.timer is not None:
        _state.timer.cancel()


@contextmanager
def deferred() -> Iterator[None]:
    """Defer signals to the end of the block, or to a `raise_if_interrupted` inside it.

    Raises:
        Interrupted: Before or after the block, if a signal was received.
    """
    raise_if_interrupted()
    _thread.depth += 1
    try:
        yield
    finally:
        _thread.depth -= 1
    raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Raise Interrupted if a signal was received.

    Raises:
        Interrupted: A signal was received.
    """
    if _state.received is not None:
        raise Interrupted(_state.received)


def _handle(signum: int, _frame: FrameType | None) -> None:
    ignore_signals()
    _state.received = signum
    # A database that does not respond must not block the exit.
    _state.timer = threading.Timer(_state.grace_seconds, _force_exit, [signum])
    _state.timer.daemon = True
    _state.timer.start()
    if not _thread.depth:
        raise Interrupted(signum)


def _force_exit(signum: int) -> None:
    os.write(2, f"billing-etl: stopped by {signal.Signals(signum).name}, not waiting any longer\n".encode())
    os._exit(128 + signum)
