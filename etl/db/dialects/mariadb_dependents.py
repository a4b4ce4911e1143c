"""The objects of a MariaDB or MySQL database that are lost with a table, or that prevent its exchange."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, bindparam, text

_DEPENDENTS: Final = text("""
SELECT CONCAT('trigger ', trigger_name, ' on ', event_object_table) FROM information_schema.triggers
WHERE event_object_schema = DATABASE() AND LOWER(event_object_table) IN :names
UNION
SELECT CONCAT('index ', index_name, ' on ', table_name) FROM information_schema.statistics
WHERE table_schema = DATABASE() AND LOWER(table_name) IN :names AND index_name <> 'PRIMARY' AND index_name NOT IN :own
UNION
SELECT CONCAT('constraint ', constraint_name, ' on ', table_name) FROM information_schema.referential_constraints
WHERE unique_constraint_schema = DATABASE() AND LOWER(referenced_table_name) IN :names AND constraint_name NOT IN :own
ORDER BY 1
""")


def read_mariadb_dependents(connection: Connection, names: Collection[str], own: Collection[str]) -> list[str]:
    """Describe the triggers, indexes and foreign keys of others; a view keeps the name of its table.

    Args:
        connection: Connection to read with.
        names: Names of our tables and views.
        own: Names of our own indexes and constraints.
    """
    query = _DEPENDENTS.bindparams(bindparam("names", expanding=True), bindparam("own", expanding=True))
    return list(connection.scalars(query, {"names": list(names), "own": list(own)}))
