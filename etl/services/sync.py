"""The service behind `sync`, `backfill` and `accept`: lock, schema and client around one run of the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

from etl.config.schema import Settings
from etl.db.engine import database_exists
from etl.db.errors import translate_errors
from etl.db.lock import account_lock
from etl.db.retry import retry_transaction, wait_for_server
from etl.db.store import Store
from etl.errors import BillingError, ConfigError
from etl.extract.spool import RecordSpool
from etl.extract.transport import Transport
from etl.pipeline import SyncRun
from etl.services.context import Connect, LockFactory, OpenDatabase, ensure_schema, open_client, run_lock, utc_now
from etl.services.database import pooled_engine
from etl.services.run import ProgressListener, RunRequest, SyncResult


def run_sync(
    settings: Settings,
    request: RunRequest,
    listener: ProgressListener,
    *,
    redact: Callable[[str], str],
    clock: Callable[[], datetime] = utc_now,
    lock: LockFactory = account_lock,
    connect: Connect = Transport,
    open_database: OpenDatabase = pooled_engine,
    open_spool: Callable[[], RecordSpool] = RecordSpool,
) -> SyncResult:
    """Run one account once.

    Args:
        settings: Of the account.
        request: The command and its range.
        listener: Receives progress.
        redact: Removes secrets from a text.
        clock: The present time, aware.
        lock: Creates the account's lock. Without one the fence alone separates two runs.
        connect: Opens the transport to the vendor.
        open_database: Opens the engine.
        open_spool: Creates the storage of an answer's records.

    Returns:
        The result, with the error that ended the run early if one did; completed windows are kept.

    Raises:
        ConfigError: Before anything is done.
    """
    result = SyncResult(settings.account, request.command, request.dry_run)
    started = time.monotonic()
    settings.require_token()
    settings.route_to(settings.api_url)
    _require_past_start(settings, clock())
    with open_database(settings.database_url) as engine:
        try:
            with translate_errors():
                if database_exists(engine):
                    wait_for_server(engine, settings.database_wait)
            with translate_errors(), run_lock(engine, settings, request, lock):
                ready = retry_transaction(
                    partial(ensure_schema, engine, settings, dry_run=request.dry_run, report=listener.message)
                )
                client_for = partial(open_client, settings, redact, connect=connect)
                with client_for() as client, client_for(short_timeout=True) as quick_client:
                    run = SyncRun(
                        settings, request, result, Store(ready), client, quick_client, listener, clock, redact,
                        open_spool,
                    )  # fmt: skip
                    run.execute()
        except BillingError as error:
            result.error = result.error or error
    result.seconds = time.monotonic() - started
    return result


def _require_past_start(settings: Settings, now: datetime) -> None:
    """Raise ConfigError if BILLING_START_DATE is in the future."""
    today = settings.today(now)
    if settings.start_date and settings.start_date > today:
        raise ConfigError(
            f"BILLING_START_DATE is {settings.start_date}, and must be a day that has begun: today is {today}"
        )
