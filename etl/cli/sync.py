"""Commands that load records: sync, backfill, accept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from etl.cli.account_runs import run_in_turn, show_outcome
from etl.cli.json_output import print_json, result_as_json
from etl.cli.options import DAY, Command, account_option, examples, json_option, require_ordered_range, wait_option
from etl.cli.output import OutputOptions
from etl.cli.run_summary import render_summary
from etl.cli.selection import SEVERAL_ACCOUNTS, LoadedAccount, load_accounts, load_configuration
from etl.config.schema import RunSettings, Settings
from etl.errors import ConfigError
from etl.exit_codes import most_severe
from etl.log import log_context

if TYPE_CHECKING:
    from etl.services.run import AccountOutcome, RunRequest

MAX_PARALLEL: Final = 64
"""A run has two connections to the database, and most servers accept a hundred."""


def metrics_file_option(command: Command) -> Command:
    """Add --metrics-file."""
    return click.option(
        "--metrics-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write metrics for Prometheus to this file; overrides BILLING_METRICS_FILE.",
    )(command)


@click.command(epilog=examples("sync", "sync --since 2026-03-01 --until 2026-03-10", "sync --parallel 8"))
@click.option("--since", type=DAY, metavar="DATE", help="First day; default the start of the lookback.")
@click.option("--until", type=DAY, metavar="DATE", help="Last day; default today.")
@click.option("--deep", is_flag=True, help="Fetch and compare every stored day that the vendor still has.")
@account_option
@click.option("--dry-run", is_flag=True, help="Fetch and compare, but write nothing.")
@click.option(
    "--parallel",
    type=click.IntRange(1, MAX_PARALLEL),
    default=1,
    metavar="N",
    help="Accounts that run at the same time, each in its own process; default 1.",
)
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
    parallel: int,
    wait: float,
    metrics_file: Path | None,
) -> int:
    """Fetch every day up to today: the nightly job.

    The last complete days (BILLING_LOOKBACK_DAYS) are fetched again, for late records and corrections; with --deep, all
    stored days.
    """
    from etl.services.run import RunRequest

    require_ordered_range(since, until)
    if deep and (since or until):
        raise click.UsageError("--deep takes every day: leave --since and --until out")
    request = RunRequest("sync", since, until, dry_run, wait, deep, explicit_account=bool(accounts))
    return run_accounts(options, request, accounts, metrics_file, parallel)


@click.command(epilog=examples("backfill --since 2026-01-01 --until 2026-01-31"))
@click.option("--since", type=DAY, metavar="DATE", required=True, help="First day.")
@click.option("--until", type=DAY, metavar="DATE", required=True, help="Last day.")
@account_option
@click.option("--dry-run", is_flag=True, help="Fetch and compare, but write nothing.")
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
    """Fetch a past range again, and repair it.

    Stored records are compared one by one, so that it repairs every difference found by verify.
    """
    from etl.services.run import RunRequest

    require_ordered_range(since, until)
    request = RunRequest("backfill", since, until, dry_run, wait, explicit_account=bool(accounts))
    return run_accounts(options, request, accounts, metrics_file)


@click.command(epilog=examples("accept 2026-03-09"))
@click.argument("day", type=DAY)
@click.option("--even-if-not-suspect", is_flag=True, help="Accept a day that is not suspect, too.")
@account_option
@wait_option
@json_option
@click.pass_obj
def accept(
    options: OutputOptions, *, day: date, even_if_not_suspect: bool, accounts: tuple[str, ...], wait: float
) -> int:
    """Fetch a suspect day and store it as the vendor has it now."""
    from etl.services.run import RunRequest

    configuration, _ = load_configuration(options)
    if len(accounts) != 1 and len({*accounts} or configuration.labels) > 1:
        raise click.UsageError(SEVERAL_ACCOUNTS)
    request = RunRequest("accept", day, day, wait=wait, even_if_not_suspect=even_if_not_suspect)
    return run_accounts(options, request, accounts)


def run_accounts(
    options: OutputOptions,
    request: RunRequest,
    accounts: tuple[str, ...],
    metrics_file: Path | None = None,
    parallel: int = 1,
) -> int:
    """Run the accounts, report to monitoring, and print the results.

    Args:
        options: Verbosity and format of the output.
        request: The kind of run and its days.
        accounts: Labels; all that are configured if empty.
        metrics_file: Instead of BILLING_METRICS_FILE.
        parallel: Number of accounts that run at the same time.

    Returns:
        The most severe exit code of the accounts.
    """
    import uuid

    from etl.config.loader import select_accounts
    from etl.ops.heartbeat import Heartbeat
    from etl.services.monitoring import Monitoring

    configuration, run_settings = load_configuration(options)
    labels = select_accounts(configuration, accounts)
    selected = load_accounts(options, configuration, labels)
    _require_past(request, selected)
    metrics_path = _metrics_path(metrics_file, run_settings, selected)
    run_id = str(uuid.uuid4())
    heartbeat_url = run_settings.heartbeat_url if request.is_monitored else None
    monitoring = Monitoring(
        Heartbeat(heartbeat_url, run_id, options.redact, run_settings.route_to(heartbeat_url or "")),
        metrics_path if request.is_monitored else None,
        [label for label, _ in selected],
        all_there_are=len(labels) == len(configuration.labels),
        summarise=_summary,
    )
    with log_context(run_id=run_id), monitoring.report() as outcomes:
        if parallel > 1 and len(selected) > 1:
            from etl.cli.parallel import run_side_by_side  # a usual run does not need its modules

            runs = run_side_by_side(options, request, selected, at_once=parallel, run_id=run_id)
        else:
            runs = run_in_turn(options, request, selected)
        with closing(runs):
            for outcome in runs:
                outcomes.append(show_outcome(options, outcome, alone=len(selected) == 1))
    code = most_severe(outcome.exit_code for outcome in outcomes)
    if options.as_json:
        documents = [result_as_json(outcome.result, outcome.exit_code, options.redact) for outcome in outcomes]
        print_json({"accounts": documents, "exit_code": code})
    return code


def _require_past(request: RunRequest, selected: Sequence[LoadedAccount]) -> None:
    """Raise click.UsageError if the range starts in the future, in the time zone of an account."""
    from etl.services.context import utc_now

    for _, settings in selected:
        if isinstance(settings, ConfigError) or request.since is None:
            continue
        today = settings.today(utc_now())
        if request.since > today:
            raise click.UsageError(f"{request.since} is in the future: today is {today} in {settings.timezone.key}")


def _metrics_path(option: Path | None, run_settings: RunSettings, selected: Iterable[LoadedAccount]) -> Path | None:
    """The file for metrics; raise ConfigError if it is one of a database's files, which it would replace."""
    from etl.services.database import require_other_file

    path, name = (option, "--metrics-file") if option else (run_settings.metrics_file, "BILLING_METRICS_FILE")
    for _, settings in selected:
        if path and isinstance(settings, Settings):
            require_other_file(path, settings.database_url, name)
    return path


def _summary(outcomes: Iterable[AccountOutcome], code: int) -> str:
    """The text of the last heartbeat: one or two lines per account."""
    lines = []
    for outcome in outcomes:
        if outcome.result.windows or not outcome.result.error:
            lines.append(render_summary(outcome.result))
        if outcome.result.error:
            lines.append(f"{outcome.result.account}: exit code {outcome.exit_code}: {outcome.result.error}")
    return "\n".join([*lines, f"exit code {code}"])
