"""`recent` and `auth-status` on the command line."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import sqlite3
import struct
import subprocess
import sys
import termios
from contextlib import closing

import pytest

KEYS = {"created_at", "phone", "code_auth", "status", "status_info", "price", "stored"}


def test_recent_lists_stored_and_missing_records_newest_first(synced, vendor, records_on):
    vendor.requests.clear()
    done = synced("recent", "--json")
    shown = json.loads(done.out)
    assert (done.code, shown["account"], shown["missing"], len(shown["records"])) == (0, "default", 0, 20)
    assert shown["records"][0] == {
        "created_at": "2025-03-10T10:00:02", "phone": "+79243555100", "code_auth": "0371", "status": 1,
        "status_info": "ok", "price": "0.200000", "stored": True,
    }  # fmt: skip
    times = [record["created_at"] for record in shown["records"]]
    assert times == sorted(times, reverse=True)

    vendor.dataset.add(records_on("2025-03-11", 2))
    shown = json.loads(synced("recent", "3", "--json").out)
    assert [record["stored"] for record in shown["records"]] == [False, False, True]
    assert (shown["missing"], shown["records"][0].keys()) == (2, KEYS)
    table = synced("recent", "3")
    assert "2 of 3 are not in the database" in table.out
    assert table.errors == ""
    assert [request.params["n"] for request in vendor.requests if request.action == "get_billing_record"] == [
        "20", "3", "3",
    ]  # fmt: skip


@pytest.mark.parametrize("command", [("recent",), ("auth-status", "1")])
def test_phones_are_in_the_result_and_not_in_logs(synced, vendor, command):
    for details in (("-vv",), ("-vv", "--log-format", "json")):
        vendor.faults.add("status", status=503)
        done = synced(*details, *command, BILLING_RETRY_ATTEMPTS="2")
        assert (done.code, "9243555100" in done.out) == (0, True)
        assert done.errors
        assert "9243555100" not in done.errors


def test_recent_creates_no_database_and_reports_that_there_is_none(billing):
    done = billing("recent", "--json")
    shown = json.loads(done.out)
    assert (done.code, shown["missing"], {record["stored"] for record in shown["records"]}) == (0, 20, {False})
    assert "there is no database yet" in shown["note"]
    assert "there is no database yet" in billing("recent").out
    assert billing.files() == []


def test_recent_shows_unreadable_records_as_rejected(synced, vendor, records_on):
    vendor.dataset.add([records_on("2025-03-11", 1)[0] | {"price": "a lot"}])
    done = synced("recent", "1", "--json")
    shown = json.loads(done.out)
    assert (done.code, shown["records"], shown["missing"], len(shown["rejected"])) == (0, [], 0, 1)
    assert "a lot" in shown["rejected"][0]["payload"]
    assert "rejected: " in synced("recent", "1").out


def test_masked_accounts_show_masked_phones(billing):
    masked = {"BILLING_PHONES": "masked", "BILLING_CODES": "drop"}
    billing("sync", "--until", "2025-03-10", **masked)
    for command in (("recent",), ("recent", "--json"), ("auth-status", "1"), ("auth-status", "1", "--json")):
        done = billing("-vv", *command, **masked)
        assert (done.code, "+7924*****00" in done.out) == (0, True), done
        assert "9243555100" not in done.out + done.errors
    assert json.loads(billing("recent", "--json", **masked).out)["missing"] == 0


def test_texts_of_the_vendor_are_not_markup(synced, vendor, records_on):
    vendor.dataset.add([records_on("2025-03-11", 1)[0] | {"status_info": "[bold]SIP[/] [0]"}])
    assert "[bold]SIP[/] [0]" in synced("recent", "1").out
    number = str(len(vendor.dataset.records))
    assert "[bold]SIP[/] [0]" in synced("auth-status", number).out


@pytest.mark.parametrize("count", ["0", "101", "-1", "many", "1.5"])
def test_recent_accepts_one_to_a_hundred(billing, vendor, count):
    assert billing("recent", "--", count).code == 2
    assert vendor.requests == []


def test_auth_status_shows_one_authorisation(billing, vendor):
    done = billing("auth-status", "1", "--json")
    assert (done.code, json.loads(done.out)) == (
        0,
        {
            "account": "default",
            "record": {
                "id": 1, "created_at": "2025-03-01T10:00:00", "phone": "+79243555100", "status": 1,
                "status_info": "ok", "price": "0.200000",
            },
            "exit_code": 0,
        },
    )  # fmt: skip
    table = billing("auth-status", "1").out
    assert all(word in table for word in ("2025-03-01 10:00:00", "+79243555100", "ok", "0.20"))
    assert billing.files() == []


def test_auth_status_of_an_unknown_id_prints_the_vendors_message_and_exits_1(billing, vendor):
    done = billing("auth-status", "123456")
    assert (done.code, "id record not found" in done.errors, len(vendor.requests)) == (1, True, 1)
    done = billing("auth-status", "123456", "--json")
    assert (done.code, json.loads(done.out)["exit_code"]) == (1, 1)
    assert "id record not found" in json.loads(done.out)["error"]


@pytest.mark.parametrize("record_id", ["", ".", "..", "../get_balance", "1/2", "a b", "1\n", "\x1b[0m", "1?x=1", "№1"])
def test_an_id_that_is_not_valid_in_a_path_is_a_usage_error(billing, vendor, record_id):
    assert billing("auth-status", record_id).code == 2
    assert vendor.requests == []


@pytest.mark.parametrize("command", [("recent",), ("auth-status", "1")])
@pytest.mark.parametrize(("status", "code"), [(401, 77), (403, 77), (503, 69), (400, 69)])
def test_the_exit_code_follows_the_vendors_error(billing, vendor, command, status, code):
    vendor.faults.add("status", status=status, times=None)
    done = billing(*command, "--json")
    assert (done.code, json.loads(done.out)["exit_code"]) == (code, code)


@pytest.mark.parametrize("command", [("recent",), ("auth-status", "1")])
def test_one_of_several_accounts_must_be_named(billing, command):
    toml = "".join(f'[accounts.{name}]\napi_token = "{billing.variables["BILLING_API_TOKEN"]}"\n' for name in "ab")
    (billing.folder / "two.toml").write_text(toml)
    (billing.folder / "two.toml").chmod(0o600)
    alone = {"BILLING_API_TOKEN": None}
    assert billing("--config", "two.toml", *command, **alone).code == 2
    done = billing("--config", "two.toml", *command, "--account", "b", "--json", **alone)
    assert (done.code, json.loads(done.out)["account"]) == (0, "b")


def test_amounts_are_not_truncated_on_a_terminal_of_80_columns(synced):
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "etl", "recent", "2"],
        cwd=synced.folder,
        env=synced.variables | {"TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=other,
        stderr=subprocess.PIPE,
    )
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # Linux ends a terminal so
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait(timeout=60) == 0
    process.stderr.close()
    lines = shown.decode().splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.strip().startswith("2025-")]
    assert rows[0] == ["2025-03-10", "10:00:02", "+79243555100", "0371", "1", "ok", "0.20", "yes"]


def line_of(done):
    return next(line for line in done.out.splitlines() if "records:" in line)


def test_check_reports_whether_the_newest_record_is_stored(synced, vendor, records_on):
    done = synced("check")
    assert (done.code, line_of(done)) == (
        0,
        "✓ records: newest record at the vendor 2025-03-10 10:00:02, in the database: yes",
    )
    vendor.dataset.add(records_on("2025-03-11", 1))
    done = synced("check")
    assert (done.code, line_of(done)[0], line_of(done).endswith("no; the next sync fetches it")) == (0, "✓", True)


def test_check_does_not_miss_a_newest_record_that_was_purged(synced):
    with closing(sqlite3.connect(synced.folder / "billing.db")) as database, database:
        database.execute("DELETE FROM billing_records WHERE created_at LIKE '2025-03-10%'")
        database.execute("UPDATE synced_days SET purged_at = '2026-03-10 00:00:00' WHERE day = '2025-03-10'")
    done = synced("check")
    assert (done.code, line_of(done)[0], line_of(done).endswith("no; its day was purged")) == (0, "✓", True), done


def test_a_failed_request_for_newest_records_is_a_warning_of_check(synced, vendor):
    vendor.faults.add("status", status=503, action="get_billing_record", times=None)
    done = synced("check")
    assert (done.code, line_of(done)[0], "sync works without" in line_of(done)) == (0, "!", True)
    assert "records" in synced("-q", "check").out
    checks = json.loads(synced("check", "--json").out)["accounts"][0]["checks"]
    assert [check["name"] for check in checks if check["warning"]] == ["records"]
    assert all(check["ok"] for check in checks)
