"""The status of many accounts: one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from etl.cli.tables import print_rows

if TYPE_CHECKING:
    from etl.ops.status_query import AccountStatus

MAX_ACCOUNTS_IN_FULL: Final = 10
"""Accounts whose status is printed in full; of more, an overview."""


def print_overview(statuses: Sequence[AccountStatus]) -> None:
    """Print a line for each account, with a ! where it needs attention, and how many do."""
    rows = []
    count = 0
    for status in statuses:
        last_run = status.last_runs[0] if status.last_runs else None
        failed = last_run is not None and last_run["exit_code"] not in (0, None)
        unacknowledged = status.rejected - status.acknowledged
        needs_attention = bool(status.problem) or (
            not status.retired_at
            and bool(failed or status.gaps or status.suspect_days or unacknowledged or status.last_synced_date is None)
        )
        count += needs_attention
        hours = "" if status.hours_behind is None else f"{status.hours_behind:.0f}"
        outcome = "retired" if status.retired_at else last_run["outcome"] if last_run else "never synced"
        counts = [str(number or "") for number in (len(status.gaps), len(status.suspect_days), unacknowledged)]
        complete = status.last_synced_date or "no day yet"
        rows.append(("!" if needs_attention else "", status.account, complete, hours, *counts, outcome))
    columns = ("", "~account", "complete up to", "#hours", "#gaps", "#suspect", "#rejected", "last run")
    print_rows(f"{len(statuses):,} accounts", columns, rows)
    click.echo(f"{count:,} of them need attention; in full: billing-etl status --account LABEL")
