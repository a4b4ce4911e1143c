"""Commands about the history: runs, rejected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from etl.cli.each_account import load_valid
from etl.cli.json_output import print_json, rejected_as_json, run_as_json, run_details_as_json
from etl.cli.options import account_option, examples, json_option
from etl.cli.output import OutputOptions
from etl.cli.tables import print_rows, render_minute, render_money, render_range
from etl.cli.text_output import print_runs
from etl.date_ranges import DateRange
from etl.exit_codes import ExitCode

if TYPE_CHECKING:
    from etl.db.rejects import QuarantinedRecord
    from etl.services.run_history import RunDetails

RUNS_SHOWN: Final = 20
"""Runs in a list without --last."""


class _RowIdType(click.ParamType[int]):
    """The id of a row, as the tables of `runs` and `rejected` show it."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not text.isascii() or not text.isdigit() or not 0 < int(text[:20]) < 2**63:
            self.fail(f"{value!r} must be a whole number from 1", param, ctx)
        return int(text)


_ID: Final = _RowIdType()


@click.command(epilog=examples("runs", "runs --last 100 --json", "runs 42"))
@click.argument("run_id", metavar="[ID]", type=_ID, required=False)
@click.option("--last", type=click.IntRange(1, 1_000_000), metavar="N", help=f"Number of runs; default {RUNS_SHOWN}.")
@account_option
@json_option
@click.pass_obj
def runs(options: OutputOptions, *, run_id: int | None, last: int | None, accounts: tuple[str, ...]) -> int:
    """Show the last runs, or what one of them changed.

    Without an ID, shows the last runs, newest first. With an ID, shows each record of a complete day that arrived late,
    was corrected, withdrawn or returned. Phones are masked. Exits with 1 if the run does not exist.
    """
    from etl.services.run_history import list_runs, read_run_details

    if run_id is not None and last is not None:
        raise click.UsageError("--last is for the list of runs; an ID shows one run")
    valid = load_valid(options, accounts)
    all_settings, code = valid.results, valid.exit_code([ExitCode.OK])
    if run_id is not None:
        details = read_run_details(all_settings, run_id, with_others=not accounts)
        if options.as_json:
            print_json(run_details_as_json(details) | {"exit_code": code})
        else:
            _print_run_details(details)
        return code
    result = list_runs(all_settings, last=last or RUNS_SHOWN, with_others=not accounts)
    _report_missing(result.missing_databases)
    if options.as_json:
        print_json({"runs": [run_as_json(run) for run in result.runs], "exit_code": code})
    elif result.runs:
        print_runs("Runs", map(asdict, result.runs))
    elif not result.missing_databases:
        click.echo("no runs yet")
    return code


@click.command(epilog=examples("rejected", "rejected --acknowledge 3 4"))
@click.option("--acknowledge", type=_ID, multiple=True, metavar="ID", help="Acknowledge records; may be repeated.")
@click.argument("further_ids", metavar="[ID]...", type=_ID, nargs=-1)
@account_option
@json_option
@click.pass_obj
def rejected(
    options: OutputOptions, *, acknowledge: tuple[int, ...], further_ids: tuple[int, ...], accounts: tuple[str, ...]
) -> int:
    """Show or acknowledge the quarantined records.

    Each is shown with the reason why it is invalid. An acknowledged record stays in the table rejected_records, and no
    run ends with 65 because of it any more. The vendor's text of a record contains personal data: it is only in the
    column payload of that table. Exits with 1 if there is no record with one of the ids; then none is acknowledged.
    """
    from etl.services.rejected import acknowledge_rejected, list_rejected

    if further_ids and not acknowledge:
        raise click.UsageError("an ID needs --acknowledge")
    valid = load_valid(options, accounts)
    all_settings, code = valid.results, valid.exit_code([ExitCode.OK])
    if acknowledge:
        result = acknowledge_rejected(all_settings, {*acknowledge, *further_ids}, with_others=not accounts)
    else:
        result = list_rejected(all_settings, with_others=not accounts)
    _report_missing(result.missing_databases)
    if options.as_json:
        document = {"records": [rejected_as_json(record) for record in result.records]}
        counts = {"newly_acknowledged": result.newly_acknowledged} if acknowledge else {}
        print_json(document | counts | {"exit_code": code})
        return code
    if result.records:
        _print_rejected(result.records)
    elif not result.missing_databases:
        click.echo("no rejected records")
    if acknowledge:
        before = len(result.records) - result.newly_acknowledged
        click.echo(f"{result.newly_acknowledged} acknowledged" + (f", {before} were already" if before else ""))
    return code


def _report_missing(databases: int) -> None:
    for _ in range(databases):
        click.echo("there is no database yet; sync creates it", err=True)


def _print_run_details(details: RunDetails) -> None:
    run = details.run
    print_runs(f"Run {run.id}", [asdict(run)])
    if run.first_day and run.last_day:
        click.echo(f"  days {render_range(DateRange(run.first_day, run.last_day))}, from {run.sources or 'no source'}")
    if not details.changed_days:
        click.echo("  no day that was complete before has changed")
        return
    print_rows(
        "Changed days",
        ("day", "#changes", "#delta"),
        ((day.day, f"{len(day.lines):,}", render_money(day.delta)) for day in details.changed_days),
    )
    print_rows(
        "Changes",
        ("day", "time", "kind", "phone", "#delta"),
        (
            (line.day, f"{line.created_at:%H:%M:%S}", line.kind, line.phone, render_money(line.delta))
            for day in details.changed_days
            for line in day.lines
        ),
    )


def _print_rejected(records: Iterable[QuarantinedRecord]) -> None:
    print_rows(
        "Rejected records (the vendor's text of each is in rejected_records.payload)",
        ("#id", "~account", "day", "first seen (UTC)", "acknowledged", "~reason"),
        (
            (
                record.id, record.account, record.day or "unknown", render_minute(record.first_seen_at),
                _render_time(record.acknowledged_at), record.reason,
            )
            for record in records
        ),
    )  # fmt: skip


def _render_time(timestamp: datetime | None) -> str:
    return render_minute(timestamp) if timestamp else "–"
