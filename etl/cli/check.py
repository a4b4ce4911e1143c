"""The command that tests the set-up: check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from etl.cli.json_output import check_as_json, print_json
from etl.cli.options import account_option, examples, json_option
from etl.cli.output import OutputOptions
from etl.cli.selection import load_accounts, load_configuration
from etl.errors import ConfigError
from etl.exit_codes import ExitCode, code_for_error, most_severe

if TYPE_CHECKING:
    from etl.checks.runner import CheckResult


@click.command(epilog=examples("check"))
@account_option
@json_option
@click.pass_obj
def check(options: OutputOptions, *, accounts: tuple[str, ...]) -> int:
    """Test whether a sync can work.

    Checks the settings, the database with its location, permissions and schema, the token, the clock, and how the
    vendor interprets dates. The interpretation is stored, and a change of it is reported.
    """
    from etl.checks.runner import CheckResult
    from etl.config.loader import select_accounts
    from etl.services.check import check_account

    code: int = ExitCode.OK
    documents = []
    configuration, _ = load_configuration(options)
    for label, settings in load_accounts(options, configuration, select_accounts(configuration, accounts)):
        if isinstance(settings, ConfigError):
            checks = [CheckResult("settings", "", ConfigError(f"account {label}: {settings}"))]
        else:
            checks = list(check_account(settings, configuration.file, redact=options.redact))
        code = most_severe([code, *(code_for_error(check.error) for check in checks if check.error)])
        documents.append({"account": label, "checks": [check_as_json(check, options.redact) for check in checks]})
        if not options.as_json:
            print_checks(options, checks)
    if options.as_json:
        print_json({"accounts": documents, "exit_code": code})
    return code


def print_checks(options: OutputOptions, checks: Sequence[CheckResult]) -> None:
    """Print a line for each check; with -q, only for warnings and errors."""
    for check in checks:
        if options.verbosity < 0 and check.error is None and not check.is_warning:
            continue
        mark = click.style("!", fg="yellow") if check.is_warning else click.style("✓", fg="green")
        mark = click.style("✗", fg="red") if check.error else mark
        click.echo(f"{mark} {check.name}: {options.redact(str(check.error or check.message))}")
