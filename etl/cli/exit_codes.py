"""Exit codes of the commands: those of `etl.exit_codes`, and of an exception that ended the program."""

from __future__ import annotations

import click

from etl.errors import BillingError, Interrupted
from etl.exit_codes import EXIT_CODES, SEVERITY, ExitCode, code_for_error, most_severe

__all__ = [
    "EXIT_CODES",
    "SEVERITY",
    "ExitCode",
    "code_for_error",
    "code_for_exception",
    "most_severe",
]


def code_for_exception(error: BaseException) -> int:
    """The exit code of an exception that ended the program."""
    if isinstance(error, Interrupted):
        return error.exit_code
    if isinstance(error, click.ClickException):
        return ExitCode.USAGE
    return code_for_error(error) if isinstance(error, BillingError) else ExitCode.SOFTWARE
