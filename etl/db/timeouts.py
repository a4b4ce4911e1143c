"""Timeouts of a database: none of its failures may block the nightly run indefinitely."""

from __future__ import annotations

from typing import Final

LOCK_WAIT_SECONDS: Final = 30
LOCK_RELEASE_SECONDS: Final = 2.0
"""Time in which a server notices that a killed run is gone, and releases its advisory lock."""
CONNECT_SECONDS: Final = 10
STATEMENT_SECONDS: Final = 600
"""Timeout of one statement: a server that accepts one and never answers must not block the nightly run."""
IDLE_TRANSACTION_SECONDS: Final = 600
"""Timeout of an idle transaction: a run paused in the middle of one must not block other runs indefinitely."""
POOL_RECYCLE_SECONDS: Final = 30
"""Age after which a pooled connection is reopened: firewalls drop idle ones."""
