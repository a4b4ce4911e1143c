"""Migration of the configured databases, and its SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from sqlalchemy import URL

from etl.db.errors import translate_errors
from etl.db.lock import advisory_lock
from etl.db.migrate import migrate, migration_sql, require_schema
from etl.db.partitions import partition_by_month, supports_partitions
from etl.db.tables import SCHEMA_REVISION
from etl.errors import CheckFailedError
from etl.services.context import SCHEMA_LOCK_TIMEOUT, utc_now
from etl.services.database import open_engine


def migrate_databases(urls: Iterable[URL]) -> str:
    """Migrate databases to the current schema, under the lock of each; returns the revision.

    Raises:
        SchemaMismatchError: The schema of a database is unknown to this version, or another program's.
        ConcurrentRunError: Another process migrates a database.
    """
    for engine in [open_engine(url) for url in urls]:
        with translate_errors(), advisory_lock(engine, "schema", wait=SCHEMA_LOCK_TIMEOUT):
            migrate(engine)
    return SCHEMA_REVISION


def partition_database(url: URL, *, clock: Callable[[], datetime] = utc_now) -> int:
    """Partition the charges of a database by month, and return the number of partitions.

    Raises:
        CheckFailedError: The database does not support it.
        SchemaMismatchError: Its schema is not the current one.
        ConcurrentRunError: Another process migrates the database.
    """
    engine = open_engine(url)
    with translate_errors(), advisory_lock(engine, "schema", wait=SCHEMA_LOCK_TIMEOUT), engine.begin() as connection:
        if not supports_partitions(connection):
            raise CheckFailedError("only PostgreSQL can partition the charges by month")
        require_schema(connection)
        return partition_by_month(connection, clock().date())


def sql_of_migrations(url: URL) -> str:
    """The SQL of all migrations for an empty database of this kind; the database is not used."""
    return migration_sql(open_engine(url))
