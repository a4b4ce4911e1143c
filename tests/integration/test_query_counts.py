"""The numbers of statements and requests of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Engine, event
from support.run_helpers import NO_PROGRESS, settings_of

from etl.db.engine import new_engine
from etl.db.tables import metadata
from etl.services.run import RunRequest, SyncResult
from etl.services.sync import run_sync

DAYS = [date(2026, 2, 22) + timedelta(days=number) for number in range(18)]
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
FEW, MANY = 76, 401
"""Records per day. Neither makes an answer of a round number, which would be requested again in parts."""


def charges(a_day: int, status: int = 1) -> list[dict[str, object]]:
    return [
        {
            "created_at": f"{day}T10:{number // 60:02}:{number % 60:02}",
            "code_auth": "0371",
            "status": status if number == 0 else 1,
            "status_info": "ok",
            "phone": "89243555100",
            "price": "0.2",
        }
        for day in DAYS
        for number in range(a_day)
    ]


@pytest.fixture
def sync(database_url, sandbox):
    """Runs a backfill of all days."""

    def run(**changes) -> SyncResult:
        sandbox.requests.clear()
        return run_sync(
            settings_of(database_url, sandbox, DAYS[0], **changes),
            RunRequest("sync", since=DAYS[0], until=DAYS[-1]),
            NO_PROGRESS,
            redact=str,
            clock=lambda: MORNING,
        )

    return run


@contextmanager
def statements() -> Iterator[Counter[str]]:
    """Count the statements sent to the database: `INSERT synced_days`, `SELECT`."""
    sent: Counter[str] = Counter()

    def note(_connection, _cursor, statement, _parameters, _context, _executemany):
        verb, *words = statement.replace('"', "").replace("`", "").split()
        table = next((word for word in words[:2] if word in metadata.tables), "")
        sent[f"{verb} {table}".strip()] += 1

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def counted(sync, sandbox, a_day: int, status: int = 1) -> Counter[str]:
    """The statements of a sync of days with this many records."""
    sandbox.dataset.replace(charges(a_day, status))
    with statements() as sent:
        assert sync().error is None
    return sent


def test_the_number_of_statements_is_independent_of_the_records_per_day(sync, sandbox):
    counted(sync, sandbox, 1)  # makes the schema
    first = counted(sync, sandbox, FEW)
    assert sum(first.values()) > len(DAYS)
    assert counted(sync, sandbox, MANY) == first


def test_a_run_without_changes_reads_no_record_and_writes_only_its_history(sync, sandbox):
    counted(sync, sandbox, MANY)
    sent = counted(sync, sandbox, MANY)
    written = {words for words in sent if words.split()[0] in {"INSERT", "UPDATE", "DELETE"}}
    assert written == {"INSERT sync_runs", "UPDATE sync_runs", "UPDATE sync_state", "INSERT balance_snapshots"}
    assert sent["INSERT balance_snapshots"] == 1
    assert sum(sent.values()) < 3 * 20 + 17, "one per window, not per day; then the balance"


def test_one_changed_record_per_day_costs_one_statement_per_day(sync, sandbox):
    counted(sync, sandbox, MANY)
    sent = counted(sync, sandbox, MANY, status=0)
    assert sent["UPDATE billing_records"] == len(DAYS)
    assert not any(words.startswith("INSERT billing_records") for words in sent)


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_only_the_days_around_a_window_are_fetched_twice(sync, sandbox, concurrency):
    sandbox.dataset.replace(charges(FEW))
    assert sync(concurrency=concurrency).counts.new == FEW * len(DAYS)
    windows = [(DAYS[0], DAYS[6]), (DAYS[7], DAYS[13]), (DAYS[14], DAYS[17])]
    padded = [(first - timedelta(days=1), last + timedelta(days=2)) for first, last in windows]
    requests = [request for request in sandbox.requests if request.action == "post_billing_data"]
    dates = [(request.params["start_date"], request.params["end_date"]) for request in requests]
    assert set(dates) >= {(str(first), str(last)) for first, last in padded}
    others = Counter(request.action for request in sandbox.requests) - Counter({"post_billing_data": len(requests)})
    assert others.pop("get_billing_csv", 0) <= 3, "days of one size look like a limit on the records of a day"
    assert others.total() <= 3, "the balance before and after, and the newest records"
    # Without stored records, an answer is compared with a wider one, unless another window's is larger already.
    assert len(dates) <= 2 * len(padded)


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_one_export_serves_all_windows(sync, sandbox, concurrency):
    sandbox.dataset.replace(charges(FEW))
    sandbox.faults.add("status", action="post_billing_data", status=503, times=None)
    report = sync(concurrency=concurrency)
    assert (report.error, report.counts.new) == (None, FEW * len(DAYS))
    # One more starts earlier and one later, because the first day has none before it.
    assert [request.action for request in sandbox.requests].count("get_billing_csv") <= 3


def test_a_day_is_read_by_the_index_in_a_large_table(sync, sandbox, database_url):
    counted(sync, sandbox, MANY)
    statements = []

    def note(_connection, _cursor, statement, parameters, _context, _executemany):
        if statement.startswith("SELECT") and "billing_records" in statement:
            statements.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        counted(sync, sandbox, MANY, status=0)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(statements) == 2 * len(DAYS), "per day its rows, then their totals by channel"
    backend = database_url.get_backend_name()
    with new_engine(database_url).connect() as connection:
        if backend == "postgresql":
            connection.exec_driver_sql("ANALYZE billing_records")
        explain = "EXPLAIN QUERY PLAN" if backend == "sqlite" else "EXPLAIN"
        plans = [str(connection.exec_driver_sql(f"{explain} {sql}", values).all()) for sql, values in statements[:2]]
    for plan in plans:
        assert any(name in plan for name in ("pk_billing_records", "PRIMARY", "USING PRIMARY KEY", "Index Scan")), plan
        assert not any(word in plan for word in ("Seq Scan", "SCAN", "'ALL'")), plan
