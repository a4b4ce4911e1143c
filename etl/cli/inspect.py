"""Commands that inspect the database and change nothing: status, verify."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from etl.cli.exit_codes import ExitCode
from etl.cli.json_output import print_json, status_as_json
from etl.cli.options import (
    DAY,
    account_option,
    examples,
    json_option,
    load_settings_for,
    require_ordered_range,
)
from etl.cli.output import OutputOptions, report_error
from etl.cli.tables import print_rows
from etl.cli.text_output import print_status
from etl.config.schema import Settings
from etl.errors import CheckFailedError

if TYPE_CHECKING:
    from sqlalchemy import URL

    from etl.services.verify import DayDifference


@click.command(epilog=examples("status", "status --max-age 36"))
@click.option(
    "--max-age", type=click.FloatRange(min=0), metavar="HOURS", help="Exit with 1 if an account is further behind."
)
@account_option
@json_option
@click.pass_obj
def status(options: OutputOptions, *, max_age: float | None, accounts: tuple[str, ...]) -> int:
    """Show up to when the days of each account are complete, and what is missing.

    Shows the last complete day, gaps, suspect days, rejected records, the balance, the delay of late records, and the
    last runs.
    """
    from etl.db.engine import database_exists, new_engine, read_connection
    from etl.db.errors import translate_errors
    from etl.db.migrate import is_empty, require_schema
    from etl.ops.status_query import AccountStatus, StatusOptions, read_account_statuses
    from etl.services.context import utc_now

    by_database: dict[URL, dict[str, StatusOptions]] = {}
    for settings in load_settings_for(options, accounts):
        by_account = by_database.setdefault(settings.database_url, {})
        by_account[settings.account] = StatusOptions(
            settings.timezone, settings.lookback_days, settings.low_balance, settings.start_date
        )
    statuses = []
    for url, by_account in by_database.items():
        engine = new_engine(url)
        stored = [AccountStatus(label) for label in by_account]
        if database_exists(engine):
            with translate_errors(), read_connection(engine) as connection:
                if not is_empty(connection):
                    require_schema(connection)
                    stored = read_account_statuses(
                        connection, by_account, utc_now(), by_account, with_others=not accounts
                    )
        else:
            click.echo("there is no database yet; sync creates it", err=True)
        statuses += stored
    too_old = max_age is not None and any(
        status.hours_behind is None or status.hours_behind > max_age for status in statuses if not status.retired_at
    )
    code = ExitCode.CHECK_FAILED if too_old else ExitCode.OK
    if options.as_json:
        print_json({"accounts": [status_as_json(status) for status in statuses], "exit_code": code})
    else:
        print_status(statuses)
        if too_old:
            click.secho(f"older than {max_age:g} hours", fg="red", err=True)
    return code


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
    """Fetch days again and compare them with the database; write nothing.

    Exits with 65 if they differ, and with 1 if there is nothing to compare: no day of the range is stored.
    """
    require_ordered_range(since, until)
    names = [name.strip() for name in sources.split(",")]
    if not names or not set(names) <= {"json", "csv"}:
        raise click.UsageError("--source takes json, csv or json,csv")
    all_settings = load_settings_for(options, accounts)
    documents = [
        _verify(options, settings, since, until, names, alone=len(all_settings) == 1) for settings in all_settings
    ]
    code: int = max(document["exit_code"] for document in documents)
    if options.as_json:
        print_json({"accounts": documents, "exit_code": code})
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
        The result as one JSON object.

    Raises:
        SourceUnavailable: The vendor did not answer for every window. The differences are printed before.
    """
    from etl.db.bindings import require_binding
    from etl.db.engine import new_engine, read_connection, require_database
    from etl.db.errors import translate_errors
    from etl.db.limits import longest_text
    from etl.db.migrate import require_schema
    from etl.db.run_store import find_account
    from etl.errors import SourceUnavailable
    from etl.services.context import (
        AccountHistory,
        account_binding,
        build_load_policy,
        open_client,
        open_source,
        utc_now,
    )
    from etl.services.verify import plan_verify, verify_windows

    settings.require_token()
    engine = new_engine(settings.database_url)
    require_database(engine)
    today = utc_now().astimezone(settings.timezone).date()
    differences: list[DayDifference] = []
    incomplete: SourceUnavailable | None = None
    document: dict[str, Any] = {"account": settings.account, "days": 0, "differences": differences}
    with translate_errors():
        with read_connection(engine) as connection:
            require_schema(connection)
            require_binding(connection, settings.account, account_binding(settings))
            account_id = find_account(connection, settings.account)
            longest = longest_text(connection)
            try:
                windows = plan_verify(connection, account_id, since, until, today, size=settings.window_days)
            except CheckFailedError as error:
                if not options.as_json:
                    report_error(options, error, None if alone else settings.account)
                return document | {"exit_code": ExitCode.CHECK_FAILED, "error": str(error)}
        policy = build_load_policy(settings, today, full_compare=True)
        with open_client(settings, options.redact) as client:
            for name in sources:
                history = AccountHistory(longest=longest)
                source = open_source(settings, client, today=today, last=windows[-1].last, history=history)
                fetch = source.fetch_json if name == "json" else source.fetch_csv
                try:
                    for window_differences in verify_windows(engine, account_id, windows, fetch, policy):
                        differences += window_differences
                except SourceUnavailable as error:
                    incomplete = error
    code = ExitCode.NEEDS_REVIEW if differences else ExitCode.OK
    days = sum(map(len, windows))
    if not options.as_json and not (options.verbosity < 0 and code == ExitCode.OK):
        _print_differences(differences, days)
    if incomplete is not None:
        raise incomplete
    return document | {"days": days, "exit_code": code, "error": None}


def _print_differences(differences: Iterable[DayDifference], days: int) -> None:
    """Print the days that differ from the vendor's, of so many that were compared."""
    rows = [
        (item.day, item.source, f"{item.missing:,}", f"{item.different:,}", f"{item.surplus:,}") for item in differences
    ]
    if not rows:
        click.secho(f"{days} days verified: the database equals the vendor", fg="green")
        return
    print_rows("Days that differ", ("day", "source", "#missing", "#different", "#surplus"), rows)
    click.echo(f"{len(rows)} of {days} days differ; billing-etl backfill --since D --until D repairs them")
