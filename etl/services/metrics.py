"""The gauges of accounts, for the metrics of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from sqlalchemy import URL

from etl.db.engine import database_exists, read_connection
from etl.db.errors import translate_errors
from etl.errors import BillingError
from etl.ops.metrics import AccountGauges, load_gauges
from etl.services.database import open_engine


def read_gauges(accounts: Mapping[URL, Sequence[str]], now: datetime) -> dict[str, AccountGauges]:
    """Read the gauges of accounts by label, from each of their databases that answers."""
    gauges: dict[str, AccountGauges] = {}
    for url, labels in accounts.items():
        with suppress(BillingError), translate_errors():
            engine = open_engine(url)
            if database_exists(engine):
                with read_connection(engine) as connection:
                    gauges |= load_gauges(connection, labels, now)
    return gauges
