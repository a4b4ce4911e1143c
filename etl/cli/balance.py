"""The command about money: balance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from etl.cli.exit_codes import ExitCode, code_for_error
from etl.cli.json_output import period_as_json, print_json, summary_as_json
from etl.cli.options import (
    AMOUNT,
    SEVERAL_ACCOUNTS,
    TIMESTAMP,
    account_option,
    examples,
    json_option,
    load_settings_for,
)
from etl.cli.output import OutputOptions, report_error
from etl.cli.tables import print_rows, render_minute, render_money
from etl.cli.text_output import print_balance_notes
from etl.config.schema import Settings
from etl.errors import AuthenticationError, BillingError, DatabaseError, SourceUnavailable, VendorError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.reconcile import BalanceSummary, ReconciliationPeriod, TopUp

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
    from etl.services.context import utc_now

    if at is not None and top_up is None:
        raise click.UsageError("--at goes with --top-up")
    if top_up is not None and removed_id is not None:
        raise click.UsageError("--top-up and --remove-top-up exclude each other")
    all_settings = load_settings_for(options, accounts)
    for settings in all_settings:
        settings.require_token()
    if (top_up or removed_id) is not None and len(all_settings) > 1:
        raise click.UsageError(SEVERAL_ACCOUNTS)
    earliest, latest = _paid_between(at, all_settings[0])
    if earliest > utc_now():
        raise click.UsageError(f"--at {at} lies in the future")
    removed = None if removed_id is None else _remove_top_up(all_settings[0], removed_id)
    documents = [_take_and_show(options, settings, top_up, earliest, latest, removed) for settings in all_settings]
    code: int = max(document["exit_code"] for document in documents)
    if options.as_json:
        print_json({"accounts": documents, "exit_code": code})
    return code


def _paid_between(at: date | datetime | None, settings: Settings) -> tuple[datetime, datetime | None]:
    """The earliest and the latest time of a top-up; None is the present."""
    if at is None:
        return BEGINNING, None
    if isinstance(at, datetime):
        return at, at
    earliest, latest = (datetime.combine(at, clock, tzinfo=settings.timezone) for clock in (time.min, time.max))
    return earliest, latest


def _remove_top_up(settings: Settings, top_up_id: int) -> TopUp:
    """Delete a top-up of the account.

    Raises:
        click.UsageError: The account has no top-up with this id.
    """
    from etl.db.balance import read_all_top_ups, remove_top_up
    from etl.db.engine import pooled_engine
    from etl.db.errors import translate_errors

    with pooled_engine(settings.database_url) as engine, translate_errors():
        account_id, _ = _find_synced_account(engine, settings)
        with engine.begin() as connection:
            removed = remove_top_up(connection, account_id, top_up_id)
            known = [str(top_up.id) for top_up in read_all_top_ups(connection, account_id)]
    if removed is None:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise click.UsageError(f"--remove-top-up {top_up_id}: {settings.account} has no such top-up; {has}")
    return removed


def _take_and_show(
    options: OutputOptions,
    settings: Settings,
    amount: Decimal | None,
    earliest: datetime,
    latest: datetime | None,
    removed: TopUp | None,
) -> dict[str, Any]:
    """Take a snapshot of one account, record the top-up, print the proof.

    Returns:
        The result as one JSON object.
    """
    from etl.db.balance import load_periods, load_summary, read_all_top_ups, write_top_up
    from etl.db.engine import pooled_engine, read_connection
    from etl.db.errors import translate_errors
    from etl.reconcile import TopUp, find_matching_credit
    from etl.services.context import utc_now

    error: BillingError | None = None
    recorded: TopUp | None = None
    with pooled_engine(settings.database_url) as engine, translate_errors():
        account_id, watermark = _find_synced_account(engine, settings)
        try:
            _take_snapshot(options, settings, engine, account_id, watermark)
        except AuthenticationError as refused:
            error = refused
        except VendorError as unavailable:
            # Without a new snapshot, the top-up is recorded and the stored proof is shown all the same.
            error = SourceUnavailable(f"no snapshot was taken: {unavailable}")
        now = utc_now()
        if amount is not None:
            paid_by = min(latest, now) if latest else now
            with engine.begin() as connection:
                credit = find_matching_credit(load_periods(connection, account_id, now), amount, earliest, paid_by)
                recorded = TopUp(min(credit.closed_at, paid_by) if credit else paid_by, amount)
                write_top_up(connection, account_id, recorded, now=now)
        with read_connection(engine) as connection:
            periods = load_periods(connection, account_id, now)
            summary = load_summary(connection, account_id, now, settings.low_balance, settings.timezone)
            top_ups = read_all_top_ups(connection, account_id)
    document = {
        "account": settings.account,
        **summary_as_json(summary),
        "top_up": recorded,
        "removed_top_up": removed,
        "top_ups": top_ups,
        "pairs": [period_as_json(period) for period in periods],
        "exit_code": code_for_error(error) if error else ExitCode.OK,
        "error": options.redact(str(error)) if error else None,
    }
    if not options.as_json:
        if options.verbosity >= 0 or error or (summary and summary.needs_attention):
            _print_balance(settings.account, summary, periods, top_ups, recorded=recorded, removed=removed)
        if error:
            report_error(options, error)
    return document


def _find_synced_account(engine: Engine, settings: Settings) -> tuple[int, date | None]:
    """The id and the watermark of the account.

    Raises:
        DatabaseError: There is no database, or the account was never synced.
    """
    from etl.db.bindings import require_binding
    from etl.db.engine import read_connection, require_database
    from etl.db.migrate import require_schema
    from etl.db.run_store import find_account, read_position
    from etl.services.context import account_binding

    require_database(engine)
    with read_connection(engine) as connection:
        require_schema(connection)
        require_binding(connection, settings.account, account_binding(settings))
        account_id = find_account(connection, settings.account)
        if account_id is None:
            raise DatabaseError(f"the account {settings.account} was never synced; run: billing-etl sync")
        return account_id, read_position(connection, account_id).watermark


def _take_snapshot(
    options: OutputOptions, settings: Settings, engine: Engine, account_id: int, watermark: date | None
) -> None:
    """Fetch the balance and the spend of incomplete days, and store both as a snapshot."""
    from etl.services.balance import BalanceReading, fetch_balance
    from etl.services.context import build_spend_ledger, open_client, utc_now

    now = utc_now()
    with open_client(settings, options.redact) as client:
        today = now.astimezone(settings.timezone).date()
        ledger = build_spend_ledger(engine, settings, account_id, client, today, watermark)
        reading = BalanceReading(now, fetch_balance(client))
        since = ledger.first_day()
        fresh = ledger.fetch_spend(ledger.unrecorded_windows(since, ()))
        ledger.store_snapshots([reading], since, fresh)


def _print_balance(
    account: str,
    summary: BalanceSummary | None,
    periods: Sequence[ReconciliationPeriod],
    top_ups: Sequence[TopUp],
    *,
    recorded: TopUp | None,
    removed: TopUp | None,
) -> None:
    """Print the balance, the change of top-ups, the newest top-ups and pairs of the proof, and the notes on them."""
    if summary is None:
        click.echo(f"{account}: no balance is known yet")
    else:
        click.echo(f"{account}: balance {render_money(summary.balance)} at {render_minute(summary.taken_at)} UTC")
    if recorded:
        click.echo(f"recorded: {render_money(recorded.amount)} paid in by {render_minute(recorded.at)} UTC")
    if removed:
        paid_in = f"{render_money(removed.amount)} paid in by {render_minute(removed.at)} UTC"
        click.echo(f"removed: top-up {removed.id}, {paid_in}")
    if top_ups:
        rows = [
            (top_up.id, render_minute(top_up.at), render_money(top_up.amount)) for top_up in top_ups[-MAX_ROWS_SHOWN:]
        ]
        print_rows("Top-ups", ("#id", "paid in by (UTC)", "#amount"), rows)
    if periods:
        columns = (
            *("opened (UTC)", "closed (UTC)", "#opening", "#charged", "#top-ups", "#closing", "#restated"),
            *("#unexplained", ""),
        )
        print_rows("Balance proof", columns, map(_proof_row, periods[-MAX_ROWS_SHOWN:]))
    print_balance_notes(account, summary)


def _proof_row(period: ReconciliationPeriod) -> tuple[str, ...]:
    amounts = map(render_money, (period.opening, period.charged, period.top_ups, period.closing))
    results = ("", "") if period.waits else (render_money(period.restated), render_money(period.unexplained))
    finding = "charges under way" if period.unexplained and not period.is_certain else period.finding
    return (render_minute(period.opened_at), render_minute(period.closed_at), *amounts, *results, finding)
