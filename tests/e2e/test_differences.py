"""Runs and `verify` name differing days and records, without phone and code, and print commands to run."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from contextlib import closing
from decimal import Decimal

PHONE, CODE = "9243555100", "0371"
LATE = {
    "created_at": "2025-03-09T23:59:00",
    "code_auth": CODE,
    "status": 1,
    "status_info": "ok",
    "phone": f"8{PHONE}",
    "price": Decimal("0.2"),
}


def changed(vendor, records_on):
    """Make the vendor list a late record, correct one and withdraw one, on two days."""
    first, second, _ = records_on("2025-03-08", 3)
    vendor.dataset.remove([first, second])
    vendor.dataset.add([first | {"price": Decimal("0.35"), "status_info": f"call {PHONE}"}, LATE])


def test_a_run_names_changed_days_and_with_v_their_records(synced, vendor, records_on):
    changed(vendor, records_on)
    dry = synced("sync", "--dry-run", "--until", "2025-03-10", "-v")
    assert "  2025-03-08 would change after it was complete: 1 changed, 1 withdrawn\n" in dry.out
    assert "    2025-03-08 10:00:00 corrected: status_info, price 0.2 to 0.35\n" in dry.out
    assert "    2025-03-08 10:00:01 withdrawn\n" in dry.out
    assert "  2025-03-09 would change after it was complete: 1 new\n    2025-03-09 23:59:00 late\n" in dry.out
    assert "lists the records" not in dry.out, "a dry run is not in the history"

    done = synced("sync", "--until", "2025-03-10")
    assert "  2025-03-08 changed after it was complete: 1 changed, 1 withdrawn\n" in done.out
    (command,) = re.findall(r"  billing-etl (.+) lists the records\n", done.out)
    assert "2025-03-09" in synced(*shlex.split(command)).out
    for text in (dry.out, dry.errors, done.out):
        assert PHONE not in text
        assert CODE not in text


def test_the_json_of_a_run_contains_the_changed_days(synced, vendor, records_on):
    changed(vendor, records_on)
    document = json.loads(synced("sync", "--until", "2025-03-10", "--json").out)["accounts"][0]
    assert [(day["day"], day["new"], day["changed"], day["withdrawn"]) for day in document["changed_days"]] == [
        ("2025-03-08", 0, 1, 1),
        ("2025-03-09", 1, 0, 0),
    ]
    assert document["changed_days"][1]["records"] == [
        {"created_at": "2025-03-09 23:59:00", "kind": "late", "fields": []}
    ]


def test_verify_prints_commands_that_repair_what_it_found(synced, vendor, records_on):
    with closing(sqlite3.connect(synced.folder / "billing.db")) as database, database:
        database.execute("DELETE FROM billing_records WHERE created_at LIKE '2025-03-02%'")
        database.execute("UPDATE billing_records SET price = '7.000000' WHERE created_at LIKE '2025-03-05 10:00:0%'")
        database.execute("UPDATE billing_records SET price = '7.000000' WHERE created_at LIKE '2025-03-06 10:00:00%'")
    (synced.folder / "a b.toml").write_text("lookback_days = 7\n", "utf-8")
    done = synced("--config", "a b.toml", "verify", "-v")
    assert done.code == 65
    assert re.search(r"2025-03-02 10:00:00 +json +missing", done.out)
    assert re.search(r"2025-03-06 10:00:00 +json +different +price 7 to 0\.2", done.out)
    assert PHONE not in done.out
    commands = re.findall(r"^  billing-etl (.+)$", done.out, re.MULTILINE)
    assert commands == [
        "--config 'a b.toml' backfill --since 2025-03-02 --until 2025-03-02 --account default",
        "--config 'a b.toml' backfill --since 2025-03-05 --until 2025-03-06 --account default",
    ]
    for command in commands:
        assert synced(*shlex.split(command)).code == 0
    assert synced("verify").code == 0


def test_verify_advises_no_backfill_of_days_of_which_the_vendor_lists_nothing(synced, vendor):
    vendor.dataset.replace([item for item in vendor.dataset.records if item["created_at"] >= "2025-03-03"])
    with closing(sqlite3.connect(synced.folder / "billing.db")) as database, database:
        database.execute("UPDATE billing_records SET price = '7.000000' WHERE created_at LIKE '2025-03-05 10:00:00%'")
    done = synced("verify")
    assert (done.code, "the vendor lists no record of 2 of these days" in done.out) == (65, True), done
    commands = re.findall(r"^  billing-etl (.+)$", done.out, re.MULTILINE)
    assert commands == ["backfill --since 2025-03-05 --until 2025-03-05"]


def test_verify_with_json_has_the_differences_of_the_other_days_where_one_has_no_answer(synced, vendor):
    with closing(sqlite3.connect(synced.folder / "billing.db")) as database, database:
        database.execute("UPDATE billing_records SET price = '7.000000' WHERE created_at LIKE '2025-03-02 10:00:00%'")
    vendor.dataset.replace(
        item | {"price": "x"} if item["created_at"].startswith("2025-03-09") else item
        for item in vendor.dataset.records
    )
    done = synced("verify", "--json")
    [account] = json.loads(done.out)["accounts"]
    assert (done.code, account["exit_code"], [day["day"] for day in account["differences"]]) == (69, 69, ["2025-03-02"])
    assert "1 days cannot be verified, beginning with 2025-03-09" in account["error"]


def test_requests_are_logged_with_dates_and_size_without_secrets(billing, vendor):
    vendor.faults.add("status", status=503, times=1, action="post_billing_data")
    done = billing("sync", "--until", "2025-03-03", "-vv")
    pattern = (
        r"DEBUG: default: post_billing_data start_date=2025-02-28 end_date=\S+: (.+), ([1-9]\d*|0) bytes, \d+\.\d+ s"
    )
    outcomes = [match[1] for match in re.finditer(pattern, done.errors)]
    assert outcomes == ["HTTP 503", "HTTP 200"]
    assert "DEBUG: default: get_balance: HTTP 200" in done.errors
    assert PHONE not in done.errors


def test_a_failed_run_prints_the_cause_first(billing, vendor):
    vendor.faults.add("status", status=503, times=None)
    done = billing("-q", "sync", "--until", "2025-03-10")
    assert done.code == 69
    assert done.errors.startswith("billing-etl: JSON and CSV: HTTP 503")


def test_status_with_q_prints_only_accounts_that_exceed_max_age(synced):
    done = synced("-q", "status", "--max-age", "36")
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(
        r"billing-etl: default: complete up to 2025-03-10, which ended \d+ hours ago; --max-age is 36\n", done.errors
    )


def test_verify_does_not_succeed_for_days_without_an_answer(synced, vendor):
    vendor.faults.add("status", status=503, times=None, action="post_billing_data")
    done = synced("verify")
    assert (done.code, done.out, "HTTP 503" in done.errors) == (69, "", True), done
