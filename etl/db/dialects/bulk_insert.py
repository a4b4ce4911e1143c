"""Bulk insert of rows in columnar form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table

from etl.db.dialects import dialect_for


def bulk_insert(
    connection: Connection, table: Table, shared: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]
) -> None:
    """Insert rows given in columnar form; values are str, int or None, without conversion by column types.

    Args:
        connection: Connection in a transaction.
        table: Target table.
        shared: Values that all rows have in common, by column.
        columns: The remaining columns, all of the same length.

    Raises:
        DBAPIError: The database refused the rows.
    """
    names = ", ".join(map(connection.dialect.identifier_preparer.quote, [*shared, *columns]))
    dialect = dialect_for(connection.dialect.name)
    dialect.insert_rows(connection, f"{table.name} ({names})", tuple(shared.values()), tuple(columns.values()))
