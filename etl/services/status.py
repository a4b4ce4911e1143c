"""The status of accounts, from every configured database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import URL

from etl.config.schema import Settings
from etl.db.engine import database_exists, read_connection
from etl.db.errors import translate_errors
from etl.db.migrate import has_schema
from etl.errors import BillingError
from etl.ops.status_query import AccountStatus, StatusOptions, read_account_statuses
from etl.services.context import utc_now
from etl.services.database import open_engine


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The status of several accounts.

    Attributes:
        statuses: The accounts whose database could be read.
        missing_databases: Number of configured databases that do not exist yet.
        errors: The errors of the other accounts, by label.
    """

    statuses: list[AccountStatus]
    missing_databases: int
    errors: dict[str, BillingError] = field(default_factory=dict)


def read_status_report(
    all_settings: Iterable[Settings], *, with_others: bool, clock: Callable[[], datetime] = utc_now
) -> StatusReport:
    """Read the status of the accounts; with `with_others` also of the other accounts in their databases.

    Raises:
        DatabaseError: The only database cannot be read, or has the schema of another version.
    """
    by_database: dict[URL, dict[str, StatusOptions]] = {}
    for settings in all_settings:
        by_database.setdefault(settings.database_url, {})[settings.account] = StatusOptions(
            settings.timezone, settings.lookback_days, settings.low_balance, settings.start_date
        )
    statuses: list[AccountStatus] = []
    missing_databases = 0
    errors: dict[str, BillingError] = {}
    for url, by_account in by_database.items():
        try:
            stored = _read_statuses(url, by_account, clock(), with_others=with_others)
        except BillingError as error:
            if len(by_database) == 1:
                raise
            errors |= dict.fromkeys(by_account, error)
            continue
        missing_databases += stored is None
        statuses += map(AccountStatus, by_account) if stored is None else stored
    return StatusReport(statuses, missing_databases, errors)


def _read_statuses(
    url: URL, by_account: Mapping[str, StatusOptions], now: datetime, *, with_others: bool
) -> list[AccountStatus] | None:
    """The statuses of one database; None if it does not exist."""
    engine = open_engine(url)
    if not database_exists(engine):
        return None
    with translate_errors(), read_connection(engine) as connection:
        if not has_schema(connection):
            return list(map(AccountStatus, by_account))
        return read_account_statuses(connection, by_account, now, by_account, with_others=with_others)
