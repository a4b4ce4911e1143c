"""Retry a whole transaction after a deadlock, a lock timeout or a lost connection; wait for a server that is down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random

from etl.db.errors import describe_error, is_retryable, is_unreachable

MAX_ATTEMPTS: Final = 5
"""Attempts of a transaction that reaches the server."""
INITIAL_BACKOFF_SECONDS: Final = 0.5
MAX_BACKOFF_SECONDS: Final = 5.0
MAX_ELAPSED_SECONDS: Final = 60.0
"""Time after which no new attempt starts: enough for a server to restart, and for two lock timeouts."""

T = TypeVar("T")
Sleep = Callable[[float], None]
log = logging.getLogger(__name__)


def retry_transaction(
    transaction: Callable[[], T], *, also_on: tuple[type[Exception], ...] = (), sleep: Sleep = time.sleep
) -> T:
    """Run a transaction, retry it after transient errors, and return its result.

    An unreachable server is assumed to be restarting, and waited for until MAX_ELAPSED_SECONDS.

    Args:
        transaction: The whole transaction, from opening its connection to the commit.
        also_on: Further exception types that are transient in this transaction.
        sleep: Waits for a number of seconds.

    Raises:
        SQLAlchemyError: The error of the last attempt.
    """

    def is_transient(error: BaseException) -> bool:
        return isinstance(error, also_on) or is_retryable(error) or is_unreachable(error)

    return _retrying(is_transient, MAX_ELAPSED_SECONDS, sleep)(transaction)


def wait_for_server(engine: Engine, seconds: float, *, sleep: Sleep = time.sleep) -> None:
    """Open a connection; while the server is down, retry for a number of seconds.

    Raises:
        ConnectionFailure: The server is still down, or the cause is a permanent one.
    """
    _retrying(is_unreachable, seconds, sleep)(lambda: engine.connect().close())


def _retrying(is_transient: Callable[[BaseException], bool], seconds: float, sleep: Sleep) -> Retrying:
    def stop(state: RetryCallState) -> bool:
        error = _error_of(state)
        # Both, so that a test can replace `sleep`.
        elapsed = max(state.idle_for, state.seconds_since_start or 0.0)
        return elapsed >= seconds or (state.attempt_number >= MAX_ATTEMPTS and not (error and is_unreachable(error)))

    def announce(state: RetryCallState) -> None:
        error = _error_of(state)
        if isinstance(error, SQLAlchemyError) and is_unreachable(error):
            wait = state.next_action.sleep if state.next_action else 0.0
            log.warning("%s (retrying in %.1f s, for %.0f s in all)", describe_error(error), wait, seconds)

    backoff = wait_exponential(multiplier=INITIAL_BACKOFF_SECONDS, max=MAX_BACKOFF_SECONDS)
    return Retrying(
        stop=stop,
        wait=backoff + wait_random(0, INITIAL_BACKOFF_SECONDS),
        retry=retry_if_exception(is_transient),
        before_sleep=announce,
        sleep=sleep,
        reraise=True,
    )


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
