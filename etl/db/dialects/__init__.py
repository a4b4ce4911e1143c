"""The differences between the databases: one module per database, with an object that implements `DatabaseDialect`.

A dialect does not depend on this program's tables, views and settings: they are passed as arguments. Its module is
imported on first use, so that a start loads neither the other dialects of SQLAlchemy nor their drivers. Error codes
stay together in `etl.db.errors`: the codes of the databases do not overlap, and errors of the same cause have one text.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    from etl.db.dialects.protocol import DatabaseDialect


class DialectEntry(NamedTuple):
    """A supported backend: the driver that the program is tested with, and the module with its dialect."""

    driver: str
    module: str


DIALECTS: Final = {
    "sqlite": DialectEntry("pysqlite", "etl.db.dialects.sqlite"),
    "postgresql": DialectEntry("psycopg", "etl.db.dialects.postgresql"),
    "mysql": DialectEntry("pymysql", "etl.db.dialects.mariadb"),
    "mariadb": DialectEntry("pymysql", "etl.db.dialects.mariadb"),
}
"""The supported backends, by SQLAlchemy's name."""


@cache
def dialect_for(backend: str) -> DatabaseDialect:
    """Return the dialect of a backend, a key of DIALECTS."""
    return cast("DatabaseDialect", import_module(DIALECTS[backend].module).DIALECT)
