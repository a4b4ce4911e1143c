"""Rows in columnar form, split into batches and joined to one text.

A few large driver calls release the GIL longer than many small ones, so that fetching in another thread can overlap.
Rows are passed and joined column by column, in loops of the interpreter's C code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from etl import signals
from etl.db.dialects.protocol import ColumnValues

BATCH_SIZE: Final = 2_048
"""Rows per driver call."""


def split_batches(columns: ColumnValues, size: int | None = None) -> Iterator[ColumnValues]:
    """Split rows into batches of BATCH_SIZE or another size; a signal ends the program between two of them."""
    step = size or BATCH_SIZE
    for start in range(0, len(columns[0]), step):
        signals.raise_if_interrupted()
        yield tuple(column[start : start + step] for column in columns)


def join_rows(batch: ColumnValues, next_field: str, next_row: str, null: str) -> tuple[str, int]:
    """Join rows to one text with these separators and this mark of NULL, and count the NULLs in it."""
    nulls = 0
    columns = []
    for column in batch:
        if not {str}.issuperset(map(type, column)):
            # Numbers and NULLs, few of them distinct.
            nulls += column.count(None)
            texts = {value: null if value is None else str(value) for value in set(column)}
            column = tuple(map(texts.__getitem__, column))  # noqa: PLW2901 - the same column as text
        columns.append(column)
    return next_row.join(map(next_field.join, zip(*columns, strict=True))), nulls
