"""The command of the first steps: init."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from etl.cli.accounts import LABEL
from etl.cli.check import print_checks
from etl.cli.json_output import check_as_json, print_json
from etl.cli.options import DAY, examples, json_option
from etl.cli.output import OutputOptions
from etl.exit_codes import code_for_error, most_severe

if TYPE_CHECKING:
    from etl.config.schema import Settings
    from etl.services.first_settings import FirstSettings

STDIN: Final = "-"
REPLACED_BY: Final = (
    *("BILLING_API_TOKEN", "BILLING_API_TOKEN_FILE", "BILLING_DATABASE_URL", "BILLING_DATABASE_URL_FILE"),
    *("BILLING_START_DATE", "BILLING_ACCOUNT"),
)
"""Variables that precede what is written."""
NEXT_STEPS: Final = """\

The first sync:

  {command} sync

Every night, by cron (crontab -e):

  17 3 * * * {command} -q sync

or by a systemd timer of your user:

  ~/.config/systemd/user/billing-etl.service
      [Service]
      Type=oneshot
      ExecStart={command} -q sync
      SuccessExitStatus=65

  ~/.config/systemd/user/billing-etl.timer
      [Timer]
      OnCalendar=*-*-* 03:17
      Persistent=true
      [Install]
      WantedBy=timers.target

  systemctl --user enable --now billing-etl.timer
  loginctl enable-linger

On a server, with mail and retries: docs/how-to/install.md"""


@click.command(
    "init", epilog=examples("init", "init --token-file token --database sqlite:///billing.db --start 2026-01-01")
)
@click.option("--token-file", metavar="FILE", help="File with the token; - for stdin.")
@click.option("--database", metavar="URL", help="Database URL without a password; default an SQLite file here.")
@click.option("--database-file", metavar="FILE", help="File with a database URL that has a password.")
@click.option("--start", type=DAY, metavar="DATE", help="First day of the first sync; default 30 days back.")
@click.option("--account", "label", type=LABEL, metavar="LABEL", help="Label of the account.")
@click.option("--folder", type=click.Path(path_type=Path), metavar="DIR", help="Default ~/.config/billing-etl.")
@click.option("--force", is_flag=True, help="Replace settings that exist.")
@json_option
@click.pass_obj
def init(
    options: OutputOptions,
    *,
    token_file: str | None,
    database: str | None,
    database_file: str | None,
    start: date | None,
    label: str | None,
    folder: Path | None,
    force: bool,
) -> int:
    """Set up the program: try the first settings and write them.

    Asks for the token, the database and the first day, as far as no option gives them; without a terminal it asks for
    nothing. Tries them as check does, and writes nothing if that fails. Then it prints the lines for cron and systemd.
    """
    from etl.services.first_settings import default_folder, existing_files, try_settings, write_settings

    folder = (folder or default_folder()).absolute()
    if (existing := existing_files(folder)) and not force:
        raise click.UsageError(f"{existing[0]} exists; --force replaces it, another --folder leaves it")
    if database is not None and database_file is not None:
        raise click.UsageError("--database and --database-file exclude each other")
    first = _gather(options, token_file, database, database_file, start, label)
    checks = []
    for check in try_settings(first, os.environ, redact=options.redact):
        checks.append(check)
        if not options.as_json:
            print_checks(options, [check])
    code = most_severe(code_for_error(check.error) for check in checks if check.error)
    files = [] if code else write_settings(first, folder)
    if options.as_json:
        documents = [check_as_json(check, options.redact) for check in checks]
        print_json({"files": list(map(str, files)), "checks": documents, "exit_code": code})
    elif code:
        click.echo("nothing was written: correct what is marked with ✗, and run it again", err=True)
    elif options.verbosity >= 0:
        _print_next_steps(folder, files)
    return code


def _gather(
    options: OutputOptions,
    token_file: str | None,
    database: str | None,
    database_file: str | None,
    start: date | None,
    label: str | None,
) -> FirstSettings:
    """The settings from options, files and questions.

    Raises:
        click.UsageError: The token is missing and there is no terminal, or a password is on the command line.
        ConfigError: A value is invalid.
    """
    from etl.config.files import read_secret
    from etl.config.validators import DEFAULT_API_URL
    from etl.services.first_settings import (
        FirstSettings,
        absolute_database_url,
        add_password,
        has_password,
        needs_password,
    )

    asks = sys.stdin.isatty()
    if token_file is not None:
        token = sys.stdin.read().strip() if token_file == STDIN else read_secret(Path(token_file), "--token-file")
    elif asks:
        token = click.prompt("Token of the account (hidden)", hide_input=True, err=True).strip()
    else:
        raise click.UsageError("no terminal to enter the token; give --token-file FILE, or - for stdin")
    options.redact.add([token])
    if database is not None and has_password(database):
        raise click.UsageError("--database: other users see the command line; put the URL into a --database-file")
    if database_file is not None:
        url = read_secret(Path(database_file), "--database-file")
    elif database is None and asks:
        here = absolute_database_url("sqlite:///billing.db")
        url = click.prompt("Database URL, without its password", default=here, err=True).strip()
    else:
        url = database or "sqlite:///billing.db"
    if asks and database_file is None and (user := needs_password(url)):
        prompt = f"Password of the database user {user} (hidden, empty for none)"
        if password := click.prompt(prompt, default="", show_default=False, hide_input=True, err=True):
            options.redact.add([password])
            url = add_password(url, password)
    if start is None and asks:
        start = click.prompt(
            "First day to load, like 2026-01-31 (empty for 30 days back)",
            default="", show_default=False, err=True, value_proc=_optional_day,
        )  # fmt: skip
    first = FirstSettings(
        token, absolute_database_url(url), start, label, os.environ.get("BILLING_API_URL") or DEFAULT_API_URL
    )
    settings = first.parse(os.environ)
    options.redact.add(settings.secrets())
    _require_past(settings)
    return first


def _optional_day(text: str) -> date | None:
    return DAY.convert(text, None, None) if text else None


def _require_past(settings: Settings) -> None:
    """Raise click.UsageError if the first day is in the future, in the vendor's time zone."""
    from etl.services.context import utc_now

    today = settings.today(utc_now())
    if settings.start_date is not None and settings.start_date > today:
        raise click.UsageError(f"--start {settings.start_date} is in the future: today is {today}")


def _print_next_steps(folder: Path, files: Sequence[Path]) -> None:
    """Print what was written, and the lines that schedule the job."""
    from etl.config.sources import default_files
    from etl.services.first_settings import CONFIG_NAME

    program = str(Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute())
    config = folder / CONFIG_NAME
    options = [] if config in default_files(os.environ) else ["--config", str(config)]
    command = shlex.join([program, *options])
    click.echo(f"\nWritten, readable by their owner only: {', '.join(map(str, files))}")
    for variable in REPLACED_BY:
        if os.environ.get(variable):
            click.secho(f"  {variable} of the environment precedes these files: unset it", fg="yellow")
    click.echo(NEXT_STEPS.format(command=command))
