"""Answers in unusual formats, from the vendor to the tables: no record is lost, changed or kept in memory."""

from __future__ import annotations

import gc
import json
import logging
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from support.run_helpers import NO_PROGRESS, settings_of

from etl.db.engine import new_engine
from etl.model import Record
from etl.sandbox import Dataset, Sandbox
from etl.services.run import RunRequest
from etl.services.sync import run_sync

DAY = date(2026, 3, 9)
NOW = datetime(2026, 3, 11, 9, 30)  # noqa: DTZ001 - the vendor's wall clock


def charge(moment: str, **values: object) -> dict[str, object]:
    documented = {
        "code_auth": "2371",
        "status": 1,
        "status_info": "ok",
        "phone": "89243555100",
        "price": Decimal("0.2"),
    }
    return {"created_at": moment, **documented, **values}


def sync(url, vendor, **options):
    """One sync of the days up to DAY."""
    watcher = replace(NO_PROGRESS, advance=options.pop("step", NO_PROGRESS.advance))
    settings = settings_of(url, vendor, options.pop("start", DAY), **{"retry_attempts": 3, **options})
    return run_sync(
        settings,
        RunRequest("sync", None, DAY),
        watcher,
        redact=str,
    )


@pytest.mark.parametrize(
    "token", ["2", "ok", "20", "0.2", "2371", "price", "data", "00000000-0000-4000-8000-000000000000"]
)
def test_a_short_token_is_not_redacted_from_records(sqlite_url, token):
    dataset = Dataset(seed=1, today=DAY, days=1)
    dataset.replace([charge("2026-03-09T10:00:00"), charge("2026-03-09T10:00:20", status_info="20 of 22 rang")])
    with Sandbox(token=token, dataset=dataset, now=NOW) as vendor:
        assert sync(sqlite_url, vendor).error is None
    with new_engine(sqlite_url).connect() as connection:
        rows = connection.execute(text("SELECT created_at, code_auth, status_info, price FROM billing ORDER BY 1"))
        assert [tuple(map(str, row)) for row in rows] == [
            ("2026-03-09 10:00:00", "2371", "ok", "0.2"),
            ("2026-03-09 10:00:20", "2371", "20 of 22 rang", "0.2"),
        ]


@pytest.mark.fault(60)
def test_unknown_fields_are_named_in_the_log(sqlite_url, sandbox, caplog):
    odd = {"success": True, "data": [charge("2026-03-09T10:00:00", price=1, operator="x"), charge("x", price=2, id=7)]}
    sandbox.faults.add("status", action="post_billing_data", status=200, body=json.dumps(odd), times=None)
    with caplog.at_level(logging.INFO):
        sync(sqlite_url, sandbox)
    assert "2 unknown fields are ignored: id, operator" in caplog.messages


@pytest.mark.fault(21)
@pytest.mark.parametrize(("times", "source"), [(1, "json"), (None, "csv")])
def test_a_partial_answer_with_an_error_is_retried_and_then_replaced_by_the_export(sqlite_url, sandbox, times, source):
    sandbox.dataset.replace([charge(f"2026-03-09T10:00:0{number}") for number in range(3)])
    partial = {"success": True, "error": "query timeout, partial result", "data": [charge("2026-03-09T10:00:00")]}
    body = json.dumps(partial, default=float)
    sandbox.faults.add("status", action="post_billing_data", status=200, body=body, times=times)
    report = sync(sqlite_url, sandbox)
    assert (report.exit_code, report.counts.new, [*report.sources]) == (0, 3, [source])


def test_an_unreadable_answer_leaves_no_rejected_records_where_the_export_is_whole(sqlite_url, sandbox):
    records = [charge(f"2026-03-09T10:00:0{number}") for number in range(6)]
    sandbox.dataset.replace(records)
    epoch = [record | {"created_at": 1_773_039_600 + number} for number, record in enumerate(records)]
    body = json.dumps({"success": True, "data": epoch}, default=float)
    sandbox.faults.add("status", action="post_billing_data", status=200, body=body, times=None)
    sandbox.faults.add("status", action="get_billing_csv", status=503, times=3)
    assert sync(sqlite_url, sandbox).exit_code == 69
    for _ in range(2):
        report = sync(sqlite_url, sandbox)
        assert (report.exit_code, report.counts.rejected, report.watermark) == (0, set(), DAY)
        with new_engine(sqlite_url).connect() as connection:
            counts = "SELECT (SELECT COUNT(*) FROM billing), (SELECT COUNT(*) FROM rejected_records)"
            assert connection.execute(text(counts)).one() == (6, 0)


def records_alive_after_each_window(url, fault: str | None) -> list[int]:
    """Run with the garbage collector off, so that records in a reference cycle stay."""
    first = DAY - timedelta(days=7)
    counts: list[int] = []

    def step(_window, _tally):
        counts.append(sum(type(item) is Record for item in gc.get_objects()))
        if fault:
            vendor.faults.add(fault, action="post_billing_data", seconds=60)

    gc.collect()
    gc.disable()
    try:
        with Sandbox(dataset=Dataset(seed=1, today=DAY, days=9, per_day=500), now=NOW) as vendor:
            report = sync(url, vendor, start=first, window_days=1, concurrency=1, timeout=0.2, step=step)
            left = len(vendor.faults)
    finally:
        gc.enable()
    assert (report.error, len(counts)) == (None, 8)
    assert left <= 1, "a window without its fault"
    return counts


@pytest.mark.parametrize("fault", ["cut", "html", "cut_text", "reset", "hang"])
def test_a_retried_request_keeps_no_records_in_memory(sqlite_url, tmp_path, fault):
    without = records_alive_after_each_window(sqlite_url, None)
    assert records_alive_after_each_window(sqlite_url.set(database=str(tmp_path / "other.db")), fault) == without
