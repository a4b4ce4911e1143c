"""Export a view to CSV, Parquet or Excel, optionally anonymised; the database is only read."""

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
from etl.reports.columns import ExportView
from etl.reports.csv_writer import EXCEL_RUSSIAN, RFC_4180, csv_writer
from etl.reports.parquet_writer import open_parquet
from etl.reports.query import BATCH_SIZE, ExportFilter, Row, count_incomplete_days, count_purged_days, iter_batches
from etl.reports.xlsx_writer import open_xlsx

Write = Callable[[BinaryIO, ExportView, Iterable[Sequence[Row]]], int]
"""Writes batches of rows of a view and returns the number of rows."""

FORMATS: Final = (".csv", ".csv.gz", ".parquet", ".xlsx")
"""File name extensions."""
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Summary of an export.

    Attributes:
        rows: Number of exported rows.
        unknown_days: Number of selected days that were not complete at `selection.as_of`, and so are left out.
        purged_days: Number of selected days that are left out because their records were purged.
    """

    rows: int
    selection: ExportFilter
    anonymised: bool
    unknown_days: int = 0
    purged_days: int = 0


def format_of(name: str) -> str | None:
    """The extension in FORMATS of a file name, in either case; None if it has another one."""
    return next((extension for extension in FORMATS if name.lower().endswith(extension)), None)


def writer_for(extension: str, *, excel_russian: bool = False) -> Write:
    """The writer for one of FORMATS.

    Args:
        extension: One of FORMATS.
        excel_russian: Write CSV as Excel in Russian opens it.

    Raises:
        ConfigError: A library is not installed.
    """
    if extension == ".parquet":
        return open_parquet()
    if extension == ".xlsx":
        return open_xlsx()
    return csv_writer(EXCEL_RUSSIAN if excel_russian else RFC_4180, compressed=extension == ".csv.gz")


def export_records(
    engine: Engine,
    selection: ExportFilter,
    write: Write,
    output: AbstractContextManager[BinaryIO],
    *,
    zone: tzinfo,
    anonymise: bool = False,
    batch_size: int = BATCH_SIZE,
) -> ExportResult:
    """Write the selected rows of a view.

    Args:
        engine: Engine of the database.
        selection: The view, and the filter of its rows.
        write: Result of `writer_for`.
        output: Context manager of the file; entered once the first rows are available, so that a query that fails
            before leaves no file.
        zone: Time zone of the vendor's wall clock, which dates `selection.as_of`.
        anonymise: Remove personal data; the key of the pseudonyms is random and not stored.
        batch_size: Maximum number of rows read and written at once.

    Raises:
        ConfigError: Unknown account, or the file cannot be written.
        DatabaseError: The database is missing, has another schema, or failed.
        DiskFullError: The disk is full.
    """
    require_database(engine)
    transforms = anonymiser(secrets.token_bytes(_KEY_BYTES)) if anonymise else None
    with translate_errors(), signals.deferred(), read_connection(engine) as connection:
        require_schema(connection)
        unknown = 0
        purged = count_purged_days(connection, selection) if selection.view.lacks_purged_days else 0
        if selection.as_of:
            unknown = count_incomplete_days(connection, selection, selection.as_of.astimezone(zone).date())
        # After an error, the file is removed before the result is closed: MariaDB's driver first reads all its rows.
        with closing(iter_batches(connection, selection, transforms, size=batch_size)) as batches:
            first = list(islice(batches, 1))
            with output as file:
                rows = write(file, selection.view, _interruptible(chain(first, batches)))
    return ExportResult(rows, selection, anonymise, unknown, purged)


def _interruptible(batches: Iterable[Sequence[Row]]) -> Iterator[Sequence[Row]]:
    for batch in batches:
        signals.raise_if_interrupted()
        yield batch
