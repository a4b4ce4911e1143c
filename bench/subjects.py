"""The compared programs: how each is started, and how its stored records are read."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bench.databases import Database
from bench.measure import ROOT, FailedError, Run, run
from bench.records import Charge, Holding

PROGRAM_PYTHON = ROOT / os.environ.get("VENV", ".venv") / "bin" / "python"
COLUMNS = "created_at, phone, code_auth, status, status_info, price"


def program_environment(vendor: str, database: str, **settings: str) -> dict[str, str]:
    return {
        "BILLING_API_URL": vendor,
        "BILLING_API_TOKEN": "token",
        "BILLING_DATABASE_URL": database,
        **settings,
    }


def program_command(*arguments: str) -> list[str]:
    return [str(PROGRAM_PYTHON), "-m", "etl", *arguments]


def _sync(_kind: str, vendor: str, database: str, first: date, last: date) -> tuple[list[str], dict[str, str]]:
    command = program_command("-q", "sync", "--since", first.isoformat(), "--until", last.isoformat())
    return command, program_environment(vendor, database)


def _baseline(kind: str, vendor: str, database: str, first: date, last: date) -> tuple[list[str], dict[str, str]]:
    return _module("bench.baselines", kind, vendor, database, first, last)


def _core(_kind: str, vendor: str, database: str, first: date, last: date) -> tuple[list[str], dict[str, str]]:
    return _module("bench.alternatives", "core", vendor, database, first, last)


def _dlt(_kind: str, vendor: str, database: str, first: date, last: date) -> tuple[list[str], dict[str, str]]:
    return _module("bench.alternatives", "dlt", vendor, database, first, last)


def _module(
    module: str, kind: str, vendor: str, database: str, first: date, last: date
) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", module, kind, vendor, database, first.isoformat(), last.isoformat()]
    return command, {"PYTHONPATH": str(ROOT)}


@dataclass(frozen=True, slots=True)
class Subject:
    """A program that does the job.

    Attributes:
        slug: The name of its database and folder.
        kinds: The kinds of databases that it runs on.
        start: The command and its environment, for a kind of database, vendor, database, first and last day.
        stored: The table of its records, with conditions.
    """

    name: str
    slug: str
    kinds: frozenset[str]
    start: Callable[[str, str, str, date, date], tuple[list[str], dict[str, str]]]
    stored: str

    def load(self, database: Database, vendor: str, days: Sequence[date], folder: Path) -> Run:
        """Load these days."""
        command, environment = self.start(database.kind, vendor, database.url(self.slug), days[0], days[-1])
        return run(command, environment, folder / self.slug)

    def forget(self, folder: Path) -> None:
        """Remove its files outside of the database."""
        shutil.rmtree(folder / self.slug, ignore_errors=True)

    def check(self, database: Database, expected: Holding) -> None:
        """Check that it stored exactly the vendor's current records."""
        held = Holding.of(self._charges(database))
        if held != expected:
            raise FailedError(f"{self.name} on {database.name} holds {held}, not {expected}")

    def _charges(self, database: Database) -> Iterator[Charge]:
        rows = database.read(self.slug, f"SELECT {COLUMNS} FROM {self.stored}")
        for created_at, phone, code_auth, status, status_info, price in rows:
            moment = created_at if isinstance(created_at, str) else created_at.isoformat()
            moment = moment.replace(" ", "T").removesuffix(".000000")
            # The program stores one format of phones, the others the given one.
            as_given = f"8{phone[2:]}" if phone.startswith("+7") else phone
            yield Charge(moment, as_given, code_auth, status, status_info, str(price))


EVERYWHERE = frozenset({"sqlite", "postgresql", "mariadb"})

BASELINE = Subject("baseline", "baseline", EVERYWHERE, _baseline, "charges")
# Rows that are withdrawn or have repeats would not be the vendor's.
PROGRAM = Subject(
    "billing-etl", "program", EVERYWHERE, _sync, "billing_records WHERE withdrawn_at IS NULL AND repeats = 1"
)
CORE = Subject("SQLAlchemy Core", "core", frozenset({"sqlite", "postgresql"}), _core, "charges")
DLT = Subject("dlt", "dlt", frozenset({"postgresql"}), _dlt, "bench.charges")
SUBJECTS = (PROGRAM, CORE, DLT)
