"""The history of runs, from every configured database."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import groupby
from operator import attrgetter

from etl.amounts import exact_sum
from etl.config.schema import Settings
from etl.db.run_history import JournalLine, Run, read_journal, read_last_runs, read_run
from etl.errors import CheckFailedError
from etl.pii import mask_phone
from etl.services.database import open_databases


@dataclass(frozen=True, slots=True)
class RunList:
    """Runs, newest first, and the number of configured databases that do not exist yet."""

    runs: list[Run]
    missing_databases: int


@dataclass(frozen=True, slots=True)
class ChangedDay:
    """A complete day that a run changed, with its journal lines; their phones are masked."""

    day: date
    lines: tuple[JournalLine, ...]

    @property
    def delta(self) -> Decimal:
        """Change of the day's spend."""
        return exact_sum(line.delta for line in self.lines)


@dataclass(frozen=True, slots=True)
class RunDetails:
    """One run with the complete days that it changed, in order."""

    run: Run
    changed_days: list[ChangedDay]


def list_runs(all_settings: Collection[Settings], *, last: int, with_others: bool) -> RunList:
    """Return the last runs of the accounts; with `with_others` also of the other accounts in their databases.

    Raises:
        DatabaseError: A database cannot be read, or has the schema of another version.
    """
    databases = open_databases(all_settings)
    runs: list[Run] = []
    for database in databases.existing:
        with database.read() as connection:
            runs += read_last_runs(connection, None if with_others else database.labels, last)
    if len(databases.existing) > 1:
        runs.sort(key=attrgetter("started_at"), reverse=True)
    return RunList(runs[:last], databases.missing)


def read_run_details(all_settings: Collection[Settings], run_id: int, *, with_others: bool) -> RunDetails:
    """Return one run and its changes.

    Raises:
        CheckFailedError: No run has this id, or runs of several databases have it.
        DatabaseError: A database cannot be read, or has the schema of another version.
    """
    found: list[RunDetails] = []
    for database in open_databases(all_settings).existing:
        with database.read() as connection:
            run = read_run(connection, None if with_others else database.labels, run_id)
            if run is not None:
                found.append(RunDetails(run, _by_day(read_journal(connection, run))))
    if not found:
        raise CheckFailedError(f"there is no run {run_id}; billing-etl runs lists the last ones")
    if len(found) > 1:
        raise CheckFailedError(f"several databases have a run {run_id}; name its account with --account")
    return found[0]


def _by_day(lines: Iterable[JournalLine]) -> list[ChangedDay]:
    masked = (replace(line, phone=mask_phone(line.phone)) for line in lines)
    return [ChangedDay(day, tuple(group)) for day, group in groupby(masked, attrgetter("day"))]
