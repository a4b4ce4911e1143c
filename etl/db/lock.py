"""Advisory lock that allows one run per account and is released when its process dies.

Correctness rests on the fence in `run_store`, not on this lock: the lock spares the vendor and the operator a second
run whose writes would be refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

from sqlalchemy import Engine

from etl.db.dialects import dialect_for
from etl.errors import ConcurrentRunError

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.2


def account_lock(engine: Engine, label: str, *, wait: float) -> AbstractContextManager[None]:
    """Hold the lock of the account with this label; see `advisory_lock`."""
    return advisory_lock(engine, f"account-{label}", wait=wait)


@contextmanager
def advisory_lock(engine: Engine, name: str, *, wait: float) -> Iterator[None]:
    """Hold the lock of this name until the block or the process ends.

    Args:
        engine: Engine of the database in which the name is unique.
        name: Name of the locked resource.
        wait: Seconds to wait for another holder; 0 waits only as long as a server may hold the lock of a killed run.

    Raises:
        ConcurrentRunError: Another process still holds the lock.
        DatabaseError: The lock file beside an SQLite database cannot be opened or written.
    """
    with ExitStack() as resources:
        dialect = dialect_for(engine.dialect.name)
        try_lock = dialect.lock(engine, name, resources)
        deadline = time.monotonic() + max(wait, dialect.lock_release_seconds)
        waiting = False
        while try_lock and not try_lock():
            if wait and not waiting:
                waiting = True
                logger.info("another run holds the lock %s; waiting for up to %g s", name, wait)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise ConcurrentRunError("another run of this account is under way; see --wait")
            time.sleep(min(POLL_SECONDS, remaining))
        yield
