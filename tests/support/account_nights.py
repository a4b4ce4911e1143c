"""Runs of one account, each a minute later than the one before, with days that a person may accept."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import URL

from etl.sandbox.server import Sandbox
from etl.services.rejected import acknowledge_rejected, list_rejected
from etl.services.run import RunRequest, SyncResult
from etl.services.sync import run_sync
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of

ACCEPTED = date(2026, 3, 5)
"""The day that `accept` is for."""


class AccountNights:
    """Runs from 3 March 2026 on, on the 8th."""

    def __init__(self, url: URL, vendor: Sandbox, **changes: Any) -> None:
        self.vendor = vendor
        self.settings = settings_of(url, vendor, date(2026, 3, 3), **changes)
        self.engine = open_engine(url)
        self.now = datetime(2026, 3, 8, 6, 30, tzinfo=UTC)

    def run(self, command: str = "sync", **options: Any) -> SyncResult:
        self.now += timedelta(minutes=1)
        span = (ACCEPTED, ACCEPTED) if command == "accept" else (None, None)
        return run_sync(
            self.settings, RunRequest(command, *span, **options), NO_PROGRESS, redact=str, clock=lambda: self.now
        )

    def accept(self) -> SyncResult:
        return self.run("accept", even_if_not_suspect=True)

    def acknowledge(self) -> int:
        """Acknowledge all rejected records; return their number."""
        ids = [record.id for record in list_rejected([self.settings], with_others=False).records]
        if ids:
            acknowledge_rejected([self.settings], ids, with_others=False)
        return len(ids)
