"""Where the account stands: its runs, its fence and its watermark. Small rows; SQLAlchemy writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from etl.date_ranges import ONE_DAY, first_contiguous, last_contiguous
from etl.db.bindings import FIRST_BINDING, Binding, bind, end_of_day, first_binding, require_binding
from etl.db.tables import accounts, sync_runs, sync_state, synced_days
from etl.errors import ConcurrentRunError
from etl.model import SUCCESSFUL, DateRange, Outcome, RunCounts


@dataclass(frozen=True, slots=True)
class Fence:
    """The right to write the rows of an account, until a newer fence is taken.

    Attributes:
        fence: Its number among those of the account.
    """

    account_id: int
    fence: int


@dataclass(frozen=True, slots=True)
class RunHandle:
    """One run of one account, as the database knows it.

    Attributes:
        id: Of its row in `sync_runs`.
        fence: Its number among the account's runs; only the newest may write.
    """

    id: int
    account_id: int
    fence: int


@dataclass(frozen=True, slots=True)
class SyncState:
    """How far an account is: None before its first day.

    Attributes:
        settled_through: The last day that the lookback of the last run no longer reaches.
        retired_at: Since when no sync fetches it.
    """

    first_day: date | None
    watermark: date | None
    suspect_days: tuple[date, ...] = ()
    settled_through: date | None = None
    retired_at: datetime | None = None


def find_account(connection: Connection, label: str) -> int | None:
    """The account's id, or None where it never synced."""
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
    """Write the run's row and take the next fence: from here on no older run of the account may write.

    Raises:
        ConfigError: The account is bound to other settings than these.
    """
    account_id = find_account(connection, label)
    if account_id is None:
        require_binding(connection, label, binding)
        connection.execute(insert(accounts).values(label=label, created_at=now, **first_binding(binding)))
        account_id = connection.scalars(select(accounts.c.id).where(accounts.c.label == label)).one()
        connection.execute(insert(sync_state).values(account_id=account_id, fence=0))
    # The fence comes first: whoever turns the times or deletes the account takes it as well, and was there before us.
    fence = next_fence(connection, account_id).fence
    bind(connection, account_id, require_binding(connection, label, binding))
    # The table is history, never the lock: whatever is still "running" here was killed, or has just been overtaken.
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
        **_counts(RunCounts(), ()),
    }
    result = connection.execute(insert(sync_runs).values(values))
    return RunHandle(result.inserted_primary_key[0], account_id, fence)  # type: ignore[index]  # an insert of one row has it


def next_fence(connection: Connection, account_id: int) -> Fence:
    """The next fence of the account: whoever has an older one may write no more."""
    state = sync_state.c
    connection.execute(update(sync_state).where(state.account_id == account_id).values(fence=state.fence + 1))
    return Fence(account_id, connection.scalars(select(state.fence).where(state.account_id == account_id)).one())


def verify_fence(connection: Connection, holder: RunHandle | Fence) -> None:
    """Lock the account's state row for this transaction and make sure that no newer fence was taken.

    This is what correctness rests on: a run that was paused past its lock wakes up here and may not write.

    Raises:
        ConcurrentRunError: A newer run has begun.
    """
    state = sync_state.c
    fence = connection.scalar(select(state.fence).where(state.account_id == holder.account_id).with_for_update())
    if fence != holder.fence:
        raise ConcurrentRunError("a newer run of this account has begun; this one leaves the rest to it")


def read_position(connection: Connection, account_id: int | None) -> SyncState:
    """How far the account is."""
    state = sync_state.c
    row = connection.execute(
        select(state.first_day, state.last_synced_date, state.settled_through, accounts.c.retired_at)
        .join(accounts, accounts.c.id == state.account_id)
        .where(state.account_id == account_id)
    ).one_or_none()
    if row is None:
        return SyncState(None, None)
    suspect = select(synced_days.c.day).where(
        synced_days.c.account_id == account_id, synced_days.c.suspect_since.is_not(None)
    )
    return SyncState(
        first_day=row.first_day,
        watermark=row.last_synced_date,
        suspect_days=tuple(connection.scalars(suspect.order_by(synced_days.c.day))),
        settled_through=row.settled_through,
        retired_at=row.retired_at,
    )


def read_largest_answers(connection: Connection, account_id: int | None) -> dict[str, int]:
    """Records in the largest answer that the account ever had, by source."""
    run = sync_runs.c
    query = select(func.max(run.largest_json), func.max(run.largest_csv)).where(run.account_id == account_id)
    largest = zip(("json", "csv"), connection.execute(query).one(), strict=True)
    return {source: records for source, records in largest if records is not None}


def advance_watermark(
    connection: Connection, run: RunHandle, first: date | None, *, lookback: int, zone: tzinfo
) -> date | None:
    """Move the watermark over the unbroken run of closed days, never back.

    Args:
        connection: In the transaction that stored the days.
        run: Of the account.
        first: The first day of this run's first window: where the unbroken run begins, if none has begun yet. None
            begins none.
        lookback: Closed days that will be fetched again: until then they are settling.
        zone: Of the vendor's wall clock: tells when the watermark's day was over.
    """
    position = read_position(connection, run.account_id)
    values: dict[str, Any] = {}
    begins = position.first_day
    if begins is None:
        if first is None:
            return None
        begins = values["first_day"] = first
    elif first is not None and first < begins:
        begins = values["first_day"] = _first_complete_before(connection, run, begins)
    next_day = position.watermark + ONE_DAY if position.watermark else begins
    column = synced_days.c
    closed = connection.scalars(
        select(column.day).where(
            column.account_id == run.account_id, column.day >= next_day, column.first_closed_at.is_not(None)
        )
    )
    watermark = last_contiguous(next_day, closed) or position.watermark
    if watermark is not None:
        values["last_synced_date"] = watermark
        values["synced_until_utc"] = end_of_day(watermark, zone)
        values["settled_through"] = watermark - timedelta(days=lookback)
    if values:
        unmoved = sync_state.c.last_synced_date.is_not_distinct_from(position.watermark)
        connection.execute(
            update(sync_state).where(sync_state.c.account_id == run.account_id, unmoved).values(**values)
        )
    return watermark


def _first_complete_before(connection: Connection, run: RunHandle, day: date) -> date:
    """The first day of the unbroken run of closed days that ends right before a day; else that day."""
    column = synced_days.c
    closed = connection.scalars(
        select(column.day).where(
            column.account_id == run.account_id, column.day < day, column.first_closed_at.is_not(None)
        )
    )
    return first_contiguous(day, frozenset(closed))


def set_range(connection: Connection, run: RunHandle, windows: Sequence[DateRange]) -> None:
    """Say in the run's row which days it asks for, where that is known only after it began."""
    days = {"first_day": windows[0].first, "last_day": windows[-1].last}
    connection.execute(update(sync_runs).where(sync_runs.c.id == run.id).values(days))


def write_progress(connection: Connection, run: RunHandle, tally: RunCounts, sources: Iterable[str]) -> None:
    """Bring the run's row up to what it has done so far."""
    connection.execute(update(sync_runs).where(sync_runs.c.id == run.id).values(_counts(tally, sources)))


def read_progress(connection: Connection, run: RunHandle) -> int | None:
    """How many days the run's row says are done."""
    return connection.scalar(select(sync_runs.c.days).where(sync_runs.c.id == run.id))


def finish_run(
    connection: Connection, run: RunHandle, *, outcome: Outcome, exit_code: int, error: str | None, now: datetime
) -> None:
    """Write how the run ended. An overtaken run has been written off already and stays so."""
    # The state's row first, then the run's, as a run that begins takes them: else the two could wait for each other.
    connection.execute(select(sync_state.c.fence).where(sync_state.c.account_id == run.account_id).with_for_update())
    done = connection.execute(
        update(sync_runs)
        .where(sync_runs.c.id == run.id, sync_runs.c.outcome == "running")
        .values(outcome=outcome, exit_code=exit_code, error=error, finished_at=now)
    )
    if done.rowcount and outcome in SUCCESSFUL:
        connection.execute(
            update(sync_state).where(sync_state.c.account_id == run.account_id).values(last_success_at=now)
        )


def _counts(tally: RunCounts, sources: Iterable[str]) -> dict[str, Any]:
    return {
        **tally.as_dict(),
        "sources": ",".join(sorted(sources)),
        "suspect_days": len(tally.suspect_days),
        **{f"largest_{source}": records for source, records in tally.largest.items() if records},
    }
