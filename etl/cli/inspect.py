"""Commands that inspect the database and change nothing: status, verify."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import click

from etl.cli.each_account import for_each_account, load_valid
from etl.cli.json_output import print_json, status_as_json
from etl.cli.options import DAY, DURATION, account_option, examples, json_option, require_ordered_range
from etl.cli.output import OutputOptions, report_error
from etl.cli.overview import MAX_ACCOUNTS_IN_FULL, print_overview
from etl.cli.selection import load_configured
from etl.cli.tables import print_rows
from etl.cli.text_output import print_status
from etl.config.schema import Settings
from etl.date_ranges import split_into_windows
from etl.errors import CheckFailedError
from etl.exit_codes import ExitCode, code_for_error

if TYPE_CHECKING:
    from etl.ops.status_query import AccountStatus
    from etl.services.verify import VerifyResult

KINDS: Final = {"late": "missing", "returned": "missing", "corrected": "different", "withdrawn": "surplus"}
"""The names that `verify` has for the changes a sync would make."""


@click.command(epilog=examples("status", "status --max-age 36"))
@click.option(
    "--max-age",
    type=DURATION,
    metavar="HOURS",
    help="Exit with 1 if the last complete day ended longer ago; 36 suits a nightly run.",
)
@account_option
@json_option
@click.pass_obj
def status(options: OutputOptions, *, max_age: float | None, accounts: tuple[str, ...]) -> int:
    """Show the last complete day, gaps, and the last runs.

    Shows for each account the last complete day, gaps, suspect days, rejected records, the balance, the delay of late
    records, and the last runs.
    """
    from etl.services.status import read_status_report

    outcomes = load_valid(options, accounts)
    report = read_status_report(outcomes.results, with_others=not accounts)
    for label, error in report.errors.items():
        report_error(options, error, label)
    outcomes.errors |= report.errors
    for _ in range(report.missing_databases):
        click.echo("there is no database yet; sync creates it", err=True)
    statuses = report.statuses
    too_old = [status for status in statuses if max_age is not None and status.is_older_than(max_age)]
    code = outcomes.exit_code([ExitCode.CHECK_FAILED if too_old else ExitCode.OK])
    if options.as_json:
        documents = [status_as_json(status) for status in statuses] + outcomes.error_documents(options.redact)
        print_json({"accounts": documents, "exit_code": code})
    else:
        if options.verbosity >= 0:
            _print_statuses(options, statuses)
        for status in too_old:
            age = "no complete day yet"
            if status.hours_behind is not None:
                age = f"complete up to {status.last_synced_date}, which ended {status.hours_behind:.0f} hours ago"
            report_error(options, CheckFailedError(f"{age}; --max-age is {max_age:g}"), status.account)
    return code


def _print_statuses(options: OutputOptions, statuses: Sequence[AccountStatus]) -> None:
    if len(statuses) > MAX_ACCOUNTS_IN_FULL:
        print_overview(statuses)
    else:
        print_status(options, statuses)


@click.command(epilog=examples("verify --since 2026-03-01", "verify --source json,csv"))
@click.option("--since", type=DAY, metavar="DATE", help="First day; default the first complete one.")
@click.option("--until", type=DAY, metavar="DATE", help="Last day; default the last complete one.")
@click.option(
    "--source",
    "sources",
    default="json",
    show_default=True,
    metavar="json,csv",
    help="Source or sources to compare.",
)
@account_option
@json_option
@click.pass_obj
def verify(
    options: OutputOptions, *, since: date | None, until: date | None, sources: str, accounts: tuple[str, ...]
) -> int:
    """Fetch days again, and compare them with the database.

    Writes nothing. Exits with 65 if they differ, and with 1 if there is nothing to compare: no day of the range is
    stored.
    """
    require_ordered_range(since, until)
    names = [name.strip() for name in sources.split(",")]
    if not names or not set(names) <= {"json", "csv"}:
        raise click.UsageError("--source takes json, csv or json,csv")
    selected = load_configured(options, accounts)

    def verify_one(settings: Settings) -> dict[str, Any]:
        return _verify(options, settings, since, until, names, alone=len(selected) == 1)

    outcomes = for_each_account(options, selected, verify_one)
    code = outcomes.exit_code(document["exit_code"] for document in outcomes.results)
    if options.as_json:
        print_json({"accounts": outcomes.results + outcomes.error_documents(options.redact), "exit_code": code})
    return code


def _verify(
    options: OutputOptions,
    settings: Settings,
    since: date | None,
    until: date | None,
    sources: list[str],
    *,
    alone: bool,
) -> dict[str, Any]:
    """Compare the days of one account and print the differences.

    Args:
        options: Verbosity and format of the output.
        settings: The settings of the account.
        since: First day; the first complete one if None.
        until: Last day; the last complete one if None.
        sources: `json`, `csv` or both.
        alone: Whether no other account is verified: errors need no label.

    Returns:
        The result as one JSON object, with the differences of the days that the vendor answered for.

    Raises:
        SourceUnavailable: The vendor did not answer for every window. The differences are printed before. Not with
            `--json`, where the object has the error.
    """
    from etl.services.verify import verify_account

    document: dict[str, Any] = {"account": settings.account, "days": 0, "differences": []}
    try:
        result = verify_account(settings, since, until, sources, redact=options.redact)
    except CheckFailedError as error:
        if not options.as_json:
            report_error(options, error, None if alone else settings.account)
        return document | {"exit_code": ExitCode.CHECK_FAILED, "error": str(error)}
    code = ExitCode.NEEDS_REVIEW if result.differences else ExitCode.OK
    if not options.as_json and not (options.verbosity < 0 and code == ExitCode.OK):
        _print_differences(options, settings.account, result)
    document |= {"days": result.days, "differences": result.differences, "exit_code": code, "error": None}
    if result.incomplete is None:
        return document
    if not options.as_json:
        raise result.incomplete
    return document | {
        "exit_code": code_for_error(result.incomplete), "error": options.redact(str(result.incomplete)),
    }  # fmt: skip


def _print_differences(options: OutputOptions, account: str, result: VerifyResult) -> None:
    """Print the days that differ from the vendor's, with -v their records, and the commands that repair them."""
    differences, days = result.differences, result.days
    rows = [
        (
            item.day, item.source, f"{item.missing:,}", f"{item.different:,}", f"{item.surplus:,}",
            "differ" if item.wrong_totals else "–",
        )
        for item in differences
    ]  # fmt: skip
    if not rows:
        if result.incomplete is None:
            click.secho(f"{days} days verified: the database equals the vendor", fg="green")
        return
    print_rows("Days that differ", ("day", "source", "#missing", "#different", "#surplus", "totals"), rows)
    if options.verbosity > 0:
        records = ((item.source, KINDS[record.kind], record) for item in differences for record in item.records)
        print_rows(
            "Records that differ",
            ("created at", "source", "record", "~fields"),
            ((record.created_at, source, kind, ", ".join(record.fields)) for source, kind, record in records),
        )
    differing = {item.day for item in differences}
    listed = {item.day for item in differences if item.vendor_records}
    if gone := differing - listed:
        click.echo(
            f"the vendor lists no record of {len(gone)} of these days: it no longer serves them, or their records were "
            "withdrawn; backfill fetches them again, and keeps suspect ones until they are accepted"
        )
    if not listed:
        return
    click.echo(f"{len(listed)} of {days} days differ; to make them equal to the vendor's:")
    for days_in_a_row in split_into_windows(None, listed, size=len(listed)):
        since, until = days_in_a_row.first, days_in_a_row.last
        click.echo(f"  {options.command_line(account, 'backfill', '--since', since, '--until', until)}")
