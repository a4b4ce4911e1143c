"""Text output shared by several commands: notes, the status of accounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from etl.cli.json_output import ONE_DAY
from etl.cli.output import OutputOptions
from etl.cli.tables import (
    new_table,
    open_console,
    print_rows,
    print_table,
    render_minute,
    render_money,
    render_range,
    styled,
)
from etl.date_ranges import split_into_windows

if TYPE_CHECKING:
    from etl.ops.lateness import DelayStats, LatenessStats
    from etl.ops.status_query import AccountStatus
    from etl.reconcile import BalanceSummary, ReconciliationPeriod


class Note(NamedTuple):
    """A line below a result; it needs attention if a decision is required."""

    text: str
    needs_attention: bool = False


def print_notes(notes: Iterable[Note]) -> None:
    """Print notes below a result, indented."""
    for note in notes:
        click.secho(f"  {note.text}", fg="yellow" if note.needs_attention else None)


def print_status(options: OutputOptions, statuses: Sequence[AccountStatus]) -> None:
    """Print the status of each account, with its last runs."""
    console = open_console()
    for status in statuses:
        if status.last_synced_date is None and not status.last_runs:
            console.print(styled(status.account, "bold"), ": never synced; run: billing-etl sync", sep="")
            continue
        table = new_table("", "~")
        table.show_header = False
        if status.retired_at:
            table.add_row("retired since", f"{status.retired_at:%Y-%m-%d}")
        table.add_row("complete up to", f"{status.last_synced_date or 'no day yet'}{_render_age(status)}")
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
        if status.problem:
            print_notes([Note(status.problem, needs_attention=True)])
        print_notes(balance_notes(options, status.account, status.balance))
        if status.lateness and status.lateness.missed:
            print_notes([Note(_render_missed(status.lateness), needs_attention=True)])
        if status.last_runs:
            print_runs("Last runs", status.last_runs)


def _render_age(status: AccountStatus) -> str:
    """How many days are over since the last complete one; today is not complete before it is over."""
    if status.hours_behind is None:
        return ""
    days = int(status.hours_behind // 24)
    if days < 1:
        return " (yesterday, the last day that is over)"
    return f" ({days:,} later {'day is' if days == 1 else 'days are'} over, and not complete)"


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


def print_runs(title: str, runs: Iterable[Mapping[str, Any]]) -> None:
    """Print rows of `sync_runs`, with the account where there are several; errors are printed below the table.

    Args:
        title: The line above the table.
        runs: Columns of `sync_runs`, and optionally the label of the account.
    """
    runs = list(runs)
    with_account = len({run.get("account") for run in runs}) > 1
    print_rows(
        title,
        (
            *("#id", *(["~account"] if with_account else [])),
            *("kind", "started (UTC)", "#took", "outcome", "#days", "~rows"),
        ),
        (
            (
                run["id"], *([run["account"]] if with_account else []), run["command"],
                render_minute(run["started_at"]), _render_duration(run), _render_outcome(run), f"{run['days']:,}",
                _render_rows(run),
            )
            for run in runs
        ),
    )  # fmt: skip
    for run in runs:
        if run["error"]:
            click.echo(f"  run {run['id']}: {run['error']}")


def _render_duration(run: Mapping[str, Any]) -> str:
    if run["finished_at"] is None:
        return "–"
    return f"{(run['finished_at'] - run['started_at']).total_seconds():,.1f} s"


def _render_outcome(run: Mapping[str, Any]) -> str:
    """The outcome, with the exit code unless it is 0 or unknown."""
    return f"{run['outcome']} {run['exit_code']}" if run["exit_code"] else str(run["outcome"])


def _render_rows(run: Mapping[str, Any]) -> str:
    """The counts that are not zero."""
    names = ("new", "changed", "withdrawn", "rejected")
    return ", ".join(f"{run[name]:,} {name}" for name in names if run[name]) or "no change"


def balance_notes(options: OutputOptions, account: str, summary: BalanceSummary | None) -> Iterator[Note]:
    """A note on each condition of the balance that may need attention; none without a balance."""
    if summary is None:
        return
    if summary.is_low:
        limit = render_money(summary.limit)
        yield Note(
            f"the balance is low: {render_money(summary.balance)}, below BILLING_LOW_BALANCE ({limit})",
            needs_attention=True,
        )
    if summary.waits_for:
        days = ", ".join(map(render_range, split_into_windows(None, summary.waits_for, size=len(summary.waits_for))))
        yield Note(
            f"the balance proof is pending: {days} suspect or incomplete (see billing-etl status)",
            needs_attention=True,
        )
    for period in summary.restated:
        direction = "fell" if period.restated < 0 else "rose"
        yield Note(
            f"restated days explain {render_money(abs(period.restated))} {_between(period)}: their spend {direction}"
            " without a change of the balance"
        )
    for period in summary.unexplained:
        if period.unexplained < 0:
            yield Note(
                f"an unexplained charge of {render_money(-period.unexplained)} {_between(period)}: no record "
                "accounts for it (see billing-etl balance)",
                needs_attention=True,
            )
        else:
            yield Note(_render_credit(options, account, period))


def _render_credit(options: OutputOptions, account: str, period: ReconciliationPeriod) -> str:
    """A note on a credit without a top-up, with the command that records one."""
    guess = "charges recorded late, or a top-up" if period.explained_by_late_records else "probably a top-up"
    amount = render_money(period.unexplained)
    at = f"{period.closed_at:%Y-%m-%dT%H:%M:%S.%fZ}"
    return (
        f"an unexplained credit of {amount} {_between(period)}, {guess}; to record a top-up: "
        f"{options.command_line(account, 'balance', '--top-up', amount, '--at', at)}"
    )


def _between(period: ReconciliationPeriod) -> str:
    return f"between {render_minute(period.opened_at)} and {render_minute(period.closed_at)} UTC"
