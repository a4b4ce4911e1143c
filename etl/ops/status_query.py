"""The status of accounts: complete and missing days, last runs, balance and lateness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, func, select

from etl.date_ranges import find_gaps
from etl.db.balance import load_summary
from etl.db.tables import accounts, rejected_records, sync_runs, sync_state, synced_days
from etl.model import DateRange
from etl.ops.lateness import LatenessStats, read_lateness
from etl.reconcile import BalanceSummary

MAX_RUNS_SHOWN = 5
"""Newest runs in a status."""


@dataclass(frozen=True, slots=True)
class SuspectDay:
    """A day whose latest answer is implausible, with the reason."""

    day: date
    reason: str


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """The status of one account.

    Attributes:
        last_synced_date: The watermark, the last contiguous complete day; None before there is one.
        hours_behind: Hours since the end of the watermark's day; None without a watermark.
        records: Number of records as the vendor lists them, repeats included.
        open_days: Number of stored days that are not complete.
        gaps: Missing ranges between complete days.
        rejected: Number of quarantined records.
        last_runs: Rows of `sync_runs`, newest first.
        balance: None before the first snapshot.
        lateness: None for an account that is not configured.
        retired_at: When the account was retired; a sync skips it from then on.
    """

    account: str
    last_synced_date: date | None = None
    hours_behind: float | None = None
    last_success_at: datetime | None = None
    records: int = 0
    open_days: int = 0
    gaps: tuple[DateRange, ...] = ()
    suspect_days: tuple[SuspectDay, ...] = ()
    rejected: int = 0
    last_runs: tuple[dict[str, Any], ...] = ()
    balance: BalanceSummary | None = None
    lateness: LatenessStats | None = None
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """The settings of an account that its status depends on.

    Attributes:
        zone: The zone of the vendor's wall clock.
        lookback: In days.
        low_balance: The limit of a low balance.
        start_date: The configured start of the history; None if it is not configured.
    """

    zone: tzinfo
    lookback: int
    low_balance: Decimal | None = None
    start_date: date | None = None


def read_account_statuses(
    connection: Connection,
    labels: Iterable[str],
    now: datetime,
    terms: Mapping[str, StatusOptions] | None = None,
    *,
    with_others: bool = False,
) -> list[AccountStatus]:
    """Return the status of accounts, first of those in the database, then of those that were never synced.

    Args:
        connection: For reading.
        labels: Labels of the accounts.
        now: The current time, aware.
        terms: Options by label; without options the lateness of an account is not computed.
        with_others: Include all other accounts of the database.
    """
    terms, labels = terms or {}, dict.fromkeys(labels)
    account = accounts.c
    stored = connection.execute(select(account.id, account.label, account.retired_at).order_by(account.label))
    rows = {row.label: row for row in stored if with_others or row.label in labels}
    statuses = [
        replace(_read_account(connection, label, row.id, now, terms.get(label)), retired_at=row.retired_at)
        for label, row in rows.items()
    ]
    return statuses + [AccountStatus(label) for label in labels if label not in rows]


def _read_account(
    connection: Connection, label: str, account_id: int, now: datetime, terms: StatusOptions | None
) -> AccountStatus:
    state = connection.execute(select(sync_state).where(sync_state.c.account_id == account_id)).one()
    day = synced_days.c
    days = connection.execute(
        select(day.day, day.records, day.first_closed_at, day.suspect_since, day.suspect_reason)
        .where(day.account_id == account_id)
        .order_by(day.day)
    ).all()
    run = sync_runs.c
    runs = connection.execute(
        select(sync_runs).where(run.account_id == account_id).order_by(run.id.desc()).limit(MAX_RUNS_SHOWN)
    ).mappings()
    rejected = select(func.count()).select_from(rejected_records).where(rejected_records.c.account_id == account_id)
    behind = (now - state.synced_until_utc).total_seconds() / 3600 if state.synced_until_utc else None
    return AccountStatus(
        account=label,
        last_synced_date=state.last_synced_date,
        hours_behind=behind,
        last_success_at=state.last_success_at,
        records=sum(row.records for row in days),
        open_days=sum(row.first_closed_at is None for row in days),
        gaps=tuple(
            find_gaps((row.day for row in days if row.first_closed_at is not None), terms.start_date if terms else None)
        ),
        suspect_days=tuple(SuspectDay(row.day, row.suspect_reason or "") for row in days if row.suspect_since),
        rejected=connection.scalars(rejected).one(),
        last_runs=tuple({key: value for key, value in row.items() if key != "account_id"} for row in runs),
        balance=load_summary(
            connection, account_id, now, terms.low_balance if terms else None, terms.zone if terms else None
        ),
        lateness=read_lateness(connection, account_id, now, terms.zone, terms.lookback) if terms else None,
    )
