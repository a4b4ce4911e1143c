"""How the process ends: one line for an error, the contract's exit code, and a clean stop on a signal."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from etl.cli.json_output import print_json
from etl.cli.text_output import configure_output_errors
from etl.errors import (
    AuthenticationError,
    BillingError,
    CheckFailedError,
    ConcurrentRunError,
    ConfigError,
    DatabaseError,
    DiskFullError,
    Interrupted,
    SourceUnavailable,
    UnknownRecordError,
    VendorError,
)
from etl.log import Redactor, log_context, set_up_logs
from etl.signals import install_handlers

if TYPE_CHECKING:
    from etl.services.run import RunResult

OK, SAYS_NO, USAGE, LOOK, UNAVAILABLE, BUG, DATABASE, BUSY, REFUSED, CONFIG = 0, 1, 2, 65, 69, 70, 74, 75, 77, 78
"""The exit codes of the contract, those of sysexits.h where one fits."""
EXIT_CODES: Final[dict[int, str]] = {
    OK: "all that was asked for is in the database",
    SAYS_NO: "a check that was asked for says no",
    USAGE: "the command line is wrong, and nothing was done",
    LOOK: "done, but look: rejected records, a suspect day, or verify found a difference",
    UNAVAILABLE: "the vendor is unavailable; what was completed is kept",
    BUG: "a bug",
    DATABASE: "the database failed, and nothing of that window is stored",
    BUSY: "another run of the account is under way",
    REFUSED: "the vendor refused the token",
    CONFIG: "a setting is missing or wrong; the message names it",
    128 + signal.SIGINT: "stopped by SIGINT",
    128 + signal.SIGTERM: "stopped by SIGTERM",
}
"""What each means, in a line: for `--help` and for the documentation."""

_CODES: Final[tuple[tuple[type[BillingError], int], ...]] = (
    (ConfigError, CONFIG),
    (AuthenticationError, REFUSED),
    (UnknownRecordError, SAYS_NO),
    (SourceUnavailable, UNAVAILABLE),
    (VendorError, UNAVAILABLE),
    (CheckFailedError, SAYS_NO),
    (ConcurrentRunError, BUSY),
    (DatabaseError, DATABASE),
    (DiskFullError, DATABASE),
)
SEVERITY: Final = (OK, SAYS_NO, LOOK, BUSY, UNAVAILABLE, REFUSED, CONFIG, DATABASE, BUG)
"""Exit codes from the best to the worst: done, done but look, what passes by itself, what waits for a person (one
account's token, its settings, what all accounts share), and what nobody foresaw."""


@dataclass(slots=True)
class OutputOptions:
    """What stands before the command, and whether the command is to answer in JSON.

    Attributes:
        log_format: None leaves it to the settings.
        journald: Whether systemd's journal reads stderr.
    """

    verbosity: int = 0
    log_format: str | None = None
    config: Path | None = None
    as_json: bool = False
    journald: bool = False
    redact: Redactor = field(default_factory=Redactor)

    @property
    def log_only(self) -> bool:
        """Whether all that is said on stderr is a log line, for a program to read."""
        return self.log_format == "json" or self.journald

    def set_up_logs(self) -> None:
        """Send logs to stderr as it was asked for."""
        set_up_logs(self.verbosity, self.log_format or "text", self.redact, journal=self.journald)


def code_for_result(report: RunResult) -> int:
    """The exit code of a run."""
    if report.error is not None:
        return code_for_error(report.error)
    return LOOK if report.needs_review else OK


def code_for_error(error: BillingError) -> int:
    """The exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), BUG)


def most_severe(codes: Iterable[int]) -> int:
    """The exit code of several runs."""
    return max(codes, key=SEVERITY.index, default=OK)


def code_for_exception(error: BaseException) -> int:
    """The exit code of whatever ended the program."""
    if isinstance(error, Interrupted):
        return 128 + error.signal_number
    if isinstance(error, click.ClickException):
        return USAGE
    return code_for_error(error) if isinstance(error, BillingError) else BUG


def internal_error(error: Exception, options: OutputOptions) -> BillingError:
    """One line about what nobody foresaw, without its words: they may hold anything."""
    hint = "" if options.verbosity > 1 else "; run it again with -vv and report what it prints"
    bug = BillingError(f"a bug: {type(error).__name__}{hint}")
    bug.__cause__ = error
    return bug


def report_error(options: OutputOptions, error: BillingError, account: str | None = None) -> None:
    """One line on stderr; with -vv the traceback too, cleaned like every log line.

    Args:
        options: How to say it.
        error: What to say.
        account: Whose error it is, where that is not clear.
    """
    details = error if options.verbosity > 1 else None
    if options.log_only:
        with log_context(**{"account": account} if account else {}):
            logging.getLogger("etl").error("%s", error, exc_info=details)
        return
    about = f"{account}: " if account else ""
    click.echo(options.redact(f"billing-etl: {about}{error}"), err=True)
    if details:
        logging.getLogger("etl").debug("where it came from", exc_info=details)


def discard_stdout() -> None:
    """Whoever read our output left; what Python would print about it at exit helps nobody."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def disable_core_dumps() -> None:
    """A core file would hold the token and every record in memory: from here on the process leaves none."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run_command(cli: click.Group, arguments: list[str]) -> int:
    """Run one command line.

    Returns:
        The exit code.
    """
    configure_output_errors(sys.stdout, sys.stderr)
    install_handlers()
    options = OutputOptions()
    try:
        return cli.main(args=arguments, prog_name="billing-etl", standalone_mode=False, obj=options) or OK
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        if options.log_only:
            logging.getLogger("etl").error("%s", error.format_message())
        else:
            error.show()
        return USAGE
    except BillingError as error:
        if options.as_json:
            print_json({"error": options.redact(str(error)), "exit_code": code_for_error(error)})
        report_error(options, error)
        return code_for_error(error)
    except Interrupted as stopped:
        report_error(options, BillingError(f"stopped by {signal.Signals(stopped.signal_number).name}"))
        return code_for_exception(stopped)
    except BrokenPipeError:
        discard_stdout()
        return OK
    except Exception as error:  # noqa: BLE001 - here it ends: told in one line, and by the exit code
        report_error(options, internal_error(error, options))
        return BUG
