"""One run of one account inside a step of Dagster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import dagster as dg

from etl import api
from etl.exit_codes import EXIT_CODES, ExitCode, code_for_error
from etl.orchestration.outcome import NextStep, next_step, run_metadata
from etl.orchestration.settings import name_variable

T = TypeVar("T")

POOL: Final = "billing"
"""The pool of every step that sends requests to the vendor. Its limit is the total of all runs."""
MAX_RUNTIME: Final = "dagster/max_runtime"
"""The tag with the seconds after which the monitoring of runs ends a run, so that it is retried."""
MAX_MESSAGE: Final = 2000
"""Characters of a failure's description."""


class StepConfig(dg.Config):
    """The config of a step.

    Attributes:
        wait: Seconds to wait inside the step for another run of the account; then the step is retried.
        max_retries: Retries of a step after 69, 74, 75 and signals.
        retry_seconds: Pause before a retry, in which the step takes no place in the pool.
    """

    wait: float = 0.0
    max_retries: int = 3
    retry_seconds: float = 600.0


def run_step(
    context: dg.OpExecutionContext,
    config: StepConfig,
    labels: list[str],
    run: Callable[[str], api.RunResult],
    on_result: Callable[[api.RunResult], None],
) -> None:
    """Run accounts one after another, all of them, and end the step by the most urgent result.

    Args:
        context: The step's context.
        config: The step's configuration.
        labels: Accounts that share a token; usually one.
        run: Runs an account.
        on_result: Receives each result whose days are stored (0 and 65).

    Raises:
        RetryRequested: A result can be different later: 69, 74, 75, a signal.
        Failure: A person is needed; the step is not retried.
    """
    results = [_run_once(context, config, label, run) for label in labels]
    for result in results:
        step = next_step(result.exit_code)
        for reason in result.review_reasons:
            context.log.warning(f"{result.account}: {reason}")
        if step in {NextStep.DONE, NextStep.REVIEW}:
            on_result(result)
        else:
            context.log.error(f"{result.account}: {describe_failure(result)}")
    by_step = {next_step(result.exit_code): result for result in results}
    if retried := by_step.get(NextStep.RETRY):
        if context.retry_number < config.max_retries:
            raise dg.RetryRequested(config.max_retries, config.retry_seconds)
        raise _failure(retried)
    if failed := by_step.get(NextStep.FAIL):
        raise _failure(failed)


def lookup(find: Callable[[], T]) -> T:
    """What `find` reads from the configuration.

    Raises:
        Failure: The configuration is wrong, or an account of it is gone; the step is not retried.
    """
    try:
        return find()
    except api.ConfigError as error:
        reason = name_variable(error)
    except LookupError as error:
        reason = f"the configuration has no account for the key {error}"
    raise dg.Failure(f"exit code {ExitCode.CONFIG}: {reason}", allow_retries=False)


def describe_failure(result: api.RunResult) -> str:
    """Exit code, its meaning and the error of a failed result, in one line."""
    meaning = EXIT_CODES.get(result.exit_code, "stopped by a signal")
    return f"exit code {result.exit_code} ({meaning}): {result.error or 'no message'}"[:MAX_MESSAGE]


def place_of(error: Exception) -> str:
    """Type and place of an unexpected error, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" in {trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}" if trace else ""
    return f"unexpected {type(error).__name__}{place}; run the command with -vv for more"


def _run_once(
    context: dg.OpExecutionContext, config: StepConfig, label: str, run: Callable[[str], api.RunResult]
) -> api.RunResult:
    """The result of an account; errors before a run and unexpected ones are results too."""
    try:
        return run(label)
    except api.BillingError as error:
        return api.RunResult(label, "", code_for_error(error), error=name_variable(error))
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        # Completed windows are stored, the open one is rolled back. A cancelled run is not retried.
        if _is_cancelled(context) or context.retry_number >= config.max_retries:
            raise
        raise dg.RetryRequested(config.max_retries, config.retry_seconds) from None
    except Exception as error:  # noqa: BLE001 - Dagster would store its text, which may contain a URL with the token
        return api.RunResult(label, "", ExitCode.SOFTWARE, error=place_of(error))


def _is_cancelled(context: dg.OpExecutionContext) -> bool:
    run = context.instance.get_run_by_id(context.run_id)
    return run is not None and run.status in {dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED}


def _failure(result: api.RunResult) -> dg.Failure:
    metadata: dict[str, Any] = dict(run_metadata(result))
    return dg.Failure(f"{result.account}: {describe_failure(result)}", metadata=metadata, allow_retries=False)
