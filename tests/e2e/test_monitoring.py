"""Unattended runs: several accounts, logs, metrics and heartbeats."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.fake_heartbeat_server import HeartbeatServer, heartbeat_server
from support.metrics import parse

from etl.exit_codes import ExitCode, most_severe

SPAN = ("--until", "2025-03-10")


@pytest.fixture
def service() -> Iterator[HeartbeatServer]:
    with heartbeat_server() as server:
        yield server


@pytest.fixture
def accounts(billing, vendor):
    """Four accounts in the default file: a good one, one that starts in the future, one without a token, a good one."""
    token = billing.variables.pop("BILLING_API_TOKEN")
    del billing.variables["BILLING_START_DATE"]
    folder = billing.folder / "config" / "billing-etl"
    folder.mkdir(parents=True)
    billing.variables["XDG_CONFIG_HOME"] = str(folder.parent)
    (folder / "config.toml").write_text(
        f"""start_date = 2025-03-01
[accounts.first]
api_token = "{token}"
[accounts.late]
api_token = "{token}"
start_date = 2999-01-01
[accounts.poor]
[accounts.last]
api_token = "{token}"
database_url = "sqlite:///last.db"
"""
    )
    return billing


def metric(billing, name, account):
    return parse((billing.folder / "m.prom").read_text()).get(f"billing_etl_{name}", {}).get((account,))


# --- several accounts -------------------------------------------------------------------------------------------------


def test_a_misconfigured_account_does_not_stop_the_others(accounts):
    done = accounts("sync", *SPAN, "--json")
    found = json.loads(done.out)
    assert [(account["account"], account["exit_code"], account["new"]) for account in found["accounts"]] == [
        ("first", 0, 30), ("late", 78, 0), ("poor", 78, 0), ("last", 0, 30),
    ]  # fmt: skip
    assert (done.code, found["exit_code"]) == (78, 78)
    assert "late: BILLING_START_DATE is 2999-01-01" in done.errors
    assert "poor: BILLING_API_TOKEN is not set" in done.errors
    statuses = json.loads(accounts("status", "--json").out)["accounts"]
    assert {status["account"]: status["records"] for status in statuses} == {
        "first": 30,
        "late": 0,
        "poor": 0,
        "last": 30,
    }


def test_accounts_with_the_same_token_cause_a_warning(accounts):
    done = accounts("sync", *SPAN)
    assert "the accounts first and late have the same token" in done.errors
    assert "last have the same token" not in done.errors, "another database"


def test_check_covers_every_account(accounts):
    done = accounts("check", "--json")
    found = json.loads(done.out)
    assert (done.code, [account["account"] for account in found["accounts"]]) == (78, ["first", "late", "poor", "last"])
    assert "config.toml" in found["accounts"][0]["checks"][0]["message"]


@pytest.mark.parametrize(
    ("codes", "worst"),
    [
        ([], ExitCode.OK),
        ([ExitCode.OK, ExitCode.NEEDS_REVIEW, ExitCode.OK], ExitCode.NEEDS_REVIEW),
        ([ExitCode.LOCKED, ExitCode.NEEDS_REVIEW], ExitCode.LOCKED),
        ([ExitCode.UNAVAILABLE, ExitCode.LOCKED], ExitCode.UNAVAILABLE),
        ([ExitCode.CONFIG, ExitCode.REFUSED, ExitCode.UNAVAILABLE], ExitCode.CONFIG),
        ([ExitCode.DATABASE, ExitCode.CONFIG], ExitCode.DATABASE),
        ([ExitCode.SOFTWARE, ExitCode.CONFIG], ExitCode.SOFTWARE),
    ],
)
def test_the_exit_code_is_the_most_severe_one(codes, worst):
    assert most_severe(codes) == worst


def test_the_status_of_many_accounts_is_one_line_each(billing, vendor):
    token = billing.variables.pop("BILLING_API_TOKEN")
    labels = [f"shop {number:02}" for number in range(11)]
    (billing.folder / "c.toml").write_text("".join(f"[accounts.'{label}']\n" for label in labels))
    billing("--config", "c.toml", "sync", *SPAN, "--account", labels[0], BILLING_API_TOKEN=token)
    done = billing("--config", "c.toml", "status")
    assert re.search(r"^ +shop 00 +2025-03-10 +\d+ +done *$", done.out, re.MULTILINE), done
    assert re.search(r"^! +shop 10 +no day yet +never synced *$", done.out, re.MULTILINE), done
    assert done.out.endswith("10 of them need attention; in full: billing-etl status --account LABEL\n")
    assert "Account shop 00" in billing("--config", "c.toml", "status", "--account", labels[0]).out


# --- config show ------------------------------------------------------------------------------------------------------


def test_config_show_prints_every_value_with_its_source_and_no_secret(billing):
    token = billing.variables.pop("BILLING_API_TOKEN")
    (billing.folder / "token").write_text(token)
    (billing.folder / "token").chmod(0o600)
    (billing.folder / ".env").write_text("BILLING_WINDOW_DAYS=3\n")
    (billing.folder / "c.toml").write_text(
        "lookback_days = 4\n[accounts.shop]\napi_token_file = 'token'\ntimeout = 20\n"
        "database_url = 'postgresql://u:correct-horse-battery@h/d?sslpassword=hunter22'\n"
    )
    done = billing("--config", "c.toml", "config", "show", "--json", BILLING_HEARTBEAT_URL="https://hc-ping.com/7f2c")
    document = json.loads(done.out)
    (account,) = document["accounts"]
    found = {name: (one["value"], one["source"]) for name, one in account["settings"].items()}
    assert (done.code, document["file"], account["account"], account["errors"]) == (0, "c.toml", "shop", [])
    expected = {
        "BILLING_API_TOKEN": ("***", "c.toml [accounts.shop]: token"),
        "BILLING_DATABASE_URL": ("postgresql+psycopg://u:***@h/d?sslpassword=***", "c.toml [accounts.shop]"),
        "BILLING_ACCOUNT": ("shop", "c.toml [accounts.shop]"),
        "BILLING_LOOKBACK_DAYS": (4, "c.toml"),
        "BILLING_WINDOW_DAYS": (3, ".env"),
        "BILLING_TIMEOUT": (20.0, "c.toml [accounts.shop]"),
        "BILLING_RETRY_ATTEMPTS": (2, "environment"),
        "BILLING_TIMEZONE": ("Europe/Moscow", "default"),
        "BILLING_METRICS_FILE": (None, "not set"),
        "BILLING_HEARTBEAT_URL": ("***", "environment"),
    }
    assert {name: found[name] for name in expected} == expected

    done = billing("--config", "c.toml", "config", "show")
    assert re.search(r"BILLING_TIMEOUT +20 +c\.toml \[accounts\.shop\]", done.out), done
    assert not re.search("correct|hunter", done.out + done.errors)


def test_config_show_prints_the_settings_of_several_accounts_once(billing):
    (billing.folder / "c.toml").write_text("[accounts.shop]\ntimeout = 20\n[accounts.web]\n")
    done = billing("--config", "c.toml", "config", "show")
    assert "All 2 accounts" in done.out, done
    assert done.out.count("BILLING_LOOKBACK_DAYS") == 1
    lines = re.findall(r"^ *(shop|web) +BILLING_TIMEOUT +(\d+) +(.+?) *$", done.out, re.MULTILINE)
    assert lines == [("shop", "20", "c.toml [accounts.shop]"), ("web", "30", "default")]


def test_config_show_works_without_a_token_and_names_errors(billing):
    assert billing("config", "show", BILLING_API_TOKEN=None).code == 0
    done = billing("config", "show", BILLING_TIMEOUT="soon", BILLING_LOKBACK_DAYS="3")
    assert (done.code, done.errors.count("\n")) == (78, 2)
    for words in ("BILLING_TIMEOUT is 'soon'", "BILLING_LOKBACK_DAYS is not a setting; did you mean"):
        assert words in done.errors
    assert "BILLING_WINDOW_DAYS" in done.out


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [("--log-format", "json"), ()])
def test_every_log_line_of_a_run_has_run_account_and_window(billing, vendor, options):
    vendor.faults.add("status", status=503, times=1, action="post_billing_data")
    setting = {} if options else {"BILLING_LOG_FORMAT": "json"}
    done = billing("-v", *options, "sync", *SPAN, **setting)
    lines = [json.loads(line) for line in done.errors.splitlines()]
    assert done.code == 0
    assert {line["account"] for line in lines} == {"default"}
    assert len({line["run_id"] for line in lines}) == 1
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"]) for line in lines)
    retry = next(line for line in lines if line["levelname"] == "WARNING")
    assert retry["window"] in {"2025-03-01..2025-03-07", "2025-03-08..2025-03-10"}, "logged by a fetching thread"


@pytest.mark.parametrize("arguments", [("sync", "--nothing"), ("sync", "--account", "shop"), ("status",)])
def test_the_last_line_with_json_logs_is_json(billing, arguments):
    done = billing("--log-format", "json", *arguments, BILLING_TIMEOUT="soon")
    assert done.code in {2, 78}
    assert [json.loads(line)["levelname"] for line in done.errors.splitlines()] == ["ERROR"]


def test_under_systemd_every_line_has_a_priority_and_no_time(billing, vendor):
    vendor.faults.add("status", status=503, times=None)
    reading, writing = os.pipe()
    found = os.fstat(writing)
    variables = billing.variables | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
    command = [sys.executable, "-m", "etl", "-v", "sync", *SPAN]
    done = subprocess.run(
        command, check=False, cwd=billing.folder, env=variables, stdout=subprocess.DEVNULL, stderr=writing
    )
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as lines:
        text = lines.read()
    assert done.returncode == 69
    assert all(re.match(r"<[3-6]>(?!\d{4}-)", line) for line in text.splitlines()), text
    error, summary = text.splitlines()[-2:]
    assert error.startswith("<3>default: ")
    assert summary.startswith("<4>default: 0 days (2025-03-01 to 2025-03-10)")


def test_the_summary_of_a_run_that_logs_in_json_is_a_log_line(billing):
    done = billing("--log-format", "json", "sync", *SPAN)
    line = json.loads(done.errors.splitlines()[-1])
    assert (done.code, done.out, line["levelname"]) == (0, "", "INFO")
    expected = {"account": "default", "days": 10, "new": 30, "exit_code": 0, "last_synced_date": "2025-03-10"}
    assert {name: line[name] for name in expected} == expected
    assert line["message"].startswith("default: 10 days (2025-03-01 to 2025-03-10): 30 new")
    assert billing("--log-format", "json", "-q", "sync", *SPAN).errors == ""


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_cover_each_account_and_a_failure_keeps_the_last_success(accounts, vendor):
    option = ("--metrics-file", "m.prom")
    assert accounts("sync", *SPAN, *option).code == 78
    assert [metric(accounts, "last_run_exit_code", one) for one in ("first", "late", "poor", "last")] == [0, 78, 78, 0]
    success = metric(accounts, "last_success_timestamp_seconds", "first")
    assert success is not None
    assert metric(accounts, "watermark_timestamp_seconds", "last") == 1741640400, "the end of 10 March in Moscow"

    vendor.faults.add("status", status=503, times=None)
    assert accounts("sync", *SPAN, *option, "--account", "first").code == 69
    assert metric(accounts, "last_success_timestamp_seconds", "first") == success
    assert [metric(accounts, "last_run_exit_code", one) for one in ("first", "last")] == [69, 0]

    (accounts.folder / "billing.db").unlink()
    (accounts.folder / "billing.db").mkdir()
    assert accounts("sync", *SPAN, *option, "--account", "first").code == 74
    assert metric(accounts, "last_success_timestamp_seconds", "first") == success


def test_metrics_show_a_charge_without_a_record_as_the_status_does(synced, vendor):
    outside = {"BILLING_METRICS_FILE": "m.prom"}
    assert synced("sync", *SPAN, **outside).code == 0
    assert metric(synced, "unexplained_amount", "default") == 0
    balance = metric(synced, "balance", "default")
    for change, total in [(-50, -50), (500, 450)]:  # the second one is a top-up, which hides no charge
        vendor.dataset.credit += change
        assert synced("sync", *SPAN, **outside).code == 0
        assert "an unexplained charge of 50.00" in synced("status").out
        assert metric(synced, "unexplained_amount", "default") == -50
        assert metric(synced, "balance", "default") == balance + total


def test_metrics_that_cannot_be_written_do_not_fail_the_run(billing):
    done = billing("sync", *SPAN, "--metrics-file", "nowhere/m.prom")
    assert (done.code, "nowhere/m.prom cannot be written" in done.errors) == (0, True), done


def test_dry_runs_and_accepts_write_no_metrics_and_send_no_heartbeat(synced, service):
    outside = {"BILLING_METRICS_FILE": "m.prom", "BILLING_HEARTBEAT_URL": service.url}
    assert synced("sync", *SPAN, "--dry-run", **outside).code == 0
    assert synced("accept", "2025-03-09", "--even-if-not-suspect", **outside).code == 0
    assert (service.pings, "m.prom" in synced.files()) == ([], False)


# --- heartbeat --------------------------------------------------------------------------------------------------------


def events(service):
    return [re.sub(r"^/ping/check/|\?rid=[0-9a-f-]{36}$", "", path) for path, _ in service.pings]


def test_one_heartbeat_per_process_covers_all_accounts(accounts, service):
    done = accounts("--log-format", "json", "sync", *SPAN, BILLING_HEARTBEAT_URL=service.url)
    assert (done.code, events(service)) == (78, ["start", "78"])
    assert len({path.partition("rid=")[2] for path, _ in service.pings}) == 1
    summary = service.pings[1][1]
    for words in ("first: 10 days", "late: exit code 78: BILLING_START_DATE", "poor: exit code 78", "last: 10 days"):
        assert words in summary


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"BILLING_DATABASE_URL": "sqlite:///nowhere/b.db"}, 74),
        ({"BILLING_TIMEOUT": "soon"}, 78),
        ({".env": b"\xff"}, 78),
    ],
)
def test_a_run_that_fails_early_sends_a_heartbeat(billing, service, wrong, code):
    if ".env" in wrong:
        (billing.folder / ".env").write_bytes(wrong.pop(".env"))
    done = billing("sync", *SPAN, BILLING_HEARTBEAT_URL=service.url, **wrong)
    assert (done.code, events(service)) == (code, ["start", str(code)]), done


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/our-secret-check", None])
def test_a_failed_heartbeat_does_not_fail_the_run_or_leak_its_url(billing, service, url):
    service.status = 500
    done = billing("-vv", "sync", *SPAN, BILLING_HEARTBEAT_URL=url or f"{service.url}/our-secret-check")
    assert (done.code, "the heartbeat did not report" in done.errors) == (0, True), done
    assert "our-secret-check" not in done.out + done.errors


def test_a_run_ended_by_a_signal_sends_a_heartbeat(billing, vendor, service, wait_for_request):
    vendor.faults.add("hang", times=None)
    process = billing.start(
        "sync", *SPAN, "--metrics-file", "m.prom", BILLING_HEARTBEAT_URL=service.url, BILLING_RETRY_ATTEMPTS="1"
    )
    wait_for_request(process)
    process.send_signal(signal.SIGTERM)
    assert billing.finish(process).code == 143
    assert events(service) == ["start", "143"]
    assert metric(billing, "last_run_exit_code", "default") == 143
