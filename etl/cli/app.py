"""The program: the group of commands with its global options, and how the process ends."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final

import click

from etl import __version__
from etl.cli.help_pages import SectionedGroup
from etl.cli.json_output import print_json
from etl.cli.options import QUIET_HELP, VERBOSE_HELP
from etl.cli.output import OutputOptions, internal_error, report_error
from etl.cli.streams import ReaderGoneError
from etl.errors import BillingError, Interrupted
from etl.exit_codes import ExitCode, code_for_error
from etl.log import is_journal
from etl.signals import install_handlers

HELP_TOPICS: Final = """\b
billing-etl help settings      every setting with its default
billing-etl help exit-codes    what an exit code means
billing-etl help COMMAND       options and examples of a command"""


@click.group(
    cls=SectionedGroup,
    epilog=HELP_TOPICS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("-v", "--verbose", count=True, help=VERBOSE_HELP)
@click.option("-q", "--quiet", is_flag=True, help=QUIET_HELP)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), help="Format of log lines; overrides BILLING_LOG_FORMAT."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file with settings; default ~/.config/billing-etl/config.toml, else /etc/billing-etl/config.toml.",
)
@click.version_option(__version__, prog_name="billing-etl")
@click.pass_context
def cli(context: click.Context, *, verbose: int, quiet: bool, log_format: str | None, config: Path | None) -> None:
    """Load the charges of a Telefon-IP account into your SQL database, every night, exactly.

    \b
    billing-etl demo     see it work, without configuration
    billing-etl init     set it up: token, database, first day
    billing-etl check    test the settings
    billing-etl sync     the nightly job
    """  # noqa: D301 - \b is click's marker for lines that must not be rewrapped
    options: OutputOptions = context.ensure_object(OutputOptions)
    options.verbosity = -1 if quiet else verbose
    options.log_format = log_format
    options.config = config
    options.journald = is_journal(sys.stderr, os.environ)
    options.set_up_logs()


def disable_core_dumps() -> None:
    """Keep the process from writing core files, which would contain the token and the records in memory."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run_command(group: click.Group, arguments: list[str]) -> int:
    """Run one command line; report an error in one line on stderr.

    Returns:
        The exit code.
    """
    install_handlers()
    options = OutputOptions()
    try:
        return group.main(args=arguments, prog_name="billing-etl", standalone_mode=False, obj=options) or ExitCode.OK
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        # The wrong option may come before --json, which then has not been parsed.
        if options.as_json or "--json" in arguments:
            print_json({"error": options.redact(error.format_message()), "exit_code": ExitCode.USAGE})
        if options.log_only:
            logging.getLogger("etl").error("%s", error.format_message())
        else:
            error.show()
        return ExitCode.USAGE
    except BillingError as error:
        if options.as_json:
            print_json({"error": options.redact(str(error)), "exit_code": code_for_error(error)})
        report_error(options, error)
        return code_for_error(error)
    except Interrupted as stopped:
        report_error(options, BillingError(f"stopped by {signal.Signals(stopped.signal_number).name}"))
        return stopped.exit_code
    except click.Abort:  # Ctrl+C or the end of the input at a question
        report_error(options, BillingError("no answer: nothing was done"))
        return ExitCode.CHECK_FAILED
    except ReaderGoneError:
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the outermost handler: one line on stderr, and the exit code
        report_error(options, internal_error(error, options))
        return ExitCode.SOFTWARE
