"""Reads and writes sync_runs and sync_state: runs, the fence, the watermark."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from etl.date_ranges import ONE_DAY, DateRange, first_contiguous, first_outside, last_contiguous
from etl.db.bindings import FIRST_BINDING, Binding, end_of_day, first_binding, require_binding, store_binding
from etl.db.day_conditions import IS_COMPLETE, IS_SUSPECT
from etl.db.tables import accounts, sync_runs, sync_state, synced_days
from etl.errors import ConcurrentRunError
from etl.run_counts import SUCCESSFUL, Outcome, RunCounts


@dataclass(frozen=True, slots=True)
class Fence:
    """Fencing token: its holder may write an account's rows until a newer one is issued.

    Attributes:
        account_id: `accounts.id`.
        fence: Ascending number within the account.
    """

    account_id: int
    fence: int


@dataclass(frozen=True, slots=True)
class RunHandle(Fence):
    """A started run: the fence that it holds, and its row.

    Attributes:
        id: `sync_runs.id`.
        fingerprint: That of a changed token, to be stored with the first answer; None without one.
    """

    id: int
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class SyncState:
    """Progress of an account.

    Attributes:
        first_day: First day of the contiguous range of complete days; None before the first one.
        watermark: Last day of that range; None while it is empty.
        suspect_days: Days whose latest answer was implausible, in order.
        settled_through: Last day before the lookback: no run fetches it again.
        retired_at: When the account was retired; None while it is in use.
    """

    first_day: date | None = None
    watermark: date | None = None
    suspect_days: tuple[date, ...] = ()
    settled_through: date | None = None
    retired_at: datetime | None = None


def find_account(connection: Connection, label: str) -> int | None:
    """Return the id of an account, or None if it never synced."""
    return connection.scalar(select(accounts.c.id).where(accounts.c.label == label))


def begin_run(
    connection: Connection,
    *,
    label: str,
    command: str,
    version: str,
    windows: Sequence[DateRange],
    now: datetime,
    binding: Binding = FIRST_BINDING,
) -> RunHandle:
    """Insert the run's row and take the next fence, after which no older run of the account may write.

    A new account is created and bound to the given settings.

    Raises:
        ConfigError: The account is bound to different settings.
    """
    account_id = find_account(connection, label)
    if account_id is None:
        require_binding(connection, label, binding)
        connection.execute(insert(accounts).values(label=label, created_at=now, **first_binding(binding)))
        account_id = connection.scalars(select(accounts.c.id).where(accounts.c.label == label)).one()
        connection.execute(insert(sync_state).values(account_id=account_id, fence=0))
    # Take the fence before checking the binding: set-timezone and account delete take it before they change that.
    fence = next_fence(connection, account_id).fence
    fingerprint = store_binding(connection, account_id, require_binding(connection, label, binding))
    # Runs still marked as running were killed or have just lost their fence; sync_runs never serves as a lock.
    connection.execute(
        update(sync_runs)
        .where(sync_runs.c.account_id == account_id, sync_runs.c.outcome == "running")
        .values(outcome="abandoned", finished_at=now)
    )
    values = {
        "account_id": account_id,
        "command": command,
        "program_version": version,
        "started_at": now,
        "outcome": "running",
        "first_day": windows[0].first if windows else None,
        "last_day": windows[-1].last if windows else None,
        **_count_columns(RunCounts(), ()),
    }
    result = connection.execute(insert(sync_runs).values(values))
    return RunHandle(account_id, fence, result.inserted_primary_key[0], fingerprint)  # type: ignore[index]  # set by a single-row insert


def next_fence(connection: Connection, account_id: int) -> Fence:
    """Issue the next fence of an account and invalidate all earlier ones."""
    state = sync_state.c
    connection.execute(update(sync_state).where(state.account_id == account_id).values(fence=state.fence + 1))
    return Fence(account_id, connection.scalars(select(state.fence).where(state.account_id == account_id)).one())


def verify_fence(connection: Connection, holder: Fence) -> None:
    """Lock the account's `sync_state` row for this transaction and require that the fence is the newest.

    Correctness rests on this check: a run that was paused until its advisory lock expired fails here.

    Raises:
        ConcurrentRunError: A newer fence was issued.
    """
    if lock_account(connection, holder.account_id) != holder.fence:
        raise ConcurrentRunError("a newer run of this account has begun; this run stops here")


def lock_account(connection: Connection, account_id: int) -> int | None:
    """Lock the account's `sync_state` row for this transaction, before other tables; return its newest fence."""
    state = sync_state.c
    return connection.scalar(select(state.fence).where(state.account_id == account_id).with_for_update())


def read_sync_state(connection: Connection, account_id: int | None) -> SyncState:
    """Read the progress of an account; an empty state if it never synced."""
    state = sync_state.c
    row = connection.execute(
        select(state.first_day, state.last_synced_date, state.settled_through, accounts.c.retired_at)
        .join(accounts, accounts.c.id == state.account_id)
        .where(state.account_id == account_id)
    ).one_or_none()
    if row is None:
        return SyncState()
    suspect = select(synced_days.c.day).where(synced_days.c.account_id == account_id, IS_SUSPECT)
    return SyncState(
        first_day=row.first_day,
        watermark=row.last_synced_date,
        suspect_days=tuple(connection.scalars(suspect.order_by(synced_days.c.day))),
        settled_through=row.settled_through,
        retired_at=row.retired_at,
    )


def read_revision(connection: Connection, account_id: int | None) -> int:
    """Read the revision of an account; 0 if it never synced."""
    state = sync_state.c
    return connection.scalar(select(state.revision).where(state.account_id == account_id)) or 0


def read_largest_answers(connection: Connection, account_id: int | None) -> dict[str, int]:
    """Record count of the account's largest answer, by source (`json`, `csv`)."""
    run = sync_runs.c
    query = select(func.max(run.largest_json), func.max(run.largest_csv)).where(run.account_id == account_id)
    largest = zip(("json", "csv"), connection.execute(query).one(), strict=True)
    return {source: records for source, records in largest if records is not None}


def advance_watermark(
    connection: Connection,
    run: RunHandle,
    first: date | None,
    *,
    lookback: int,
    zone: tzinfo,
    unserved: Collection[date] = (),
    start: date | None = None,
) -> date | None:
    """Move the watermark to the end of the contiguous range of closed days, never back.

    Args:
        connection: Connection in the transaction that stored the days.
        run: The run that stored them.
        first: First day of the run's first window. It starts the contiguous range of a new account, and extends an
            existing one backwards as far as days are closed; with None a new account stays without one.
        lookback: Number of closed days that later runs fetch again; these are settling.
        zone: Zone of the vendor's wall clock, for the end of the watermark's day in UTC.
        unserved: Days that the vendor refuses. A contiguous range without a complete day starts after them.
        start: The configured start date. A contiguous range without a complete day does not start before it.

    Returns:
        The watermark; None while no day is complete.
    """
    state = read_sync_state(connection, run.account_id)
    values: dict[str, Any] = {}
    first_day = state.first_day
    if first_day is None:
        if first is None:
            return None
        first_day = values["first_day"] = first
    elif first is not None and first < first_day:
        first_day = values["first_day"] = _first_complete_before(connection, run, first_day)
    served = first_outside(max(first_day, start or first_day), unserved)
    if state.watermark is None and served > first_day:
        first_day = values["first_day"] = served
    next_day = state.watermark + ONE_DAY if state.watermark else first_day
    column = synced_days.c
    closed = connection.scalars(
        select(column.day).where(column.account_id == run.account_id, column.day >= next_day, IS_COMPLETE)
    )
    watermark = last_contiguous(next_day, closed) or state.watermark
    if watermark is not None:
        values["last_synced_date"] = watermark
        values["synced_until_utc"] = end_of_day(watermark, zone)
        values["settled_through"] = watermark - timedelta(days=lookback)
    if values:
        unmoved = sync_state.c.last_synced_date.is_not_distinct_from(state.watermark)
        connection.execute(
            update(sync_state).where(sync_state.c.account_id == run.account_id, unmoved).values(**values)
        )
    return watermark


def _first_complete_before(connection: Connection, run: RunHandle, day: date) -> date:
    """First day of the contiguous range of closed days that ends right before `day`; `day` if there is none."""
    column = synced_days.c
    closed = connection.scalars(
        select(column.day).where(column.account_id == run.account_id, column.day < day, IS_COMPLETE)
    )
    return first_contiguous(day, frozenset(closed))


def set_range(connection: Connection, run: RunHandle, windows: Sequence[DateRange]) -> None:
    """Record the requested days of a run whose windows are planned only after it began."""
    days = {"first_day": windows[0].first, "last_day": windows[-1].last}
    connection.execute(update(sync_runs).where(sync_runs.c.id == run.id).values(days))


def write_progress(connection: Connection, run: RunHandle, counts: RunCounts, sources: Iterable[str]) -> None:
    """Update the counts of the run's row."""
    connection.execute(update(sync_runs).where(sync_runs.c.id == run.id).values(_count_columns(counts, sources)))


def read_progress(connection: Connection, run: RunHandle) -> int | None:
    """Read how many days are done according to the run's row."""
    return connection.scalar(select(sync_runs.c.days).where(sync_runs.c.id == run.id))


def finish_run(
    connection: Connection, run: RunHandle, *, outcome: Outcome, exit_code: int, error: str | None, now: datetime
) -> None:
    """Record the outcome of a run, unless a newer run has already marked it as abandoned."""
    # Lock sync_state before sync_runs, in the order of begin_run, to avoid a deadlock.
    lock_account(connection, run.account_id)
    updated = connection.execute(
        update(sync_runs)
        .where(sync_runs.c.id == run.id, sync_runs.c.outcome == "running")
        .values(outcome=outcome, exit_code=exit_code, error=error, finished_at=now)
    )
    if updated.rowcount and outcome in SUCCESSFUL:
        connection.execute(
            update(sync_state).where(sync_state.c.account_id == run.account_id).values(last_success_at=now)
        )


def _count_columns(counts: RunCounts, sources: Iterable[str]) -> dict[str, Any]:
    return {
        **counts.as_dict(),
        "sources": ",".join(sorted(sources)),
        "suspect_days": len(counts.suspect_days),
        **{f"largest_{source}": records for source, records in counts.largest.items() if records},
    }
