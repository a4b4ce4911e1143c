"""`.venv/bin/python -m bench.lake`: exports of many accounts from SQLite to a lake, and reads of it.

The accounts are filled by SQL, not by syncs. Each line has the time on the clock and the CPU time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, insert, update

from etl.config.database_url import parse_url
from etl.config.loader import parse_settings
from etl.db.engine import new_engine
from etl.db.migrate import ensure_current
from etl.db.tables import accounts, billing_records, sync_state, synced_days
from etl.lake import schema
from etl.lake.catalogue import open_lake
from etl.services.lake import export_to_lake

FIRST, PRICE = date(2026, 9, 1), Decimal("0.2")
CREATED = datetime(2026, 11, 1, 6, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accounts", type=int, default=500)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--per-day", type=int, default=20, help="charges of an account and day")
    parser.add_argument("--by-account", action="store_true", help="a partition for each account, however many")
    parser.add_argument("--per-bucket", type=int, default=schema.ACCOUNTS_PER_BUCKET, help="accounts of a bucket")
    options = parser.parse_args()
    schema.ACCOUNTS_PER_BUCKET = options.per_bucket
    if options.by_account:
        schema.MIN_ACCOUNTS_FOR_BUCKETS = options.accounts + 1
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as folder:
        measure(Path(folder), options.accounts, options.days, options.per_day)


def measure(folder: Path, number: int, days: int, per_day: int) -> None:
    url, lake = parse_url(f"sqlite:///{folder / 'billing.db'}"), folder / "lake"
    engine = new_engine(url)
    ensure_current(engine)
    fill(engine, number, days, per_day)
    settings = [parse_settings([{"BILLING_API_TOKEN": "0" * 32, "BILLING_DATABASE_URL": str(url)}])]
    last, one = FIRST + timedelta(days=days - 1), (number + 1) // 2

    def export() -> int:
        return export_to_lake(settings, (), lake, None).rows

    def read(condition: str) -> Callable[[], int]:
        table = open_lake(lake, None).billing
        return lambda: len(table.scan(row_filter=condition, selected_fields=("amount",)).to_arrow())

    timed("a first export", export)
    print_files(lake)
    change(engine, range(1, number + 1), last - timedelta(days=2))
    timed("a night that changed 3 days of each account", export)
    print_files(lake)
    change(engine, [one], last)
    timed("one changed day of one account", export)
    month = last.replace(day=1)
    timed("read a month of one account", read(f"account = 'shop-{one:04}' AND day >= '{month}'"))
    timed("read a month of all accounts", read(f"day >= '{month}'"))


def fill(engine: Engine, number: int, days: int, per_day: int) -> None:
    with engine.begin() as connection:
        for account in range(1, number + 1):
            label = f"shop-{account:04}"
            own = {"id": account, "label": label, "created_at": CREATED, "timezone": "Europe/Moscow"}
            connection.execute(insert(accounts), own)
            state = {"account_id": account, "fence": 0, "revision": 1, "last_synced_date": FIRST}
            connection.execute(insert(sync_state), state)
            dates = [FIRST + timedelta(days=day) for day in range(days)]
            rows = [charge(account, day, second) for day in dates for second in range(per_day)]
            connection.execute(insert(billing_records), rows)
            connection.execute(insert(synced_days), [ledger_entry(account, day, per_day) for day in dates])


def charge(account: int, day: date, second: int) -> dict[str, Any]:
    return {
        "account_id": account,
        "created_at": datetime(day.year, day.month, day.day, 10) + timedelta(seconds=second),
        "phone": f"+79{(account * 7919 + day.toordinal() * 104_729 + second * 611_953) % 10**9:09}",
        "code_auth": f"{(account + second * 37) % 10_000:04}",
        "ordinal": 1,
        "status": 1,
        "status_info": "ok",
        "price": PRICE,
        "repeats": 1,
        "utc_offset": 180,
        "first_seen_at": CREATED,
    }


def ledger_entry(account: int, day: date, per_day: int) -> dict[str, Any]:
    return {
        "account_id": account,
        "day": day,
        "digest": "0" * 64,
        "records": per_day,
        "spend": PRICE * per_day,
        "delivered": per_day,
        "repeated": 0,
        "source": "json",
        "stored_at": CREATED,
        "revision": 1,
    }


def change(engine: Engine, numbers: Any, since: date) -> None:
    """Give the days of some accounts the next revision, as a run that changed them does."""
    day, state = synced_days.c, sync_state.c
    with engine.begin() as connection:
        for account in numbers:
            raised = update(sync_state).where(state.account_id == account).values(revision=state.revision + 1)
            (revision,) = connection.execute(raised.returning(state.revision)).one()
            changed = update(synced_days).where(day.account_id == account, day.day >= since)
            connection.execute(changed.values(revision=revision))


def timed(what: str, work: Callable[[], int]) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    rows = work()
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    print(f"{what}: {rows:,} rows, {seconds:.2f} s, {used:.2f} s of CPU, {rows / seconds:,.0f} rows/s", flush=True)


def print_files(lake: Path) -> None:
    files = [task.file for task in open_lake(lake, None).billing.scan().plan_files()]
    print(f"  {len(files):,} files, {sum(file.file_size_in_bytes for file in files) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
