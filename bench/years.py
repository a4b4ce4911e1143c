"""A table of a year, filled by SQL, and the time of usual queries of the views on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from bench.databases import Database
from bench.measure import FailedError, run
from bench.subjects import PROGRAM, program_command, program_environment

ROWS = 10_000_000
DAYS = 365

TIME_OF = {
    "postgresql": "timestamp '{first}' + make_interval(days => (n / {per_day})::int, secs => {second})",
    "sqlite": "datetime('{first}', (n / {per_day}) || ' days', ({second}) || ' seconds')",
    "mariadb": "DATE_ADD(DATE_ADD('{first}', INTERVAL n DIV {per_day} DAY), INTERVAL {second} SECOND)",
}
NUMBERS = {
    "postgresql": "generate_series(CAST(0 AS bigint), {rows} - 1) AS n",
    "sqlite": "(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < {rows} - 1) SELECT n FROM c)",
    "mariadb": "(SELECT seq AS n FROM seq_0_to_{last}) s",
}
PHONE_OF = {
    "postgresql": "'+79' || lpad((n * 7919 % 1000000000)::text, 9, '0')",
    "sqlite": "'+79' || printf('%09d', n * 7919 % 1000000000)",
    "mariadb": "CONCAT('+79', LPAD(n * 7919 % 1000000000, 9, '0'))",
}
PRICE = "CASE WHEN n % 7 = 0 THEN '1.250000' ELSE '0.350000' END"
STATUS = "CASE WHEN n % 5 = 0 THEN 0 ELSE 1 END"
NUMERIC = {"postgresql": "CAST({} AS NUMERIC(18, 6))", "sqlite": "{}", "mariadb": "CAST({} AS DECIMAL(18, 6))"}
SUM = {
    "postgresql": "SUM(price * repeats)",
    "sqlite": "printf('%.6f', SUM(CAST(price AS REAL)))",
    "mariadb": "SUM(price * repeats)",
}
HOUR = {
    "postgresql": "EXTRACT(HOUR FROM created_at)",
    "sqlite": "CAST(substr(created_at, 12, 2) AS INTEGER)",
    "mariadb": "HOUR(created_at)",
}
QUERIES = {
    "`daily_spend` of the year": "SELECT * FROM daily_spend WHERE account = 'default'",
    "`daily_spend` of a day": "SELECT * FROM daily_spend WHERE account = 'default' AND day = '{day}'",
    "`monthly_spend`": "SELECT * FROM monthly_spend",
    "`delivery_by_operator` of the year": "SELECT operator, SUM(records) FROM delivery_by_operator GROUP BY operator",
    "`hourly_spend` of the year": "SELECT hour, SUM(records) FROM hourly_spend GROUP BY hour",
    "`billing` of a day": "SELECT * FROM billing WHERE account = 'default' AND day = '{day}'",
    "newest 100 of `billing`": "SELECT * FROM billing WHERE account = 'default' ORDER BY created_at DESC LIMIT 100",
    "`freshness`": "SELECT * FROM freshness",
}


@dataclass(frozen=True, slots=True)
class Years:
    """The seconds of a query or command on a table with a number of rows."""

    database: str
    what: str
    rows: int
    seconds: float


def measure_years(database: Database, vendor: str, folder: Path, last: date, scale: float) -> Iterator[Years]:
    """Fill a table of one account and a year, and measure queries and commands on it."""
    rows = round(ROWS * scale)
    per_day = rows // DAYS
    rows = per_day * DAYS
    first = last - timedelta(days=DAYS - 1)
    environment = program_environment(vendor, database.url(PROGRAM.slug), BILLING_START_DATE=first.isoformat())
    database.empty(PROGRAM.slug)
    run(program_command("-q", "migrate"), environment, folder)
    kind = database.kind
    names: dict[str, object] = {"first": first, "per_day": per_day, "rows": rows, "last": rows - 1}
    names["second"] = f"(n % {per_day}) * 86400 {'DIV' if kind == 'mariadb' else '/'} {per_day}"
    now = f"'{last} 12:00:00'"
    for statement in (
        f"INSERT INTO accounts (id, label, created_at) VALUES (1, 'default', {now})",
        (
            "INSERT INTO billing_records (account_id, created_at, phone, code_auth, ordinal, status, status_info, "
            "price, repeats, utc_offset, first_seen_at) SELECT 1, "
            f"{TIME_OF[kind]}, {PHONE_OF[kind]}, '0371', 1, {STATUS}, 'ok', {NUMERIC[kind].format(PRICE)}, 1, 180, "
            f"{now} FROM {NUMBERS[kind]}"
        ),
        (
            "INSERT INTO hourly_totals (account_id, day, hour, records, delivered, spend) SELECT 1, "
            f"CAST({_date(kind)} AS {'TEXT' if kind == 'sqlite' else 'DATE'}), {HOUR[kind]}, COUNT(*), "
            f"SUM(CASE WHEN status = 1 THEN 1 ELSE 0 END), {SUM[kind]} FROM billing_records GROUP BY 2, 3"
        ),
        (
            "INSERT INTO synced_days (account_id, day, digest, records, delivered, spend, source, stored_at, "
            f"first_closed_at) SELECT 1, day, '', SUM(records), SUM(delivered), {_total(kind)}, 'json', {now}, {now} "
            "FROM hourly_totals GROUP BY day"
        ),
        (
            "INSERT INTO operator_totals (account_id, day, operator, records, delivered, spend) "
            "SELECT 1, day, '', records, delivered, spend FROM synced_days"
        ),
        (
            f"INSERT INTO sync_state (account_id, first_day, last_synced_date, settled_through, fence) "
            f"VALUES (1, '{first}', '{last}', '{last - timedelta(days=7)}', 1)"
        ),
    ):
        database.execute(PROGRAM.slug, statement.format(**names))
    database.analyse(PROGRAM.slug)
    for what, query in QUERIES.items():
        text = query.format(day=first + timedelta(days=200))
        list(database.read(PROGRAM.slug, text))
        begun = time.perf_counter()
        if not list(database.read(PROGRAM.slug, text)):
            raise FailedError(f"{what}: no row")
        yield Years(database.name, what, rows, time.perf_counter() - begun)
    for command in (("status",), ("report", "--out", "report.html")):
        used = run(program_command("-q", *command), environment, folder)
        yield Years(database.name, f"`billing-etl {command[0]}`", rows, used.wall)
    database.drop(PROGRAM.slug)


def _date(kind: str) -> str:
    return "date(created_at)" if kind == "sqlite" else "created_at"


def _total(kind: str) -> str:
    return "printf('%.6f', SUM(CAST(spend AS REAL)))" if kind == "sqlite" else "SUM(spend)"
