"""The verb about money: balance."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from etl.cli.exit_codes import ExitCode, code_for_error
from etl.cli.json_output import period_as_json, print_json, summary_as_json
from etl.cli.options import AMOUNT, MOMENT, account_option, json_option, load_settings_for
from etl.cli.output import OutputOptions, report_error
from etl.config.schema import Settings
from etl.errors import AuthenticationError, BillingError, DatabaseError, SourceUnavailable, VendorError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.db.balance import TopUp

BEGINNING = datetime.min.replace(tzinfo=UTC)


@click.command()
@click.option("--top-up", type=AMOUNT, metavar="AMOUNT", help="Note money that was paid in.")
@click.option("--at", type=MOMENT, metavar="TIME", help="When it was paid in; else where it explains a rise, or now.")
@click.option("--remove-top-up", "removed_id", type=click.IntRange(1), metavar="ID", help="Take a top-up back.")
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

    What the balance did between two snapshots, held against what is on record. A top-up explains a rise; the list of
    top-ups shows the ID of each.
    """
    from etl.services.sync import utc_now

    if at is not None and top_up is None:
        raise click.UsageError("--at goes with --top-up")
    if top_up is not None and removed_id is not None:
        raise click.UsageError("--top-up and --remove-top-up exclude each other")
    all_settings = load_settings_for(options, accounts)
    for settings in all_settings:
        settings.require_token()
    if (top_up or removed_id) is not None and len(all_settings) > 1:
        raise click.UsageError("several accounts are configured; name one with --account")
    begins, ends = _bounds(at, all_settings[0])
    if begins > utc_now():
        raise click.UsageError(f"--at {at} lies in the future")
    removed = None if removed_id is None else _remove(all_settings[0], removed_id)
    documents = [_reconcile(options, settings, top_up, begins, ends, removed) for settings in all_settings]
    code: int = max(document["exit_code"] for document in documents)
    if options.as_json:
        print_json({"accounts": documents, "exit_code": code})
    return code


def _bounds(at: date | datetime | None, settings: Settings) -> tuple[datetime, datetime | None]:
    """Between which moments money was paid in: none is up to now."""
    if at is None:
        return BEGINNING, None
    if isinstance(at, datetime):
        return at, at
    begins, ends = (datetime.combine(at, moment, tzinfo=settings.timezone) for moment in (time.min, time.max))
    return begins, ends


def _remove(settings: Settings, number: int) -> TopUp:
    """Take a top-up of the account back.

    Raises:
        click.UsageError: The account has none with this id.
    """
    from etl.db.balance import read_all_top_ups, remove_top_up
    from etl.db.engine import pooled_engine, translate_errors

    with pooled_engine(settings.database_url) as engine, translate_errors():
        account_id, _ = _find(engine, settings)
        with engine.begin() as connection:
            removed = remove_top_up(connection, account_id, number)
            known = [str(one.id) for one in read_all_top_ups(connection, account_id)]
    if removed is None:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise click.UsageError(f"--remove-top-up {number}: {settings.account} has no such top-up; {has}")
    return removed


def _reconcile(
    options: OutputOptions,
    settings: Settings,
    amount: Decimal | None,
    begins: datetime,
    ends: datetime | None,
    removed: TopUp | None,
) -> dict[str, Any]:
    """Take one account's snapshot, note what was paid in, show the proof; the answer as one JSON object."""
    from etl.cli import text_output
    from etl.db.balance import TopUp, read_all_top_ups, write_top_up
    from etl.db.engine import pooled_engine, read_connection, translate_errors
    from etl.reconcile import find_matching_credit, load_periods, load_summary
    from etl.services.sync import utc_now

    error: BillingError | None = None
    noted: TopUp | None = None
    with pooled_engine(settings.database_url) as engine, translate_errors():
        account_id, watermark = _find(engine, settings)
        try:
            _take(options, settings, engine, account_id, watermark)
        except AuthenticationError as failure:
            error = failure
        except VendorError as failure:
            # What was paid in can be noted, and what is known be shown, all the same.
            error = SourceUnavailable(f"no snapshot was taken: {failure}")
        now = utc_now()
        if amount is not None:
            latest = min(ends, now) if ends else now
            with engine.begin() as connection:
                credit = find_matching_credit(load_periods(connection, account_id, now), amount, begins, latest)
                noted = TopUp(min(credit.closed_at, latest) if credit else latest, amount)
                write_top_up(connection, account_id, noted, now=now)
        with read_connection(engine) as connection:
            pairs = load_periods(connection, account_id, now)
            news = load_summary(connection, account_id, now, settings.low_balance, settings.timezone)
            top_ups = read_all_top_ups(connection, account_id)
    code = code_for_error(error) if error else ExitCode.OK
    document = {
        "account": settings.account,
        **summary_as_json(news),
        "top_up": noted,
        "removed_top_up": removed,
        "top_ups": top_ups,
        "pairs": [period_as_json(pair) for pair in pairs],
        "exit_code": code,
        "error": options.redact(str(error)) if error else None,
    }
    if not options.as_json:
        if options.verbosity >= 0 or error or (news and news.needs_attention):
            text_output.print_balance(settings.account, news, pairs, top_ups, noted=noted, removed=removed)
        if error:
            report_error(options, error)
    return document


def _find(engine: Engine, settings: Settings) -> tuple[int, date | None]:
    """An account that was synced before, and its watermark."""
    from etl.db.bindings import require_binding
    from etl.db.engine import read_connection, require_database
    from etl.db.ledger import find_account, read_position
    from etl.db.migrate import require_schema
    from etl.services.sync import account_binding

    require_database(engine)
    with read_connection(engine) as connection:
        require_schema(connection)
        require_binding(connection, settings.account, account_binding(settings))
        account_id = find_account(connection, settings.account)
        if account_id is None:
            raise DatabaseError(f"the account {settings.account} was never synced; run: billing-etl sync")
        return account_id, read_position(connection, account_id).watermark


def _take(options: OutputOptions, settings: Settings, engine: Engine, account_id: int, watermark: date | None) -> None:
    """Read the balance, and what is charged of days that are not on record whole; keep both as a snapshot."""
    from etl.services.balance import BalanceReading, fetch_balance
    from etl.services.sync import build_spend_ledger, open_client, utc_now

    now = utc_now()
    with open_client(settings, options.redact) as client:
        books = build_spend_ledger(
            engine, settings, account_id, client, now.astimezone(settings.timezone).date(), watermark
        )
        told = BalanceReading(now, fetch_balance(client))
        since = books.since()
        books.keep([told], since, books.fetch_spend(books.days_left(since, ())))
