"""Retry a whole transaction after a deadlock, a lock timeout or a lost connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_exponential, wait_random

from etl.db.errors import is_retryable, is_unreachable

MAX_ATTEMPTS: Final = 5
INITIAL_BACKOFF_SECONDS: Final = 0.5
MAX_ELAPSED_SECONDS: Final = 60.0
"""Time after which no new attempt starts: enough for a server to restart, and for two lock timeouts."""

T = TypeVar("T")


def retry_transaction(transaction: Callable[[], T], *, also_on: tuple[type[Exception], ...] = ()) -> T:
    """Run a transaction, retry it after transient errors, and return its result.

    Use it only after a first successful connection: an unreachable server is assumed to be restarting.

    Args:
        transaction: The whole transaction, from opening its connection to the commit.
        also_on: Further exception types that are transient in this transaction.

    Raises:
        SQLAlchemyError: The error of the last attempt.
    """
    retrying = Retrying(
        stop=stop_after_attempt(MAX_ATTEMPTS) | stop_after_delay(MAX_ELAPSED_SECONDS),
        wait=wait_exponential(multiplier=INITIAL_BACKOFF_SECONDS) + wait_random(0, INITIAL_BACKOFF_SECONDS),
        retry=retry_if_exception(
            lambda error: isinstance(error, also_on) or is_retryable(error) or is_unreachable(error)
        ),
        reraise=True,
    )
    return retrying(transaction)
