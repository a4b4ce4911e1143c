"""From the `billing` view to a file: read, made nobody's if need be, written. The database is only read."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import tzinfo
from itertools import chain, islice
from typing import BinaryIO, Final

from sqlalchemy import Engine

from etl import signals
from etl.db.engine import read_connection, require_database
from etl.db.errors import translate_errors
from etl.db.migrate import require_schema
from etl.reports.anonymise import anonymiser
from etl.reports.csv_writer import write_csv
from etl.reports.parquet_writer import open_parquet
from etl.reports.query import ExportFilter, Row, count_incomplete_days, count_purged_days, iter_batches

Write = Callable[[BinaryIO, Iterable[Sequence[Row]]], int]
"""Writes batches of rows and says how many rows there were."""

FORMATS: Final = (".csv", ".parquet")
"""The endings of files."""
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written.

    Attributes:
        unknown_days: Days of the selection left out, because they were not complete at the moment asked for.
        purged_days: Days of the selection whose records were purged.
    """

    rows: int
    selection: ExportFilter
    anonymised: bool
    unknown_days: int = 0
    purged_days: int = 0


def writer_for(ending: str) -> Write:
    """What writes a file with one of the endings.

    Raises:
        ConfigError: It needs a library that is not installed.
    """
    return open_parquet() if ending == ".parquet" else write_csv


def export_records(
    engine: Engine,
    selection: ExportFilter,
    write: Write,
    output: AbstractContextManager[BinaryIO],
    *,
    zone: tzinfo,
    anonymise: bool = False,
) -> ExportResult:
    """Write the selected records.

    Args:
        engine: Of the database.
        selection: Which records.
        write: Of `writer_for`.
        output: The file, entered when the first rows are there: what a server needs minutes for leaves no file behind.
        zone: Of the vendor's wall clock: tells the day of the selection's moment.
        anonymise: Leave out what tells a person; the key of the pseudonyms is made here and kept nowhere.

    Raises:
        ConfigError: The database has no such account, or the file cannot be written there.
        DatabaseError: There is no database, it has another schema, or it failed.
        DiskFullError: The disk is full.
    """
    require_database(engine)
    form = anonymiser(secrets.token_bytes(_KEY_BYTES)) if anonymise else None
    with translate_errors(), signals.deferred(), read_connection(engine) as connection:
        require_schema(connection)
        unknown, purged = 0, count_purged_days(connection, selection)
        if selection.as_of:
            unknown = count_incomplete_days(connection, selection, selection.as_of.astimezone(zone).date())
        # After an error the file goes first, for MariaDB's driver reads all the rows that are left before it closes.
        with closing(iter_batches(connection, selection, form)) as batches:
            first = list(islice(batches, 1))
            with output as file:
                rows = write(file, _interruptible(chain(first, batches)))
    return ExportResult(rows, selection, anonymise, unknown, purged)


def _interruptible(batches: Iterable[Sequence[Row]]) -> Iterator[Sequence[Row]]:
    for batch in batches:
        signals.raise_if_interrupted()
        yield batch
