"""What is complete up to when, what is missing, how the last runs went, and how balance and records behave."""

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

LAST_RUNS = 5


@dataclass(frozen=True, slots=True)
class SuspectDay:
    """A day whose present answer is not believed, and why."""

    day: date
    reason: str


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """How one account stands.

    Attributes:
        hours_behind: Since the watermark's day was over; None before there is a watermark.
        records: As the vendor lists them, repeats included.
        rejected: How many bad records are kept aside.
        last_runs: The newest first.
        balance: What is to be said of it; None before the first snapshot.
        lateness: How late records arrive and change; None for an account that is not configured here.
        retired_at: Since when no sync fetches it.
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
    """What an account is looked at by, as it is configured.

    Attributes:
        zone: Of the vendor's wall clock.
        lookback: In days.
        low_balance: Below that the balance is low.
        start_date: Where its history is to begin; None where that is not set.
    """

    zone: tzinfo
    lookback: int
    low_balance: Decimal | None = None
    start_date: date | None = None


def read_account_statuses(
    connection: Connection, labels: Iterable[str], now: datetime, terms: Mapping[str, StatusOptions] | None = None
) -> list[AccountStatus]:
    """The status of all accounts in the database, and of those that are configured and never synced.

    Args:
        connection: Reads.
        labels: Of the configured accounts.
        now: The present moment.
        terms: By label. Without an account's the lateness of its records is not looked for.
    """
    terms = terms or {}
    known = {row.label: row for row in connection.execute(select(accounts).order_by(accounts.c.label))}
    statuses = [
        replace(_read_account(connection, label, row.id, now, terms.get(label)), retired_at=row.retired_at)
        for label, row in known.items()
    ]
    return statuses + [AccountStatus(label) for label in labels if label not in known]


def _read_account(
    connection: Connection, label: str, number: int, now: datetime, terms: StatusOptions | None
) -> AccountStatus:
    state = connection.execute(select(sync_state).where(sync_state.c.account_id == number)).one()
    day = synced_days.c
    days = connection.execute(
        select(day.day, day.records, day.first_closed_at, day.suspect_since, day.suspect_reason)
        .where(day.account_id == number)
        .order_by(day.day)
    ).all()
    run = sync_runs.c
    runs = connection.execute(
        select(sync_runs).where(run.account_id == number).order_by(run.id.desc()).limit(LAST_RUNS)
    ).mappings()
    rejected = select(func.count()).select_from(rejected_records).where(rejected_records.c.account_id == number)
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
            connection, number, now, terms.low_balance if terms else None, terms.zone if terms else None
        ),
        lateness=read_lateness(connection, number, now, terms.zone, terms.lookback) if terms else None,
    )
