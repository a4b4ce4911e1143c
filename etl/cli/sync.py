"""The verbs that bring records: sync, backfill, accept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from etl.cli.exit_codes import ExitCode, code_for_exception, code_for_result, most_severe
from etl.cli.json_output import print_json, result_as_json
from etl.cli.options import (
    DAY,
    account_option,
    json_option,
    load_all,
    load_configuration,
    require_ordered_range,
    wait_option,
)
from etl.cli.output import OutputOptions, discard_stdout, internal_error, report_error
from etl.config.schema import Settings
from etl.errors import BillingError, ConfigError, Interrupted
from etl.log import log_context

if TYPE_CHECKING:
    from sqlalchemy import URL

    from etl.services.sync import RunRequest, RunResult

INTERRUPTED_TIMEOUT_SECONDS: Final = 2.0
"""Seconds that a stopped program may take to say so: in five it has to be gone."""
log = logging.getLogger(__name__)
Command = TypeVar("Command", bound=Callable[..., Any])


def metrics_file_option(command: Command) -> Command:
    """Add --metrics-file."""
    return click.option(
        "--metrics-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write figures for Prometheus there, instead of to BILLING_METRICS_FILE.",
    )(command)


@click.command()
@click.option("--since", type=DAY, metavar="D", help="Begin here instead of with the lookback.")
@click.option("--until", type=DAY, metavar="D", help="End here instead of today.")
@click.option("--deep", is_flag=True, help="Compare every stored day that the vendor still serves.")
@account_option
@click.option("--dry-run", is_flag=True, help="Fetch and compare; write nothing.")
@wait_option
@metrics_file_option
@json_option
@click.pass_obj
def sync(
    options: OutputOptions,
    *,
    since: date | None,
    until: date | None,
    deep: bool,
    accounts: tuple[str, ...],
    dry_run: bool,
    wait: float,
    metrics_file: Path | None,
) -> int:
    """The nightly job: fetch every day up to today.

    The last days that are complete already (BILLING_LOOKBACK_DAYS) are fetched again, for what came late; with --deep
    all stored days, for what came later still.
    """
    from etl.services.sync import RunRequest

    require_ordered_range(since, until)
    if deep and (since or until):
        raise click.UsageError("--deep takes every day: leave --since and --until out")
    order = RunRequest("sync", since, until, dry_run, wait, deep, explicit_account=bool(accounts))
    return run_accounts(options, order, accounts, metrics_file)


@click.command()
@click.option("--since", type=DAY, metavar="D", required=True)
@click.option("--until", type=DAY, metavar="D", required=True)
@account_option
@click.option("--dry-run", is_flag=True, help="Fetch and compare; write nothing.")
@wait_option
@metrics_file_option
@json_option
@click.pass_obj
def backfill(
    options: OutputOptions,
    *,
    since: date,
    until: date,
    accounts: tuple[str, ...],
    dry_run: bool,
    wait: float,
    metrics_file: Path | None,
) -> int:
    """Fetch a past range again, and mend it."""
    from etl.services.sync import RunRequest

    require_ordered_range(since, until)
    return run_accounts(
        options,
        RunRequest("backfill", since, until, dry_run, wait, explicit_account=bool(accounts)),
        accounts,
        metrics_file,
    )


@click.command()
@click.argument("day", type=DAY)
@click.option("--even-if-not-suspect", is_flag=True, help="Take any day, however much of it is gone.")
@account_option
@wait_option
@json_option
@click.pass_obj
def accept(
    options: OutputOptions, *, day: date, even_if_not_suspect: bool, accounts: tuple[str, ...], wait: float
) -> int:
    """Take a suspect day as the vendor has it now."""
    from etl.services.sync import RunRequest

    configuration, _ = load_configuration(options)
    if len(accounts) != 1 and len({*accounts} or configuration.labels) > 1:
        raise click.UsageError("several accounts are configured; name one with --account")
    order = RunRequest("accept", day, day, wait=wait, even_if_not_suspect=even_if_not_suspect)
    return run_accounts(options, order, accounts)


@dataclass(frozen=True, slots=True)
class AccountOutcome:
    """How one account's run ended; the settings are None where they were wrong."""

    settings: Settings | None
    report: RunResult
    exit_code: int


def run_accounts(
    options: OutputOptions, order: RunRequest, accounts: tuple[str, ...], metrics_file: Path | None = None
) -> int:
    """One run an account, one after another, watched from outside; the worst exit code is the program's."""
    import uuid

    from etl.config.loader import select_accounts
    from etl.ops.heartbeat import TIMEOUT_SECONDS, Heartbeat

    configuration, run_settings = load_configuration(options)
    labels = select_accounts(configuration, accounts)
    chosen = load_all(options, configuration, labels)
    _require_begun(order, chosen)
    # Neither a rehearsal nor what a person does about one day says anything of the nights.
    watched = order.command in {"sync", "backfill"} and not order.dry_run
    run_id = str(uuid.uuid4())
    heartbeat = Heartbeat(run_settings.heartbeat_url if watched else None, run_id, options.redact)
    outcomes: list[AccountOutcome] = []
    with log_context(run_id=run_id):
        heartbeat.start()
        code: int = ExitCode.SOFTWARE
        patience = TIMEOUT_SECONDS
        try:
            for label, settings in chosen:
                with log_context(account=label):
                    run_account(options, order, label, settings, outcomes, alone=len(chosen) == 1)
            code = most_severe(outcome.exit_code for outcome in outcomes)
        except Interrupted as stopped:
            code, patience = code_for_exception(stopped), INTERRUPTED_TIMEOUT_SECONDS
            raise
        finally:
            if watched and (path := metrics_file or run_settings.metrics_file):
                try:
                    _write_metrics(path, outcomes, all_there_are=len(labels) == len(configuration.labels))
                except Exception as error:  # noqa: BLE001 - the figures are not what the run is for
                    log.warning("the metrics stay as they were: %s", type(error).__name__)
            heartbeat.finish(code, _summary(outcomes, code), patience=patience)
    if options.as_json:
        documents = [result_as_json(outcome.report, outcome.exit_code, options.redact) for outcome in outcomes]
        print_json({"accounts": documents, "exit_code": code})
    return code


def run_account(
    options: OutputOptions,
    order: RunRequest,
    label: str,
    settings: Settings | ConfigError,
    outcomes: list[AccountOutcome],
    *,
    alone: bool,
) -> None:
    """The run of one account; whatever it meets, the next one has its turn, unless a signal stops all."""
    from etl.cli import text_output
    from etl.services.sync import RunResult, run_sync

    quiet = options.verbosity < 0
    known = None
    report = RunResult(label, order.command, order.dry_run)
    try:
        if isinstance(settings, ConfigError):
            raise settings
        known = settings
        _require_start(settings)
        with text_output.progress_listener(quiet=quiet or options.as_json, as_log=options.log_only) as watcher:
            report = run_sync(settings, order, watcher, redact=options.redact, exit_code_of=code_for_result)
    except BillingError as error:
        report.error = error
    except Interrupted as stopped:
        outcomes.append(AccountOutcome(known, report, code_for_exception(stopped)))
        raise
    except Exception as error:  # noqa: BLE001 - a bug that one account brings out must not keep the others
        report.error = internal_error(error, options)
    code = code_for_result(report)
    outcomes.append(AccountOutcome(known, report, code))
    warned = report.balance is not None and report.balance.needs_attention
    silent = quiet and code == ExitCode.OK and not warned
    if not options.as_json and (report.windows or not report.error) and not silent:
        try:
            text_output.print_result(report)
        except BrokenPipeError:
            discard_stdout()  # the next accounts have their turn all the same
    if report.error:
        report_error(options, report.error, None if alone else label)


def _require_begun(order: RunRequest, chosen: Sequence[tuple[str, Settings | ConfigError]]) -> None:
    """Raises click.UsageError when the days asked for have not begun where an account is."""
    from etl.services.sync import utc_now

    for _, settings in chosen:
        if isinstance(settings, ConfigError) or order.since is None:
            continue
        today = utc_now().astimezone(settings.timezone).date()
        if order.since > today:
            raise click.UsageError(f"{order.since} lies in the future: today is {today} in {settings.timezone.key}")


def _require_start(settings: Settings) -> None:
    """Raises ConfigError when an account is to begin in the future."""
    from etl.services.sync import utc_now

    today = utc_now().astimezone(settings.timezone).date()
    if settings.start_date and settings.start_date > today:
        raise ConfigError(
            f"BILLING_START_DATE is {settings.start_date}, and must be a day that has begun: today is {today}"
        )


def _summary(outcomes: Iterable[AccountOutcome], code: int) -> str:
    """What the heartbeat tells people: a line or two an account."""
    from etl.cli import text_output

    lines = []
    for outcome in outcomes:
        if outcome.report.windows or not outcome.report.error:
            lines.append(text_output.render_summary(outcome.report))
        if outcome.report.error:
            lines.append(f"{outcome.report.account}: exit code {outcome.exit_code}: {outcome.report.error}")
    return "\n".join([*lines, f"exit code {code}"])


def _write_metrics(path: Path, outcomes: Iterable[AccountOutcome], *, all_there_are: bool) -> None:
    """The metrics of these runs; how the accounts stand is asked of each database once, while it answers."""
    from etl.db.engine import database_exists, new_engine, read_connection, translate_errors
    from etl.errors import DatabaseError
    from etl.ops.metrics import AccountGauges, RunOutcome, load_gauges, write_metrics
    from etl.services.sync import utc_now

    now = utc_now()
    by_database: dict[URL, list[AccountOutcome]] = {}
    for outcome in outcomes:
        if outcome.settings is not None:
            by_database.setdefault(outcome.settings.database_url, []).append(outcome)
    standings: dict[str, AccountGauges] = {}
    for url, group in by_database.items():
        # One that failed all of them is not waited for once more.
        if all(isinstance(outcome.report.error, DatabaseError) for outcome in group):
            continue
        with suppress(BillingError), translate_errors():
            engine = new_engine(url)
            if database_exists(engine):
                with read_connection(engine) as connection:
                    standings |= load_gauges(connection, [outcome.report.account for outcome in group], now)
    ended = [
        RunOutcome(report.account, outcome.exit_code, report.seconds, report.tally, standings.get(report.account))
        for outcome in outcomes
        for report in [outcome.report]
        if report.retired_at is None  # nobody is to be told how late it is
    ]
    write_metrics(path, ended, now, all_there_are=all_there_are)
