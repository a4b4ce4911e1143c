"""Objects of others that depend on our tables and views, and that the program does not create again.

They are found before anything is changed: SQLite and MariaDB drop a trigger or an index with its table without a word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from sqlalchemy import Connection

from etl.db.dialects import dialect_for
from etl.db.tables import billing_records
from etl.db.views import FUNCTIONS, VIEWS
from etl.errors import DatabaseError

_RECREATED: Final = (*VIEWS, *FUNCTIONS)
_OF_RECORDS: Final = (f"pk_{billing_records.name}", *(str(index.name) for index in billing_records.indexes))
"""Names of the constraints and indexes of the charges."""


def require_no_dependents(
    connection: Connection, replaced: Collection[str], altered: Mapping[str, Collection[str]]
) -> None:
    """Require that a migration can drop the views and change tables without a loss.

    Args:
        connection: Connection to read with.
        replaced: Names of the tables that it drops and creates again.
        altered: Names of the columns whose type it changes, by table.

    Raises:
        DatabaseError: Other objects depend on them; nothing is changed.
    """
    dialect = dialect_for(connection.dialect.name)
    ours = [f"{kind}_{table}_account_id" for table in replaced for kind in ("ix", "uq")]
    own = (*_RECREATED, *_OF_RECORDS, *ours)
    dependents = list(dialect.read_dependents(connection, (*_RECREATED, *replaced), own))
    for table, columns in altered.items():
        dependents += dialect.read_column_dependents(connection, table, columns, own)
    _refuse(dependents, "migrate")


def require_partitionable(connection: Connection) -> None:
    """Require that the table of charges and the views can be created again without a loss.

    Raises:
        DatabaseError: Other objects depend on them; nothing is changed.
    """
    names = (billing_records.name, *_RECREATED)
    dialect = dialect_for(connection.dialect.name)
    _refuse(dialect.read_dependents(connection, names, (*names, *_OF_RECORDS)), "migrate --partition-by-month")


def _refuse(dependents: Iterable[str], command: str) -> None:
    if listed := ", ".join(sorted(set(dependents))):
        raise DatabaseError(
            f"tables and views are created again without what others added to them: {listed}; nothing was changed; "
            f"drop it, run billing-etl {command}, and create it again"
        )
