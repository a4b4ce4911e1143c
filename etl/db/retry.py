"""Whole transactions, done again where another one, or the connection, was in their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_exponential, wait_random

from etl.db.errors import is_retryable, is_unreachable

MAX_ATTEMPTS: Final = 5
INITIAL_BACKOFF_SECONDS: Final = 0.5
MAX_ELAPSED_SECONDS: Final = 60.0
"""Seconds after which no new try begins: enough for a server to restart, and for two waits for a lock."""

T = TypeVar("T")


def retry_transaction(transaction: Callable[[], T], *, also: tuple[type[Exception], ...] = ()) -> T:
    """What a transaction returns, which is rolled back and done again, whole, as long as that may help.

    Only where the database has been reached before: one that cannot be reached is taken for one that restarts.

    Args:
        transaction: All of it, from its connection to its commit.
        also: Errors that will pass in this very transaction.

    Raises:
        SQLAlchemyError: What the last try raised.
    """
    again = Retrying(
        stop=stop_after_attempt(MAX_ATTEMPTS) | stop_after_delay(MAX_ELAPSED_SECONDS),
        wait=wait_exponential(multiplier=INITIAL_BACKOFF_SECONDS) + wait_random(0, INITIAL_BACKOFF_SECONDS),
        retry=retry_if_exception(lambda error: isinstance(error, also) or is_retryable(error) or is_unreachable(error)),
        reraise=True,
    )
    return again(transaction)
