"""An account whose runs are killed or interrupted, and the invariants that hold after each of them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import URL, Engine, select

from etl.db.engine import new_engine
from etl.db.tables import accounts, billing_records, sync_state, synced_days
from etl.sandbox import Sandbox
from etl.services.context import utc_now
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from support.crash_injection import ProcessResult, run_and_kill
from support.reference_model import Row, canonical, day_of, spend_of
from support.run_helpers import NO_PROGRESS, settings_of, token_of

TODAY = date(2025, 3, 10)
FIRST = TODAY - timedelta(days=6)
DAYS = [FIRST + timedelta(number) for number in range(7)]
BEFORE = TODAY - timedelta(days=2)
"""The last day of the previous sync."""

Days: TypeAlias = Mapping[date, Counter[Row]]
"""The rows of each day."""


@dataclass(frozen=True)
class StoredState:
    """The stored state of one account: current rows by day with their repeats, the ledger and the watermark."""

    days: Days
    ledger: Mapping[date, Any]
    first_day: date | None
    watermark: date | None


def rows_by_day(records: Iterable[Mapping[str, Any]]) -> dict[date, Counter[Row]]:
    """The vendor's records in the stored form."""
    days: defaultdict[date, Counter[Row]] = defaultdict(Counter)
    for row in map(canonical, records):
        days[day_of(row)][row] += 1
    return dict(days)


def read_state(engine: Engine, label: str) -> StoredState:
    """Read the stored state of an account."""
    row, ledger, state = billing_records.c, synced_days.c, sync_state.c
    columns = (row.created_at, row.phone, row.code_auth, row.status, row.status_info, row.price)
    with engine.connect() as connection:
        account = connection.scalar(select(accounts.c.id).where(accounts.c.label == label))
        days: defaultdict[date, Counter[Row]] = defaultdict(Counter)
        current = select(*columns, row.repeats).where(row.account_id == account, row.withdrawn_at.is_(None))
        for *values, repeats in connection.execute(current):
            assert tuple(values) not in days[values[0].date()], "equal records are one row"
            days[values[0].date()][tuple(values)] = repeats
        entries = connection.execute(select(synced_days).where(ledger.account_id == account))
        known = {entry.day: entry for entry in entries}
        position = connection.execute(
            select(state.first_day, state.last_synced_date).where(state.account_id == account)
        ).one_or_none()
    return StoredState(dict(days), known, *(position or (None, None)))


def check_invariants(stored: StoredState, states: Iterable[Days], before: date | None = None) -> None:
    """Check what holds after any interruption: each day equals one of the vendor's states, and so do the ledger's sums;
    the watermark did not move back and no day before it is open."""
    all_states = list(states)
    for day, rows in stored.days.items():
        assert day in stored.ledger, f"{day} has rows and no ledger"
        assert any(rows == state.get(day, Counter()) for state in all_states), f"{day} equals no state of the vendor"
    for day, entry in stored.ledger.items():
        rows = stored.days.get(day, Counter())
        assert (entry.records, entry.spend) == (rows.total(), spend_of(rows)), (
            f"the ledger entry of {day} and its rows differ"
        )
    if before is not None:
        assert stored.watermark is not None, "the watermark was lost"
        assert stored.watermark >= before, "the watermark moved back"
    if stored.watermark is not None:
        assert stored.first_day is not None
        for number in range((stored.watermark - stored.first_day).days + 1):
            day = stored.first_day + timedelta(number)
            assert stored.ledger[day].first_closed_at is not None, f"{day} lies before the watermark and is open"


def check_equals_vendor(stored: StoredState, state: Days, days: Iterable[date]) -> None:
    """Check that the days equal the vendor's current records, repeats included."""
    for day in days:
        assert stored.days.get(day, Counter()) == state.get(day, Counter()), f"{day} differs from the vendor's records"


class Account:
    """One account of one database, with the commands that run for it."""

    numbers = count(1)

    def __init__(self, url: URL, vendor: Sandbox, folder: Path) -> None:
        self.vendor = vendor
        self.engine = new_engine(url)
        self.url = url
        self.folder = folder
        self.states: list[Days] = []
        self.rename()

    def rename(self) -> None:
        """Continue as a new account without a sync."""
        self.label = f"account {next(self.numbers)}"
        self.states = []

    def set_records(self, records: list[dict[str, Any]]) -> None:
        """Replace the vendor's records."""
        self.vendor.dataset.replace(records)
        self.states.append(rows_by_day(records))

    def variables(self, **changes: str) -> dict[str, str]:
        """The environment of a command line."""
        inherited = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
        return inherited | {
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.folder),
            "BILLING_API_TOKEN": token_of(self.vendor, self.label),
            "BILLING_API_URL": self.vendor.url,
            "BILLING_DATABASE_URL": self.url.render_as_string(hide_password=False),
            "BILLING_ACCOUNT": self.label,
            "BILLING_WINDOW_DAYS": "3",
            "BILLING_RETRY_ATTEMPTS": "1",
            **changes,
        }

    def sync(self, until: date = TODAY, /, **options: Any) -> ProcessResult:
        """Sync from FIRST on; the options are those of `run_and_kill`."""
        return run_and_kill(["sync", "--since", str(FIRST), "--until", str(until)], self.variables(), **options)

    def sync_here(self, until: date = TODAY) -> None:
        """Sync from FIRST on in this process, which is faster than in another one; it must succeed."""
        settings = settings_of(self.url, self.vendor, FIRST, account=self.label, window_days=3)
        result = run_sync(
            settings,
            RunRequest("sync", since=FIRST, until=until),
            NO_PROGRESS,
            redact=str,
            clock=utc_now,
        )
        assert result.exit_code == 0, result

    def prepare(self, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
        """Start a new account: it has synced the old records up to BEFORE, and the vendor now lists the new ones."""
        self.rename()
        self.set_records(old)
        self.sync_here(BEFORE)
        self.set_records(new)

    def stored_state(self) -> StoredState:
        """The stored state of this account."""
        return read_state(self.engine, self.label)

    def check_invariants(self, before: date | None = None) -> date | None:
        """Check the invariants; returns the watermark."""
        stored = self.stored_state()
        check_invariants(stored, self.states, before)
        return stored.watermark

    def check_undisturbed_run(self, before: date | None = None) -> None:
        """Check that one run without interruption makes the stored state equal to the vendor's records."""
        self.sync_here()
        stored = self.stored_state()
        check_invariants(stored, self.states, before)
        check_equals_vendor(stored, self.states[-1], DAYS)
        assert stored.watermark == TODAY
