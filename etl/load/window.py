"""One window into the database: compared with what is there, then stored in a single transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from decimal import Decimal

from sqlalchemy import Connection

from etl import stopping
from etl.load.forgotten import keep_forgotten
from etl.load.ledger import Day, Run, mark_suspect, move_watermark, read_days, write_day
from etl.load.merge import DayChange, Stored, complete_records, doubt, plan_first_load, plan_merge
from etl.load.records import payload_digest, read_records, write_change, write_journal, write_rejected
from etl.model import Batch, DaySnapshot, Record, Tally, Window

Identify = Callable[[date, Mapping[Record, int]], DaySnapshot]
"""The transform that makes a day's snapshot of its counted records."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a run goes by when it loads.

    Attributes:
        today: In the vendor's wall clock when the run began; days before it are over.
        zone: Of the vendor's wall clock.
        lookback: Closed days that are fetched again every night.
        max_withdrawn_share: Of a day's records that may vanish before the day is suspect.
        thorough: Compare with the records themselves, even where the ledger's digest says nothing changed.
        accepted: Days whose answer is taken however implausible it is.
    """

    today: date
    zone: tzinfo
    lookback: int
    max_withdrawn_share: Decimal
    thorough: bool = False
    accepted: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class DayOutcome:
    """What the comparison of one day came to.

    Attributes:
        change: None where the ledger's digest already said that nothing changed.
        doubt: Why the change is not believed; then nothing of it is stored.
    """

    snapshot: DaySnapshot
    before: Day | None
    change: DayChange | None
    doubt: str | None = None


def compare_window(
    connection: Connection,
    account_id: int | None,
    batch: Batch,
    snapshots: Iterable[DaySnapshot],
    rules: Rules,
    identify: Identify,
) -> list[DayOutcome]:
    """Compare whole days with what is stored. Reads only, and only where the ledger's digest differs."""
    ledger = read_days(connection, account_id, batch.window)
    outcomes: list[DayOutcome] = []
    for snapshot in snapshots:
        before = ledger.get(snapshot.day)
        if snapshot.day in batch.doubts:
            continue
        if before and before.closed and snapshot.day in batch.unsure:
            continue  # it is whole already, and this answer may not be
        if before and before.digest == snapshot.digest and not rules.thorough:
            outcomes.append(DayOutcome(snapshot, before, None))
            continue
        stored = read_records(connection, account_id, snapshot.day)
        if not stored:
            outcomes.append(DayOutcome(snapshot, before, plan_first_load(snapshot)))
            continue
        snapshot = _as_stored(snapshot, before, stored, batch.lacking, identify)  # noqa: PLW2901 - the same day
        change = plan_merge(snapshot, stored)
        # What the vendor said before as well is no news to be doubted, however much the rows were tampered with.
        news = before is None or before.digest != snapshot.digest
        doubted = news and snapshot.day not in rules.accepted
        reason = doubt(change, stored, max_withdrawn_share=rules.max_withdrawn_share) if doubted else None
        outcomes.append(DayOutcome(snapshot, before, change, reason))
    # Nothing is known of these: what is stored stays, and there is nothing in the answer that anybody could accept.
    outcomes += [
        DayOutcome(identify(day, {}), ledger[day], None, reason)
        for day, reason in batch.doubts.items()
        if day in ledger
    ]
    return outcomes


def _as_stored(
    snapshot: DaySnapshot, before: Day | None, stored: list[Stored], lacking: frozenset[str], identify: Identify
) -> DaySnapshot:
    """The day with what the source lacks and what was forgotten as the rows have it; its digest stays the vendor's."""
    listed = keep_forgotten(snapshot.listed, stored, lacking)
    if not lacking:
        return snapshot if listed is snapshot.listed else replace(snapshot, listed=listed)
    completed = identify(snapshot.day, complete_records(listed, stored, lacking))
    if before and listed is not snapshot.listed and not plan_merge(completed, stored):
        # What was forgotten completes no record: the digest of the whole ones is the one the ledger has.
        completed = replace(completed, digest=before.digest)
    return completed


def store_window(
    connection: Connection,
    run: Run,
    batch: Batch,
    outcomes: list[DayOutcome],
    rules: Rules,
    *,
    asked_before: Window | None,
    now: datetime,
) -> None:
    """Write the rows, what is kept aside, the day ledger and the watermark. The caller's transaction makes them one."""
    taken = {outcome.snapshot.day for outcome in outcomes if outcome.doubt is None}
    for outcome in outcomes:
        stopping.check()
        snapshot, before, change = outcome.snapshot, outcome.before, outcome.change
        if outcome.doubt is not None:
            mark_suspect(connection, run, snapshot.day, outcome.doubt, now)
            continue
        if change:
            write_change(connection, run, change, zone=rules.zone, now=now)
            # A row that was mended to what the ledger knows is no news of the vendor's.
            if before and before.closed and before.digest != snapshot.digest:
                write_journal(connection, run, change, now=now)
        closes = snapshot.day < rules.today and snapshot.day not in batch.unsure
        if before is None or not before.says(snapshot) or before.suspect or (closes and not before.closed):
            write_day(connection, run, snapshot, before, source=batch.source, closes=closes, now=now)
    if batch.days:  # else the answer was about other days altogether
        write_rejected(
            connection, run, [item for item in batch.rejected if item.day is None or item.day in taken],
            days=taken, asked=batch.asked, asked_before=asked_before, now=now,
        )  # fmt: skip
    move_watermark(connection, run, batch.window.first, lookback=rules.lookback, zone=rules.zone)


def count(outcomes: Sequence[DayOutcome], batch: Batch, rules: Rules) -> Tally:
    """How the rows and days of a window ended."""
    tally = Tally()
    left_open = {outcome.snapshot.day for outcome in outcomes if not (outcome.before and outcome.before.closed)}
    left_open |= set(batch.window.days()) - batch.days.keys()
    never_stored = batch.doubts.keys() - {outcome.snapshot.day for outcome in outcomes}
    tally.untold_days += sorted(day for day in (batch.unsure & left_open) | never_stored if day < rules.today)
    for outcome in outcomes:
        tally.days += 1
        if outcome.doubt is not None:
            tally.suspect_days.append(outcome.snapshot.day)
        elif outcome.change is None:
            tally.unchanged += len(outcome.snapshot.listed)
        else:
            change = outcome.change
            tally.new += len(change.inserts) + change.returned
            tally.changed += len(change.updates) - change.returned
            tally.withdrawn += len(change.withdrawals)
            tally.unchanged += change.unchanged
    tally.rejected.update(payload_digest(item.payload) for item in batch.rejected)
    return tally
