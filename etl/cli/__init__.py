"""The verbs.

What a verb works with is imported when it runs: `--help` should not wait for a database driver.
"""

from __future__ import annotations

import sys

from etl.cli.admin import account, backup, purge
from etl.cli.app import cli, disable_core_dumps, run_command
from etl.cli.balance import balance
from etl.cli.config import config
from etl.cli.inspect import check, status, verify
from etl.cli.maintenance import demo, forget, migrate, sandbox
from etl.cli.reports import dashboard, export, numbering, report
from etl.cli.sync import accept, backfill, sync
from etl.cli.vendor import auth_status, recent
from etl.signals import ignore_signals

_VERBS = (
    *(sync, backfill, accept, status, check, verify),
    *(recent, auth_status),
    *(balance, export, report, dashboard, numbering),
    *(config, account, backup, purge, migrate, forget, demo, sandbox),
)
for verb in _VERBS:
    cli.add_command(verb)


def main() -> None:
    """Run the command line and end the process with the contract's exit code."""
    disable_core_dumps()
    code = run_command(cli, sys.argv[1:])
    ignore_signals()
    sys.exit(code)
