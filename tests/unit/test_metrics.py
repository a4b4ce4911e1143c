"""The metrics file of a run for Prometheus, and the alerts on it."""

from __future__ import annotations

import fcntl
import stat
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from support.external_tools import tool
from support.metrics import parse

from etl.date_ranges import DateRange
from etl.ops.metrics import METRICS, AccountGauges, RunOutcome, render, write_metrics
from etl.ops.status_query import AccountStatus, SuspectDay
from etl.reconcile import BalanceSummary, ReconciliationPeriod
from etl.run_counts import RunCounts

HOME = Path(__file__).parents[2]
RULES = HOME / "deploy" / "prometheus" / "billing-etl.rules.yml"
NIGHT = datetime(2026, 3, 11, 1, 30, tzinfo=UTC)
NEXT = datetime(2026, 3, 12, 1, 30, tzinfo=UTC)


def unexplained(amount: str) -> ReconciliationPeriod:
    nothing = Decimal(0)
    return ReconciliationPeriod(NIGHT, NEXT, nothing, nothing, nothing, nothing, unexplained=Decimal(amount))


STANDING = AccountGauges(
    AccountStatus(
        "shop",
        last_success_at=NIGHT,
        gaps=(DateRange(date(2026, 3, 1), date(2026, 3, 3)),),
        suspect_days=(SuspectDay(date(2026, 3, 9), "empty"),),
        rejected=4,
        balance=BalanceSummary(Decimal("512.75"), NIGHT, unexplained=(unexplained("-1.5"),)),
    ),
    datetime(2026, 3, 10, 21, tzinfo=UTC),
)


def ended(account: str, code: int = 0, standing: AccountGauges | None = None, **counts: int) -> RunOutcome:
    return RunOutcome(account, code, 2.5, RunCounts(**counts), standing)


def value(path: Path, name: str, *labels: str) -> float | None:
    return parse(path.read_text()).get(f"billing_etl_{name}", {}).get(labels)


def promtool(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("promtool"), *arguments], check=False, input=text, capture_output=True, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "billing.prom"


def test_the_file_has_every_metric_and_passes_promtool(path):
    odd = 'a "shop"\\\nПервый'
    write_metrics(path, [ended("shop", 65, STANDING, new=7), ended(odd, 78)], NIGHT, all_there_are=True)
    assert {name: samples[("shop",)] for name, samples in parse(path.read_text()).items() if ("shop",) in samples} == {
        "billing_etl_last_run_timestamp_seconds": NIGHT.timestamp(),
        "billing_etl_last_run_duration_seconds": 2.5,
        "billing_etl_last_run_exit_code": 65,
        "billing_etl_last_success_timestamp_seconds": NIGHT.timestamp(),
        "billing_etl_watermark_timestamp_seconds": datetime(2026, 3, 10, 21, tzinfo=UTC).timestamp(),
        "billing_etl_suspect_dates": 1,
        "billing_etl_missing_dates": 3,
        "billing_etl_rejected_records": 4,
        "billing_etl_balance": 512.75,
        "billing_etl_balance_timestamp_seconds": NIGHT.timestamp(),
        "billing_etl_unexplained_amount": -1.5,
    }
    assert value(path, "last_run_records", "shop", "new") == 7
    assert value(path, "last_run_exit_code", odd) == 78
    done = promtool("check", "metrics", text=path.read_text())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_file_is_readable_by_the_collector_and_no_other_file_is_left(path):
    write_metrics(path, [ended("shop")], NIGHT, all_there_are=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert sorted(path.parent.iterdir()) == [path.with_name(".billing.prom.lock"), path]


def test_a_failure_keeps_the_gauges_of_the_account(path):
    write_metrics(path, [ended("shop", standing=STANDING, new=7)], NIGHT, all_there_are=True)
    write_metrics(path, [ended("shop", 74)], NEXT, all_there_are=True)
    assert value(path, "last_success_timestamp_seconds", "shop") == NIGHT.timestamp()
    assert value(path, "balance", "shop") == 512.75
    assert value(path, "last_run_timestamp_seconds", "shop") == NEXT.timestamp()
    assert value(path, "last_run_exit_code", "shop") == 74
    assert value(path, "last_run_records", "shop", "new") == 0


@pytest.mark.parametrize(
    ("amounts", "waits_for", "shown"),
    [
        (["3", "-1.5", "-2"], (), -3.5),
        (["3", "0.5"], (), 3.5),
        ([], (), 0),
        ([], (date(2026, 3, 9),), None),
    ],
)
def test_a_credit_hides_no_charge_and_a_pending_proof_has_no_amount(path, amounts, waits_for, shown):
    balance = BalanceSummary(Decimal(1), NIGHT, unexplained=tuple(map(unexplained, amounts)), waits_for=waits_for)
    standing = AccountGauges(AccountStatus("shop", balance=balance))
    write_metrics(path, [ended("shop", standing=standing)], NIGHT, all_there_are=True)
    assert value(path, "unexplained_amount", "shop") == shown


def test_a_gauge_missing_from_the_database_is_removed(path):
    write_metrics(path, [ended("shop", standing=STANDING)], NIGHT, all_there_are=True)
    write_metrics(path, [ended("shop", standing=AccountGauges(AccountStatus("shop")))], NEXT, all_there_are=True)
    assert value(path, "balance", "shop") is None
    assert value(path, "suspect_dates", "shop") == 0


def test_other_accounts_stay_while_they_are_configured(path):
    write_metrics(path, [ended("shop", standing=STANDING), ended("bank", 77)], NIGHT, all_there_are=True)
    write_metrics(path, [ended("bank")], NEXT, all_there_are=False)
    assert (value(path, "last_run_exit_code", "shop"), value(path, "last_run_exit_code", "bank")) == (0, 0)
    assert value(path, "last_run_timestamp_seconds", "shop") == NIGHT.timestamp()
    write_metrics(path, [ended("bank")], NEXT, all_there_are=True)
    assert value(path, "last_run_exit_code", "shop") is None


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"{", b'billing_etl_balance{account="shop"', b"billing_etl_balance x\n", b"\0" * 99]
)
def test_nothing_is_carried_over_from_a_malformed_line(path, content):
    path.write_bytes(content)
    write_metrics(path, [ended("shop")], NIGHT, all_there_are=False)
    assert value(path, "last_run_exit_code", "shop") == 0
    assert parse(path.read_text()).keys() <= {metric.name for metric in METRICS}
    assert all(labels[0] == "shop" for samples in parse(path.read_text()).values() for labels in samples)


@pytest.mark.parametrize("number", [512.75, -1.5, 0.0, 1e22, 1.5e-7, float("inf"), float("-inf"), 1741640400.123456])
@pytest.mark.parametrize("account", ["shop", 'a "shop"\\\nПервый', "\\", "\\n", "{}", 'x",outcome="y'])
def test_labels_and_numbers_are_carried_over_unchanged(path, account, number):
    gauges = AccountGauges(AccountStatus(account, balance=BalanceSummary(Decimal(number), NIGHT)))
    write_metrics(path, [ended(account, 65, gauges, new=7)], NIGHT, all_there_are=True)
    before = parse(path.read_text())
    write_metrics(path, [ended("another")], NEXT, all_there_are=False)
    after = parse(path.read_text())
    assert {name: samples[labels] for name, samples in before.items() for labels in samples} == {
        name: after[name][labels] for name, samples in before.items() for labels in samples
    }
    assert before["billing_etl_balance"] == {(account,): number}
    assert promtool("check", "metrics", text=path.read_text()).returncode == 0


def test_the_metrics_of_thousands_of_accounts_stay_when_one_runs(path):
    many = [ended(f"shop-{number}", standing=STANDING) for number in range(1100)]
    write_metrics(path, many, NIGHT, all_there_are=True)
    assert path.stat().st_size > 1 << 20
    write_metrics(path, [ended("shop-7", 69)], NEXT, all_there_are=False)
    codes = parse(path.read_text())["billing_etl_last_run_exit_code"]
    assert (len(codes), codes["shop-7",], sum(codes.values())) == (1100, 69, 69)


WRITER = """
import sys
from datetime import datetime
from pathlib import Path
from etl.reconcile import BalanceSummary, ReconciliationPeriod
from etl.run_counts import RunCounts
from etl.ops.metrics import RunOutcome, write_metrics

path, account = Path(sys.argv[1]), sys.argv[2]
sys.stdin.read()  # until all processes are there
for exit_code in range(20):
    run = RunOutcome(account, exit_code, 2.5, RunCounts(), None)
    write_metrics(path, [run], datetime.fromisoformat("2026-03-11T01:30+00:00"), all_there_are=False, patience=600)
"""


def test_concurrent_runs_do_not_lose_each_others_metrics(path):
    accounts = [f"shop-{number}" for number in range(6)]
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), account], stdin=subprocess.PIPE, cwd=HOME)
        for account in accounts
    ]
    for process in processes:
        process.stdin.close()
    assert [process.wait() for process in processes] == [0] * 6
    assert parse(path.read_text())["billing_etl_last_run_exit_code"] == {(account,): 19 for account in accounts}


def test_a_lock_timeout_is_a_warning_and_the_file_stays(path, caplog):
    write_metrics(path, [ended("shop")], NIGHT, all_there_are=True)
    before = path.read_bytes()
    with path.with_name(".billing.prom.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_metrics(path, [ended("shop", 69)], NEXT, all_there_are=True, patience=0)
    assert (path.read_bytes(), "the metrics stay as they were" in caplog.text) == (before, True)


def test_metrics_of_other_programs_are_left_out(path):
    path.write_text('node_load1 0.5\nbilling_etl_balance{other="shop"} 1\nbilling_etl_balance{account="bank"} 2\n')
    write_metrics(path, [ended("shop")], NIGHT, all_there_are=False)
    assert parse(path.read_text())["billing_etl_balance"] == {("bank",): 2}
    assert "node_load1" not in path.read_text()


@pytest.mark.parametrize("name", ["nowhere/billing.prom", "folder.prom"])
def test_a_file_that_cannot_be_written_is_a_warning(tmp_path, name, caplog):
    (tmp_path / "folder.prom").mkdir()
    write_metrics(tmp_path / name, [ended("shop")], NIGHT, all_there_are=True)
    assert "cannot be written, and the metrics stay as they were" in caplog.text
    assert {file.name for file in tmp_path.iterdir()} - {".folder.prom.lock"} == {"folder.prom"}


def test_a_file_name_that_the_collector_ignores_is_a_warning(tmp_path, caplog):
    write_metrics(tmp_path / "billing.txt", [ended("shop")], NIGHT, all_there_are=True)
    assert "must end with .prom" in caplog.text


# Alerts --------------------------------------------------------------------------------------------------------------


def test_the_alerts_use_existing_metrics():
    names = {metric.name for metric in METRICS}
    words = {word for word in RULES.read_text().replace("(", " ").split() if word.startswith("billing_etl_")}
    assert words
    assert words <= names
    assert render({}).count("# TYPE") == len(METRICS)


def test_each_alert_fires_when_it_should(tmp_path):
    cases = (HOME / "tests" / "data" / "prometheus-rules.yml").read_text().replace("RULES", str(RULES))
    (tmp_path / "cases.yml").write_text(cases)
    for arguments in (("check", "rules", str(RULES)), ("test", "rules", str(tmp_path / "cases.yml"))):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    alerts = {line.split()[-1] for line in RULES.read_text().splitlines() if "- alert:" in line}
    assert all(cases.count(f"alertname: {alert}\n") for alert in alerts), "an alert without a test"
