"""The verbs that bring records: sync, backfill, accept."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import click

from etl.cli.arguments import DAY, answers_in_json, require_order, settings_of, takes_accounts, takes_wait
from etl.console import print_json
from etl.errors import ConfigError
from etl.process import OK, Options, complain, exit_code_of

if TYPE_CHECKING:
    from etl.runs import Order


@click.command()
@click.option("--since", type=DAY, metavar="D", help="Begin here instead of with the lookback.")
@click.option("--until", type=DAY, metavar="D", help="End here instead of today.")
@takes_accounts
@click.option("--dry-run", is_flag=True, help="Fetch and compare; write nothing.")
@takes_wait
@answers_in_json
@click.pass_obj
def sync(
    options: Options, *, since: date | None, until: date | None, accounts: tuple[str, ...], dry_run: bool, wait: float
) -> int:
    """The nightly job: fetch every day up to today.

    The last days that are complete already (BILLING_LOOKBACK_DAYS) are fetched again, for what came late.
    """
    from etl.runs import Order

    require_order(since, until)
    return _run(options, Order("sync", since, until, dry_run, wait), accounts)


@click.command()
@click.option("--since", type=DAY, metavar="D", required=True)
@click.option("--until", type=DAY, metavar="D", required=True)
@takes_accounts
@click.option("--dry-run", is_flag=True, help="Fetch and compare; write nothing.")
@takes_wait
@answers_in_json
@click.pass_obj
def backfill(
    options: Options, *, since: date, until: date, accounts: tuple[str, ...], dry_run: bool, wait: float
) -> int:
    """Fetch a past range again, and mend it."""
    from etl.runs import Order

    require_order(since, until)
    return _run(options, Order("backfill", since, until, dry_run, wait), accounts)


@click.command()
@click.argument("day", type=DAY)
@takes_accounts
@takes_wait
@answers_in_json
@click.pass_obj
def accept(options: Options, *, day: date, accounts: tuple[str, ...], wait: float) -> int:
    """Take a suspect day as the vendor has it now."""
    from etl.runs import Order

    if len(accounts) != 1 and len(settings_of(options, accounts)) > 1:
        raise click.UsageError("several accounts are configured; name one with --account")
    return _run(options, Order("accept", day, day, wait=wait), accounts)


def _run(options: Options, order: Order, accounts: tuple[str, ...]) -> int:
    """One run an account, one after another; the worst exit code is the program's."""
    from etl import console
    from etl.runs import run_account, utc_now

    documents = []
    worst = OK
    quiet = options.verbosity < 0
    for settings in settings_of(options, accounts, needs_token=True):
        today = utc_now().astimezone(settings.timezone).date()
        if settings.start_date and settings.start_date > today:
            raise ConfigError(
                f"BILLING_START_DATE is {settings.start_date}, and must be a day that has begun: today is {today}"
            )
        if order.since and order.since > today:
            raise click.UsageError(f"{order.since} lies in the future: today is {today} in {settings.timezone.key}")
        with console.watch(quiet=quiet or options.as_json, as_log=options.log_format == "json") as watcher:
            report = run_account(settings, order, watcher, redact=options.redact, exit_code_of=exit_code_of)
        code = exit_code_of(report)
        worst = max(worst, code)
        documents.append(console.report_as_json(report, code, options.redact))
        if not options.as_json and (report.windows or not report.error) and not (quiet and code == OK):
            console.print_report(report)
        if report.error:
            complain(options, report.error)
    if options.as_json:
        print_json({"accounts": documents, "exit_code": worst})
    return worst
