"""The summary of a run: one line, and notes on everything that changed afterwards or needs a decision."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from etl.cli.output import OutputOptions
from etl.cli.text_output import Note, balance_notes, print_notes
from etl.log import NOTICE_LOGGER

if TYPE_CHECKING:
    from etl.run_counts import DayChangeCounts, RecordChange
    from etl.services.run import SyncResult

MAX_DAYS_SHOWN: Final = 10
"""Changed days that a summary names."""


def render_summary(result: SyncResult) -> str:
    """The summary of a run in one line."""
    if result.retired_at:
        return f"{result.account}: retired since {result.retired_at:%Y-%m-%d}; not fetched"
    counts, windows = result.requested_counts, result.requested_windows
    days = f"{windows[0].first} to {windows[-1].last}" if windows else "nothing to fetch"
    changes = [
        f"{counts.new:,} new",
        f"{counts.changed:,} changed",
        f"{counts.withdrawn:,} withdrawn",
        f"{counts.unchanged:,} unchanged",
        render_rejected(len(counts.rejected), len(counts.acknowledged)),
    ]
    source = " and ".join(name.upper() for name in sorted(result.sources, reverse=True)) or "no source"
    through = f"complete up to {result.watermark}" if result.watermark else "no complete day yet"
    would = "would be " if result.dry_run else ""
    return (
        f"{result.account}: {counts.days} {'day' if counts.days == 1 else 'days'} ({days}): "
        f"{would}{', '.join(changes)}; from {source}; {through}; {result.seconds:.1f} s"
    )


def render_rejected(rejected: int, acknowledged: int) -> str:
    """The number of rejected records, and how many of them are acknowledged."""
    return f"{rejected:,} rejected" + (f", {acknowledged:,} acknowledged" if acknowledged else "")


def render_change(record: RecordChange) -> str:
    """A changed record in one line, without phone, code and text."""
    return f"{record.created_at} {record.kind}" + (f": {', '.join(record.fields)}" if record.fields else "")


def print_result(options: OutputOptions, result: SyncResult) -> None:
    """Print the summary of a run and its notes."""
    click.echo(render_summary(result))
    print_notes(result_notes(options, result))


def log_result(options: OutputOptions, result: SyncResult, exit_code: int) -> None:
    """Log the summary of a run, with its counts as fields, and its notes; warnings where attention is needed."""
    log = logging.getLogger(NOTICE_LOGGER)
    fields = {
        "command": result.command,
        "dry_run": result.dry_run,
        **result.requested_counts.as_dict(),
        "last_synced_date": result.watermark,
        "seconds": round(result.seconds, 3),
        "exit_code": exit_code,
    }
    log.log(logging.WARNING if exit_code else logging.INFO, "%s", render_summary(result), extra=fields)
    for note in result_notes(options, result):
        log.log(logging.WARNING if note.needs_attention else logging.INFO, "%s", note.text)


def result_notes(options: OutputOptions, result: SyncResult) -> Iterator[Note]:
    """The notes on a run: restated days, suspect days, rejected records, the balance."""
    account = result.account
    if result.besides:
        also = result.besides_counts
        yield Note(
            f"also fetched, being suspect: {', '.join(map(str, result.besides))}: "
            f"{also.new:,} new, {also.changed:,} changed, {also.withdrawn:,} withdrawn"
        )
    yield from _changed_days(options, result)
    for day in result.counts.suspect_days:
        yield Note(
            f"{day} was left unchanged: the vendor's answer is implausible (see billing-etl status); "
            f"{options.command_line(account, 'accept', day)} stores it",
            needs_attention=True,
        )
    if result.requested_counts.rejected:
        count, acknowledged = len(result.requested_counts.rejected), len(result.requested_counts.acknowledged)
        known = f", {acknowledged:,} acknowledged" if acknowledged else " (see billing-etl rejected)"
        yield Note(
            f"{count} bad record{'s are' if count > 1 else ' is'} quarantined in rejected_records{known}",
            needs_attention=count > acknowledged,
        )
    yield from balance_notes(options, account, result.balance)


def _changed_days(options: OutputOptions, result: SyncResult) -> Iterator[Note]:
    """A note on each day that changed after it was complete, with -v on its records as well."""
    days, verb = result.counts.changed_days, "would change" if result.dry_run else "changed"
    shown = days if options.verbosity > 0 else days[:MAX_DAYS_SHOWN]
    for changes in shown:
        yield Note(f"{changes.day} {verb} after it was complete: {render_counts(changes)}")
        if options.verbosity > 0:
            yield from (Note(f"  {render_change(record)}") for record in changes.records)
    if len(days) > len(shown):
        yield Note(f"and {len(days) - len(shown):,} more days; -v shows all of them")
    if shown and result.run_id is not None and result.command != "backfill":
        yield Note(f"{options.command_line(result.account, 'runs', result.run_id)} lists the records")


def render_counts(changes: DayChangeCounts) -> str:
    """The counts of a changed day that are not zero."""
    counts = {"new": changes.new, "changed": changes.changed, "withdrawn": changes.withdrawn}
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
