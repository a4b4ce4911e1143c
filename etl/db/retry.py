"""Whole transactions, done again where another one, or the connection, was in their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_exponential, wait_random

from etl.db.engine import is_transient, is_unreachable

TRIES: Final = 5
FIRST_WAIT: Final = 0.5
LONGEST_TRYING: Final = 60.0
"""Seconds after which no new try begins: enough for a server to restart, and for two waits for a lock."""

T = TypeVar("T")


def try_again(transaction: Callable[[], T], *, also: tuple[type[Exception], ...] = ()) -> T:
    """What a transaction returns, which is rolled back and done again, whole, as long as that may help.

    Only where the database has been reached before: one that cannot be reached is taken for one that restarts.

    Args:
        transaction: All of it, from its connection to its commit.
        also: Errors that will pass in this very transaction.

    Raises:
        SQLAlchemyError: What the last try raised.
    """
    again = Retrying(
        stop=stop_after_attempt(TRIES) | stop_after_delay(LONGEST_TRYING),
        wait=wait_exponential(multiplier=FIRST_WAIT) + wait_random(0, FIRST_WAIT),
        retry=retry_if_exception(lambda error: isinstance(error, also) or is_transient(error) or is_unreachable(error)),
        reraise=True,
    )
    return again(transaction)
