"""Text output shared by several commands: the summary of a run, the status of accounts, notes on the balance."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from etl.cli.json_output import ONE_DAY
from etl.cli.tables import (
    new_table,
    open_console,
    print_table,
    render_minute,
    render_money,
    render_range,
    styled,
)
from etl.date_ranges import split_into_windows

if TYPE_CHECKING:
    from rich.console import Console

    from etl.ops.lateness import DelayStats, LatenessStats
    from etl.ops.status_query import AccountStatus
    from etl.reconcile import BalanceSummary, ReconciliationPeriod
    from etl.services.run import SyncResult


def render_summary(result: SyncResult) -> str:
    """The summary of a run in one line."""
    if result.retired_at:
        return f"{result.account}: retired since {result.retired_at:%Y-%m-%d}; not fetched"
    counts, windows = result.own, result.own_windows
    days = f"{windows[0].first} to {windows[-1].last}" if windows else "nothing to fetch"
    changes = [
        f"{counts.new:,} new",
        f"{counts.changed:,} changed",
        f"{counts.withdrawn:,} withdrawn",
        f"{counts.unchanged:,} unchanged",
        render_rejected(len(counts.rejected), len(counts.acknowledged)),
    ]
    source = " and ".join(name.upper() for name in sorted(result.sources, reverse=True)) or "no source"
    through = f"complete up to {result.watermark}" if result.watermark else "no complete day yet"
    would = "would be " if result.dry_run else ""
    return (
        f"{result.account}: {counts.days} {'day' if counts.days == 1 else 'days'} ({days}): "
        f"{would}{', '.join(changes)}; from {source}; {through}; {result.seconds:.1f} s"
    )


def render_rejected(rejected: int, acknowledged: int) -> str:
    """The number of rejected records, and how many of them a person acknowledged."""
    return f"{rejected:,} rejected" + (f", {acknowledged:,} acknowledged" if acknowledged else "")


def print_result(result: SyncResult) -> None:
    """Print the summary of a run, and everything in it that needs review."""
    click.echo(render_summary(result))
    if result.also_fetched:
        also = result.also
        click.echo(
            f"  also fetched, being suspect: {', '.join(map(str, result.also_fetched))}: "
            f"{also.new:,} new, {also.changed:,} changed, {also.withdrawn:,} withdrawn"
        )
    for day in result.tally.suspect_days:
        click.secho(
            f"  {day} was left unchanged: the vendor's answer is implausible (see billing-etl status); "
            f"billing-etl accept {day} stores it",
            fg="yellow",
        )
    if result.own.rejected:
        count, acknowledged = len(result.own.rejected), len(result.own.acknowledged)
        known = f", {acknowledged:,} acknowledged" if acknowledged else " (see billing-etl rejected)"
        click.secho(
            f"  {count} bad record{'s are' if count > 1 else ' is'} quarantined in rejected_records{known}",
            fg="yellow" if count > acknowledged else None,
        )
    print_balance_notes(result.account, result.balance)


def print_status(statuses: Sequence[AccountStatus]) -> None:
    """Print the status of each account, with its last runs."""
    console = open_console()
    for status in statuses:
        if status.last_synced_date is None and not status.last_runs:
            console.print(styled(status.account, "bold"), ": never synced; run: billing-etl sync", sep="")
            continue
        table = new_table("", "")
        table.show_header = False
        hours = "" if status.hours_behind is None else f"{status.hours_behind:.0f}"
        # Not the age of the last run: today is not complete before it is over.
        behind = f" (that day ended {hours} {'hour' if hours == '1' else 'hours'} ago)" if hours else ""
        if status.retired_at:
            table.add_row("retired since", f"{status.retired_at:%Y-%m-%d}")
        table.add_row("complete up to", f"{status.last_synced_date or 'no day yet'}{behind}")
        success = f"{render_minute(status.last_success_at)} UTC" if status.last_success_at else "none yet"
        table.add_row("last success", success)
        table.add_row("records", f"{status.records:,}")
        table.add_row("open days", str(status.open_days))
        gaps = ", ".join(map(render_range, status.gaps))
        table.add_row("gaps", styled(gaps or "none", "yellow" if gaps else ""))
        suspect = "; ".join(f"{item.day}: {item.reason}" for item in status.suspect_days)
        table.add_row("suspect days", styled(suspect or "none", "red" if suspect else ""))
        known = f"{status.rejected:,}, {status.acknowledged:,} acknowledged" if status.acknowledged else status.rejected
        attention = "yellow" if status.rejected > status.acknowledged else ""
        table.add_row("rejected records", styled(str(known or "none"), attention))
        if status.balance:
            taken_at = render_minute(status.balance.taken_at)
            table.add_row("balance", f"{render_money(status.balance.balance)} at {taken_at} UTC")
        if status.lateness:
            table.add_row("arrived late", _render_delays(status.lateness.arrived))
            table.add_row("changed late", _render_delays(status.lateness.changed))
        print_table(console, f"Account {status.account}", table)
        print_balance_notes(status.account, status.balance)
        if status.lateness and status.lateness.missed:
            click.secho(f"  {_render_missed(status.lateness)}", fg="yellow")
        if status.last_runs:
            _print_runs(console, status.last_runs)


def _render_delays(delays: DelayStats | None) -> str:
    if delays is None:
        return "none seen"
    p50, p99, longest = (f"{delay / ONE_DAY:.1f}" for delay in (delays.p50, delays.p99, delays.longest))
    return (
        f"{delays.records:,} records, half of them within {p50} days, 99 % within {p99}, the last one after {longest}"
    )


def _render_missed(lateness: LatenessStats) -> str:
    changes = "change" if lateness.missed == 1 else "changes"
    return (
        f"BILLING_LOOKBACK_DAYS is {lateness.lookback}, and {lateness.missed:,} {changes} came later than that: "
        f"{lateness.needed} would have shown them, or a weekly billing-etl sync --deep"
    )


def _print_runs(console: Console, runs: Iterable[dict[str, Any]]) -> None:
    names = ("days", "new", "changed", "withdrawn", "unchanged", "rejected")
    table = new_table("started (UTC)", "command", "outcome", *(f"#{name}" for name in names), "error")
    for run in runs:
        started = f"{run['started_at']:%Y-%m-%d %H:%M:%S}"
        counts = [f"{run[name]:,}" for name in names]
        table.add_row(started, run["command"], run["outcome"], *counts, run["error"] or "")
    print_table(console, "Last runs", table)


def print_balance_notes(account: str, summary: BalanceSummary | None) -> None:
    """Print a line for each condition of the balance that needs attention; nothing without a balance."""
    if summary is None:
        return
    if summary.is_low:
        limit = render_money(summary.limit)
        click.secho(
            f"  the balance is low: {render_money(summary.balance)}, below BILLING_LOW_BALANCE ({limit})", fg="yellow"
        )
    if summary.waits_for:
        days = ", ".join(map(render_range, split_into_windows(None, summary.waits_for, size=len(summary.waits_for))))
        click.secho(
            f"  the balance proof waits for {days}: suspect, or not shown whole (see billing-etl status)", fg="yellow"
        )
    for period in summary.restated:
        direction = "fell" if period.restated < 0 else "rose"
        click.echo(
            f"  restated days explain {render_money(abs(period.restated))} {_between(period)}: their spend {direction},"
            " and the balance did not follow"
        )
    for period in summary.unexplained:
        if period.unexplained < 0:
            click.secho(
                f"  an unexplained charge of {render_money(-period.unexplained)} {_between(period)}: no record "
                "accounts for it (see billing-etl balance)",
                fg="yellow",
            )
        else:
            click.echo(_render_credit(account, period))


def _render_credit(account: str, period: ReconciliationPeriod) -> str:
    """A note on a credit without a top-up, with the command that records one."""
    guess = "charges recorded late, or a top-up" if period.explained_by_late_records else "probably a top-up"
    amount = render_money(period.unexplained)
    option = "" if account == "default" else f" --account {shlex.quote(account)}"
    return (
        f"  an unexplained credit of {amount} {_between(period)}, {guess}; to record a top-up: billing-etl "
        f"balance{option} --top-up {amount} --at {period.closed_at:%Y-%m-%dT%H:%M:%S.%fZ}"
    )


def _between(period: ReconciliationPeriod) -> str:
    return f"between {render_minute(period.opened_at)} and {render_minute(period.closed_at)} UTC"
