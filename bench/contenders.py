"""The contenders: how each is started, and how what it stored is read."""

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

OUR_PYTHON = ROOT / os.environ.get("VENV", ".venv") / "bin" / "python"
COLUMNS = "created_at, phone, code_auth, status, status_info, price"


def our_environment(vendor: str, database: str, **settings: str) -> dict[str, str]:
    return {
        "BILLING_API_URL": vendor,
        "BILLING_API_TOKEN": "token",
        "BILLING_DATABASE_URL": database,
        **settings,
    }


def our_command(*arguments: str) -> list[str]:
    return [str(OUR_PYTHON), "-m", "etl", *arguments]


def _sync(_kind: str, vendor: str, database: str, first: date, last: date) -> tuple[list[str], dict[str, str]]:
    command = our_command("-q", "sync", "--since", first.isoformat(), "--until", last.isoformat())
    return command, our_environment(vendor, database)


def _floor(kind: str, vendor: str, database: str, first: date, last: date) -> tuple[list[str], dict[str, str]]:
    return _module("bench.floors", kind, vendor, database, first, last)


def _core(_kind: str, vendor: str, database: str, first: date, last: date) -> tuple[list[str], dict[str, str]]:
    return _module("bench.peers", "core", vendor, database, first, last)


def _dlt(_kind: str, vendor: str, database: str, first: date, last: date) -> tuple[list[str], dict[str, str]]:
    return _module("bench.peers", "dlt", vendor, database, first, last)


def _module(
    module: str, kind: str, vendor: str, database: str, first: date, last: date
) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", module, kind, vendor, database, first.isoformat(), last.isoformat()]
    return command, {"PYTHONPATH": str(ROOT)}


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the job.

    Attributes:
        place: Where it writes.
        kinds: The databases that it is run on.
        start: The command and its environment, for a kind of database, vendor, database, first and last day.
        stored: What to read its records from.
    """

    name: str
    place: str
    kinds: frozenset[str]
    start: Callable[[str, str, str, date, date], tuple[list[str], dict[str, str]]]
    stored: str

    def load(self, database: Database, vendor: str, days: Sequence[date], folder: Path) -> Run:
        """Let it load these days."""
        command, environment = self.start(database.kind, vendor, database.url(self.place), days[0], days[-1])
        return run(command, environment, folder / self.place)

    def forget(self, folder: Path) -> None:
        """Remove what it keeps beside the database."""
        shutil.rmtree(folder / self.place, ignore_errors=True)

    def check(self, database: Database, expected: Holding) -> None:
        """See that it holds all records, each as the vendor has it now, and no other."""
        held = Holding.of(self._charges(database))
        if held != expected:
            raise FailedError(f"{self.name} on {database.name} holds {held}, not {expected}")

    def _charges(self, database: Database) -> Iterator[Charge]:
        rows = database.read(self.place, f"SELECT {COLUMNS} FROM {self.stored}")
        for created_at, phone, code_auth, status, status_info, price in rows:
            moment = created_at if isinstance(created_at, str) else created_at.isoformat()
            moment = moment.replace(" ", "T").removesuffix(".000000")
            # The program keeps one form of a phone, the others what they were given.
            as_given = f"8{phone[2:]}" if phone.startswith("+7") else phone
            yield Charge(moment, as_given, code_auth, status, status_info, str(price))


EVERYWHERE = frozenset({"sqlite", "postgresql", "mariadb"})

FLOOR = Contender("floor", "floor", EVERYWHERE, _floor, "charges")
# A record that it took for withdrawn, or for listed twice, would not be the vendor's.
OURS = Contender("billing-etl", "ours", EVERYWHERE, _sync, "billing_records WHERE withdrawn_at IS NULL AND repeats = 1")
CORE = Contender("SQLAlchemy Core", "core", frozenset({"sqlite", "postgresql"}), _core, "charges")
DLT = Contender("dlt", "dlt", frozenset({"postgresql"}), _dlt, "bench.charges")
CONTENDERS = (OURS, CORE, DLT)
