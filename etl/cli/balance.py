"""The command about money: balance."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from etl.cli.each_account import for_each_account
from etl.cli.json_output import period_as_json, print_json, summary_as_json
from etl.cli.options import AMOUNT, TIMESTAMP, account_option, examples, json_option
from etl.cli.output import OutputOptions, report_error
from etl.cli.selection import SEVERAL_ACCOUNTS, load_configured
from etl.cli.tables import print_rows, render_minute, render_money
from etl.cli.text_output import balance_notes, print_notes
from etl.config.schema import Settings
from etl.exit_codes import ExitCode, code_for_error

if TYPE_CHECKING:
    from etl.reconcile import ReconciliationPeriod, TopUp
    from etl.services.balance_proof import BalanceProof

BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
MAX_ROWS_SHOWN: Final = 20
"""Newest top-ups and pairs of the balance proof that are printed; the view and `--json` have all."""


@click.command(epilog=examples("balance", "balance --top-up 500 --at 2026-03-09", "balance --remove-top-up 3"))
@click.option("--top-up", type=AMOUNT, metavar="AMOUNT", help="Record a payment into the account.")
@click.option(
    "--at",
    type=TIMESTAMP,
    metavar="TIME",
    help="Day or time of the payment; default the rise it explains, else now.",
)
@click.option("--remove-top-up", "removed_id", type=click.IntRange(1), metavar="ID", help="Delete a recorded payment.")
@account_option
@json_option
@click.pass_obj
def balance(
    options: OutputOptions,
    *,
    top_up: Decimal | None,
    at: date | datetime | None,
    removed_id: int | None,
    accounts: tuple[str, ...],
) -> int:
    """Take a balance snapshot and show the balance proof.

    The proof compares the change of the balance between two snapshots with the charges stored for that time. A top-up
    explains a rise; the list of top-ups shows their IDs.
    """
    from etl.services.balance_proof import remove_recorded_top_up
    from etl.services.context import utc_now

    if at is not None and top_up is None:
        raise click.UsageError("--at goes with --top-up")
    if top_up is not None and removed_id is not None:
        raise click.UsageError("--top-up and --remove-top-up exclude each other")
    selected = load_configured(options, accounts)
    if (top_up or removed_id) is not None and len(selected) > 1:
        raise click.UsageError(SEVERAL_ACCOUNTS)

    def take_one(settings: Settings) -> dict[str, Any]:
        settings.require_token()
        earliest, latest = _paid_between(at, settings)
        if earliest > utc_now():
            raise click.UsageError(f"--at {at} is in the future")
        removed = None
        if removed_id is not None:
            removed, known = remove_recorded_top_up(settings, removed_id)
            if removed is None:
                has = f"it has {', '.join(map(str, known))}" if known else "it has none"
                raise click.UsageError(f"--remove-top-up {removed_id}: {settings.account} has no such top-up; {has}")
        return _take_and_show(options, settings, top_up, earliest, latest, removed, alone=len(selected) == 1)

    outcomes = for_each_account(options, selected, take_one)
    code = outcomes.exit_code(int(document["exit_code"]) for document in outcomes.results)
    if options.as_json:
        print_json({"accounts": outcomes.results + outcomes.error_documents(options.redact), "exit_code": code})
    return code


def _paid_between(at: date | datetime | None, settings: Settings) -> tuple[datetime, datetime | None]:
    """The earliest and the latest time of a top-up; None is the present."""
    if at is None:
        return BEGINNING, None
    if isinstance(at, datetime):
        return at, at
    earliest, latest = (datetime.combine(at, clock, tzinfo=settings.timezone) for clock in (time.min, time.max))
    return earliest, latest


def _take_and_show(
    options: OutputOptions,
    settings: Settings,
    amount: Decimal | None,
    earliest: datetime,
    latest: datetime | None,
    removed: TopUp | None,
    *,
    alone: bool,
) -> dict[str, Any]:
    """Take a snapshot of one account, record the top-up, print the proof; errors have its label unless it is alone.

    Returns:
        The result as one JSON object.
    """
    from etl.services.balance_proof import take_and_prove

    proof = take_and_prove(settings, amount, earliest, latest, redact=options.redact)
    error = proof.error
    # Another attempt would change the top-ups again: without a snapshot, the command has done what it was called for.
    is_done = proof.recorded is not None or removed is not None
    document = {
        "account": settings.account,
        **summary_as_json(proof.summary),
        "top_up": proof.recorded,
        "removed_top_up": removed,
        "top_ups": proof.top_ups,
        "pairs": [period_as_json(period) for period in proof.periods],
        "exit_code": code_for_error(error) if error and not is_done else ExitCode.OK,
        "error": options.redact(str(error)) if error else None,
    }
    if not options.as_json:
        if options.verbosity >= 0 or error or (proof.summary and proof.summary.needs_attention):
            _print_balance(options, settings.account, proof, removed)
        if error:
            report_error(options, error, None if alone else settings.account)
    return document


def _print_balance(options: OutputOptions, account: str, proof: BalanceProof, removed: TopUp | None) -> None:
    """Print the balance, the change of top-ups, the newest top-ups and pairs of the proof, and the notes on them."""
    summary, recorded = proof.summary, proof.recorded
    if summary is None:
        click.echo(f"{account}: no balance is known yet")
    else:
        click.echo(f"{account}: balance {render_money(summary.balance)} at {render_minute(summary.taken_at)} UTC")
    if recorded:
        click.echo(f"recorded: {render_money(recorded.amount)} paid in by {render_minute(recorded.at)} UTC")
    if removed:
        paid_in = f"{render_money(removed.amount)} paid in by {render_minute(removed.at)} UTC"
        click.echo(f"removed: top-up {removed.id}, {paid_in}")
    if proof.top_ups:
        rows = [
            (top_up.id, render_minute(top_up.at), render_money(top_up.amount))
            for top_up in proof.top_ups[-MAX_ROWS_SHOWN:]
        ]
        print_rows("Top-ups", ("#id", "paid in by (UTC)", "#amount"), rows)
    if proof.periods:
        periods = proof.periods[-MAX_ROWS_SHOWN:]
        opening = (render_minute(periods[0].opened_at), "", "", render_money(periods[0].opening), "", "")
        columns = ("until (UTC)", "#charged", "#top-ups", "#balance", "#unexplained", "~finding")
        print_rows("Balance proof", columns, [opening, *map(_proof_row, periods)])
    print_notes(balance_notes(options, account, summary))


def _proof_row(period: ReconciliationPeriod) -> tuple[str, ...]:
    """A period, shown by its end: it starts at the end of the row above."""
    amounts = map(render_money, (period.charged, period.top_ups, period.closing))
    unexplained = "" if period.waits else render_money(period.unexplained)
    finding = "charges under way" if period.unexplained and not period.is_certain else period.finding
    restated = f"; restated days {render_money(period.restated)}" if period.restated else ""
    return (render_minute(period.closed_at), *amounts, unexplained, finding + restated)
