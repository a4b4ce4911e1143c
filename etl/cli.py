"""The verbs.

What a command works with is imported when it runs: `--help` should not wait for a database driver.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from etl import __version__
from etl.console import print_json
from etl.errors import ConfigError, DatabaseFailed
from etl.logs import set_up_logs
from etl.process import LOOK, OK, SAYS_NO, Options, code_of, complain, exit_code_of, forbid_core_files, run_command
from etl.settings import SETTINGS, Settings, parse_day
from etl.stopping import ignore_signals

if TYPE_CHECKING:
    from etl.audit.check import Check
    from etl.runs import Order

Command = TypeVar("Command", bound=Callable[..., Any])


class _Day(click.ParamType[date]):
    """A date as the contract writes it."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return parse_day(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


DAY = _Day()


class _Moment(click.ParamType[date | datetime]):
    """A day, or a time with its offset."""

    name = "date or time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date | datetime:
        try:
            return parse_day(value) if len(value) == len("2026-01-31") else _parse_moment(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


def _parse_moment(text: str) -> datetime:
    must = "a date like 2026-01-31, or a time with its offset like 2026-01-31T18:00+03:00"
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(must) from None
    raise ValueError(must)


def _settings_help() -> str:
    lines = ["\b", "Settings (environment, .env, or TOML by --config; in that order of strength):"]
    for setting in SETTINGS:
        default = "" if setting.default is None else f" [{setting.default}]"
        lines += [f"  {setting.variable}{default}", f"      {setting.meaning}"]
    lines += [
        "  BILLING_API_TOKEN_FILE, BILLING_DATABASE_URL_FILE",
        "      files that hold the two secrets; the systemd credential billing_api_token works too",
    ]
    exits = (
        "\b\nExit codes: 0 done, 1 a check says no, 2 usage, 65 done but look, 69 vendor unavailable, 70 a bug,"
        "\n74 database, 75 another run is under way, 77 token refused, 78 configuration, 130 and 143 a signal"
    )
    return "\n".join(lines) + "\n\n" + exits


@click.group(
    epilog=_settings_help(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("-v", "--verbose", count=True, help="Say what happens; -vv says everything, tracebacks included.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something is wrong.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="A TOML file with settings.")
@click.version_option(__version__, prog_name="billing-etl")
@click.pass_context
def cli(context: click.Context, *, verbose: int, quiet: bool, log_format: str, config: Path | None) -> None:
    """Bring the charges of a Telefon-IP account into your SQL database, every night, exactly.

    \b
    billing-etl demo       see it work, nothing to configure
    billing-etl check      see whether your settings work
    billing-etl sync       the nightly job
    """  # noqa: D301 - click takes the backspace itself for "keep these lines"
    options: Options = context.ensure_object(Options)
    options.verbosity = -1 if quiet else verbose
    options.log_format = log_format
    options.config = config
    set_up_logs(options.verbosity, log_format, options.redact)


def _answers_in_json(command: Command) -> Command:
    def remember(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
        context.ensure_object(Options).as_json = value

    help_text = "Answer with one JSON document on stdout."
    return click.option("--json", is_flag=True, expose_value=False, callback=remember, help=help_text)(command)


def _takes_accounts(command: Command) -> Command:
    return click.option(
        "--account", "accounts", multiple=True, metavar="A", help="Only this account; may be repeated."
    )(command)


def _takes_wait(command: Command) -> Command:
    help_text = "Wait so long for another run of the account."
    return click.option("--wait", type=click.FloatRange(min=0), default=0, metavar="SECONDS", help=help_text)(command)


@cli.command()
@click.option("--since", type=DAY, metavar="D", help="Begin here instead of with the lookback.")
@click.option("--until", type=DAY, metavar="D", help="End here instead of today.")
@_takes_accounts
@click.option("--dry-run", is_flag=True, help="Fetch and compare; write nothing.")
@_takes_wait
@_answers_in_json
@click.pass_obj
def sync(
    options: Options, *, since: date | None, until: date | None, accounts: tuple[str, ...], dry_run: bool, wait: float
) -> int:
    """The nightly job: fetch every day up to today.

    The last days that are complete already (BILLING_LOOKBACK_DAYS) are fetched again, for what came late.
    """
    from etl.runs import Order

    _require_order(since, until)
    return _run(options, Order("sync", since, until, dry_run, wait), accounts)


@cli.command()
@click.option("--since", type=DAY, metavar="D", required=True)
@click.option("--until", type=DAY, metavar="D", required=True)
@_takes_accounts
@click.option("--dry-run", is_flag=True, help="Fetch and compare; write nothing.")
@_takes_wait
@_answers_in_json
@click.pass_obj
def backfill(
    options: Options, *, since: date, until: date, accounts: tuple[str, ...], dry_run: bool, wait: float
) -> int:
    """Fetch a past range again, and mend it."""
    from etl.runs import Order

    _require_order(since, until)
    return _run(options, Order("backfill", since, until, dry_run, wait), accounts)


@cli.command()
@click.argument("day", type=DAY)
@_takes_accounts
@_takes_wait
@_answers_in_json
@click.pass_obj
def accept(options: Options, *, day: date, accounts: tuple[str, ...], wait: float) -> int:
    """Take a suspect day as the vendor has it now."""
    from etl.runs import Order

    if len(accounts) != 1 and len(_settings_of(options, accounts)) > 1:
        raise click.UsageError("several accounts are configured; name one with --account")
    return _run(options, Order("accept", day, day, wait=wait), accounts)


@cli.command()
@click.option("--since", type=DAY, metavar="D", help="Begin here instead of with the first complete day.")
@click.option("--until", type=DAY, metavar="D", help="End here instead of with the last complete day.")
@click.option(
    "--source", "sources", default="json", show_default=True, metavar="json,csv", help="What to compare with."
)
@_takes_accounts
@_answers_in_json
@click.pass_obj
def verify(options: Options, *, since: date | None, until: date | None, sources: str, accounts: tuple[str, ...]) -> int:
    """Compare the database with the vendor."""
    _require_order(since, until)
    names = [name.strip() for name in sources.split(",")]
    if not names or not set(names) <= {"json", "csv"}:
        raise click.UsageError("--source takes json, csv or json,csv")
    documents = [_verify(options, settings, since, until, names) for settings in _settings_of(options, accounts)]
    code: int = max(document["exit_code"] for document in documents)
    if options.as_json:
        print_json({"accounts": documents, "exit_code": code})
    return code


@cli.command()
@click.option("--max-age", type=click.FloatRange(min=0), metavar="HOURS", help="Exit with 1 when an account is older.")
@_takes_accounts
@_answers_in_json
@click.pass_obj
def status(options: Options, *, max_age: float | None, accounts: tuple[str, ...]) -> int:
    """Show what is complete, and what is missing.

    Up to when the days are complete; gaps, suspect days, rejected records and the last runs.
    """
    from etl import console
    from etl.audit.status import AccountStatus, read_status
    from etl.load.engine import database_errors, database_exists, open_engine, reading
    from etl.load.schema import require_schema, schema_revision
    from etl.runs import utc_now

    all_settings = _settings_of(options, accounts)
    labels = [settings.account for settings in all_settings]
    engine = open_engine(all_settings[0].database_url)
    statuses = [AccountStatus(label) for label in labels]
    if database_exists(engine):
        with database_errors(), reading(engine) as connection:
            if schema_revision(connection) is not None:
                require_schema(connection)
                statuses = read_status(connection, labels, utc_now())
    else:
        click.echo("there is no database yet; sync makes it", err=True)
    if accounts:
        statuses = [status for status in statuses if status.account in accounts]
    too_old = max_age is not None and any(
        status.hours_behind is None or status.hours_behind > max_age for status in statuses
    )
    code = SAYS_NO if too_old else OK
    if options.as_json:
        print_json({"accounts": [console.status_as_json(status) for status in statuses], "exit_code": code})
    else:
        console.print_status(statuses)
        if too_old:
            click.secho(f"older than {max_age:g} hours", fg="red", err=True)
    return code


@cli.command()
@_takes_accounts
@_answers_in_json
@click.pass_obj
def check(options: Options, *, accounts: tuple[str, ...]) -> int:
    """Try whether a sync can work.

    Settings, database, schema, token, clock, and what the vendor's dates turn out to mean.
    """
    code = OK
    documents = []
    for settings in _settings_of(options, accounts):
        checks = list(_checks(options, settings))
        code = next((code_of(check.error) for check in checks if check.error), code)
        documents.append(
            {
                "account": settings.account,
                "checks": [
                    {
                        "name": check.name,
                        "ok": check.error is None,
                        "message": options.redact(str(check.error or check.message)),
                    }
                    for check in checks
                ],
            }
        )
        if not options.as_json:
            for check in checks:
                if options.verbosity < 0 and check.error is None:
                    continue
                mark = click.style("✗", fg="red") if check.error else click.style("✓", fg="green")
                click.echo(f"{mark} {check.name}: {options.redact(str(check.error or check.message))}")
    if options.as_json:
        print_json({"accounts": documents, "exit_code": code})
    return code


@cli.command()
@click.option("--phone", required=True, metavar="N", help="The number, in any spelling.")
@_takes_accounts
@_takes_wait
@_answers_in_json
@click.pass_obj
def forget(options: Options, *, phone: str, accounts: tuple[str, ...], wait: float) -> int:
    """Remove one person's data from every table.

    Amounts, times and counts stay; phone, code and text go, and do not come back while the vendor lists them.
    """
    from etl import console
    from etl.forgetting import canonical_number, forget_number

    try:
        canonical = canonical_number(phone)
    except ValueError as error:
        trouble = str(error)
    else:
        trouble = ""
    if trouble:
        raise click.UsageError(f"--phone must be {trouble}")
    all_settings = _settings_of(options, accounts)
    results = [forget_number(settings, canonical, wait=wait) for settings in all_settings]
    if options.as_json:
        print_json({"accounts": [console.forgotten_as_json(result) for result in results], "exit_code": OK})
    elif options.verbosity >= 0:
        console.print_forgotten(results)
    return OK


@cli.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    metavar="FILE",
    help="Ends with .csv or .parquet; - is CSV on stdout.",
)
@click.option("--since", type=DAY, metavar="D", help="Begin here instead of with the first day.")
@click.option("--until", type=DAY, metavar="D", help="End here instead of with the last day.")
@_takes_accounts
@click.option("--as-of", type=_Moment(), metavar="D", help="As it was known at the end of that day, or at that time.")
@click.option("--anonymise", is_flag=True, help="Pseudonyms for phones, no codes, no numbers in texts.")
@_answers_in_json
@click.pass_obj
def export(
    options: Options,
    *,
    out: Path,
    since: date | None,
    until: date | None,
    accounts: tuple[str, ...],
    as_of: date | datetime | None,
    anonymise: bool,
) -> int:
    """Write the billing view to a file."""
    from etl import console
    from etl.bi.export import FORMATS, export_records, open_format
    from etl.bi.records import Selection
    from etl.bi.whole_file import whole_file
    from etl.load.engine import open_engine

    _require_order(since, until)
    to_stdout = str(out) == "-"
    if not to_stdout and out.suffix.lower() not in FORMATS:
        raise click.UsageError(f"--out {out} must end with {' or '.join(FORMATS)}, or be -")
    if to_stdout and options.as_json:
        raise click.UsageError("--out - and --json both want stdout")
    all_settings = _settings_of(options, accounts)
    zone = all_settings[0].timezone
    if as_of is not None and not isinstance(as_of, datetime):
        if any(settings.timezone != zone for settings in all_settings):
            raise click.UsageError("the accounts have different time zones; give --as-of a time with its offset")
        as_of = datetime.combine(as_of, time.max, tzinfo=zone)
    output: AbstractContextManager[BinaryIO] = nullcontext(sys.stdout.buffer)
    if not to_stdout:
        output = whole_file(out)
    exported = export_records(
        open_engine(all_settings[0].database_url),
        Selection(accounts, since, until, as_of),
        open_format(out.suffix.lower()),
        output,
        zone=zone,
        anonymise=anonymise,
    )
    if exported.unknown_days:
        click.echo(console.render_unknown_days(exported.unknown_days), err=True)
    if options.as_json:
        print_json({"path": str(out), **console.exported_as_json(exported), "exit_code": OK})
    elif options.verbosity >= 0:
        click.echo(f"{out}: {exported.rows:,} records", err=to_stdout)
    return OK


@cli.command()
@click.option("--sql", is_flag=True, help="Print the SQL of all migrations instead of running them.")
@_answers_in_json
@click.pass_obj
def migrate(options: Options, *, sql: bool) -> int:
    """Create or update the database schema."""
    from etl.load.engine import database_errors, open_engine
    from etl.load.lock import hold_lock
    from etl.load.schema import migrate as run_migrations
    from etl.load.schema import migration_sql
    from etl.load.tables import SCHEMA_REVISION
    from etl.runs import MIGRATION_WAIT

    settings = _settings_of(options, ())[0]
    engine = open_engine(settings.database_url)
    if sql:
        click.echo(migration_sql(engine))
        return OK
    with database_errors(), hold_lock(engine, "schema", wait=MIGRATION_WAIT):
        run_migrations(engine)
    if options.as_json:
        print_json({"revision": SCHEMA_REVISION, "exit_code": OK})
    elif options.verbosity >= 0:
        click.echo(f"the schema is at revision {SCHEMA_REVISION}")
    return OK


@cli.group()
def numbering() -> None:
    """The numbering plan: which operator and region a number was given to."""


@numbering.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@_answers_in_json
@click.pass_obj
def import_numbering(options: Options, *, files: tuple[Path, ...]) -> int:
    """Take in files of the numbering plan (ABC-3xx, ABC-4xx, ABC-8xx, DEF-9xx).

    They replace all that stood there of codes with the same first digits; the rest stays.
    """
    from etl import console
    from etl.numbering.importing import import_plan

    imported = import_plan(_settings_of(options, ())[0], files)
    if options.as_json:
        print_json({**asdict(imported), "exit_code": OK})
    elif options.verbosity >= 0:
        console.print_imported(imported)
    return OK


@cli.command()
@click.pass_obj
def demo(options: Options) -> int:
    """Show the whole job, with nothing to configure.

    Two nights against the built-in sandbox, into billing-demo.db in this folder.
    """
    from etl.demo import run_demo

    return run_demo(options.redact)


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--token", metavar="T", help="The token it takes; a made-up one unless given.")
def sandbox(*, port: int, token: str | None) -> int:
    """Serve an imitation of the vendor."""
    from etl.sandbox import DEFAULT_TOKEN
    from etl.sandbox.server import serve

    gc.enable()
    try:
        serve(port=port, token=token or DEFAULT_TOKEN)
    except OSError as error:
        raise ConfigError(f"--port {port}: {error.strerror or error}") from None
    return OK


def _run(options: Options, order: Order, accounts: tuple[str, ...]) -> int:
    """One run an account, one after another; the worst exit code is the program's."""
    from etl import console
    from etl.runs import run_account, utc_now

    documents = []
    worst = OK
    quiet = options.verbosity < 0
    for settings in _settings_of(options, accounts, needs_token=True):
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


def _verify(
    options: Options, settings: Settings, since: date | None, until: date | None, sources: list[str]
) -> dict[str, Any]:
    """Compare one account's days; the answer as one JSON object."""
    from etl import console
    from etl.audit.verify import closed_range, verify_windows
    from etl.load.engine import database_errors, database_exists, open_engine, reading
    from etl.load.ledger import find_account, require_form
    from etl.load.schema import require_schema
    from etl.model import Window
    from etl.runs import open_client, open_source, protection_of, rules_of, utc_now
    from etl.windows import plan_windows

    settings.require_token()
    engine = open_engine(settings.database_url)
    if not database_exists(engine):
        raise DatabaseFailed("there is no database yet; run: billing-etl sync")
    today = utc_now().astimezone(settings.timezone).date()
    differences = []
    with database_errors():
        with reading(engine) as connection:
            require_schema(connection)
            account_id = find_account(connection, settings.account)
            require_form(connection, account_id, protection_of(settings).form)
        closed = closed_range(engine, account_id)
        first = since or (closed.first if closed else None)
        last = min(until or (closed.last if closed else today), today)
        wanted = Window(first, last) if first and first <= last else None
        windows = plan_windows(wanted, (), size=settings.window_days)
        rules = rules_of(settings, today, thorough=True)
        if wanted:
            with open_client(settings, options.redact) as client:
                for name in sources:
                    source = open_source(settings, client, today=today, last=wanted.last)
                    fetch = source.fetch_json if name == "json" else source.fetch_csv
                    for found in verify_windows(engine, account_id, windows, fetch, rules):
                        differences += found
    code = LOOK if differences else OK
    days = len(wanted) if wanted else 0
    if not options.as_json and not (options.verbosity < 0 and code == OK):
        console.print_differences(differences, days)
    return {"account": settings.account, "days": days, "differences": differences, "exit_code": code}


def _checks(options: Options, settings: Settings) -> Sequence[Check]:
    from etl.audit.check import Check, check_database, check_vendor
    from etl.load.engine import open_engine
    from etl.runs import open_client, read_feed_of, utc_now

    checks = [Check("settings", f"account {settings.account}, {settings.api_url}, zone {settings.timezone.key}")]
    checks += check_database(open_engine(settings.database_url), auto_migrate=settings.auto_migrate)
    now = utc_now()
    try:
        with open_client(settings, options.redact) as client:
            checks += check_vendor(client, read_feed_of(settings), now, now.astimezone(settings.timezone).date())
    except ConfigError as error:
        checks.append(Check("token", "", error))
    return checks


def _settings_of(options: Options, accounts: tuple[str, ...], *, needs_token: bool = False) -> list[Settings]:
    """The settings of the accounts wanted; from here on their secrets are hidden wherever text comes out."""
    from etl.config import load_accounts, load_settings

    all_settings = load_accounts(options.config, accounts) if options.config or accounts else [load_settings()]
    for settings in all_settings:
        options.redact.add(settings.secrets())
        if needs_token:
            settings.require_token()
    for sentence in dict.fromkeys(sentence for settings in all_settings for sentence in settings.warnings):
        logging.getLogger("etl").warning("%s", sentence)
    return all_settings


def _require_order(since: date | None, until: date | None) -> None:
    if since and until and since > until:
        raise click.UsageError(f"--since {since} lies after --until {until}")


def main() -> None:
    """Run the command line and end the process with the contract's exit code."""
    forbid_core_files()
    code = run_command(cli, sys.argv[1:])
    ignore_signals()
    sys.exit(code)
