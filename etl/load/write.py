"""Write the differences of a window, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

from sqlalchemy import Connection

from etl import signals
from etl.date_ranges import DateRange
from etl.day_totals import ChannelTotals
from etl.db.channels import Channels, classify_day
from etl.db.days import count_unfinished_days, mark_suspect, raise_revision, upsert_day
from etl.db.journal import write_restatements
from etl.db.records import apply_diff
from etl.db.rejects import read_acknowledged, sync_rejects
from etl.db.run_store import RunHandle, advance_watermark
from etl.db.totals import WrittenDay, write_totals
from etl.db.utc import correct
from etl.load.compare import DayComparison, day_folds
from etl.load.outcome import DayOutcome, WindowOutcome
from etl.load.policy import LoadPolicy
from etl.model import WindowData


def preview_window(
    connection: Connection, account_id: int | None, data: WindowData, comparisons: Iterable[DayComparison]
) -> WindowOutcome:
    """The result that `write_window` would have, without writing."""
    days = [comparison.outcome() for comparison in comparisons]
    return WindowOutcome(days, read_acknowledged(connection, account_id, data.rejected))


def write_window(
    connection: Connection,
    run: RunHandle,
    data: WindowData,
    comparisons: Iterable[DayComparison],
    policy: LoadPolicy,
    channels: Channels,
    *,
    previous_request: DateRange | None,
    now: datetime,
) -> WindowOutcome:
    """Write the rows, rejected records, the day ledger and the watermark, in the caller's transaction.

    Args:
        connection: In a transaction.
        run: The run that writes.
        data: The vendor's answer for the window.
        comparisons: The result of `compare_window`; consumed once.
        policy: The rules of the run.
        channels: The rules for the channel of a record.
        previous_request: The range of the previous request of the run; None for the first one.
        now: The current time, aware.
    """
    outcomes: list[DayOutcome] = []
    changed: list[date] = []
    written: list[WrittenDay] = []
    for comparison in comparisons:
        signals.raise_if_interrupted()
        if _write_day(connection, run, data, comparison, policy, channels, now, written):
            changed.append(comparison.snapshot.day)
        outcomes.append(comparison.outcome())
    write_totals(connection, run.account_id, written)
    if changed:
        raise_revision(connection, run.account_id, changed)
        count_unfinished_days(connection, run.account_id)
    if data.days:  # otherwise the answer covered other days
        accepted = data.days.keys() & {outcome.day for outcome in outcomes if outcome.suspect_reason is None}
        sync_rejects(
            connection, run, [item for item in data.rejected if item.day is None or item.day in accepted],
            days=accepted, requested=data.requested, previous_request=previous_request, now=now,
        )  # fmt: skip
    # An accepted day may be any day: it does not start the history.
    first = None if policy.accepted_days else data.window.first
    unserved = data.refused if policy.begins_where_served else frozenset[date]()
    advance_watermark(
        connection, run, first, lookback=policy.lookback, zone=policy.zone, unserved=unserved, start=policy.start
    )
    return WindowOutcome(outcomes, read_acknowledged(connection, run.account_id, data.rejected))


def _write_day(
    connection: Connection,
    run: RunHandle,
    data: WindowData,
    comparison: DayComparison,
    policy: LoadPolicy,
    channels: Channels,
    now: datetime,
    written: list[WrittenDay],
) -> bool:
    """Write the changes of a day, except its totals; return whether there were any.

    The day is added to `written` if its totals changed.
    """
    snapshot, entry = comparison.snapshot, comparison.ledger_entry
    if comparison.keep_stored:
        return False
    if comparison.suspect_reason is not None:
        mark_suspect(connection, run, snapshot.day, comparison.suspect_reason, now)
        return entry is not None and not entry.suspect
    # A row repaired to match the ledger is not a restatement by the vendor.
    restated = entry is not None and entry.complete and entry.digest != snapshot.digest
    changed = False
    inserted: list[ChannelTotals] = []
    for diff in filter(None, comparison.changes):
        changed = True
        inserted += apply_diff(connection, run, diff, channels, zone=policy.zone, now=now)
        if restated:
            write_restatements(connection, run, diff, now=now)
    folds = day_folds(data, snapshot.day)
    if comparison.wrong_utc or (changed and folds):  # new rows are written with fold 0
        correct(connection, run.account_id, snapshot.day, policy.zone, folds, every_row=policy.full_compare, now=now)
        changed = True
    closes = snapshot.day < policy.today and snapshot.day not in data.incomplete_days
    if entry is None or not entry.matches(snapshot) or comparison.wrong_totals:
        if comparison.wrong_totals:  # the rows may be right but for their channel
            classify_day(connection, run.account_id, snapshot.day, snapshot.totals.records, channels, now)
        written.append(WrittenDay(snapshot.day, snapshot.totals, snapshot.hours, inserted))
        changed = True
    if entry is None or not entry.matches(snapshot) or entry.suspect or (closes and not entry.complete):
        upsert_day(
            connection, run, snapshot, entry, source=data.days[snapshot.day].source, closes=closes,
            channel_rules=channels.rules.digest, now=now,
        )  # fmt: skip
        changed = True
    return changed
