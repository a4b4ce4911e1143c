"""The command `balance`: a snapshot of an account's balance, its top-ups, and the balance proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Engine

from etl.config.schema import Settings
from etl.db.balance import load_periods, load_summary, read_all_top_ups, remove_top_up, write_top_up
from etl.db.engine import read_connection
from etl.db.errors import translate_errors
from etl.db.run_store import find_account, read_sync_state
from etl.db.store import read_database
from etl.errors import AuthenticationError, BillingError, DatabaseError, SourceUnavailable, VendorError
from etl.reconcile import BalanceSummary, ReconciliationPeriod, TopUp, find_matching_credit
from etl.services.balance import BalanceReading, SpendLedger, fetch_balance
from etl.services.context import open_client, open_source, require_account_settings, utc_now
from etl.services.database import pooled_engine


@dataclass(slots=True)
class BalanceProof:
    """The balance of an account and its reconciliation.

    Attributes:
        error: The reason why no snapshot was taken; None if one was.
        recorded: The top-up that was recorded; None without one.
        summary: The newest balance; None before the first snapshot.
        periods: The reconciliation periods, oldest first.
        top_ups: All top-ups, oldest first.
    """

    error: BillingError | None = None
    recorded: TopUp | None = None
    summary: BalanceSummary | None = None
    periods: list[ReconciliationPeriod] = field(default_factory=list)
    top_ups: list[TopUp] = field(default_factory=list)


def take_and_prove(
    settings: Settings,
    amount: Decimal | None,
    earliest: datetime,
    latest: datetime | None,
    *,
    redact: Callable[[str], str],
    clock: Callable[[], datetime] = utc_now,
) -> BalanceProof:
    """Take a snapshot of an account's balance, record a top-up, and read the balance proof.

    Without a new snapshot, the top-up is recorded and the stored proof is still read.

    Args:
        settings: The settings of the account.
        amount: Amount of the top-up; None without one.
        earliest: Earliest time of the payment.
        latest: Latest time of the payment; None is the present.
        redact: Removes secrets from a text.
        clock: The present time, aware.

    Raises:
        ConfigError: The account is bound to other settings.
        DatabaseError: The database is missing or failed, or the account was never synced.
    """
    proof = BalanceProof()
    with pooled_engine(settings.database_url) as engine, translate_errors():
        account_id, watermark = _find_synced_account(engine, settings)
        try:
            _take_snapshot(settings, engine, account_id, watermark, redact, clock)
        except AuthenticationError as refused:
            proof.error = refused
        except VendorError as unavailable:
            proof.error = SourceUnavailable(f"no snapshot was taken: {unavailable}")
        now = clock()
        if amount is not None:
            paid_by = min(latest, now) if latest else now
            with engine.begin() as connection:
                credit = find_matching_credit(load_periods(connection, account_id, now), amount, earliest, paid_by)
                proof.recorded = TopUp(min(credit.closed_at, paid_by) if credit else paid_by, amount)
                write_top_up(connection, account_id, proof.recorded, now=now)
        with read_connection(engine) as connection:
            proof.periods = load_periods(connection, account_id, now)
            proof.summary = load_summary(connection, account_id, now, settings.low_balance, settings.timezone)
            proof.top_ups = read_all_top_ups(connection, account_id)
    return proof


def remove_recorded_top_up(settings: Settings, top_up_id: int) -> tuple[TopUp | None, list[int | None]]:
    """Delete a top-up of an account.

    Returns:
        The deleted top-up, None if the account has none with this id; and the ids that are left.

    Raises:
        ConfigError: The account is bound to other settings.
        DatabaseError: The database is missing or failed, or the account was never synced.
    """
    with pooled_engine(settings.database_url) as engine, translate_errors():
        account_id, _ = _find_synced_account(engine, settings)
        with engine.begin() as connection:
            removed = remove_top_up(connection, account_id, top_up_id)
            return removed, [top_up.id for top_up in read_all_top_ups(connection, account_id)]


def _find_synced_account(engine: Engine, settings: Settings) -> tuple[int, date | None]:
    """The id and the watermark of the account.

    Raises:
        DatabaseError: There is no database, or the account was never synced.
    """
    with read_database(engine) as connection:
        require_account_settings(connection, settings)
        account_id = find_account(connection, settings.account)
        if account_id is None:
            raise DatabaseError(f"the account {settings.account} was never synced; run: billing-etl sync")
        return account_id, read_sync_state(connection, account_id).watermark


def _take_snapshot(
    settings: Settings,
    engine: Engine,
    account_id: int,
    watermark: date | None,
    redact: Callable[[str], str],
    clock: Callable[[], datetime],
) -> None:
    """Fetch the balance and the spend of incomplete days, and store both as a snapshot."""
    now = clock()
    with open_client(settings, redact) as client:
        today = settings.today(now)
        source = open_source(settings, client, today=today, last=today)
        ledger = SpendLedger(engine, account_id, source, settings.timezone, watermark, settings.window_days)
        reading = BalanceReading(now, fetch_balance(client))
        since = ledger.first_day()
        fresh = ledger.fetch_spend(ledger.unrecorded_windows(since, ()))
        ledger.store_snapshots([reading], since, fresh)
