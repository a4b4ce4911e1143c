"""Objects of others that depend on our tables and views, and that the program does not create again.

They are found before anything is changed: SQLite and MariaDB drop a trigger or an index with its table without a word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sqlalchemy import Connection

from etl.db.dialects import dialect_for
from etl.db.tables import billing_records
from etl.db.views import FUNCTIONS, VIEWS
from etl.errors import DatabaseError

_RECREATED: Final = (*VIEWS, *FUNCTIONS)
_OF_RECORDS: Final = (f"pk_{billing_records.name}", *(str(index.name) for index in billing_records.indexes))
"""Names of the constraints and indexes of the charges."""


def require_partitionable(connection: Connection) -> None:
    """Require that the table of charges and the views can be created again without a loss.

    Raises:
        DatabaseError: Other objects depend on them; nothing is changed.
    """
    names = (billing_records.name, *_RECREATED)
    _refuse(_dependents(connection, names, (*names, *_OF_RECORDS)), "migrate --partition-by-month")


def _dependents(connection: Connection, names: Collection[str], own: Collection[str]) -> Iterable[str]:
    return dialect_for(connection.dialect.name).read_dependents(connection, names, own)


def _refuse(dependents: Iterable[str], command: str) -> None:
    if listed := ", ".join(sorted(set(dependents))):
        raise DatabaseError(
            f"tables and views are created again without what others added to them: {listed}; nothing was changed; "
            f"drop it, run billing-etl {command}, and create it again"
        )
