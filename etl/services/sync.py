"""The service behind `sync`, `backfill` and `accept`: lock, schema and client around one run of the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from etl.config.schema import Settings
from etl.db.engine import database_exists
from etl.db.errors import translate_errors
from etl.db.retry import retry_transaction, wait_for_server
from etl.db.store import Store
from etl.errors import BillingError, ConfigError
from etl.pipeline import SyncRun
from etl.services.context import RunResources, ensure_schema, open_client, run_lock, utc_now
from etl.services.run import ProgressListener, RunRequest, SyncResult

_DEFAULT_RESOURCES: Final = RunResources()


def run_sync(
    settings: Settings,
    request: RunRequest,
    listener: ProgressListener,
    *,
    redact: Callable[[str], str],
    clock: Callable[[], datetime] = utc_now,
    resources: RunResources = _DEFAULT_RESOURCES,
) -> SyncResult:
    """Run one account once.

    Args:
        settings: Settings of the account.
        request: The command and its range.
        listener: Receives progress.
        redact: Removes secrets from a text.
        clock: The present time, aware.
        resources: How it opens the lock, the database and the connection to the vendor.

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
    with resources.open_database(settings.database_url) as engine:
        try:
            with translate_errors():
                if database_exists(engine):
                    wait_for_server(engine, settings.database_wait)
            with translate_errors(), run_lock(engine, settings, request, resources.lock):
                ready = retry_transaction(
                    partial(ensure_schema, engine, settings, dry_run=request.dry_run, report=listener.message)
                )
                client_for = partial(open_client, settings, redact, connect=resources.connect)
                with client_for() as client, client_for(short_timeout=True) as quick_client:
                    run = SyncRun(
                        settings=settings,
                        request=request,
                        result=result,
                        store=Store(ready),
                        client=client,
                        quick_client=quick_client,
                        listener=listener,
                        clock=clock,
                        redact=redact,
                        open_spool=resources.open_spool,
                    )
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
