"""How the process ends: one line for an error, the contract's exit code, and a clean stop on a signal."""

from __future__ import annotations

import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from etl.console import print_json, use_tolerant_output
from etl.errors import (
    BillingError,
    CheckFailed,
    ConfigError,
    DatabaseFailed,
    NoRoom,
    RunElsewhere,
    Stopped,
    TokenRefused,
    VendorError,
    VendorUnavailable,
)
from etl.logs import Redactor
from etl.stopping import stop_on_signals

if TYPE_CHECKING:
    from etl.runs import Report

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
    (TokenRefused, REFUSED),
    (VendorUnavailable, UNAVAILABLE),
    (VendorError, UNAVAILABLE),
    (CheckFailed, SAYS_NO),
    (RunElsewhere, BUSY),
    (DatabaseFailed, DATABASE),
    (NoRoom, DATABASE),
)


@dataclass(slots=True)
class Options:
    """What stands before the command, and whether the command is to answer in JSON."""

    verbosity: int = 0
    log_format: str = "text"
    config: Path | None = None
    as_json: bool = False
    redact: Redactor = field(default_factory=Redactor)


def exit_code_of(report: Report) -> int:
    """The exit code of a run."""
    if report.error is not None:
        return code_of(report.error)
    return LOOK if report.needs_a_look else OK


def code_of(error: BillingError) -> int:
    """The exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), BUG)


def complain(options: Options, error: BillingError) -> None:
    """One line on stderr; with -vv the traceback too, cleaned like every log line."""
    if options.log_format == "json":
        logging.getLogger("etl").error("%s", error, exc_info=error if options.verbosity > 1 else None)
        return
    click.echo(options.redact(f"billing-etl: {error}"), err=True)
    if options.verbosity > 1:
        logging.getLogger("etl").debug("where it came from", exc_info=error)


def forbid_core_files() -> None:
    """A core file would hold the token and every record in memory: from here on the process leaves none."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run_command(cli: click.Group, arguments: list[str]) -> int:
    """Run one command line.

    Returns:
        The exit code.
    """
    use_tolerant_output(sys.stdout, sys.stderr)
    stop_on_signals()
    options = Options()
    try:
        return cli.main(args=arguments, prog_name="billing-etl", standalone_mode=False, obj=options) or OK
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE
    except BillingError as error:
        if options.as_json:
            print_json({"error": options.redact(str(error)), "exit_code": code_of(error)})
        complain(options, error)
        return code_of(error)
    except Stopped as stopped:
        click.echo(f"billing-etl: stopped by {signal.Signals(stopped.signal_number).name}", err=True)
        return 128 + stopped.signal_number
    except BrokenPipeError:
        # Whoever read our output left. The job is done; what Python would print about it at exit helps nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        hint = "" if options.verbosity > 1 else "; run it again with -vv and report what it prints"
        click.echo(f"billing-etl: a bug: {type(error).__name__}{hint}", err=True)
        logging.getLogger("etl").debug("a bug", exc_info=error)
        return BUG
