"""The status of accounts: complete and missing days, last runs, balance and lateness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from decimal import Decimal
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import BigInteger, Connection, Row, Select, case, cast, func, select

from etl.date_ranges import DateRange, find_gaps
from etl.db.balance import load_summary
from etl.db.bindings import interrupted_change
from etl.db.day_conditions import IS_COMPLETE, IS_SUSPECT
from etl.db.tables import accounts, rejected_records, sync_runs, sync_state, synced_days
from etl.ops.lateness import LatenessStats, read_latenesses
from etl.reconcile import BalanceSummary

MAX_RUNS_SHOWN = 5
"""Newest runs in a status."""
_ACCOUNTS_AT_ONCE: Final = 500
"""Accounts of a query, which has a parameter for each."""


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
        hours_behind: Hours since the end of the watermark's day; None without a watermark, or for a retired account.
        records: Number of records as the vendor lists them, repeats included.
        open_days: Number of stored days that are not complete.
        gaps: Missing ranges between complete days.
        rejected: Number of quarantined records.
        acknowledged: Number of those that a person acknowledged.
        last_runs: Rows of `sync_runs`, newest first.
        balance: None before the first snapshot.
        lateness: None for an account that is not configured.
        retired_at: When the account was retired; a sync skips it from then on.
        problem: An interrupted deletion or zone change, with its remedy: until then, runs refuse the account.
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
    acknowledged: int = 0
    last_runs: tuple[dict[str, Any], ...] = ()
    balance: BalanceSummary | None = None
    lateness: LatenessStats | None = None
    retired_at: datetime | None = None
    problem: str | None = None

    def is_older_than(self, hours: float) -> bool:
        """Whether an account that is in use has no complete day that ended within the last `hours`."""
        return self.retired_at is None and (self.hours_behind is None or self.hours_behind > hours)


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


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """The summary of an account's days and of its quarantined records.

    Attributes:
        records: Number of records as the vendor lists them, repeats included.
        open_days: Number of stored days that are not complete.
        complete: The complete days, in order.
        rejected: Number of quarantined records.
        acknowledged: Number of those that a person acknowledged.
    """

    records: int = 0
    open_days: int = 0
    complete: Sequence[date] = ()
    suspect_days: tuple[SuspectDay, ...] = ()
    rejected: int = 0
    acknowledged: int = 0


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
        connection: Connection for reading.
        labels: Labels of the accounts.
        now: The current time, aware.
        terms: Options by label; without options the lateness of an account is not computed.
        with_others: Include all other accounts of the database.
    """
    terms, labels = terms or {}, dict.fromkeys(labels)
    account = accounts.c
    stored = connection.execute(
        select(
            account.id,
            account.label,
            account.retired_at,
            account.deletion_started_at,
            account.timezone,
            account.timezone_to,
        ).order_by(account.label)
    )
    rows = [row for row in stored if with_others or row.label in labels]
    statuses: list[AccountStatus] = []
    for first in range(0, len(rows), _ACCOUNTS_AT_ONCE):
        batch = rows[first : first + _ACCOUNTS_AT_ONCE]
        ids = [row.id for row in batch]
        states = _by_account(connection, select(sync_state).where(sync_state.c.account_id.in_(ids)))
        ledgers = read_ledger_summaries(connection, ids)
        runs = _read_last_runs(connection, ids)
        options_by_id = {row.id: options for row in batch if (options := terms.get(row.label))}
        latenesses = read_latenesses(
            connection, {account_id: (item.zone, item.lookback) for account_id, item in options_by_id.items()}, now
        )
        for row in batch:
            options = options_by_id.get(row.id)
            ledger = ledgers.get(row.id, LedgerSummary())
            status = _account_status(row, states[row.id], ledger, now, options)
            zone = ZoneInfo(row.timezone) if row.timezone else None
            summary = load_summary(connection, row.id, now, options.low_balance if options else None, zone)
            statuses.append(
                replace(
                    status,
                    retired_at=row.retired_at,
                    problem=interrupted_change(row),
                    last_runs=runs.get(row.id, ()),
                    balance=summary,
                    lateness=latenesses.get(row.id),
                )
            )
    known = {row.label for row in rows}
    return statuses + [AccountStatus(label) for label in labels if label not in known]


def read_ledger_summaries(connection: Connection, account_ids: Sequence[int]) -> dict[int, LedgerSummary]:
    """Return the summary of each account's day ledger, by account id; the days are counted by the database."""
    day, rejected = synced_days.c, rejected_records.c
    closed_day = case((IS_COMPLETE, day.day))
    totals = connection.execute(
        select(
            day.account_id,
            cast(func.sum(day.records), BigInteger).label("records"),
            func.count().label("days"),
            func.count(closed_day).label("closed"),
            func.min(closed_day).label("first"),
            func.max(closed_day).label("last"),
        )
        .where(day.account_id.in_(account_ids))
        .group_by(day.account_id)
    )
    suspect_rows = connection.execute(
        select(day.account_id, day.day, day.suspect_reason)
        .where(day.account_id.in_(account_ids), IS_SUSPECT)
        .order_by(day.account_id, day.day)
    )
    suspect = {
        account_id: tuple(SuspectDay(row.day, row.suspect_reason or "") for row in group)
        for account_id, group in groupby(suspect_rows, attrgetter("account_id"))
    }
    quarantined = _by_account(
        connection,
        select(
            rejected.account_id,
            func.count().label("records"),
            func.count(rejected.acknowledged_at).label("acknowledged"),
        )
        .where(rejected.account_id.in_(account_ids))
        .group_by(rejected.account_id),
    )
    summaries = {
        row.account_id: LedgerSummary(row.records, row.days - row.closed, _complete_days(connection, row))
        for row in totals.all()
    }
    for account_id in suspect.keys() | quarantined.keys():
        row = quarantined.get(account_id)
        summaries[account_id] = replace(
            summaries.get(account_id, LedgerSummary()),
            suspect_days=suspect.get(account_id, ()),
            rejected=row.records if row else 0,
            acknowledged=row.acknowledged if row else 0,
        )
    return summaries


def _complete_days(connection: Connection, totals: Row[Any]) -> Sequence[date]:
    """The complete days of an account, in order; they are read only where one is missing between them."""
    if totals.closed == 0:
        return ()
    days = DateRange(totals.first, totals.last)
    if totals.closed == len(days):
        return days.days()
    day = synced_days.c
    query = select(day.day).where(day.account_id == totals.account_id, IS_COMPLETE)
    return connection.scalars(query.order_by(day.day)).all()


def _by_account(connection: Connection, query: Select[Any]) -> dict[int, Row[Any]]:
    return {row.account_id: row for row in connection.execute(query)}


def _read_last_runs(connection: Connection, account_ids: Sequence[int]) -> dict[int, tuple[dict[str, Any], ...]]:
    """The newest MAX_RUNS_SHOWN runs of each account, newest first."""
    run, newer = sync_runs.c, sync_runs.alias()
    oldest_shown = (
        select(newer.c.id)
        .where(newer.c.account_id == accounts.c.id)
        .order_by(newer.c.id.desc())
        .limit(1)
        .offset(MAX_RUNS_SHOWN - 1)
        .scalar_subquery()
    )
    query = (
        select(sync_runs)
        .join_from(accounts, sync_runs, run.account_id == accounts.c.id)
        .where(accounts.c.id.in_(account_ids), run.id >= func.coalesce(oldest_shown, 0))
        .order_by(run.account_id, run.id.desc())
    )
    rows = connection.execute(query).mappings()
    return {
        account_id: tuple({key: value for key, value in row.items() if key != "account_id"} for row in group)
        for account_id, group in groupby(rows, itemgetter("account_id"))
    }


def _account_status(
    account: Any, state: Row[Any], ledger: LedgerSummary, now: datetime, terms: StatusOptions | None
) -> AccountStatus:
    """The status of an account from its ledger and its position; `account` is a row with its label and retirement."""
    behind = None
    if state.synced_until_utc and account.retired_at is None:  # as in the view `freshness`
        behind = (now - state.synced_until_utc).total_seconds() / 3600
    return AccountStatus(
        account=account.label,
        last_synced_date=state.last_synced_date,
        hours_behind=behind,
        last_success_at=state.last_success_at,
        records=ledger.records,
        open_days=ledger.open_days,
        gaps=tuple(find_gaps(ledger.complete, terms.start_date if terms else None)),
        suspect_days=ledger.suspect_days,
        rejected=ledger.rejected,
        acknowledged=ledger.acknowledged,
    )
