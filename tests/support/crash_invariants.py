"""An account whose runs are killed, stopped and cut off, and what must be true of it all the same."""

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

from etl.cli.exit_codes import code_for_result
from etl.db.engine import new_engine
from etl.db.tables import accounts, billing_records, sync_state, synced_days
from etl.sandbox import Sandbox
from etl.services.context import utc_now
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from support.crash_injection import Struck, strike
from support.reference_model import Row, canonical, day_of, spend_of
from support.run_helpers import SILENT, settings_of, token_of

TODAY = date(2025, 3, 10)
FIRST = TODAY - timedelta(days=6)
DAYS = [FIRST + timedelta(number) for number in range(7)]
BEFORE = TODAY - timedelta(days=2)
"""The last day of the sync before."""

Days: TypeAlias = Mapping[date, Counter[Row]]
"""The rows of each day."""


@dataclass(frozen=True)
class Held:
    """One account in the database: current rows by day with their repeats, the ledger, and the watermark."""

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


def read_held(engine: Engine, label: str) -> Held:
    """What the database holds of an account."""
    row, ledger, state = billing_records.c, synced_days.c, sync_state.c
    columns = (row.created_at, row.phone, row.code_auth, row.status, row.status_info, row.price)
    with engine.connect() as connection:
        account = connection.scalar(select(accounts.c.id).where(accounts.c.label == label))
        days: defaultdict[date, Counter[Row]] = defaultdict(Counter)
        current = select(*columns, row.repeats).where(row.account_id == account, row.withdrawn_at.is_(None))
        for *values, repeats in connection.execute(current):
            assert tuple(values) not in days[values[0].date()], "equal records are one row"
            days[values[0].date()][tuple(values)] = repeats
        of_days = connection.execute(select(synced_days).where(ledger.account_id == account))
        known = {of.day: of for of in of_days}
        position = connection.execute(
            select(state.first_day, state.last_synced_date).where(state.account_id == account)
        ).one_or_none()
    return Held(dict(days), known, *(position or (None, None)))


def check_honest(held: Held, states: Iterable[Days], before: date | None = None) -> None:
    """Whatever happened: each day is whole, as the vendor once told it, and the watermark tells the truth."""
    told = list(states)
    for day, rows in held.days.items():
        assert day in held.ledger, f"{day} has rows and no ledger"
        assert any(rows == state.get(day, Counter()) for state in told), f"{day} is as the vendor never told it"
    for day, of in held.ledger.items():
        rows = held.days.get(day, Counter())
        assert (of.records, of.spend) == (rows.total(), spend_of(rows)), f"the ledger of {day} and its rows differ"
    if before is not None:
        assert held.watermark is not None, "the watermark was lost"
        assert held.watermark >= before, "the watermark went back"
    if held.watermark is not None:
        assert held.first_day is not None
        for number in range((held.watermark - held.first_day).days + 1):
            day = held.first_day + timedelta(number)
            assert held.ledger[day].first_closed_at is not None, f"{day} lies before the watermark and is open"


def check_equal(held: Held, state: Days, days: Iterable[date]) -> None:
    """The days are as the vendor tells them now, to the last repeat."""
    for day in days:
        assert held.days.get(day, Counter()) == state.get(day, Counter()), f"{day} is not as the vendor tells it"


class Account:
    """One account of one database, and the command lines that are run for it."""

    numbers = count(1)

    def __init__(self, url: URL, vendor: Sandbox, folder: Path) -> None:
        self.vendor = vendor
        self.engine = new_engine(url)
        self.url = url
        self.folder = folder
        self.states: list[Days] = []
        self.rename()

    def rename(self) -> None:
        """Go on as an account that never synced."""
        self.label = f"account {next(self.numbers)}"
        self.states = []

    def tell(self, records: list[dict[str, Any]]) -> None:
        """The vendor has these records from now on."""
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

    def sync(self, until: date = TODAY, /, **options: Any) -> Struck:
        """Sync from FIRST on, undisturbed unless told otherwise."""
        return strike(["sync", "--since", str(FIRST), "--until", str(until)], self.variables(), **options)

    def sync_here(self, until: date = TODAY) -> None:
        """Sync from FIRST on in this process, which spares the start of another one, and require success."""
        settings = settings_of(self.url, self.vendor, FIRST, account=self.label, window_days=3)
        result = run_sync(
            settings,
            RunRequest("sync", since=FIRST, until=until),
            SILENT,
            redact=str,
            exit_code_of=code_for_result,
            clock=utc_now,
        )
        assert code_for_result(result) == 0, result

    def prepare(self, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
        """A new account that has synced the old records up to BEFORE, and whose vendor tells new ones now."""
        self.rename()
        self.tell(old)
        self.sync_here(BEFORE)
        self.tell(new)

    def held(self) -> Held:
        """What the database holds."""
        return read_held(self.engine, self.label)

    def check_honest(self, before: date | None = None) -> date | None:
        """After anything; the watermark."""
        held = self.held()
        check_honest(held, self.states, before)
        return held.watermark

    def check_quiet_run(self, before: date | None = None) -> None:
        """After one quiet run all is as the vendor tells it now."""
        self.sync_here()
        held = self.held()
        check_honest(held, self.states, before)
        check_equal(held, self.states[-1], DAYS)
        assert held.watermark == TODAY
