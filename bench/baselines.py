"""The baselines: the least code that does half of the job on each database.

    python -m bench.baselines sqlite|postgresql|mariadb VENDOR DATABASE FIRST LAST

A request, an upsert on time, phone and code, and a transaction a day. They keep no ledger, lose exact repeats and never
notice a withdrawn record. Each imports only what it needs: its start is part of its time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date, timedelta

import requests

COLUMNS = "created_at, phone, code_auth, status, status_info, price"


def answers(vendor: str, first: date, last: date) -> Iterator[bytes]:
    """The vendor's answer for each day."""
    session = requests.Session()
    for ahead in range((last - first).days + 1):
        day = (first + timedelta(days=ahead)).isoformat()
        asked = {"start_date": day, "end_date": day}
        response = session.post(f"{vendor}/token/post_billing_data/", json=asked, timeout=60)
        response.raise_for_status()
        yield response.content


def sqlite(database: str, days: Iterator[bytes]) -> None:
    """An upsert with `executemany`; WAL, `synchronous = NORMAL`."""
    import sqlite3

    import orjson

    connection = sqlite3.connect(database.removeprefix("sqlite:///"), isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE IF NOT EXISTS charges (created_at text,"
        " phone text, code_auth text, status int, status_info text, price real,"
        " PRIMARY KEY (created_at, phone, code_auth))"
    )
    names = COLUMNS.split(", ")
    for day in days:
        rows = [[row[name] for name in names] for row in orjson.loads(day)["data"]]
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET status = excluded.status,"
            " status_info = excluded.status_info, price = excluded.price",
            rows,
        )
        connection.execute("COMMIT")
    connection.close()


def decoded(days: Iterator[bytes]) -> Iterator[list[tuple[object, ...]]]:
    """The rows of each day; msgspec parses prices as Decimal."""
    from decimal import Decimal

    import msgspec

    kinds = {"created_at": str, "phone": str, "code_auth": str, "status": int, "status_info": str, "price": Decimal}
    charge = msgspec.defstruct("Charge", list(kinds.items()), gc=False)
    decode = msgspec.json.Decoder(msgspec.defstruct("Answer", [("data", list[charge])])).decode  # type: ignore[valid-type]
    for day in days:
        yield [msgspec.structs.astuple(row) for row in decode(day).data]


def postgresql(database: str, days: Iterator[bytes]) -> None:
    """COPY into a temporary table, and an upsert from there."""
    import psycopg

    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS charges (created_at timestamp, phone text, code_auth text, status int,"
            " status_info text, price numeric(18, 6), PRIMARY KEY (created_at, phone, code_auth))"
        )
        connection.commit()
        for rows in decoded(days):
            cursor.execute("CREATE TEMP TABLE stage (LIKE charges) ON COMMIT DROP")
            with cursor.copy(f"COPY stage ({COLUMNS}) FROM STDIN") as copy:
                copy.write("".join(["%s\t%s\t%s\t%s\t%s\t%s\n" % row for row in rows]))
            cursor.execute(
                "INSERT INTO charges SELECT * FROM stage ON CONFLICT (created_at, phone, code_auth) DO UPDATE"
                " SET status = excluded.status, status_info = excluded.status_info, price = excluded.price"
            )
            connection.commit()


def mariadb(database: str, days: Iterator[bytes]) -> None:
    """INSERT of many rows, which PyMySQL creates from `executemany`, with ON DUPLICATE KEY UPDATE."""
    from urllib.parse import unquote, urlsplit

    import pymysql

    url = urlsplit(database)
    connection = pymysql.connect(
        host=url.hostname or "127.0.0.1",
        port=url.port or 3306,
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        database=url.path[1:],
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS charges (created_at datetime, phone varchar(255), code_auth varchar(255),"
            " status int, status_info text, price decimal(18, 6), PRIMARY KEY (created_at, phone, code_auth))"
        )
        for rows in decoded(days):
            cursor.executemany(
                f"INSERT INTO charges ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s) ON DUPLICATE KEY UPDATE"
                " status = VALUES(status), status_info = VALUES(status_info), price = VALUES(price)",
                rows,
            )
            connection.commit()


def main() -> None:
    kind, vendor, database, first, last = sys.argv[1:]
    load = {"sqlite": sqlite, "postgresql": postgresql, "mariadb": mariadb}[kind]
    load(database, answers(vendor, date.fromisoformat(first), date.fromisoformat(last)))


if __name__ == "__main__":
    main()
