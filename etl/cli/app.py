"""The program itself: what stands before the verb."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from etl import __version__
from etl.cli.exit_codes import EXIT_CODES, OutputOptions
from etl.config.schema import SETTINGS
from etl.log import is_journal


def _settings_help() -> str:
    lines = ["\b", "Settings (environment, .env, or TOML by --config; in that order of strength):"]
    for setting in SETTINGS:
        default = "" if setting.default is None else f" [{setting.default}]"
        lines += [f"  {setting.variable}{default}", f"      {setting.meaning}"]
    lines += [
        "  BILLING_API_TOKEN_FILE, BILLING_DATABASE_URL_FILE, BILLING_HEARTBEAT_URL_FILE",
        "      files that hold the secrets; systemd credentials, as billing_api_token, work too",
    ]
    exits = ["\b", "Exit codes:", *(f"  {code:<3}  {meaning}" for code, meaning in EXIT_CODES.items())]
    return "\n".join(lines) + "\n\n" + "\n".join(exits)


@click.group(
    epilog=_settings_help(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("-v", "--verbose", count=True, help="Say what happens; -vv says everything, tracebacks included.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something is wrong.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Instead of BILLING_LOG_FORMAT.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A TOML file with settings, instead of ~/.config/billing-etl/config.toml or /etc/billing-etl/config.toml.",
)
@click.version_option(__version__, prog_name="billing-etl")
@click.pass_context
def cli(context: click.Context, *, verbose: int, quiet: bool, log_format: str | None, config: Path | None) -> None:
    """Bring the charges of a Telefon-IP account into your SQL database, every night, exactly.

    \b
    billing-etl demo       see it work, nothing to configure
    billing-etl check      see whether your settings work
    billing-etl sync       the nightly job
    """  # noqa: D301 - click takes the backspace itself for "keep these lines"
    options: OutputOptions = context.ensure_object(OutputOptions)
    options.verbosity = -1 if quiet else verbose
    options.log_format = log_format
    options.config = config
    options.journald = is_journal(sys.stderr, os.environ)
    options.set_up_logs()
