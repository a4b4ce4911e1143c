"""The runs of several accounts, one after another: each ends with an outcome, whatever happens in it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from etl.cli.output import OutputOptions, internal_error, report_error
from etl.cli.progress import progress_listener
from etl.cli.run_summary import log_result, print_result
from etl.cli.selection import LoadedAccount
from etl.config.schema import Settings
from etl.errors import BillingError, ConfigError, Interrupted, OutputError
from etl.exit_codes import ExitCode, code_for_error, most_severe
from etl.log import log_context

if TYPE_CHECKING:
    from etl.services.run import AccountOutcome, RunRequest


def run_in_turn(
    options: OutputOptions, request: RunRequest, selected: Sequence[LoadedAccount]
) -> Generator[AccountOutcome]:
    """Run the accounts one after another, up to one that a signal ends."""
    for label, settings in selected:
        with log_context(account=label):
            outcome = run_account(options, request, label, settings, alone=len(selected) == 1)
        yield outcome
        if outcome.signal_number is not None:
            raise Interrupted(outcome.signal_number)


def run_account(
    options: OutputOptions,
    request: RunRequest,
    label: str,
    settings: Settings | ConfigError,
    *,
    alone: bool,
    side_by_side: bool = False,
) -> AccountOutcome:
    """Run one account and report its error, which does not leave this function: the next account has its run.

    Args:
        options: Verbosity and format of the output.
        request: The kind of run and its days.
        label: The account's label.
        settings: The account's settings, or the error in them.
        alone: Whether there is no other account: errors need no label.
        side_by_side: Whether other processes use the same terminal: no progress bar.
    """
    from etl.services.run import AccountOutcome, SyncResult
    from etl.services.sync import run_sync

    valid_settings = None
    result = SyncResult(label, request.command, request.dry_run)
    try:
        if isinstance(settings, ConfigError):
            raise settings
        valid_settings = settings
        quiet = options.verbosity < 0 or options.as_json
        with progress_listener(quiet=quiet, as_log=options.log_only, bar=not side_by_side) as listener:
            result = run_sync(settings, request, listener, redact=options.redact)
    except BillingError as error:
        result.error = error
    except Interrupted as stopped:
        return AccountOutcome(valid_settings, result, stopped.exit_code, stopped.signal_number)
    except Exception as error:  # noqa: BLE001 - a bug in one account must not stop the others
        result.error = internal_error(error, options)
    if result.error:
        report_error(options, result.error, None if alone else label)
    return AccountOutcome(valid_settings, result, result.exit_code)


def show_outcome(options: OutputOptions, outcome: AccountOutcome, *, alone: bool) -> AccountOutcome:
    """Print or log the result of an account, unless `--json` prints all of them, or there is nothing to say.

    Returns:
        The outcome, with the exit code of a stdout that failed if that is more severe.
    """
    result = outcome.result
    silent = options.verbosity < 0 and outcome.exit_code == ExitCode.OK and not result.review_reasons()
    if options.as_json or outcome.signal_number is not None or silent or (result.error and not result.windows):
        return outcome
    try:
        if options.log_only:
            with log_context(account=result.account):
                log_result(options, result, outcome.exit_code)
        else:
            print_result(options, result)
    except OutputError as error:  # the remaining accounts still run
        report_error(options, error, None if alone else result.account)
        return replace(outcome, exit_code=most_severe((outcome.exit_code, code_for_error(error))))
    return outcome
