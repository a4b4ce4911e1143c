"""The commands: each parses its options, calls a service and prints the result.

A command imports its services when it runs, so that `--help` does not load a database driver.
"""

from __future__ import annotations

import sys

from etl.cli.accounts import account
from etl.cli.app import cli, disable_core_dumps, run_command
from etl.cli.balance import balance
from etl.cli.check import check
from etl.cli.close import close
from etl.cli.config import config
from etl.cli.database import backup, forget, migrate_schema, purge
from etl.cli.demo import demo, sandbox
from etl.cli.help_pages import completion, show_help
from etl.cli.history import rejected, runs
from etl.cli.init import init
from etl.cli.inspect import status, verify
from etl.cli.options import add_verbosity_options
from etl.cli.reports import dashboard, export, numbering, report
from etl.cli.streams import protect_streams
from etl.cli.sync import accept, backfill, sync
from etl.cli.vendor import auth_status, recent
from etl.signals import ignore_signals

cli.add_section("Sync", sync, backfill, accept)
cli.add_section("Inspect", status, check, verify, runs, rejected, recent, auth_status)
cli.add_section("Finance", balance, close)
cli.add_section("Export", export, report, dashboard)
cli.add_section("Maintain", config, account, numbering, migrate_schema, backup, purge, forget)
cli.add_section("Set up", init, demo, sandbox, completion, show_help)
for command in cli.commands.values():
    add_verbosity_options(command)


def main() -> None:
    """Run the command line and end the process with the contract's exit code."""
    disable_core_dumps()
    protect_streams()
    code = run_command(cli, sys.argv[1:])
    ignore_signals()
    sys.exit(code)
