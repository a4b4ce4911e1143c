"""The verbs that say whether all is well: status, check, verify."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etl.cli.exit_codes import LOOK, OK, SAYS_NO, Options, code_of, complain, worst_of
from etl.cli.json_output import print_json, status_as_json
from etl.cli.options import (
    DAY,
    answers_in_json,
    configuration_of,
    load_each,
    require_order,
    settings_of,
    takes_accounts,
)
from etl.config.schema import Settings
from etl.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

    from etl.checks.runner import Check
    from etl.db.accounts import Finding


@click.command()
@click.option("--max-age", type=click.FloatRange(min=0), metavar="HOURS", help="Exit with 1 when an account is older.")
@takes_accounts
@answers_in_json
@click.pass_obj
def status(options: Options, *, max_age: float | None, accounts: tuple[str, ...]) -> int:
    """Show what is complete, and what is missing.

    Up to when the days are complete; gaps, suspect days, rejected records, the balance, how late records come, and the
    last runs.
    """
    from etl.cli import text_output
    from etl.db.engine import database_errors, database_exists, open_engine, reading
    from etl.db.migrate import holds_nothing_of_ours, require_schema
    from etl.ops.status_query import AccountStatus, Terms, read_status
    from etl.services.sync import utc_now

    by_database: dict[URL, dict[str, Terms]] = {}
    for settings in settings_of(options, accounts):
        terms = Terms(settings.timezone, settings.lookback_days, settings.low_balance, settings.start_date)
        by_database.setdefault(settings.database_url, {})[settings.account] = terms
    statuses = []
    for url, terms_of in by_database.items():
        engine = open_engine(url)
        found = [AccountStatus(label) for label in terms_of]
        if database_exists(engine):
            with database_errors(), reading(engine) as connection:
                if not holds_nothing_of_ours(connection):
                    require_schema(connection)
                    found = read_status(connection, terms_of, utc_now(), terms_of)
        else:
            click.echo("there is no database yet; sync makes it", err=True)
        statuses += found
    if accounts:
        statuses = [status for status in statuses if status.account in accounts]
    too_old = max_age is not None and any(
        status.hours_behind is None or status.hours_behind > max_age for status in statuses if not status.retired_at
    )
    code = SAYS_NO if too_old else OK
    if options.as_json:
        print_json({"accounts": [status_as_json(status) for status in statuses], "exit_code": code})
    else:
        text_output.print_status(statuses)
        if too_old:
            click.secho(f"older than {max_age:g} hours", fg="red", err=True)
    return code


@click.command()
@takes_accounts
@answers_in_json
@click.pass_obj
def check(options: Options, *, accounts: tuple[str, ...]) -> int:
    """Try whether a sync can work.

    Settings; the database, its place, privileges and schema; token; clock; and what the vendor's dates turn out to
    mean, which is remembered: a change is told.
    """
    from etl.checks.runner import Check
    from etl.config.loader import choose_labels

    code = OK
    documents = []
    configuration, _ = configuration_of(options)
    for label, settings in load_each(options, configuration, choose_labels(configuration, accounts)):
        if isinstance(settings, ConfigError):
            checks = [Check("settings", "", ConfigError(f"account {label}: {settings}"))]
        else:
            checks = list(_checks(options, settings, configuration.file))
        code = worst_of([code, *(code_of(check.error) for check in checks if check.error)])
        documents.append(
            {
                "account": label,
                "checks": [
                    {
                        "name": check.name,
                        "ok": check.error is None,
                        "warning": check.is_warning,
                        "message": options.redact(str(check.error or check.message)),
                    }
                    for check in checks
                ],
            }
        )
        if not options.as_json:
            for check in checks:
                if options.verbosity < 0 and check.error is None and not check.is_warning:
                    continue
                mark = click.style("!", fg="yellow") if check.is_warning else click.style("✓", fg="green")
                mark = click.style("✗", fg="red") if check.error else mark
                click.echo(f"{mark} {check.name}: {options.redact(str(check.error or check.message))}")
    if options.as_json:
        print_json({"accounts": documents, "exit_code": code})
    return code


def _checks(options: Options, settings: Settings, file: Path | None) -> Sequence[Check]:
    import tempfile

    from etl.checks.filesystem import require_room
    from etl.checks.runner import Check, attempt, check_database, check_vendor
    from etl.checks.vendor import check_newest
    from etl.db.engine import open_engine
    from etl.services.sync import binding_of, open_client, read_feed_of, utc_now

    words = f"account {settings.account}, {settings.api_url}, zone {settings.timezone.key}"
    checks = [Check("settings", f"{words}, {file or 'no configuration file'}")]
    engine = open_engine(settings.database_url)
    mounts = Path("/proc/mounts")
    listed = mounts.read_text("utf-8", "surrogateescape") if mounts.exists() else ""
    checks += check_database(engine, auto_migrate=settings.auto_migrate, mounts=listed)
    if not any(check.error for check in checks):
        checks.append(attempt("account", lambda: _look_at_account(engine, settings)))
    checks.append(attempt("temporary files", lambda: require_room(Path(tempfile.gettempdir()))))
    now = utc_now()
    today = now.astimezone(settings.timezone).date()
    try:
        with open_client(settings, options.redact) as client:
            recall = partial(_recall, engine, settings.account)
            checks += check_vendor(client, read_feed_of(settings), now, today, recall)
        if not any(check.name == "token" and check.error for check in checks):
            with open_client(settings, options.redact, hurried=True) as client:
                binding = binding_of(settings)
                checks.append(check_newest(engine, settings.account, binding, client, read_feed_of(settings)))
    except ConfigError as error:
        checks.append(Check("token", "", error))
    return checks


def _look_at_account(engine: Engine, settings: Settings) -> str:
    """Whether the database has the account, bound to the settings of today."""
    from etl.db.bindings import require_binding
    from etl.db.engine import database_exists, reading
    from etl.db.ledger import find_account
    from etl.db.migrate import is_current
    from etl.services.sync import binding_of

    if not database_exists(engine):
        return "new; sync makes it"
    with reading(engine) as connection:
        if not is_current(connection):
            return "not looked for: the schema is not up to date"
        require_binding(connection, settings.account, binding_of(settings))
        known = find_account(connection, settings.account) is not None
    return "its token, zone and form are those of its rows" if known else "new; sync makes it"


def _recall(engine: Engine, account: str, finding: Finding) -> Finding | None:
    """Remember what the vendor's dates mean, where that can be written down; what they meant before."""
    from sqlalchemy.exc import SQLAlchemyError

    from etl.db.accounts import read_finding, write_finding
    from etl.db.engine import database_exists, reading
    from etl.db.migrate import is_current

    if not database_exists(engine):
        return None
    with reading(engine) as connection:
        if not is_current(connection):
            return None
        before = read_finding(connection, account)
    with suppress(SQLAlchemyError), engine.begin() as connection:
        write_finding(connection, account, finding)
    return before


@click.command()
@click.option("--since", type=DAY, metavar="D", help="Begin here instead of with the first complete day.")
@click.option("--until", type=DAY, metavar="D", help="End here instead of with the last complete day.")
@click.option(
    "--source", "sources", default="json", show_default=True, metavar="json,csv", help="What to compare with."
)
@takes_accounts
@answers_in_json
@click.pass_obj
def verify(options: Options, *, since: date | None, until: date | None, sources: str, accounts: tuple[str, ...]) -> int:
    """Compare the database with the vendor.

    Ends with 1 where there is nothing to compare: no day asked for is stored.
    """
    require_order(since, until)
    names = [name.strip() for name in sources.split(",")]
    if not names or not set(names) <= {"json", "csv"}:
        raise click.UsageError("--source takes json, csv or json,csv")
    chosen = settings_of(options, accounts)
    documents = [_verify(options, one, since, until, names, alone=len(chosen) == 1) for one in chosen]
    code: int = max(document["exit_code"] for document in documents)
    if options.as_json:
        print_json({"accounts": documents, "exit_code": code})
    return code


def _verify(
    options: Options, settings: Settings, since: date | None, until: date | None, sources: list[str], *, alone: bool
) -> dict[str, Any]:
    """Compare one account's days; the answer as one JSON object."""
    from etl.cli import text_output
    from etl.db.bindings import require_binding
    from etl.db.engine import database_errors, open_engine, reading, require_database
    from etl.db.ledger import find_account
    from etl.db.limits import longest_text
    from etl.db.migrate import require_schema
    from etl.errors import VendorUnavailable
    from etl.services.sync import Known, binding_of, open_client, open_source, rules_of, utc_now
    from etl.services.verify import Difference, plan_verify, verify_windows

    settings.require_token()
    engine = open_engine(settings.database_url)
    require_database(engine)
    today = utc_now().astimezone(settings.timezone).date()
    differences: list[Difference] = []
    incomplete: VendorUnavailable | None = None
    document: dict[str, Any] = {"account": settings.account, "days": 0, "differences": differences}
    with database_errors():
        with reading(engine) as connection:
            require_schema(connection)
            require_binding(connection, settings.account, binding_of(settings))
            account_id = find_account(connection, settings.account)
            longest = longest_text(connection)
            try:
                windows = plan_verify(connection, account_id, since, until, today, size=settings.window_days)
            except CheckFailed as error:
                if not options.as_json:
                    complain(options, error, None if alone else settings.account)
                return document | {"exit_code": SAYS_NO, "error": str(error)}
        rules = rules_of(settings, today, thorough=True)
        with open_client(settings, options.redact) as client:
            for name in sources:
                known = Known(longest=longest)
                source = open_source(settings, client, today=today, last=windows[-1].last, known=known)
                fetch = source.fetch_json if name == "json" else source.fetch_csv
                try:
                    for found in verify_windows(engine, account_id, windows, fetch, rules):
                        differences += found
                except VendorUnavailable as error:
                    incomplete = error
    code = LOOK if differences else OK
    days = sum(map(len, windows))
    if not options.as_json and not (options.verbosity < 0 and code == OK):
        text_output.print_differences(differences, days)
    if incomplete is not None:
        raise incomplete
    return document | {"days": days, "exit_code": code, "error": None}
