"""Errors on the command line: exit code, one helpful line, no secret, and what stays stored."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

SPAN = ("--until", "2025-03-10")
DETAILS = [(), ("-v",), ("-vv",), ("--log-format", "json"), ("-vv", "--log-format", "json")]


def query(folder, sql):
    with closing(sqlite3.connect(folder / "billing.db")) as database:
        return database.execute(sql).fetchall()


def is_one_line(errors):
    return errors.startswith("billing-etl: ") and errors.count("\n") == 1


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BILLING_API_TOKEN", None),
        ("BILLING_API_TOKEN", ""),
        ("BILLING_API_TOKEN", "with space-7777"),
        ("BILLING_API_TOKEN", "with/slash-7777"),
        ("BILLING_API_TOKEN", "токен-7777"),
        ("BILLING_API_URL", "api.telefon-ip.ru"),
        ("BILLING_API_URL", "http://api.telefon-ip.ru/api/v1/authcalls"),
        ("BILLING_API_URL", "ftp://127.0.0.1/"),
        ("BILLING_API_URL", "https://user:password@127.0.0.1/"),
        ("BILLING_API_URL", "http://127.0.0.1:port/"),
        ("BILLING_DATABASE_URL", "billing.db"),
        ("BILLING_DATABASE_URL", "mssql://u:hidden-7777@h/d"),
        ("BILLING_ACCOUNT", "a" * 256),
        ("BILLING_ACCOUNT", "a\nb"),
        ("BILLING_START_DATE", "01.03.2025"),
        ("BILLING_START_DATE", "2025-02-30"),
        ("BILLING_LOOKBACK_DAYS", "-1"),
        ("BILLING_LOOKBACK_DAYS", "a week"),
        ("BILLING_LOOKBACK_DAYS", "7.5"),
        ("BILLING_WINDOW_DAYS", "0"),
        ("BILLING_TIMEZONE", "Moscow"),
        ("BILLING_TIMEZONE", "../../etc/passwd"),
        ("BILLING_TIMEOUT", "0"),
        ("BILLING_TIMEOUT", "nan"),
        ("BILLING_REQUEST_DEADLINE", "inf"),
        ("BILLING_RETRY_ATTEMPTS", "0"),
        ("BILLING_RETRY_MAX_WAIT", "-1"),
        ("BILLING_MAX_RESPONSE_MB", "0"),
        ("BILLING_MAX_WITHDRAWN_SHARE", "20%"),
        ("BILLING_MAX_WITHDRAWN_SHARE", "1.1"),
        ("BILLING_AUTO_MIGRATE", "maybe"),
        ("BILLING_LOKBACK_DAYS", "7"),
    ],
)
def test_a_wrong_setting_is_named_before_any_request(billing, vendor, variable, value):
    done = billing("sync", *SPAN, **{variable: value})
    assert (done.code, is_one_line(done.errors), done.out) == (78, True, ""), done
    assert variable in done.errors
    assert "7777" not in done.errors
    assert (vendor.requests, billing.files()) == ([], [])


def test_the_environment_takes_precedence_over_a_dotenv_file(billing, vendor):
    (billing.folder / ".env").write_text("BILLING_START_DATE=2025-03-09\nBILLING_WINDOW_DAYS=wrong\n")
    done = billing("sync", *SPAN, "--json", BILLING_START_DATE=None, BILLING_WINDOW_DAYS="7")
    assert json.loads(done.out)["accounts"][0]["first_day"] == "2025-03-09"
    done = billing("sync", *SPAN)
    assert (done.code, "BILLING_WINDOW_DAYS" in done.errors) == (78, True)


def test_the_token_can_be_in_a_file_or_a_systemd_credential(billing, tmp_path):
    (tmp_path / "billing_api_token").write_text(billing.variables["BILLING_API_TOKEN"] + "\n")
    token_file = str(tmp_path / "billing_api_token")
    assert billing("sync", *SPAN, BILLING_API_TOKEN=None, BILLING_API_TOKEN_FILE=token_file).code == 0
    assert billing("sync", *SPAN, BILLING_API_TOKEN=None, CREDENTIALS_DIRECTORY=str(tmp_path)).code == 0
    done = billing("sync", *SPAN, BILLING_API_TOKEN=None, BILLING_API_TOKEN_FILE="nowhere")
    assert (done.code, "BILLING_API_TOKEN_FILE" in done.errors, is_one_line(done.errors)) == (78, True, True)


def test_a_config_file_has_the_lowest_precedence_and_must_be_valid(billing):
    (billing.folder / "good.toml").write_text('start_date = "2025-03-09"\nwindow_days = 3\n')
    (billing.folder / "bad.toml").write_text("start_date = \n")
    (billing.folder / "unknown.toml").write_text("starting = 1\n")
    done = billing("--config", "good.toml", "sync", *SPAN, "--json", BILLING_START_DATE="2025-03-08")
    assert json.loads(done.out)["accounts"][0]["first_day"] == "2025-03-08"
    for name in ("bad.toml", "unknown.toml", "nowhere.toml"):
        done = billing("--config", name, "sync")
        assert (name, done.code, is_one_line(done.errors)) == (name, 78, True), done


@pytest.mark.fault(125)
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["sync", "--nothing"],
        ["sync", "--since", "yesterday"],
        ["sync", "--since", "2025-02-30"],
        ["sync", "--since", "2025-3-1"],
        ["sync", "--since", "2025-03-10", "--until", "2025-03-01"],
        ["sync", "--wait", "-1"],
        ["sync", "--wait", "nan"],
        ["backfill"],
        ["backfill", "--since", "2025-03-01"],
        ["accept"],
        ["accept", "the ninth"],
        ["verify", "--source", "xml"],
        ["verify", "--source", ""],
        ["verify", "--since", "2025-03-10", "--until", "2025-03-01"],
        ["status", "--max-age", "old"],
        ["status", "--max-age", "nan"],
        ["status", "--max-age", "inf"],
        ["close", "9999-12"],
        ["--log-format", "xml", "sync"],
        ["sync", "--token", "x"],
    ],
)
def test_usage_errors_exit_2_before_any_request(billing, vendor, arguments):
    done = billing(*arguments)
    assert (done.code, "Traceback" in done.errors, done.out) == (2, False, ""), done
    assert done.errors
    assert (vendor.requests, billing.files()) == ([], [])


# --- the vendor -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("details", DETAILS)
def test_a_refused_token_exits_77_without_retries(billing, vendor, details):
    # The vendor's message repeats the URL with the token.
    vendor.faults.add("echo_url", status=401, times=None)
    done = billing(*details, "sync", *SPAN)
    actions = [request.action for request in vendor.requests]
    assert (done.code, actions) == (77, ["get_balance", "post_billing_data"]), done
    assert "token" in done.errors


@pytest.mark.parametrize("command", [("sync", *SPAN), ("verify", "--since", "2025-03-01", *SPAN), ("check",)])
def test_403_is_a_refused_token_too(synced, vendor, command):
    vendor.requests.clear()
    vendor.faults.add("status", status=403, times=None)
    done = synced(*command)
    assert (done.code, len(vendor.requests)) == (77, 2 if command[0] == "sync" else 1), done


FAULTS = [
    {"fault": "status", "status": 503},
    {"fault": "status", "status": 429, "headers": {"Retry-After": "99999999"}},
    {"fault": "html"},
    {"fault": "empty_body"},
    {"fault": "cut"},
    {"fault": "cut_chunked"},
    {"fault": "cut_text"},
    {"fault": "reset"},
    {"fault": "redirect"},
    {"fault": "refusal"},
    {"fault": "null_data"},
    {"fault": "invalid_json"},
    {"fault": "truncated_gzip"},
    {"fault": "gzip_bomb", "megabytes": 3},
    {"fault": "echo_url", "status": 500},
    {"fault": "echo_url", "status": 400},
]


@pytest.mark.parametrize("fault", FAULTS[1::2], ids=lambda fault: f"{fault['fault']}-{fault.get('status', '')}")
def test_an_outage_exits_69_and_keeps_completed_windows(billing, vendor, fault):
    vendor.faults.add(**fault, times=None, skip=4)  # the balance, two windows and the newest records
    done = billing("-vv", "sync", *SPAN, BILLING_WINDOW_DAYS="3", BILLING_MAX_RESPONSE_MB="1")
    assert done.code == 69, done
    assert query(billing.folder, "SELECT last_synced_date FROM sync_state") == [("2025-03-06",)]
    assert query(billing.folder, "SELECT count(*) FROM billing") == [(18,)]
    vendor.faults.clear()
    done = billing("sync", *SPAN, "--json")
    account = json.loads(done.out)["accounts"][0]
    assert (done.code, account["new"], account["last_synced_date"]) == (0, 12, "2025-03-10")


@pytest.mark.parametrize("fault", FAULTS[::2], ids=lambda fault: fault["fault"])
def test_the_csv_is_used_when_json_fails(billing, vendor, fault):
    vendor.faults.add(**fault, times=None, action="post_billing_data")
    done = billing("sync", *SPAN, "--json", BILLING_WINDOW_DAYS="3", BILLING_MAX_RESPONSE_MB="1")
    account = json.loads(done.out)["accounts"][0]
    assert (done.code, account["sources"], account["new"]) == (0, ["csv"], 30), done
    actions = [request.action for request in vendor.requests]
    assert actions.count("get_billing_csv") == 1, "one export serves all windows"


@pytest.mark.parametrize("fault", FAULTS[:1] + FAULTS[4:8], ids=lambda fault: fault["fault"])
def test_temporary_faults_are_retried(billing, vendor, fault):
    vendor.faults.add(**fault, times=2)
    done = billing("sync", *SPAN, "--json", BILLING_RETRY_ATTEMPTS="3")
    account = json.loads(done.out)["accounts"][0]
    assert (done.code, account["sources"], account["new"]) == (0, ["json"], 30), done


def test_an_unreachable_vendor_exits_69(billing):
    done = billing("sync", *SPAN, BILLING_API_URL="http://127.0.0.1:1/api/v1/authcalls")
    assert (done.code, "refused" in done.errors) == (69, True), done
    assert only_line_of_the_program(done.errors)


def only_line_of_the_program(errors):
    return sum(line.startswith("billing-etl: ") for line in errors.splitlines()) == 1


@pytest.mark.parametrize("fault", ["hang", "drip_headers", "drip_body"])
def test_a_silent_vendor_costs_no_more_than_the_configured_time(billing, vendor, fault):
    vendor.faults.add(fault, times=None, seconds=None if fault == "hang" else 0.2)
    limits = {"BILLING_TIMEOUT": "0.5", "BILLING_REQUEST_DEADLINE": "1", "BILLING_RETRY_ATTEMPTS": "1"}
    done = billing("sync", *SPAN, **limits)
    assert done.code == 69, done
    limit = "BILLING_TIMEOUT" if fault == "hang" else "BILLING_REQUEST_DEADLINE"
    assert limit in done.errors


@pytest.mark.parametrize("details", DETAILS[2:])
def test_details_contain_neither_token_nor_phone(billing, vendor, details):
    vendor.faults.add("echo_url", status=400, action="post_billing_data", times=None)
    vendor.faults.add("echo_url", status=400, action="get_billing_csv", times=None)
    done = billing(*details, "sync", *SPAN)
    assert done.code == 69
    assert "9243555100" not in done.out + done.errors


def test_json_logs_are_one_document_per_line(billing, vendor):
    vendor.faults.add("status", status=503, times=None)
    done = billing("--log-format", "json", "sync", *SPAN)
    documents = [json.loads(line) for line in done.errors.splitlines()]
    assert done.code == 69
    assert all(document["levelname"] and document["message"] for document in documents)


def test_tracebacks_are_shown_only_on_request(billing):
    wrong = {"BILLING_API_URL": "http://127.0.0.1:1/api/v1/authcalls"}
    assert "Traceback" not in str(billing("-v", "sync", *SPAN, **wrong))
    assert "Traceback" in billing("-vv", "sync", *SPAN, **wrong).errors


@pytest.mark.fault(111)
def test_unusual_output_streams_do_not_end_a_run(billing):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    for command in (("sync", *SPAN), ("status",), ("check",)):
        done = billing(*command, **ascii_only)
        assert (command, done.code) == (command, 0), done


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.fault(13, 101)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("action", ["post_billing_data", "get_billing_csv"])
def test_a_signal_ends_a_hang_cleanly_within_five_seconds(billing, vendor, wait_for_request, tmp_path, number, action):
    if action == "get_billing_csv":
        vendor.faults.add("status", action="post_billing_data", times=None)
    vendor.faults.add("hang", action=action, skip=1 if action == "post_billing_data" else 0, times=None)
    process = billing.start("sync", *SPAN, BILLING_WINDOW_DAYS="5", BILLING_RETRY_ATTEMPTS="1")
    wait_for_request(process, 3)
    done = stopped(billing, process, number)
    assert "Traceback" not in done.errors
    # The second window is requested while the first is loaded.
    kept = {(0,), (15,)} if action == "post_billing_data" else {(0,)}
    assert set(query(billing.folder, "SELECT count(*) FROM billing")) <= kept
    assert query(billing.folder, "SELECT outcome, exit_code FROM sync_runs") == [("stopped", 128 + number)]
    assert list((tmp_path / "tmp").iterdir()) == [], "no temporary file remains"
    vendor.faults.clear()
    assert billing("sync", *SPAN).code == 0
    assert query(billing.folder, "SELECT count(*) FROM billing") == [(30,)]


@pytest.mark.fault(103)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_wait_before_a_retry_within_five_seconds(billing, vendor, wait_for_request, number):
    vendor.faults.add("status", status=503, headers={"Retry-After": "600"}, times=None)
    limits = {"BILLING_RETRY_ATTEMPTS": "5", "BILLING_RETRY_MAX_WAIT": "600"}
    process = billing.start("sync", *SPAN, **limits)
    wait_for_request(process, 2)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    done = stopped(billing, process, number)
    assert [request.action for request in vendor.requests] == ["get_balance", "post_billing_data"]
    assert "Traceback" not in done.errors


def test_a_signal_ends_a_wait_for_the_lock_within_five_seconds(billing, vendor, wait_for_request):
    vendor.faults.add("hang", times=None)
    holder = billing.start("sync", *SPAN)
    wait_for_request(holder)
    waiting = billing.start("sync", *SPAN, "--wait", "600")
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=1)
    stopped(billing, waiting, signal.SIGTERM)
    stopped(billing, holder, signal.SIGTERM)


def stopped(billing, process, number):
    """Send a signal and check that the program ends by it in time."""
    started = time.monotonic()
    process.send_signal(number)
    done = billing.finish(process)
    assert done.code in {128 + number, -number}, done
    assert time.monotonic() - started < 5
    return done


@pytest.mark.fault(104)
def test_a_killed_run_leaves_complete_windows_and_the_next_one_continues(billing, vendor, wait_for_request):
    vendor.faults.add("hang", skip=3, times=None)
    process = billing.start("sync", *SPAN, BILLING_WINDOW_DAYS="3", BILLING_RETRY_ATTEMPTS="1")
    wait_for_request(process, 4)
    process.kill()
    process.communicate()
    (kept,) = query(billing.folder, "SELECT last_synced_date, (SELECT count(*) FROM billing_records) FROM sync_state")
    assert kept in {(None, 0), ("2025-03-03", 9), ("2025-03-06", 18)}
    vendor.faults.clear()
    assert billing("sync", *SPAN).code == 0
    assert query(billing.folder, "SELECT count(*) FROM billing") == [(30,)]
    assert query(billing.folder, "SELECT outcome FROM sync_runs ORDER BY id") == [("abandoned",), ("done",)]


@pytest.mark.fault(102)
def test_sigterm_ends_the_program_as_process_1(billing, vendor, wait_for_request):
    if not shutil.which("unshare") or subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("no process namespace may be made here")
    vendor.faults.add("hang", times=None)
    begin = [sys.executable, "-c", "import os; print(os.getpid(), flush=True); from etl.cli import main; main()"]
    outside = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *begin, "sync", *SPAN],
        cwd=billing.folder, env=billing.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_request(outside)
    assert outside.stdout.readline() == "1\n"
    (inside,) = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text("ascii").split()
    os.kill(int(inside), signal.SIGTERM)
    _, errors = outside.communicate(timeout=60)
    assert (outside.returncode, errors.splitlines()[-1]) == (143, "billing-etl: stopped by SIGTERM")
