"""Each command of the contract: arguments, exit code, text output and JSON."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import pytest
from support.permissions import as_user

REPORT = {
    "account", "command", "dry_run", "first_day", "last_day", "days", "new", "changed", "withdrawn", "unchanged",
    "rejected", "suspect_days", "sources", "last_synced_date", "seconds", "exit_code", "error",
}  # fmt: skip
SETTINGS = [
    "BILLING_API_TOKEN",
    "BILLING_API_TOKEN_FILE",
    "BILLING_API_URL",
    "BILLING_DATABASE_URL",
    "BILLING_DATABASE_URL_FILE",
    "BILLING_ACCOUNT",
    "BILLING_START_DATE",
    "BILLING_LOOKBACK_DAYS",
    "BILLING_WINDOW_DAYS",
    "BILLING_TIMEZONE",
    "BILLING_TIMEOUT",
    "BILLING_REQUEST_DEADLINE",
    "BILLING_RETRY_ATTEMPTS",
    "BILLING_RETRY_MAX_WAIT",
    "BILLING_MAX_RESPONSE_MB",
    "BILLING_MAX_WITHDRAWN_SHARE",
    "BILLING_AUTO_MIGRATE",
    "BILLING_PHONES",
    "BILLING_PHONES_KEY_FILE",
    "BILLING_CODES",
]
DEFAULTS = [
    "https://api.telefon-ip.ru/api/v1/authcalls", "sqlite:///billing.db", "default", "Europe/Moscow", "300", "512",
    "0.2", "true", "30 days",
]  # fmt: skip
SPAN = ("--until", "2025-03-10")


def query(folder, sql):
    with closing(sqlite3.connect(folder / "billing.db")) as database:
        return database.execute(sql).fetchall()


def only(document):
    (account,) = document["accounts"]
    return account


# --- sync -------------------------------------------------------------------------------------------------------------


def test_a_first_sync_requires_only_a_token(billing, vendor):
    done = billing.interpret("sync", BILLING_START_DATE=None, BILLING_RETRY_ATTEMPTS=None, BILLING_RETRY_MAX_WAIT=None)
    assert done.code == 0, done
    assert "first sync" in done.errors
    assert "30 days back" in done.errors
    assert "BILLING_START_DATE" in done.errors
    assert query(billing.folder, "SELECT count(*) FROM synced_days") == [(31,)]
    assert "billing.db" in billing.files()


def test_a_sync_fills_the_database_and_prints_one_line(billing, vendor):
    done = billing("sync", *SPAN)
    assert done.code == 0, done
    assert done.out.count("\n") == 1
    for part in ("default: 10 days (2025-03-01 to 2025-03-10)", "30 new", "0 changed", "JSON", "2025-03-10", " s"):
        assert part in done.out
    assert query(billing.folder, "SELECT count(*), sum(amount) FROM billing") == [(30, pytest.approx(6))]
    assert query(billing.folder, "SELECT DISTINCT records, spend FROM daily_spend") == [(3, 0.6)]


def test_a_second_sync_reports_no_changes_and_a_third_one_the_changes(synced, vendor, records_on):
    assert ": 0 new, 0 changed, 0 withdrawn" in re.sub(r".*\)", "", synced("sync", *SPAN).out)
    vendor.dataset.remove(records_on("2025-03-09", 1))
    vendor.dataset.add(records_on("2025-03-08", 2, "1.5")[1:])
    done = synced("sync", *SPAN, "--json")
    account = only(json.loads(done.out))
    assert (done.code, account["new"], account["withdrawn"], account["exit_code"]) == (0, 1, 1, 0)


def test_a_report_in_json_is_one_document_with_these_keys(billing):
    done = billing("sync", *SPAN, "--json")
    document = json.loads(done.out)
    assert document.keys() == {"accounts", "exit_code"}
    account = only(document)
    assert account.keys() >= REPORT
    assert account.pop("seconds") >= 0
    assert {name: account[name] for name in REPORT - {"seconds"}} == {
        "account": "default", "command": "sync", "dry_run": False, "first_day": "2025-03-01",
        "last_day": "2025-03-10", "days": 10, "new": 30, "changed": 0, "withdrawn": 0, "unchanged": 0, "rejected": 0,
        "suspect_days": [], "sources": ["json"], "last_synced_date": "2025-03-10", "exit_code": 0, "error": None,
    }  # fmt: skip


def test_since_and_until_select_the_days(billing):
    done = billing("sync", "--since", "2025-03-04", "--until", "2025-03-05", "--json")
    account = only(json.loads(done.out))
    assert (account["first_day"], account["last_day"], account["new"]) == ("2025-03-04", "2025-03-05", 6)


def test_a_dry_run_creates_no_file(billing):
    done = billing("sync", *SPAN, "--dry-run")
    assert (done.code, billing.files()) == (0, []), done
    assert "30 new" in done.out
    assert "would" in done.out


def test_a_dry_run_changes_nothing_in_a_database(synced, vendor, records_on):
    vendor.dataset.add(records_on("2025-03-09", 9, "1")[5:])
    files, before = synced.files(), (synced.folder / "billing.db").read_bytes()
    done = synced("sync", *SPAN, "--dry-run", "--json")
    account = only(json.loads(done.out))
    assert (done.code, account["dry_run"], account["new"]) == (0, True, 4)
    assert (synced.files(), (synced.folder / "billing.db").read_bytes()) == (files, before)


def test_quiet_prints_nothing_on_success(billing):
    for command in (
        ("migrate",),
        ("sync", *SPAN),
        ("sync", *SPAN),
        ("backfill", "--since", "2025-03-02", "--until", "2025-03-03"),
        ("accept", "2025-03-09", "--even-if-not-suspect"),
        ("verify",),
    ):
        assert (command, *billing("-q", *command)) == (command, 0, "", "")


def test_quiet_prints_what_needs_attention(synced, vendor, records_on):
    vendor.dataset.replace([])
    done = synced("-q", "sync", *SPAN)
    assert done.code == 65
    assert "2025-03-09" in done.out + done.errors


def test_progress_is_shown_only_on_a_terminal(billing):
    done = billing("sync", *SPAN)
    assert "\x1b" not in done.out + done.errors
    assert "\r" not in done.out + done.errors


# --- backfill, accept, verify -----------------------------------------------------------------------------------------


def test_a_backfill_fetches_a_past_range(synced, vendor, records_on):
    vendor.dataset.add(records_on("2025-02-10", 2))
    done = synced("backfill", "--since", "2025-02-10", "--until", "2025-02-11", "--json")
    account = only(json.loads(done.out))
    assert (done.code, account["command"], account["new"]) == (0, "backfill", 2)
    assert account["last_synced_date"] == "2025-03-10"


def test_a_backfill_repairs_what_verify_finds(synced):
    done = synced("verify", "--source", "json,csv")
    assert (done.code, synced("verify", "--json").code) == (0, 0), done
    with closing(sqlite3.connect(synced.folder / "billing.db")) as database:
        database.execute("UPDATE billing_records SET price = '9.000000' WHERE created_at LIKE '2025-03-04 10:00:00%'")
        database.execute("DELETE FROM billing_records WHERE created_at LIKE '2025-03-07 10:00:01%'")
        database.commit()
    done = synced("verify")
    assert (done.code, "2025-03-04" in done.out, "2025-03-07" in done.out) == (65, True, True)
    assert "backfill" in done.out
    done = synced("verify", "--since", "2025-03-05", "--until", "2025-03-06")
    assert done.code == 0, done
    done = synced("verify", "--json", "--source", "csv")
    document = json.loads(done.out)
    assert (done.code, document["exit_code"]) == (65, 65)
    assert "2025-03-04" in done.out

    assert synced("backfill", "--since", "2025-03-04", "--until", "2025-03-07").code == 0
    assert synced("verify").code == 0
    assert query(synced.folder, "SELECT DISTINCT records, spend FROM daily_spend") == [(3, 0.6)]


def test_verify_writes_nothing(synced, vendor, records_on):
    vendor.dataset.add(records_on("2025-03-09", 9, "1")[5:])
    before = (synced.folder / "billing.db").read_bytes()
    assert synced("verify").code == 65
    assert (synced.folder / "billing.db").read_bytes() == before


def test_verify_creates_no_database(billing):
    done = billing("verify")
    assert (done.code, billing.files(), done.errors.count("\n")) == (74, [], 1)


def test_every_run_exits_65_until_a_suspect_day_is_accepted(synced, vendor, records_on):
    vendor.dataset.remove(records_on("2025-03-09", 3))
    for command in (("sync", *SPAN), ("sync", *SPAN), ("backfill", "--since", "2025-03-01", "--until", "2025-03-01")):
        done = synced(*command)
        assert (done.code, "2025-03-09" in done.out, "accept 2025-03-09" in done.out) == (65, True, True)
    status = only(json.loads(synced("status", "--json").out))
    assert status["suspect_days"] == ["2025-03-09"]
    assert query(synced.folder, "SELECT day_state FROM daily_spend WHERE day = '2025-03-09'") == [("suspect",)]

    done = synced("accept", "2025-03-09", "--json")
    assert (done.code, only(json.loads(done.out))["withdrawn"]) == (0, 3)
    assert synced("sync", *SPAN).code == 0
    assert only(json.loads(synced("status", "--json").out))["suspect_days"] == []


def test_rejected_records_are_quarantined_and_the_run_exits_65(billing, vendor, records_on):
    vendor.dataset.add([records_on("2025-03-05", 1)[0] | {"price": "much"}])
    for _ in range(2):
        done = billing("sync", *SPAN, BILLING_LOOKBACK_DAYS="10")
        assert (done.code, "rejected_records" in done.out) == (65, True), done
    assert query(billing.folder, "SELECT day, reason FROM rejected_records") == [
        ("2025-03-05", "price is not a number"),
    ]
    assert query(billing.folder, "SELECT count(*) FROM billing") == [(30,)]
    assert only(json.loads(billing("status", "--json").out))["rejected"] == 1


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_json_has_the_documented_format(synced):
    synced("backfill", "--since", "2025-02-01", "--until", "2025-02-02")
    done = synced("status", "--json")
    status = only(json.loads(done.out))
    assert done.code == 0
    assert {name: status[name] for name in ("account", "last_synced_date", "records", "gaps", "rejected")} == {
        "account": "default",
        "last_synced_date": "2025-03-10",
        "records": 30,
        "gaps": [["2025-02-03", "2025-02-28"]],
        "rejected": 0,
    }
    assert status["suspect_days"] == []
    assert (status["last_run"]["command"], status["last_run"]["outcome"]) == ("backfill", "done")

    done = synced("status")
    assert done.code == 0
    for part in ("default", "2025-03-10", "2025-02-03 to 2025-02-28", "sync", "backfill"):
        assert part in done.out


def test_status_creates_no_database(billing):
    done = billing("status", "--json")
    assert (done.code, billing.files()) == (0, [])
    status = only(json.loads(done.out))
    expected = {"account": "default", "last_synced_date": None, "records": 0, "gaps": [], "suspect_days": []}
    assert {name: status[name] for name in expected} == expected
    assert (status["rejected"], status["last_run"]) == (0, None)
    assert "never synced" in billing("status").out


@pytest.mark.fault(112)
def test_status_exits_1_when_an_account_exceeds_max_age(billing):
    assert billing("status", "--max-age", "48").code == 1
    billing("sync", *SPAN)
    assert billing("status", "--max-age", "48").code == 1
    billing("sync", BILLING_WINDOW_DAYS="366", BILLING_LOOKBACK_DAYS="0")
    done = billing("status", "--max-age", "48", "--json")
    assert (done.code, json.loads(done.out)["exit_code"]) == (0, 0)


def test_status_needs_no_token(synced):
    assert synced("status", BILLING_API_TOKEN=None).code == 0


# --- check, migrate, demo, sandbox, help ------------------------------------------------------------------------------


def test_check_has_a_line_for_each_requirement_of_a_sync(synced):
    done = synced("check")
    assert done.code == 0, done
    for name in ("settings", "database", "schema", "token", "clock", "dates"):
        assert re.search(rf"^\S+ {name}: .+$", done.out, re.MULTILINE), name


def test_check_creates_no_database(billing):
    done = billing("check")
    assert (done.code, billing.files()) == (0, []), done


def test_check_in_json_is_one_document(synced):
    done = synced("check", "--json")
    document = json.loads(done.out)
    assert (done.code, document["exit_code"]) == (0, 0)
    assert {check["name"] for check in only(document)["checks"]} >= {"database", "schema", "token", "clock", "dates"}
    assert all(check["ok"] is True and check["message"] for check in only(document)["checks"])


@pytest.mark.parametrize("end_date", ["inclusive", "exclusive"])
def test_check_reports_the_meaning_of_the_vendors_dates(billing, vendor, end_date):
    vendor.dataset.reset()
    vendor.set_now(None)  # seeded records of the last days
    vendor.policies.end_date = end_date
    done = billing("check")
    assert done.code == 0, done
    assert ("the end date is included" if end_date == "inclusive" else "the end date is not included") in done.out


@pytest.mark.parametrize(
    ("wrong", "code", "name"),
    [
        ({"BILLING_API_TOKEN": "11111111-0000-4000-8000-000000000000"}, 77, "token"),
        ({"BILLING_DATABASE_URL": "sqlite:///nowhere/billing.db"}, 74, "database"),
        ({"BILLING_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/billing"}, 74, "database"),
        ({"BILLING_API_URL": "http://127.0.0.1:1"}, 69, "token"),
        ({"BILLING_API_TOKEN": None}, 78, "BILLING_API_TOKEN"),
    ],
)
def test_check_exits_with_the_code_of_a_sync(billing, wrong, code, name):
    done = billing("check", **wrong)
    assert (done.code, name in done.out + done.errors, "Traceback" in done.errors) == (code, True, False), done


def test_verify_without_days_is_not_a_success(synced, vendor):
    vendor.requests.clear()
    for arguments, changes, reason in (
        (("--since", "2025-02-01", "--until", "2025-02-28"), {}, "no day from 2025-02-01 to 2025-02-28 is stored"),
        (
            (),
            {"BILLING_ACCOUNT": "another", "BILLING_API_TOKEN": "the-token-of-another-account"},
            "the account was never synced",
        ),
    ):
        done = synced("verify", *arguments, **changes)
        assert (done.code, done.out, done.errors.count("\n"), reason in done.errors) == (1, "", 1, True), done
        done = synced("verify", "--json", *arguments, **changes)
        document = json.loads(done.out)
        assert (done.code, document["exit_code"], only(document)["days"]) == (1, 1, 0)
        assert reason in only(document)["error"]
    assert vendor.requests == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which not even root may write")
def test_check_fails_when_sync_could_not_create_the_database(billing):
    url = "sqlite:////proc/billing.db"
    assert billing("sync", BILLING_DATABASE_URL=url).code == 74
    done = billing("check", BILLING_DATABASE_URL=url)
    assert (done.code, "✗ folder: no file can be written in /proc" in done.out) == (1, True), done


@pytest.mark.parametrize("unwritable", ["", "billing.db", "billing.db-account-default.lock"])
def test_check_fails_when_sync_may_not_write(synced, unwritable):
    place = synced.folder / unwritable
    place.chmod(0o555 if not unwritable else 0o444)
    codes = {}
    for command in ("sync", "check"):
        done = subprocess.run(
            as_user([sys.executable, "-m", "etl", command]),
            cwd=synced.folder, env=synced.variables, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        codes[command] = done.returncode
    place.chmod(0o755)
    assert codes["sync"] == 74
    assert codes["check"] in {1, 74}
    assert "this user may not write" in done.stdout


@pytest.mark.fault(109)
def test_check_fails_when_the_clock_is_wrong(billing, vendor):
    vendor.set_now(vendor.now.replace(year=2020))
    done = billing("check")
    assert (done.code, "clock" in done.out) == (1, True), done


def test_migrate_creates_the_schema_and_can_be_repeated(billing):
    for _ in range(2):
        done = billing("migrate", BILLING_API_TOKEN=None)
        assert (done.code, "revision" in done.out) == (0, True), done
    names = {name for (name,) in query(billing.folder, "SELECT name FROM sqlite_master")}
    assert names >= {"billing_records", "synced_days", "billing", "daily_spend", "restated_days", "freshness"}


def test_migrate_sql_prints_the_statements(billing):
    done = billing("migrate", "--sql")
    assert (done.code, billing.files()) == (0, []), done.errors
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(done.out)
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    assert names >= {"billing_records", "synced_days", "billing", "daily_spend", "restated_days", "freshness"}


def test_a_sync_creates_no_schema_without_auto_migrate(billing, vendor):
    done = billing("sync", *SPAN, BILLING_AUTO_MIGRATE="false")
    assert (done.code, vendor.requests, done.errors.count("\n")) == (74, [], 1)
    assert billing("migrate").code == 0
    assert billing("sync", *SPAN, BILLING_AUTO_MIGRATE="false").code == 0


def test_demo_requires_no_settings(billing, vendor):
    nothing = {name: None for name in billing.variables if name.startswith("BILLING_")}
    done = billing("demo", **nothing)
    assert (done.code, done.errors.count("Traceback")) == (0, 0), done
    for word in ("new", "changed", "withdrawn", "daily_spend", "status"):
        assert word in done.out
    assert "__main__.py" not in done.out, "a command that cannot be run"
    assert vendor.requests == []


def test_demo_can_be_repeated(billing):
    assert [billing("demo").code, billing("demo").code] == [0, 0]
    assert "billing.db" not in billing.files()


@pytest.mark.parametrize("content", ["other account", "other program", "no database"])
def test_demo_replaces_no_other_file(billing, content):
    database = billing.folder / "billing-demo.db"
    if content == "other account":
        assert billing("sync", *SPAN, BILLING_DATABASE_URL=f"sqlite:///{database}").code == 0
    elif content == "other program":
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("CREATE TABLE invoices (id int)")
    else:
        database.write_text("a text")
    before = database.read_bytes()
    done = billing("demo")
    assert (done.code, done.errors.count("\n"), "the demo does not replace" in done.errors) == (74, 1, True), done
    assert database.read_bytes() == before


def test_the_sandbox_serves_a_sync_and_ends_on_a_signal(billing):
    process = billing.start("sandbox", "--port", "0", "--token", "open-sesame")
    url = re.search(r"http://127\.0\.0\.1:\d+/api/v1/authcalls", process.stdout.readline())[0]
    settings = {"BILLING_API_URL": url, "BILLING_START_DATE": None}
    assert billing("sync", **settings, BILLING_API_TOKEN="open-sesame").code == 0
    assert query(billing.folder, "SELECT count(*) > 100 FROM billing") == [(1,)]
    assert billing("sync", **settings, BILLING_API_TOKEN="another").code == 77
    process.terminate()
    assert billing.finish(process).code in {0, 143}


def test_help_lists_every_setting_with_its_default(billing):
    done = billing("help", "settings")
    assert done.code == 0
    for name in SETTINGS:
        assert re.search(rf"\b{name}\b", done.out), name
    for default in DEFAULTS:
        assert default in done.out, default
    done = billing("--help")
    for command in (
        "sync",
        "backfill",
        "verify",
        "status",
        "check",
        "export",
        "migrate",
        "accept",
        "demo",
        "sandbox",
        "recent",
        "auth-status",
    ):
        assert re.search(rf"^ +{command} ", done.out, re.MULTILINE), command
        assert billing(command, "--help").code == 0, command


def test_help_and_version_need_no_settings(billing):
    nothing = {name: None for name in billing.variables if name.startswith("BILLING_")}
    assert billing.interpret("--help", **nothing).code == 0
    assert version("billing-etl") in billing.interpret("--version", **nothing).out


# --- several accounts -------------------------------------------------------------------------------------------------


@pytest.fixture
def two_accounts(billing):
    (billing.folder / "billing.toml").write_text(
        f'start_date = 2025-03-01\n[accounts.one]\napi_token = "{billing.variables["BILLING_API_TOKEN"]}"\n'
        f'[accounts.two]\napi_token = "{billing.variables["BILLING_API_TOKEN"]}"\nlookback_days = 3\n'
    )
    billing.variables |= {"BILLING_API_TOKEN": "a-token-for-no-account"}
    del billing.variables["BILLING_START_DATE"]
    return billing


def test_all_accounts_of_a_file_run_or_only_those_named(two_accounts):
    config = ("--config", "billing.toml")
    done = two_accounts(*config, "sync", *SPAN, "--account", "two", "--json")
    assert (done.code, [account["account"] for account in json.loads(done.out)["accounts"]]) == (0, ["two"]), done
    done = two_accounts(*config, "sync", *SPAN, "--json")
    accounts = json.loads(done.out)["accounts"]
    assert [(account["account"], account["new"]) for account in accounts] == [("one", 30), ("two", 0)]
    assert query(two_accounts.folder, "SELECT account, count(*) FROM billing GROUP BY account") == [
        ("one", 30),
        ("two", 30),
    ]
    statuses = json.loads(two_accounts(*config, "status", "--json").out)["accounts"]
    assert [(status["account"], status["records"]) for status in statuses] == [("one", 30), ("two", 30)]


@pytest.mark.parametrize("command", [("sync", *SPAN), ("status",), ("check",), ("verify",)])
def test_several_accounts_are_one_json_document(two_accounts, command):
    two_accounts("--config", "billing.toml", "sync", *SPAN)
    done = two_accounts("--config", "billing.toml", *command, "--json")
    document = json.loads(done.out)
    assert (done.code, document["exit_code"]) == (0, 0), done
    assert [account["account"] for account in document["accounts"]] == ["one", "two"]


def test_an_account_missing_from_the_file_is_refused(two_accounts, vendor):
    done = two_accounts("--config", "billing.toml", "sync", "--account", "three")
    assert (done.code in {2, 78}, "three" in done.errors, vendor.requests) == (True, True, [])


def test_a_failing_account_does_not_stop_the_others(two_accounts):
    text = (two_accounts.folder / "billing.toml").read_text()
    (two_accounts.folder / "billing.toml").write_text(text.replace("api_token", "api_token = 'wrong'\n#", 1))
    done = two_accounts("--config", "billing.toml", "sync", *SPAN, "--json")
    accounts = json.loads(done.out)["accounts"]
    assert [(account["account"], account["exit_code"]) for account in accounts] == [("one", 77), ("two", 0)]
    assert done.code == 77


# --- amounts ----------------------------------------------------------------------------------------------------------


def test_amounts_are_exact_from_the_vendors_digits_to_the_sum(billing, vendor, records_on):
    vendor.dataset.replace(
        [
            *records_on("2025-03-05", 3, "0.1"),
            *records_on("2025-03-06", 2, "999999999999.999999"),
            *records_on("2025-03-06", 1, "0.000002"),
        ]
    )
    assert billing("sync", *SPAN).code == 0
    rows = query(billing.folder, "SELECT day, spend FROM daily_spend ORDER BY day")
    assert [(day, Decimal(str(spend))) for day, spend in rows] == [
        ("2025-03-05", Decimal("0.3")),
        ("2025-03-06", Decimal(2000000000000)),
    ]


# --- forget -----------------------------------------------------------------------------------------------------------


def test_forget_reports_what_it_removed_without_the_number(synced):
    done = synced("forget", "--phone", "8 (924) 355-51-00")
    assert (done.code, done.out, done.errors) == (0, "default: forgotten: 30 of billing_records\n", "")
    assert query(synced.folder, "SELECT DISTINCT phone, code_auth, status_info FROM billing") == [("forgotten", "", "")]
    done = synced("forget", "--phone", "89243555100", "--json")
    assert only(json.loads(done.out)) == {
        "account": "default",
        "found": False,
        "rows": {"billing_records": 0, "restatements": 0, "rejected_records": 0, "sync_runs": 0, "synced_days": 0},
        "masked": False,
    }
    assert synced("forget", "--phone", "89243555100").out == "default: the number is not there\n"
    assert synced("verify").code == 0


def test_forget_names_the_accounts_it_did_not_search(synced):
    done = synced("forget", "--phone", "89243555100", BILLING_ACCOUNT="other")
    assert (done.code, "not searched: default" in done.out) == (0, True)
    assert query(synced.folder, "SELECT count(*) FROM billing WHERE phone = 'forgotten'") == [(0,)]


def test_forget_takes_a_number_only(synced):
    done = synced("forget", "--phone", "somebody at 89243555100")
    assert (done.code, "89243555100" in done.errors, "--phone" in done.errors) == (2, False, True)


# --- export -----------------------------------------------------------------------------------------------------------


def test_export_writes_a_file_and_prints_the_number_of_records(synced):
    done = synced("export", "--out", "all.csv", BILLING_API_TOKEN=None)
    assert (done.code, done.out, done.errors) == (0, "all.csv: 30 rows\n", "")
    assert (synced.folder / "all.csv").read_text("utf-8").count("\n") == 31
    done = synced("export", "--out", "all.csv", "--since", "2025-03-04", "--until", "2025-03-05", "--json")
    assert json.loads(done.out) == {
        "path": "all.csv", "view": "billing", "rows": 6, "as_of": None, "anonymised": False, "unknown_days": 0,
        "purged_days": 0, "exit_code": 0,
    }  # fmt: skip
    assert (synced.folder / "all.csv").read_text("utf-8").count("\n") == 7
    assert synced("-q", "export", "--out", "all.PARQUET") == (0, "", "")
    assert (synced.folder / "all.PARQUET").read_bytes()[:4] == b"PAR1"
    done = synced("export", "--out", "days.xlsx", "--view", "daily_spend", "--since", "2025-03-04")
    assert (done.code, done.out, done.errors) == (0, "days.xlsx: 7 rows\n", "")
    assert not [name for name in synced.files() if name.endswith(".part")]


def test_an_export_to_stdout_is_only_the_file(synced):
    synced("export", "--out", "all.csv", "--anonymise", "--until", "2025-03-01")
    done = synced("export", "--out", "-", "--until", "2025-03-01")
    lines = done.out.splitlines()
    assert (done.code, len(lines), done.errors) == (0, 4, "-: 3 rows\n")
    assert "+79243555100,0371" in lines[1]
    assert "person-" in (synced.folder / "all.csv").read_text("utf-8")


def test_export_as_of_shows_the_records_known_at_that_time(synced, vendor, records_on):
    def exported(*as_of):
        done = synced("export", "--out", "then.csv", *as_of)
        return done.code, done.out, done.errors

    with closing(sqlite3.connect(synced.folder / "billing.db")) as database:
        database.execute("UPDATE synced_days SET first_closed_at = '2025-03-20 20:30:00.000000'")
        database.commit()
    vendor.dataset.add(records_on("2025-03-08", 2, "1.5")[1:])
    assert synced("sync", *SPAN).code == 0
    assert exported("--as-of", "2025-03-20") == (0, "then.csv: 30 rows\n", "")
    assert exported() == (0, "then.csv: 31 rows\n", "")
    assert exported("--as-of", "2999-12-31") == (0, "then.csv: 31 rows\n", "")
    nothing = (
        0, "then.csv: 0 rows\n",
        "10 days were not complete at that time, and left out: the journal begins when a day is complete\n",
    )  # fmt: skip
    assert exported("--as-of", "2025-03-19") == nothing
    assert exported("--as-of", "2025-03-20T23:29:59+03:00") == nothing
    assert exported("--as-of", "2025-03-20T20:30:00Z")[1] == "then.csv: 30 rows\n"


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--out", "all.txt"), 2, ".parquet"),
        (("--out", "all.gz"), 2, ".csv.gz"),
        (("--out", "a.csv", "--view", "daily"), 2, "the views are billing, daily_spend, "),
        (("--out", "a.csv", "--view", "sync_runs"), 2, "the views are billing, daily_spend, "),
        (("--out", "a.csv", "--view", "freshness", "--since", "2025-03-02"), 2, "it has no column day or month"),
        (("--out", "a.csv", "--view", "daily_spend", "--as-of", "2025-03-02"), 2, "only to billing"),
        (("--out", "a.xlsx", "--excel-ru"), 2, "--excel-ru is for CSV"),
        (("--out", "-", "--json"), 2, "stdout"),
        (("--out", "a.csv", "--as-of", "2025-03-20T20:30:00"), 2, "offset"),
        (("--out", "a.csv", "--as-of", "yesterday"), 2, "2026-01-31"),
        (("--out", "a.csv", "--as-of", "0001-01-01T00:00+14:00"), 2, "offset"),
        (("--out", "a.csv", "--since", "2025-03-02", "--until", "2025-03-01"), 2, "--until"),
        (("--out", "a.csv", "--account", "nobody"), 78, "it has default"),
        (("--out", "nowhere/a.csv"), 78, "nowhere/a.csv"),
        ((), 2, "--out"),
    ],
)
def test_an_impossible_export_is_reported_and_leaves_no_file(synced, arguments, code, word):
    files = synced.files()
    done = synced("export", *arguments)
    assert (done.code, word in done.errors, synced.files()) == (code, True, files), done
    assert done.out == "" or "--json" in arguments


def test_an_export_without_a_database_creates_neither_file_nor_database(billing):
    done = billing("export", "--out", "a.csv")
    assert (done.code, "billing-etl sync" in done.errors, billing.files()) == (74, True, []), done


@pytest.mark.parametrize(
    ("library", "extension", "extra"), [("pyarrow", "parquet", "parquet"), ("xlsxwriter", "xlsx", "excel")]
)
def test_a_format_without_its_library_names_the_extra(synced, library, extension, extra):
    (synced.folder / f"{library}.py").write_text("raise ImportError")
    done = synced.interpret("export", "--out", f"a.{extension}")
    assert (done.code, f"pip install 'billing-etl[{extra}]'" in done.errors) == (78, True), done
    assert synced("export", "--out", "a.csv").code == 0


def test_as_of_a_day_requires_one_time_zone(two_accounts):
    config = ("--config", "billing.toml")
    two_accounts(*config, "sync", *SPAN)
    text = (two_accounts.folder / "billing.toml").read_text()
    (two_accounts.folder / "billing.toml").write_text(f'{text}timezone = "Asia/Omsk"\n')
    done = two_accounts(*config, "export", "--out", "a.csv", "--as-of", "2999-01-01")
    assert (done.code, "time zones" in done.errors) == (2, True)
    done = two_accounts(*config, "export", "--out", "a.csv", "--as-of", "2999-01-01T00:00Z")
    assert (done.code, done.out) == (0, "a.csv: 60 rows\n")
    done = two_accounts(*config, "export", "--out", "a.csv", "--as-of", "2999-01-01", "--account", "two")
    assert (done.code, done.out) == (0, "a.csv: 30 rows\n")


# --- files of secrets -------------------------------------------------------------------------------------------------


def test_a_token_file_readable_by_others_causes_one_warning(billing):
    path = billing.folder / "token"
    path.write_text(billing.variables["BILLING_API_TOKEN"])
    path.chmod(0o644)
    token = {"BILLING_API_TOKEN": None, "BILLING_API_TOKEN_FILE": "token"}
    done = billing("sync", *SPAN, **token)
    warnings = [line for line in done.errors.splitlines() if line.startswith("WARNING: BILLING_API_TOKEN_FILE")]
    assert (done.code, warnings) == (
        0, ["WARNING: BILLING_API_TOKEN_FILE: others may read or change token; run: chmod 600 token"],
    )  # fmt: skip
    path.chmod(0o600)
    assert "chmod" not in billing("sync", *SPAN, **token).errors


def test_verify_with_another_format_of_phones_is_refused_before_any_request(synced, vendor):
    requests = len(vendor.requests)
    done = synced("verify", BILLING_PHONES="masked")
    assert (done.code, "BILLING_PHONES=plain" in done.errors, len(vendor.requests)) == (78, True, requests)


# --- numbering --------------------------------------------------------------------------------------------------------

PLAN = Path(__file__).parents[1] / "data" / "numbering"


def test_an_import_of_the_numbering_plan_reports_its_counts(billing):
    files = [str(PLAN / name) for name in ("DEF-9xx.csv", "ABC-4xx.csv")]
    done = billing("numbering", "import", *files, BILLING_API_TOKEN=None)
    assert (done.code, done.errors) == (0, "")
    assert done.out == (
        f"{files[0]}: 5 ranges\n{files[1]}: 2 ranges\n"
        "4xx, 9xx: 10,271,010 numbers with an operator; 108 rows replaced 0\n"
    )
    done = billing("numbering", "import", "--json", str(PLAN / "overlapping.csv"))
    assert json.loads(done.out) == {
        "files": {str(PLAN / "overlapping.csv"): 5}, "codes": ["9xx"], "numbers": 110_000, "overlapping": 3, "rows": 7,
        "replaced": 7, "exit_code": 0,
    }  # fmt: skip
    assert "ranges were shortened" in billing("numbering", "import", str(PLAN / "overlapping.csv")).out
    assert billing("-q", "numbering", "import", files[0]).out == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.csv", "nowhere.csv: No such file or directory"),
        (
            "contradicting.csv",
            "contradicting.csv, line 4: the same numbers as in contradicting.csv, line 3, for another",
        ),
        ("../csv/delimiter_semicolon.csv", "delimiter_semicolon.csv: not a file of the numbering plan"),
    ],
)
def test_a_file_without_a_numbering_plan_is_refused_and_creates_no_database(billing, name, words):
    done = billing("numbering", "import", str(PLAN / name))
    assert (done.code, done.out) == (78, "")
    assert done.errors.startswith("billing-etl: ")
    assert done.errors.count("\n") == 1
    assert words in done.errors
    assert list(billing.folder.iterdir()) == []


def test_an_import_without_a_file_is_a_usage_error(billing):
    assert billing("numbering", "import").code == 2


def test_a_label_with_markup_is_shown_unchanged(billing, vendor):
    label = "[red]shop[/] [/bold]"
    assert billing("sync", "--until", "2025-03-10", BILLING_ACCOUNT=label).code == 0
    done = billing("status", BILLING_ACCOUNT=label)
    assert (done.code, f"Account {label}" in done.out) == (0, True), done
    assert f"Account {label}" in billing("config", "show", BILLING_ACCOUNT=label).out
