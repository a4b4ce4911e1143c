"""The nights of one vendor: the program's own run on SQLite, and the oracle's assertions after each."""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etl.config.database_url import parse_url
from etl.config.loader import parse_settings
from etl.config.schema import Settings
from etl.db.engine import new_engine
from etl.db.migrate import ensure_current
from etl.services.context import RunResources
from etl.services.run import ProgressListener, RunRequest, SyncResult
from etl.services.sync import run_sync
from simulation.oracle import Oracle
from simulation.scenario import Scenario
from simulation.stored import Stored, Violation, read_stored
from simulation.vendor import Vendor
from simulation.world import LARGEST_ROW

LARGEST_ROW_OF_SQLITE = 1_000_000_000
NO_PROGRESS = ProgressListener(
    message=lambda _text: None, total=lambda _count: None, advance=lambda _window, _tally: None
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A night with a violation."""

    scenario: Scenario
    night: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"night {self.night}: {self.text}\n{self.scenario}"


class Laboratory:
    """An SQLite database, emptied for each vendor, on a RAM disk if there is one.

    All vendors share one engine: SQLAlchemy compiles each statement once per engine, which takes longer than a night.

    Attributes:
        ignored: Kinds of violations that are ignored.
    """

    def __init__(self, folder: Path, ignored: Collection[str] = ()) -> None:
        self.ignored = ignored
        template = folder / "template.db"
        engine = new_engine(parse_url(f"sqlite:///{template}"))
        ensure_current(engine)
        engine.dispose()
        with sqlite3.connect(template) as source:
            self._template = sqlite3.connect(":memory:")
            source.backup(self._template)
        source.close()
        self._url = parse_url(f"sqlite:///{folder / 'billing.db'}")
        self.engine = new_engine(self._url, pooled=True)
        self._settings = parse_settings(
            [
                {
                    "BILLING_API_TOKEN": "00000000-0000-4000-8000-000000000000",
                    "BILLING_RETRY_ATTEMPTS": "2",
                    "BILLING_RETRY_MAX_WAIT": "0",
                    "BILLING_CONCURRENCY": "1",
                }
            ]
        )

    def close(self) -> None:
        """Close the database."""
        self.engine.dispose()
        self._template.close()

    def empty(self, largest_row: int) -> None:
        """Reset the database to the state after its first migration.

        Args:
            largest_row: Maximum size of a row, in bytes.
        """
        connection = self.engine.raw_connection()
        try:
            driver: Any = connection.driver_connection  # the only one that is used: it is SQLite's
            self._template.backup(driver)
            driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, largest_row)
        finally:
            connection.close()

    def settings(self, scenario: Scenario) -> Settings:
        """The settings of a scenario's account."""
        return replace(
            self._settings,
            database_url=self._url,
            start_date=None if "default_start" in scenario.traits else scenario.start,
            timezone=scenario.zone,
            window_days=scenario.traits.get("window", 7),
            lookback_days=scenario.traits.get("lookback", 7),
        )

    def run(self, scenario: Scenario, vendor_class: type[Vendor] = Vendor) -> Failure | None:
        """Run all nights of a vendor, up to the first failure."""
        self.empty(LARGEST_ROW if "huge_texts" in scenario.traits else LARGEST_ROW_OF_SQLITE)
        vendor = vendor_class.of(scenario)
        settings = self.settings(scenario)
        stored = Stored()
        night = 0
        try:
            for night in range(scenario.nights):
                for request in scenario.requests(night):
                    stored = self.night(settings, request, vendor, night, stored)
            # The vendor has recovered: after a backfill of all days, no record is missing.
            everything = RunRequest("backfill", scenario.start, scenario.today(night))
            self.night(settings, everything, vendor, night, stored, last=True)
        except Violation as violation:
            return Failure(scenario, night, violation.kind, str(violation))
        return None

    def night(
        self, settings: Settings, request: RunRequest, vendor: Vendor, night: int, before: Stored, *, last: bool = False
    ) -> Stored:
        """Execute one run and check the assertions."""
        vendor.begin(night)
        report, code = self.execute(settings, request, vendor, night)
        with self.engine.connect() as connection:
            after = read_stored(connection, vendor.project)
        seen = Oracle(vendor, request, before, after, report, code)
        seen.check(self.ignored)
        if last:
            seen.check_all_is_there()
        return after

    def execute(self, settings: Settings, request: RunRequest, vendor: Vendor, night: int) -> tuple[SyncResult, int]:
        """Execute one run; return its result and exit code."""
        now = vendor.scenario.clock(night)
        try:
            report = run_sync(
                settings,
                request,
                NO_PROGRESS,
                redact=str,
                clock=lambda: now,
                resources=RunResources(
                    lock=lambda *_, **__: nullcontext(),
                    connect=vendor.connect,
                    open_database=lambda _url: nullcontext(self.engine),
                ),
            )
        except Exception as error:
            report = SyncResult(settings.account, request.command, request.dry_run)
            raise Violation("bug", f"{type(error).__name__}: {error}") from error
        return report, report.exit_code


@contextmanager
def open_laboratory(ignored: Collection[str] = ()) -> Iterator[Laboratory]:
    """Create a laboratory in a temporary folder.

    Args:
        ignored: Kinds of violations to ignore.
    """
    memory = Path("/dev/shm")
    logging.disable(logging.CRITICAL)  # formatting them takes longer than the run
    try:
        with tempfile.TemporaryDirectory(prefix="billing-etl-", dir=memory if memory.is_dir() else None) as folder:
            laboratory = Laboratory(Path(folder), ignored)
            try:
                yield laboratory
            finally:
                laboratory.close()
    finally:
        logging.disable(logging.NOTSET)
