"""Labels, tokens and zones on the command line: no record is stored twice, and deletions are confirmed."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

SPAN = ("--until", "2025-03-10")
FAR = {"BILLING_TIMEZONE": "Asia/Vladivostok"}


def query(folder, sql):
    with closing(sqlite3.connect(folder / "billing.db")) as database:
        return database.execute(sql).fetchall()


@pytest.mark.parametrize(
    "command",
    [
        ("sync", *SPAN),
        ("sync", *SPAN, "--dry-run"),
        ("backfill", "--since", "2025-03-01", "--until", "2025-03-02"),
        ("accept", "2025-03-09"),
        ("verify",),
        ("balance",),
    ],
)
def test_a_mistyped_label_or_another_zone_is_refused_before_any_request(synced, vendor, command):
    vendor.requests.clear()
    before = (synced.folder / "billing.db").read_bytes()
    done = synced(*command, BILLING_ACCOUNT="defualt")
    assert (done.code, done.out, "BILLING_ACCOUNT=default" in done.errors) == (78, "", True), done
    done = synced(*command, **FAR)
    assert (done.code, done.out, "account set-timezone default Asia/Vladivostok" in done.errors) == (78, "", True), done
    assert (vendor.requests, (synced.folder / "billing.db").read_bytes()) == ([], before)


def test_check_fails_when_a_sync_would_be_refused(synced):
    assert " account: " in synced("check").out
    done = synced("check", BILLING_ACCOUNT="defualt")
    assert (done.code, "BILLING_ACCOUNT=default" in done.out) == (78, True), done
    assert synced("check", **FAR).code == 78


def test_status_and_exports_work_with_another_zone(synced):
    assert synced("status", **FAR).code == 0
    assert synced("export", "--out", "x.csv", **FAR).code == 0


def test_two_sections_may_share_a_token_also_when_run_separately(synced):
    token = synced.variables["BILLING_API_TOKEN"]
    (synced.folder / "both.toml").write_text(
        f'api_token = "{token}"\nstart_date = 2025-03-09\n[accounts.default]\n[accounts.shop]\n', "utf-8"
    )
    alone = {"BILLING_API_TOKEN": None}
    done = synced("--config", "both.toml", "sync", *SPAN, "--account", "shop", **alone)
    assert (done.code, "the accounts default and shop have the same token" in done.errors) == (0, True), done


@pytest.mark.parametrize("selected", [(), ("--account", "default"), ("--account", "shop")], ids=" ".join)
def test_exchanged_tokens_in_the_file_are_refused_before_any_request(synced, vendor, selected):
    own, other = synced.variables["BILLING_API_TOKEN"], "22222222-0000-4000-8000-000000000002"
    vendor.tokens.add(other)

    def sync(default, shop, *options):
        (synced.folder / "own.token").write_text(default, "utf-8")
        (synced.folder / "two.toml").write_text(
            'start_date = 2025-03-09\n[accounts.default]\napi_token_file = "own.token"\n'
            f'[accounts.shop]\napi_token = "{shop}"\n', "utf-8",
        )  # fmt: skip
        return synced("--config", "two.toml", "sync", *SPAN, *options, BILLING_API_TOKEN=None)

    assert sync(own, other).code == 0
    vendor.requests.clear()
    exchanged = sync(other, own, *selected)
    assert (exchanged.code, vendor.requests) == (78, []), exchanged
    assert "default" in exchanged.errors
    assert "shop" in exchanged.errors
    assert "the same token" not in exchanged.errors
    assert sync(own, other).code == 0


@pytest.mark.parametrize(
    ("command", "figure"),
    [
        (("export", "--out", "x.csv"), '"rows": 30'),
        (("report", "--out", "x.html"), '"records": 30'),
        (("forget", "--phone", "89243555100"), '"billing_records": 30'),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_an_account_that_is_no_longer_configured_is_named_by_its_label(synced, command, figure):
    token = synced.variables["BILLING_API_TOKEN"]
    (synced.folder / "other.toml").write_text(f'[accounts.shop]\napi_token = "{token}"\n', "utf-8")

    def run(label):
        return synced("--config", "other.toml", *command, "--account", label, "--json", BILLING_API_TOKEN=None)

    done = run("default")
    assert (done.code, figure in done.out) == (0, True), done
    done = run("defualt")
    assert (done.code, "did you mean default?" in done.errors) == (78, True), done


def test_a_changed_token_is_reported_once_on_stderr(synced, vendor):
    renewed = "6a2f41c3-7f8e-4c1e-9a43-1d6a3f0b9c55"
    vendor.tokens.add(renewed)
    first, second = (synced("sync", *SPAN, BILLING_API_TOKEN=renewed) for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    assert "the token differs from that of the last run" in first.errors
    assert "the token" not in second.errors
    assert renewed not in first.errors


def test_account_set_timezone_changes_the_zone(synced):
    done = synced("account", "set-timezone", "default", "Asia/Vladivostok", "--json")
    assert json.loads(done.out) == {"account": "default", "timezone": "Asia/Vladivostok", "changed": 30, "exit_code": 0}
    assert query(synced.folder, "SELECT min(created_at), min(created_at_utc) FROM billing") == [
        ("2025-03-01 10:00:00", "2025-03-01 00:00:00")
    ]
    assert synced("sync", *SPAN).code == 78
    assert synced("sync", *SPAN, **FAR).code == 0
    assert synced("verify", **FAR).code == 0
    assert "BILLING_TIMEZONE=Europe/Moscow" in synced("account", "set-timezone", "default", "Europe/Moscow").out
    assert synced("account", "set-timezone", "default", "Moscow").code == 2
    done = synced("account", "set-timezone", "defualt", "Asia/Vladivostok")
    assert (done.code, "did you mean default?" in done.errors) == (78, True)


def test_accept_refuses_a_day_that_is_not_suspect_by_default(synced, vendor, records_on):
    vendor.dataset.remove(records_on("2025-03-09", 2))
    done = synced("accept", "2025-03-09")
    assert (done.code, "2025-03-09 is not suspect" in done.errors) == (1, True), done
    assert query(synced.folder, "SELECT count(*) FROM billing") == [(30,)]
    assert synced("accept", "2025-03-09", "--even-if-not-suspect").code == 0
    assert query(synced.folder, "SELECT count(*) FROM billing") == [(28,)]


# --- account delete ---------------------------------------------------------------------------------------------------


def test_delete_requires_yes_without_a_terminal(synced):
    done = synced("account", "delete", "default")
    assert (done.code, "--yes" in done.errors) == (2, True), done
    assert query(synced.folder, "SELECT count(*) FROM billing") == [(30,)]
    done = synced("account", "delete", "defualt", "--yes")
    assert (done.code, "did you mean default?" in done.errors) == (78, True)
    done = synced("account", "delete", "default", "--yes")
    assert (done.code, "30 of billing_records" in done.out, "10 of synced_days" in done.out) == (0, True, True), done
    assert query(synced.folder, "SELECT count(*) FROM accounts") == [(0,)]
    assert synced("sync", *SPAN).code == 0


def test_delete_reports_counts_in_json(synced):
    done = synced("account", "delete", "default", "--yes", "--json")
    document = json.loads(done.out)
    assert (document["account"], document["exit_code"]) == ("default", 0)
    removed = document["removed"]
    assert (removed["billing_records"], removed["synced_days"], removed["accounts"]) == (30, 10, 1)
    assert query(synced.folder, "SELECT count(*) FROM sync_runs") == [(0,)]


@pytest.mark.parametrize(
    ("answer", "code", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 30), (b"\n", 1, 30), (b"\x04", 1, 30)]
)
def test_delete_asks_for_confirmation_on_a_terminal(synced, answer, code, left):
    near, far = pty.openpty()
    command = [sys.executable, "-m", "etl", "account", "delete", "default"]
    process = subprocess.Popen(
        command, cwd=synced.folder, env=synced.variables, stdin=far, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.close(far)
    os.write(near, answer)
    _out, errors = process.communicate(timeout=120)
    os.close(near)
    assert process.returncode == code, errors
    assert b"default with 30 rows of records, 2025-03-01 to 2025-03-10" in errors
    assert query(synced.folder, "SELECT count(*) FROM billing_records") == [(left,)]
