"""Migration of the configured databases, and its SQL."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import URL

from etl.db.errors import translate_errors
from etl.db.lock import advisory_lock
from etl.db.migrate import migrate, migration_sql
from etl.db.tables import SCHEMA_REVISION
from etl.services.context import SCHEMA_LOCK_TIMEOUT
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


def sql_of_migrations(url: URL) -> str:
    """The SQL of all migrations for an empty database of this kind; the database is not used."""
    return migration_sql(open_engine(url))
