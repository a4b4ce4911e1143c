"""Bring files of the numbering plan into the database, all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from etl import signals
from etl.config.schema import Settings
from etl.db.engine import new_engine
from etl.db.errors import translate_errors
from etl.db.lock import advisory_lock
from etl.db.numbering import replace_ranges
from etl.db.retry import retry_transaction
from etl.numbering.parser import PlanRange, read_plan_file
from etl.numbering.ranges import BLOCK, resolve_overlaps, split_at_blocks
from etl.services.context import SCHEMA_LOCK_TIMEOUT, ensure_schema, utc_now


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did.

    Attributes:
        files: Lines with a range, by the file's name as it was given.
        codes: What was replaced, like `9xx`.
        numbers: Numbers with an operator.
        overlapping: Lines that lost numbers to another one.
        rows: Rows stored: a range has one in each block of 100,000 numbers that it reaches into.
        replaced: Rows that stood there before.
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
    """Replace the plan's ranges of all codes that begin with the same digits as those of the files.

    So DEF-9xx.csv replaces all that stood there of 9xx, and nothing of 3xx. Makes the schema first if need be.

    Args:
        settings: Of any account of the database.
        paths: The files; together they are one plan.
        wait: Seconds to wait for another import.
        clock: The present moment, aware.

    Raises:
        ConfigError: A file cannot be read, is no such file, or contradicts itself; nothing is changed.
        ConcurrentRunError: Another import is under way.
        DatabaseError: Nothing is changed.
    """
    files = {str(path): read_plan_file(path) for path in paths}
    ranges = [each for of_file in files.values() for each in of_file]
    disjoint = list(resolve_overlaps(ranges))
    now = clock()
    rows = [_as_row(piece, now) for piece in split_at_blocks(disjoint)]
    digits = {_leading_digit(each) for each in ranges}
    engine = new_engine(settings.database_url)

    def put() -> int:
        with signals.deferred(), engine.begin() as connection:
            return replace_ranges(connection, digits, rows)

    with translate_errors():
        engine = ensure_schema(engine, settings, dry_run=False)
        with advisory_lock(engine, "numbering", wait=wait):
            replaced = retry_transaction(put)
    return ImportResult(
        files={name: len(of_file) for name, of_file in files.items()},
        codes=[f"{digit}xx" for digit in sorted(digits)],
        numbers=sum(piece.last - piece.first + 1 for piece in disjoint),
        overlapping=len(ranges) - _is_unchanged(ranges, disjoint),
        rows=len(rows),
        replaced=replaced,
    )


def _is_unchanged(ranges: Sequence[PlanRange], disjoint: Sequence[PlanRange]) -> int:
    """How many ranges came through as they were."""
    return len(set(ranges) & set(disjoint))


def _leading_digit(each: PlanRange) -> int:
    return int(str(each.first)[0])


def _as_row(piece: PlanRange, now: datetime) -> dict[str, Any]:
    return {
        "block": f"+7{piece.first // BLOCK}",
        "first_phone": f"+7{piece.first}",
        "last_phone": f"+7{piece.last}",
        "operator": piece.operator,
        "region": piece.region,
        "inn": piece.inn,
        "file_name": piece.source.name[-255:],
        "file_changed_at": piece.source.changed_at,
        "imported_at": now,
    }
