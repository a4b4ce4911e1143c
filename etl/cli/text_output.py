"""What a person sees: lines, tables and the progress bar. Results go to stdout, progress to stderr."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from etl.cli.json_output import ONE_DAY
from etl.date_ranges import split_into_windows
from etl.log import NOTICE_LOGGER

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from etl.db.accounts import Account
    from etl.db.balance import TopUp
    from etl.model import DateRange, RunCounts
    from etl.ops.lateness import DelayStats, LatenessStats
    from etl.ops.status_query import AccountStatus
    from etl.reconcile import BalanceSummary, ReconciliationPeriod
    from etl.services.erase import ErasureResult
    from etl.services.numbering import ImportResult
    from etl.services.purge import PurgeResult
    from etl.services.sync import ProgressListener, RunResult
    from etl.services.verify import DayDifference

PIPED_WIDTH: Final = 120
"""Columns where stdout is no terminal."""
LAST_PAIRS: Final = 20
"""Of the balance proof that are shown; the view has all."""


def render_summary(report: RunResult) -> str:
    """One line a person can read: what a run did."""
    if report.retired_at:
        return f"{report.account}: retired since {report.retired_at:%Y-%m-%d}; not fetched"
    tally, windows = report.own, report.own_windows
    days = f"{windows[0].first} to {windows[-1].last}" if windows else "nothing to fetch"
    parts = [
        f"{tally.new:,} new",
        f"{tally.changed:,} changed",
        f"{tally.withdrawn:,} withdrawn",
        f"{tally.unchanged:,} unchanged",
        f"{len(tally.rejected):,} rejected",
    ]
    source = " and ".join(name.upper() for name in sorted(report.sources, reverse=True)) or "no source"
    through = f"complete up to {report.watermark}" if report.watermark else "no complete day yet"
    would = "would be " if report.dry_run else ""
    return (
        f"{report.account}: {tally.days} {'day' if tally.days == 1 else 'days'} ({days}): {would}{', '.join(parts)}; "
        f"from {source}; {through}; {report.seconds:.1f} s"
    )


def print_result(report: RunResult) -> None:
    """A run's summary, and what in it needs a person."""
    click.echo(render_summary(report))
    if report.also_fetched:
        also = report.also
        click.echo(
            f"  also fetched, being suspect: {', '.join(map(str, report.also_fetched))}: "
            f"{also.new:,} new, {also.changed:,} changed, {also.withdrawn:,} withdrawn"
        )
    for day in report.tally.suspect_days:
        click.secho(
            f"  {day} was kept as it was: the vendor's answer is implausible (see billing-etl status); "
            f"billing-etl accept {day} takes it",
            fg="yellow",
        )
    if report.own.rejected:
        count = len(report.own.rejected)
        click.secho(
            f"  {count} bad record{'s are' if count > 1 else ' is'} kept aside in rejected_records", fg="yellow"
        )
    print_balance_notes(report.account, report.balance)


def print_status(statuses: Sequence[AccountStatus]) -> None:
    """Each account as a person wants to see it."""
    console = open_console()
    for status in statuses:
        if status.last_synced_date is None and not status.last_runs:
            console.print(_styled(status.account, "bold"), ": never synced; run: billing-etl sync", sep="")
            continue
        table = new_table("", "")
        table.show_header = False
        hours = "" if status.hours_behind is None else f"{status.hours_behind:.0f}"
        behind = f" ({hours} {'hour' if hours == '1' else 'hours'} ago)" if hours else ""
        if status.retired_at:
            table.add_row("retired since", f"{status.retired_at:%Y-%m-%d}")
        table.add_row("complete up to", f"{status.last_synced_date or 'no day yet'}{behind}")
        table.add_row("records", f"{status.records:,}")
        table.add_row("open days", str(status.open_days))
        table.add_row("gaps", _styled(", ".join(map(_range, status.gaps)) or "none", "yellow" if status.gaps else ""))
        suspect = "; ".join(f"{item.day}: {item.reason}" for item in status.suspect_days)
        table.add_row("suspect days", _styled(suspect or "none", "red" if suspect else ""))
        table.add_row("rejected records", _styled(str(status.rejected or "none"), "yellow" if status.rejected else ""))
        if status.balance:
            table.add_row(
                "balance", f"{render_money(status.balance.balance)} at {_minute(status.balance.taken_at)} UTC"
            )
        if status.lateness:
            table.add_row("arrived late", _render_spread(status.lateness.arrived))
            table.add_row("changed late", _render_spread(status.lateness.changed))
        print_table(console, f"Account {status.account}", table)
        print_balance_notes(status.account, status.balance)
        if status.lateness and status.lateness.missed:
            click.secho(f"  {_render_missed(status.lateness)}", fg="yellow")
        if status.last_runs:
            _print_runs(console, status.last_runs)


def _render_spread(spread: DelayStats | None) -> str:
    if spread is None:
        return "none seen"
    p50, p99, longest = (f"{delay / ONE_DAY:.1f}" for delay in (spread.p50, spread.p99, spread.longest))
    return (
        f"{spread.records:,} records, half of them within {p50} days, 99 % within {p99}, the last one after {longest}"
    )


def _render_missed(lateness: LatenessStats) -> str:
    came = "change" if lateness.missed == 1 else "changes"
    return (
        f"BILLING_LOOKBACK_DAYS is {lateness.lookback}, and {lateness.missed:,} {came} came later than that: "
        f"{lateness.needed} would have shown them, or a weekly billing-etl sync --deep"
    )


def print_balance_notes(account: str, news: BalanceSummary | None) -> None:
    """A line for each thing about the balance that a person should know."""
    if news is None:
        return
    if news.is_low:
        limit = render_money(news.limit)
        click.secho(
            f"  the balance is low: {render_money(news.balance)}, below BILLING_LOW_BALANCE ({limit})", fg="yellow"
        )
    if news.waits_for:
        days = ", ".join(map(_range, split_into_windows(None, news.waits_for, size=len(news.waits_for))))
        click.secho(
            f"  the balance proof waits for {days}: suspect, or not shown whole (see billing-etl status)", fg="yellow"
        )
    for pair in news.restated:
        moved = "fell" if pair.restated < 0 else "rose"
        click.echo(
            f"  restated days explain {render_money(abs(pair.restated))} {_between(pair)}: their spend {moved}, and "
            "the balance did not follow"
        )
    of_account = "" if account == "default" else f" --account {shlex.quote(account)}"
    for pair in news.unexplained:
        if pair.unexplained < 0:
            click.secho(
                f"  an unexplained charge of {render_money(-pair.unexplained)} {_between(pair)}: no record tells of it "
                "(see billing-etl balance)",
                fg="yellow",
            )
        else:
            guess = (
                "charges that came on record late, or a top-up"
                if pair.explained_by_late_records
                else "probably a top-up"
            )
            amount = render_money(pair.unexplained)
            click.echo(
                f"  an unexplained credit of {amount} {_between(pair)}, {guess}; to note one: billing-etl "
                f"balance{of_account} --top-up {amount} --at {pair.closed_at:%Y-%m-%dT%H:%M:%S.%fZ}"
            )


def _between(pair: ReconciliationPeriod) -> str:
    return f"between {_minute(pair.opened_at)} and {_minute(pair.closed_at)} UTC"


def print_balance(
    account: str,
    news: BalanceSummary | None,
    pairs: Sequence[ReconciliationPeriod],
    top_ups: Sequence[TopUp],
    *,
    noted: TopUp | None,
    removed: TopUp | None,
) -> None:
    """The balance, the top-up just noted or removed, the top-ups, the last pairs of the proof, and what is open."""
    if news is None:
        click.echo(f"{account}: no balance is known yet")
    else:
        click.echo(f"{account}: balance {render_money(news.balance)} at {_minute(news.taken_at)} UTC")
    if noted:
        click.echo(f"noted: {render_money(noted.amount)} paid in by {_minute(noted.at)} UTC")
    if removed:
        click.echo(f"removed: top-up {removed.id}, {render_money(removed.amount)} paid in by {_minute(removed.at)} UTC")
    if top_ups:
        rows = [(one.id, _minute(one.at), render_money(one.amount)) for one in top_ups[-LAST_PAIRS:]]
        print_rows("Top-ups", ("#id", "paid in by (UTC)", "#amount"), rows)
    if pairs:
        columns = (
            *("opened (UTC)", "closed (UTC)", "#opening", "#charged", "#top-ups", "#closing", "#restated"),
            *("#unexplained", ""),
        )
        print_rows("Balance proof", columns, map(_pair_row, pairs[-LAST_PAIRS:]))
    print_balance_notes(account, news)


def _pair_row(pair: ReconciliationPeriod) -> tuple[str, ...]:
    amounts = map(render_money, (pair.opening, pair.charged, pair.top_ups, pair.closing))
    proven = ("", "") if pair.waits else (render_money(pair.restated), render_money(pair.unexplained))
    finding = "charges under way" if pair.unexplained and not pair.is_certain else pair.finding
    return (_minute(pair.opened_at), _minute(pair.closed_at), *amounts, *proven, finding)


def render_money(amount: Decimal | None) -> str:
    """With two decimal places, or as many more as it needs."""
    text = f"{amount or 0:.6f}".rstrip("0")
    return text.ljust(text.index(".") + 3, "0")


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def print_differences(differences: Iterable[DayDifference], days: int) -> None:
    """What `verify` found."""
    rows = list(differences)
    if not rows:
        click.secho(f"{days} days verified: the database equals the vendor", fg="green")
        return
    print_rows(
        "Days that differ",
        ("day", "source", "#missing", "#different", "#surplus"),
        [(item.day, item.source, f"{item.missing:,}", f"{item.different:,}", f"{item.extra:,}") for item in rows],
    )
    click.echo(f"{len(rows)} of {days} days differ; billing-etl backfill --since D --until D mends them")


def print_erasure(results: Sequence[ErasureResult]) -> None:
    """What was removed, and where nobody looked. Never the number."""
    for result in results:
        found = [f"{count:,} of {table}" for table, count in result.rows.items() if count]
        click.echo(f"{result.account}: " + (f"forgotten: {', '.join(found)}" if found else "the number is not there"))
        if result.masked and found:
            click.echo("  phones are stored masked here: whoever has the same mask is forgotten as well")
    labels = {result.account for result in results}
    if elsewhere := sorted({label for result in results for label in result.unchecked_accounts} - labels):
        click.secho(f"not looked at: {', '.join(elsewhere)}; see --account", fg="yellow")


def render_incomplete_days(count: int) -> str:
    """One line a person can read: what an export of a past moment leaves out."""
    days = "1 day was" if count == 1 else f"{count:,} days were"
    return f"{days} not complete at that moment, and left out: what was known of such a day is not kept"


def render_purged_days(count: int) -> str:
    """One line a person can read: what an export lacks since a purge."""
    return f"the records of {'1 day' if count == 1 else f'{count:,} days'} were purged, and are missing"


def print_import(imported: ImportResult) -> None:
    """What became of files of the numbering plan."""
    for name, ranges in imported.files.items():
        click.echo(f"{name}: {ranges:,} ranges")
    click.echo(
        f"{', '.join(imported.codes)}: {imported.numbers:,} numbers with an operator; {imported.rows:,} rows took the "
        f"place of {imported.replaced:,}"
    )
    if imported.overlapping:
        click.secho(f"  {imported.overlapping:,} ranges lost numbers to narrower or equal ones", fg="yellow")


def print_accounts(accounts: Sequence[Account]) -> None:
    """All accounts, one a row."""
    rows = [
        (
            each.label,
            f"{each.created_at:%Y-%m-%d}",
            each.last_synced_date or "no day yet",
            f"{each.retired_at:%Y-%m-%d}" if each.retired_at else "in use",
        )
        for each in accounts
    ]
    print_rows("Accounts", ("account", "since", "complete up to", "retired"), rows)


def print_purged(results: Sequence[PurgeResult]) -> None:
    """What was purged, and what stays although it is old enough."""
    for result in results:
        if result.months:
            names = ("records", "lines of the journal", "rejected records")
            sums = map(sum, zip(*result.months.values(), strict=True))
            counts = ", ".join(f"{count:,} {name}" for name, count in zip(names, sums, strict=True))
            would = "would be " if result.dry_run else ""
            months = f"{min(result.months):%Y-%m} to {max(result.months):%Y-%m}"
            click.echo(f"{result.account}: {would}purged, {months}: {counts}; the totals of the months stay")
        else:
            click.echo(f"{result.account}: nothing before {result.before} to purge")
        for month in result.still_in_lookback:
            click.echo(f"  {month:%Y-%m} stays: sync still fetches its days again, or days before it are missing")
        for month, reason in result.blocked.items():
            click.secho(f"  {month:%Y-%m} stays: {reason}; see billing-etl status", fg="yellow")


def print_rows(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Any small result as a table."""
    table = new_table(*columns)
    for row in rows:
        table.add_row(*map(str, row))
    print_table(open_console(), title, table)


def print_table(console: Console, title: str, table: Table) -> None:
    """A table under its title."""
    console.print(_styled(f"\n{title}", "bold"))
    console.print(table)


def new_table(*columns: str) -> Table:
    """An empty table; a column whose name begins with # holds numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name.removeprefix("#"), justify="right" if name.startswith("#") else "left")
    return table


def open_console() -> Console:
    """Stdout for tables: coloured on a terminal, plain and wide elsewhere.

    Text is printed as it is: the vendor's words, labels and file names may look like markup.
    """
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


@contextmanager
def progress_listener(*, quiet: bool, as_log: bool = False) -> Iterator[ProgressListener]:
    """Tells how a run goes on: sentences, and a bar on a terminal.

    Args:
        quiet: Nothing at all.
        as_log: Sentences become log lines, and there is no bar.
    """
    from etl.services.sync import ProgressListener

    def say(sentence: str) -> None:
        if as_log:
            logging.getLogger(NOTICE_LOGGER).info(sentence)
        elif not quiet:
            click.echo(sentence, err=True)

    if quiet or as_log or not sys.stderr.isatty():
        yield ProgressListener(say, lambda _count: None, lambda _window, _tally: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, markup=False, emoji=False), transient=True) as progress:
        task = progress.add_task("fetching", total=None)

        def step(window: DateRange, _tally: RunCounts) -> None:
            progress.update(task, advance=1, description=f"{window.first} to {window.last}")

        yield ProgressListener(progress.console.print, lambda count: progress.update(task, total=count), step)


def _print_runs(console: Console, runs: Iterable[dict[str, Any]]) -> None:
    names = ("days", "new", "changed", "withdrawn", "unchanged", "rejected")
    table = new_table("started (UTC)", "command", "outcome", *(f"#{name}" for name in names), "error")
    for run in runs:
        started = f"{run['started_at']:%Y-%m-%d %H:%M:%S}"
        counts = [f"{run[name]:,}" for name in names]
        table.add_row(started, run["command"], run["outcome"], *counts, run["error"] or "")
    print_table(console, "Last runs", table)


def _styled(text: str, style: str) -> Text:
    from rich.text import Text

    return Text(text, style)


def _range(window: DateRange) -> str:
    return str(window.first) if len(window) == 1 else f"{window.first} to {window.last}"
