"""Exit codes of the commands: those of `etl.exit_codes`, and of a result or an exception that ended the program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from etl.errors import BillingError, Interrupted
from etl.exit_codes import EXIT_CODES, SEVERITY, ExitCode, code_for_error, most_severe

if TYPE_CHECKING:
    from etl.services.run import SyncResult

__all__ = [
    "EXIT_CODES",
    "SEVERITY",
    "ExitCode",
    "code_for_error",
    "code_for_exception",
    "code_for_result",
    "most_severe",
]


def code_for_result(result: SyncResult) -> int:
    """The exit code of a run."""
    return result.exit_code


def code_for_exception(error: BaseException) -> int:
    """The exit code of an exception that ended the program."""
    if isinstance(error, Interrupted):
        return 128 + error.signal_number
    if isinstance(error, click.ClickException):
        return ExitCode.USAGE
    return code_for_error(error) if isinstance(error, BillingError) else ExitCode.SOFTWARE
