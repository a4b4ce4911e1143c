"""The output options of every command, and error messages on stderr."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import click

from etl.errors import BillingError
from etl.log import Redactor, log_context, set_up_logs


@dataclass(slots=True)
class OutputOptions:
    """The options that every command has, and whether the command prints JSON.

    Attributes:
        verbosity: -1 with `-q`, else the number of `-v`.
        log_format: None leaves it to the settings.
        config: The TOML file of `--config`.
        as_json: Whether the command was given `--json`.
        journald: Whether stderr is connected to systemd's journal.
        redact: Removes secrets from a text; they are registered when settings are loaded.
    """

    verbosity: int = 0
    log_format: str | None = None
    config: Path | None = None
    as_json: bool = False
    journald: bool = False
    redact: Redactor = field(default_factory=Redactor)

    @property
    def log_only(self) -> bool:
        """Whether stderr carries log lines only, because a program parses it."""
        return self.log_format == "json" or self.journald

    def command_line(self, account: str, command: str, *words: object) -> str:
        """A command to paste, for an account and with the configuration of this one."""
        config = [] if self.config is None else ["--config", str(self.config)]
        label = [] if account == "default" and self.config is None else ["--account", account]
        return shlex.join(["billing-etl", *config, command, *map(str, words), *label])

    def set_up_logs(self) -> None:
        """Configure logging on stderr by these options."""
        set_up_logs(self.verbosity, self.log_format or "text", self.redact, journal=self.journald)


def internal_error(error: Exception, options: OutputOptions) -> BillingError:
    """One line about an unexpected exception, without its message, which may contain secrets or personal data."""
    hint = "" if options.verbosity > 1 else "; run it again with -vv and report what it prints"
    bug = BillingError(f"a bug: {type(error).__name__}{hint}")
    bug.__cause__ = error
    return bug


def report_error(options: OutputOptions, error: BillingError, account: str | None = None) -> None:
    """Print an error as one line on stderr; with -vv also its traceback, redacted like every log line.

    Args:
        options: Verbosity and format of stderr.
        error: The error.
        account: The label to put before the message, where several accounts are processed.
    """
    details = error if options.verbosity > 1 else None
    if options.log_only:
        with log_context(**{"account": account} if account else {}):
            logging.getLogger("etl").error("%s", error, exc_info=details)
        return
    prefix = f"{account}: " if account else ""
    click.echo(options.redact(f"billing-etl: {prefix}{error}"), err=True)
    if details:
        logging.getLogger("etl").debug("traceback of the error", exc_info=details)
