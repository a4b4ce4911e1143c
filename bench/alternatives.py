"""Other tools for the job, each in its usual way.

    python -m bench.alternatives core|dlt VENDOR DATABASE FIRST LAST

Prices are exact in all of them, but on SQLite, which has no type for that.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.baselines import answers


def with_core(database: str, days: Iterator[bytes]) -> None:
    """SQLAlchemy Core: `on_conflict_do_update` with all rows of a day, which is an `executemany`."""
    from sqlalchemy import Column, DateTime, Integer, MetaData, Numeric, String, Table, Text, create_engine

    if database.startswith("sqlite"):
        from sqlalchemy.dialects.sqlite import REAL, insert
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]

    exact = not database.startswith("sqlite")
    charges = Table(
        "charges",
        MetaData(),
        Column("created_at", DateTime, primary_key=True),
        Column("phone", String, primary_key=True),
        Column("code_auth", String, primary_key=True),
        Column("status", Integer),
        Column("status_info", Text),
        Column("price", Numeric(18, 6) if exact else REAL),
    )
    statement = insert(charges)
    changing = {name: statement.excluded[name] for name in ("status", "status_info", "price")}
    upsert = statement.on_conflict_do_update(index_elements=["created_at", "phone", "code_auth"], set_=changing)
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    charges.metadata.create_all(engine)
    for day in days:
        rows = json.loads(day, parse_float=Decimal if exact else float)["data"]
        for row in rows:
            row["created_at"] = datetime.fromisoformat(row["created_at"])
        with engine.begin() as connection:
            connection.execute(upsert, rows)


def with_dlt(database: str, days: Iterator[bytes]) -> None:
    """A dlt resource of dicts, merged on time, phone and code; it keeps its own state in the current folder."""
    here = Path.cwd()
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(here)}
    import dlt

    types: dict[str, Any] = {
        "created_at": {"data_type": "timestamp", "timezone": False},
        "price": {"data_type": "decimal"},
    }

    @dlt.resource(
        name="charges",
        write_disposition="merge",
        primary_key=("created_at", "phone", "code_auth"),
        columns=types,
    )
    def charges() -> Iterator[list[dict[str, Any]]]:
        for day in days:
            yield json.loads(day, parse_float=Decimal)["data"]

    pipeline = dlt.pipeline(
        pipeline_name="bench",
        destination=dlt.destinations.postgres(_with_password(database)),
        dataset_name="bench",
        pipelines_dir=str(here / "pipelines"),
    )
    pipeline.run(charges()).raise_on_failed_jobs()


def _with_password(database: str) -> str:
    """The URL with a password, which dlt requires, even if the server does not."""
    url = urlsplit(database)
    if url.password:
        return database
    return url._replace(netloc=url.netloc.replace("@", ":none@")).geturl()


def main() -> None:
    kind, vendor, database, first, last = sys.argv[1:]
    load = {"core": with_core, "dlt": with_dlt}[kind]
    load(database, answers(vendor, date.fromisoformat(first), date.fromisoformat(last)))


if __name__ == "__main__":
    main()
