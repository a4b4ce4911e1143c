"""The retention of the run history and of rejected records."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from etl import signals
from etl.config.schema import Settings
from etl.db.engine import read_connection
from etl.db.errors import describe_error
from etl.db.prune import delete_by_id, expired_rejects, expired_runs
from etl.db.tables import rejected_records, sync_runs

log = logging.getLogger(__name__)


def prune_history(engine: Engine, account_id: int, settings: Settings, now: datetime) -> None:
    """Delete runs and rejected records older than BILLING_KEEP_RUNS and BILLING_KEEP_REJECTED, in batches.

    A database error is logged: the next run deletes what is left.
    """
    try:
        with signals.deferred():
            for table, days, find_expired in (
                (sync_runs, settings.keep_runs, expired_runs),
                (rejected_records, settings.keep_rejected, expired_rejects),
            ):
                while days is not None:
                    with read_connection(engine) as connection:
                        ids = find_expired(connection, account_id, now - timedelta(days=days))
                    if not ids:
                        break
                    with engine.begin() as connection:
                        delete_by_id(connection, table, ids)
    except SQLAlchemyError as error:
        log.warning("the oldest lines of the history stay until the next run: %s", describe_error(error))
