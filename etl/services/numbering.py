"""Import of the numbering plan: all files in one transaction, then the totals by operator, account by account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from etl.config.schema import Settings
from etl.db.accounts import account_ids
from etl.db.days import stored_counts
from etl.db.errors import translate_errors
from etl.db.lock import advisory_lock
from etl.db.numbering import replace_ranges
from etl.db.run_store import lock_account
from etl.db.store import Store
from etl.db.totals import refresh_operators
from etl.numbering.parser import PlanRange, read_plan_file
from etl.numbering.ranges import BLOCK, resolve_overlaps, split_at_blocks
from etl.services.context import SCHEMA_LOCK_TIMEOUT, ensure_schema, utc_now
from etl.services.database import open_engine

DAYS_PER_TRANSACTION: Final = 31
"""Days whose totals are computed in one transaction."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The result of an import.

    Attributes:
        files: Number of ranges by path, spelled like the argument.
        codes: Replaced code groups, like `9xx`.
        numbers: Number of phone numbers with an operator.
        overlapping: Number of ranges that overlapped others and were shortened.
        rows: Number of stored rows: one for each block of 100,000 numbers that a range overlaps.
        replaced: Number of deleted rows.
    """

    files: dict[str, int]
    codes: list[str]
    numbers: int
    overlapping: int
    rows: int
    replaced: int


def import_plan(
    settings: Settings,
    paths: Sequence[Path],
    *,
    wait: float = SCHEMA_LOCK_TIMEOUT,
    clock: Callable[[], datetime] = utc_now,
) -> ImportResult:
    """Replace the stored ranges of every code group in the files: codes with the same first digit.

    DEF-9xx.csv replaces all ranges of 9xx and none of 3xx. The schema is created or migrated first.

    Args:
        settings: Settings of any account of the database.
        paths: Files of one plan.
        wait: Seconds to wait for another import.
        clock: The present time, aware.

    Raises:
        ConfigError: A file cannot be read, has another format, or contradicts itself; nothing is changed.
        ConcurrentRunError: Another import is in progress.
        DatabaseError: Nothing is changed.
    """
    files = {str(path): read_plan_file(path) for path in paths}
    ranges = [plan_range for file_ranges in files.values() for plan_range in file_ranges]
    disjoint = list(resolve_overlaps(ranges))
    now = clock()
    rows = [_as_row(plan_range, now) for plan_range in split_at_blocks(disjoint)]
    digits = {_leading_digit(plan_range) for plan_range in ranges}
    engine = open_engine(settings.database_url)
    with translate_errors():
        engine = ensure_schema(engine, settings, dry_run=False)
        store = Store(engine)
        with advisory_lock(engine, "numbering", wait=wait):
            replaced = store.write(lambda connection: replace_ranges(connection, digits, rows))
            for account_id in store.read(account_ids):
                _refresh_account(store, account_id)
    return ImportResult(
        files={name: len(file_ranges) for name, file_ranges in files.items()},
        codes=[f"{digit}xx" for digit in sorted(digits)],
        numbers=sum(plan_range.last - plan_range.first + 1 for plan_range in disjoint),
        overlapping=len(ranges) - len(set(ranges) & set(disjoint)),
        rows=len(rows),
        replaced=replaced,
    )


def _refresh_account(store: Store, account_id: int) -> None:
    """Compute an account's totals by operator again, in transactions of some days each."""

    def refresh(connection: Connection, batch: Sequence[date]) -> None:
        # A run that has read the plan before its import, and has not committed yet, is waited for.
        lock_account(connection, account_id)
        refresh_operators(connection, account_id, batch)

    days = sorted(store.read(partial(stored_counts, account_id=account_id)))
    for start in range(0, len(days), DAYS_PER_TRANSACTION):
        store.write(partial(refresh, batch=days[start : start + DAYS_PER_TRANSACTION]))


def _leading_digit(plan_range: PlanRange) -> int:
    return int(str(plan_range.first)[0])


def _as_row(plan_range: PlanRange, now: datetime) -> dict[str, Any]:
    return {
        "block": f"+7{plan_range.first // BLOCK}",
        "first_phone": f"+7{plan_range.first}",
        "last_phone": f"+7{plan_range.last}",
        "operator": plan_range.operator,
        "region": plan_range.region,
        "inn": plan_range.inn,
        "file_name": plan_range.source.name[-255:],
        "file_changed_at": plan_range.source.changed_at,
        "imported_at": now,
    }
