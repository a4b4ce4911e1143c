"""Quarantined records of every configured database, and their acknowledgement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from etl.config.schema import Settings
from etl.db.errors import translate_errors
from etl.db.rejects import QuarantinedRecord, acknowledge_rejects, read_rejects
from etl.db.store import Store
from etl.errors import CheckFailedError
from etl.services.context import utc_now
from etl.services.database import ConfiguredDatabase, open_databases


@dataclass(frozen=True, slots=True)
class RejectedList:
    """Quarantined records.

    Attributes:
        missing_databases: Number of configured databases that do not exist yet.
        newly_acknowledged: Number of records that this call acknowledged.
    """

    records: list[QuarantinedRecord]
    missing_databases: int = 0
    newly_acknowledged: int = 0


def list_rejected(all_settings: Iterable[Settings], *, with_others: bool) -> RejectedList:
    """Return the quarantined records of the accounts; with `with_others` also of the others in their databases.

    Raises:
        DatabaseError: A database cannot be read, or has the schema of another version.
    """
    databases = open_databases(all_settings)
    records = [record for database in databases.existing for record in _read(database, None, with_others=with_others)]
    return RejectedList(records, databases.missing)


def acknowledge_rejected(
    all_settings: Iterable[Settings],
    ids: Collection[int],
    *,
    with_others: bool,
    clock: Callable[[], datetime] = utc_now,
) -> RejectedList:
    """Mark quarantined records as acknowledged, all or none of them, and return them.

    Raises:
        CheckFailedError: There is no record with one of the ids, or several databases have one.
        DatabaseError: Nothing is acknowledged.
    """
    databases = open_databases(all_settings).existing
    holders = [(database, _read(database, ids, with_others=with_others)) for database in databases]
    holders = [(database, records) for database, records in holders if records]
    found = {record.id for _, records in holders for record in records}
    if unknown := sorted(set(ids) - found):
        names = ", ".join(map(str, unknown))
        raise CheckFailedError(f"there is no rejected record {names}; billing-etl rejected lists them")
    if len(holders) > 1:
        raise CheckFailedError("several databases have a rejected record of these ids; name its account with --account")
    database, records = holders[0]
    acknowledge = partial(acknowledge_rejects, ids=[record.id for record in records], now=clock())
    with translate_errors():
        newly = Store(database.engine).write(acknowledge)
    return RejectedList(_read(database, ids, with_others=with_others), newly_acknowledged=newly)


def _read(database: ConfiguredDatabase, ids: Collection[int] | None, *, with_others: bool) -> list[QuarantinedRecord]:
    with database.read() as connection:
        return read_rejects(connection, None if with_others else database.labels, ids)
