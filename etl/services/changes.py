"""The days of an account that changed after a revision, for those that keep a copy of its records."""

from __future__ import annotations

from etl.config.schema import Settings
from etl.day_totals import DayChange
from etl.db.days import read_changes
from etl.db.engine import database_exists
from etl.db.errors import translate_errors
from etl.db.run_store import find_account, read_revision
from etl.db.store import read_database
from etl.errors import CheckFailedError
from etl.services.database import open_engine


def list_changes(settings: Settings, after: int | None) -> list[DayChange]:
    """Return the days above a revision, ordered by revision and day; with None all days.

    Args:
        settings: Settings of the account.
        after: The last revision that the copy has.

    Raises:
        CheckFailedError: The account is below that revision.
        DatabaseError: The database cannot be read, or has the schema of another version.
    """
    engine = open_engine(settings.database_url)
    with translate_errors():
        if not database_exists(engine):
            return []
    with read_database(engine) as connection:
        account_id = find_account(connection, settings.account)
        revision = read_revision(connection, account_id)
        if after is not None and after > revision:
            raise CheckFailedError(
                f"the account {settings.account} is at revision {revision}, below {after}: was it deleted and fetched "
                "again, or restored from a backup? Copy all its days again, from after_revision=None on"
            )
        return [] if account_id is None else read_changes(connection, account_id, after)
