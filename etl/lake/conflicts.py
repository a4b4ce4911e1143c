"""Commits that conflict with another writer of the same table: refused by the catalogue, and planned again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from etl.errors import ConcurrentRunError

MAX_ATTEMPTS: Final = 6
INITIAL_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 5.0

T = TypeVar("T")
log = logging.getLogger(__name__)


@contextmanager
def translate_conflicts() -> Iterator[None]:
    """Translate the library's error of a commit that conflicts with another writer.

    Raises:
        ConcurrentRunError: Another process changed the table since it was read. Nothing is committed.
    """
    from pyiceberg.exceptions import CommitFailedException

    try:
        yield
    except CommitFailedException:
        raise ConcurrentRunError("other processes keep changing the lake; run it again later") from None


def retry_conflicts(write: Callable[[], T], *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Return what `write` returns; call it again after a conflict with another writer, MAX_ATTEMPTS times at most.

    Args:
        write: Reads the newest state of the lake, plans, writes and commits.
        sleep: Waits for a number of seconds.

    Raises:
        ConcurrentRunError: The last attempt had a conflict as well.
    """
    retrying = Retrying(
        stop=stop_after_attempt(MAX_ATTEMPTS),
        wait=wait_random_exponential(multiplier=INITIAL_BACKOFF_SECONDS, max=MAX_BACKOFF_SECONDS),
        retry=retry_if_exception_type(ConcurrentRunError),
        before_sleep=_announce,
        sleep=sleep,
        reraise=True,
    )
    return retrying(write)


def _announce(state: RetryCallState) -> None:
    log.info("another process changed the lake; planned again (attempt %d)", state.attempt_number + 1)
