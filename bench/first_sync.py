"""A first sync of 30 days of 10,000 records, side by side with the floor: the least code that does the naive half.

    python bench/first_sync.py [--pairs 5] [--postgres postgresql://postgres@127.0.0.1/postgres]

Whole processes in turn, against one server; only the ratios mean anything. The floor upserts a day at a time on a key
of second, phone and code: it keeps no ledger, loses exact repeats and never notices a withdrawn record. Every run's
result is checked before it counts.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import psycopg
import requests

from etl.sandbox import Dataset, Sandbox

FIRST, DAYS, PER_DAY = date(2026, 10, 1), 30, 10_000
LAST = FIRST + timedelta(days=DAYS - 1)
NOW = datetime(2026, 11, 20, 12)
COLUMNS = "created_at, phone, code_auth, status, status_info, price"
UPDATES = "status = excluded.status, status_info = excluded.status_info, price = excluded.price"


class Charge(msgspec.Struct, gc=False):
    created_at: str
    phone: str
    code_auth: str
    status: int
    status_info: str
    price: Decimal


class Answer(msgspec.Struct):
    data: list[Charge]


def make_records() -> list[dict[str, object]]:
    """Charges that never share a key, spread evenly over each day."""
    chance = random.Random(1)
    prices = [Decimal(price) for price in ("0.2", "0.2", "2.5", "3.1", "0")]
    records = []
    for number in range(DAYS * PER_DAY):
        day, of_day = divmod(number, PER_DAY)
        moment = datetime.combine(FIRST, datetime.min.time()) + timedelta(days=day, seconds=of_day * 86_400 // PER_DAY)
        records.append(
            {
                "created_at": moment.isoformat(),
                "code_auth": f"{chance.randrange(10_000):04d}",
                "status": int(chance.random() < 0.95),
                "status_info": "Ok: SIP 200 OK",
                "phone": f"89{number:09d}",
                "price": chance.choice(prices),
            }
        )
    return records


def days_of(url: str) -> list[tuple[date, Callable[[], bytes]]]:
    session = requests.Session()

    def fetch(day: date) -> bytes:
        asked = {"start_date": day.isoformat(), "end_date": day.isoformat()}
        return session.post(f"{url}/post_billing_data/", json=asked, timeout=60).content

    days = [FIRST + timedelta(days=number) for number in range(DAYS)]
    return [(day, lambda day=day: fetch(day)) for day in days]


def floor_postgresql(url: str, database: str) -> None:
    decode = msgspec.json.Decoder(Answer).decode
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE floor (created_at timestamp, phone text, code_auth text, status int, status_info text,"
            " price numeric(18, 6), PRIMARY KEY (created_at, phone, code_auth))"
        )
        connection.commit()
        for _day, fetch in days_of(url):
            rows = decode(fetch()).data
            cursor.execute("CREATE TEMP TABLE stage (LIKE floor) ON COMMIT DROP")
            with cursor.copy(f"COPY stage ({COLUMNS}) FROM STDIN") as copy:
                copy.write("".join(["%s\t%s\t%s\t%s\t%s\t%s\n" % msgspec.structs.astuple(row) for row in rows]))
            upsert = f"ON CONFLICT (created_at, phone, code_auth) DO UPDATE SET {UPDATES}"
            cursor.execute(f"INSERT INTO floor SELECT * FROM stage {upsert}")
            connection.commit()


def floor_sqlite(url: str, database: str) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE floor (created_at text, phone text,"
        " code_auth text, status int, status_info text, price real, PRIMARY KEY (created_at, phone, code_auth))"
    )
    names = COLUMNS.split(", ")
    for _day, fetch in days_of(url):
        rows = [[row[name] for name in names] for row in msgspec.json.decode(fetch())["data"]]
        connection.execute("BEGIN")
        connection.executemany(f"INSERT INTO floor VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {UPDATES}", rows)
        connection.execute("COMMIT")
    connection.close()


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of a whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | environment, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def pair_sqlite(sandbox: Sandbox, folder: Path, number: int) -> tuple[float, float]:
    floor, ours = folder / f"floor{number}.db", folder / f"ours{number}.db"
    a = timed([sys.executable, __file__, "--floor", "sqlite", f"{sandbox.url}/{sandbox.token}", str(floor)], {})
    b = timed(our_command(), our_settings(sandbox, f"sqlite:///{ours}"))
    for path, table in ((floor, "floor"), (ours, "billing_records")):
        with sqlite3.connect(path) as connection:
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (DAYS * PER_DAY,)
    return report("SQLite", a, b)


def pair_postgresql(sandbox: Sandbox, server: str, _number: int) -> tuple[float, float]:
    database = server.rsplit("/", 1)[0] + "/billing_bench"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS billing_bench WITH (FORCE)")
        connection.execute("CREATE DATABASE billing_bench")
    a = timed([sys.executable, __file__, "--floor", "postgresql", f"{sandbox.url}/{sandbox.token}", database], {})
    b = timed(our_command(), our_settings(sandbox, database))
    with psycopg.connect(database) as connection:
        for table in ("floor", "billing_records"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (DAYS * PER_DAY,)
    return report("PostgreSQL", a, b)


def our_command() -> list[str]:
    return [sys.executable, "-m", "etl", "-q", "sync", "--since", FIRST.isoformat(), "--until", LAST.isoformat()]


def our_settings(sandbox: Sandbox, database: str) -> dict[str, str]:
    return {"BILLING_API_URL": sandbox.url, "BILLING_API_TOKEN": sandbox.token, "BILLING_DATABASE_URL": database}


def report(name: str, floor: tuple[float, float], ours: tuple[float, float]) -> tuple[float, float]:
    print(f"{name}: floor {floor[0]:.2f} s ({floor[1]:.2f} of CPU), ours {ours[0]:.2f} s ({ours[1]:.2f})", flush=True)
    return ours[0] / floor[0], ours[1] / floor[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--postgres", default="postgresql://postgres@127.0.0.1/postgres")
    parser.add_argument("--floor", choices=["sqlite", "postgresql"], help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.floor:
        {"sqlite": floor_sqlite, "postgresql": floor_postgresql}[arguments.floor](*arguments.rest)
        return
    dataset = Dataset(seed=1, today=NOW.date(), days=1, per_day=1)
    dataset.replace(make_records())
    with Sandbox(port=0, dataset=dataset, now=NOW) as sandbox, tempfile.TemporaryDirectory() as folder:
        for name, pair, place in (
            ("SQLite", pair_sqlite, Path(folder)),
            ("PostgreSQL", pair_postgresql, arguments.postgres),
        ):
            pair(sandbox, place, -1)  # the server's and the disk's caches are warm from here on
            ratios = [pair(sandbox, place, number) for number in range(arguments.pairs)]
            wall, cpu = (statistics.median(one) for one in zip(*ratios, strict=True))
            print(f"{name}: {wall:.2f} times the floor's wall time, {cpu:.2f} times its CPU (medians)")


if __name__ == "__main__":
    main()
