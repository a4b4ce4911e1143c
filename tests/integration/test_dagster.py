"""The Dagster jobs in Dagster's own environment (`make dagster`): against the sandbox, on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import pytest
import yaml
from conftest import fresh_database
from sqlalchemy import make_url
from support.dagster_instance import MODULE, Dagster
from support.environments import HOME
from support.orchestrated_accounts import (
    last_closed_day,
    listed_rows,
    stored_rows,
    ten_days,
    watermark_of,
    write_accounts,
)
from support.processes import PATIENCE, children, end, peers_of, wait_until

from etl import api
from etl.db.engine import new_engine
from etl.db.lock import advisory_lock
from etl.sandbox.state import current_time

QUICK = {"max_retries": 1, "retry_seconds": 0.0}


@pytest.fixture
def vendor():
    with ten_days() as sandbox:
        yield sandbox


@pytest.fixture
def dagster(tmp_path):
    return Dagster(tmp_path)


def nightly(**config):
    return {"job": "nightly", "config": {"ops": {"sync_account": {"config": QUICK | config}}}}


def sqlite(folder, name="billing"):
    return make_url(f"sqlite:///{folder / name}.db")


def test_definitions_load_and_a_missing_configuration_is_named(dagster, tmp_path, vendor):
    write_accounts(tmp_path, vendor, {"shop-1": sqlite(tmp_path)})
    code, output = dagster.call("dagster", "definitions", "validate", "-m", MODULE)
    assert code == 0, output
    code, output = dagster.call("dagster", "definitions", "validate", "-m", MODULE, BILLING_CONFIG="/no/such.toml")
    assert code != 0
    assert "BILLING_CONFIG: /no/such.toml cannot be read (No such file or directory)" in output


def test_importing_reads_no_configuration_and_each_executor_is_known(dagster):
    script = f"""
import os
before = dict(os.environ)
import {MODULE} as module
from etl.orchestration.settings import EXECUTORS, OrchestrationSettings
assert dict(os.environ) == before
settings = [OrchestrationSettings(executor=name) for name in EXECUTORS]
print([module.executor_of(one).name for one in settings])
"""
    code, output = dagster.call("python", "-W", "error::ResourceWarning", "-c", script, BILLING_CONFIG="/no/such.toml")
    assert (code, output.strip()) == (0, "['multiprocess', 'in_process', 'celery', 'k8s']"), output


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_nightly_run_has_a_step_per_account_and_stores_the_vendors_records(backend, dagster, tmp_path, vendor):
    labels = ["shop-1", "shop_2", "Кафе, Москва"]
    with fresh_database(backend, tmp_path) as url:
        write_accounts(tmp_path, vendor, dict.fromkeys(labels, url))
        code, output = dagster.call("dagster", "job", "execute", "-m", MODULE, "-j", "nightly")
        assert code == 0, output
        assert "multiprocess" in output
        [run] = dagster.recorded()
        assert run["status"] == "SUCCESS"
        assert sorted(run["steps"]) == sorted(
            ["accounts_to_sync", "sync_account[shop_2]", "sync_account[shop_1_79326c2c82]", "sync_account[33f56d66a6]"]
        )
        found = {values["account"]: (asset, partition, values) for asset, partition, values in run["materializations"]}
        assert found.keys() == set(labels)
        for label, (asset, partition, values) in found.items():
            assert (asset, partition) == ("charges", "33f56d66a6" if "," in label else label)
            assert (values["exit_code"], values["watermark"]) == (0, last_closed_day())
            assert values["records"] == len(vendor.dataset.records)
            assert Decimal(values["spend"]) == vendor.dataset.charged
            assert stored_rows(url, label) == listed_rows(vendor)


def test_exit_codes_determine_the_retry_policy_of_each_account(dagster, tmp_path, vendor):
    """69, 74 and 75 are retried, 77 and 78 fail at once, 65 succeeds with the reason."""
    labels = ["fine", "review", "unavailable", "database", "locked", "refused", "wrong"]
    with ExitStack() as stack:
        other = stack.enter_context(ten_days())
        bad = other.dataset.records[0] | {"created_at": other.dataset.records[0]["created_at"], "price": "free"}
        other.dataset.replace([*other.dataset.records[1:], bad])
        urls = {label: sqlite(tmp_path) for label in labels} | {
            "locked": sqlite(tmp_path, "locked"),
            "database": make_url("postgresql://nobody@127.0.0.1:1/none"),
        }
        refused = str(uuid5(NAMESPACE_URL, "a token the vendor does not know"))
        write_accounts(tmp_path, vendor, urls, {
            "review": (f'api_url = "{other.url}"', f'api_token = "{other.token}"'),
            "unavailable": ('api_url = "http://127.0.0.1:1/api/v1/authcalls"',),
            "refused": (f'api_token = "{refused}"',),
            "wrong": ('window_days = "many"',),
        })  # fmt: skip
        stack.enter_context(advisory_lock(new_engine(urls["locked"]), "account-locked", wait=0))
        [run] = dagster.run(nightly())
    steps = {key.removeprefix("sync_account[").rstrip("]"): outcome for key, outcome in run["steps"].items()}
    assert run["status"] == "FAILURE"
    assert steps.pop("accounts_to_sync") == ["START", "SUCCESS"]
    twice = ["START", "UP_FOR_RETRY", "RESTARTED", "FAILURE"]
    assert steps == {
        "fine": ["START", "SUCCESS"], "review": ["START", "SUCCESS"],
        "unavailable": twice, "database": twice, "locked": twice,
        "refused": ["START", "FAILURE"], "wrong": ["START", "FAILURE"],
    }  # fmt: skip
    texts = {key.removeprefix("sync_account[").rstrip("]"): output for key, output in run["failures"].items()}
    for label, code in {"unavailable": 69, "database": 74, "locked": 75, "refused": 77, "wrong": 78}.items():
        assert texts[label].startswith(f"{label}: exit code {code} "), texts[label]
    assert "BILLING_WINDOW_DAYS" in texts["wrong"]
    stored = {values["account"]: values for _, _, values in run["materializations"]}
    assert stored.keys() == {"fine", "review"}
    assert (stored["review"]["exit_code"], stored["review"]["review"]) == (65, "rejected records: 1")
    assert [30, "review: rejected records: 1"] in run["messages"]
    assert no_secrets(dagster.home, [refused, vendor.token, other.token, *vendor.tokens])


def no_secrets(folder, secrets):
    """Whether no file of Dagster's storage, logs and captured output contains a secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    return not [path for path in files for secret in secrets if secret.encode() in path.read_bytes()]


def test_a_retried_step_succeeds_when_the_vendor_is_available_again(dagster, tmp_path, vendor):
    write_accounts(tmp_path, vendor, {"shop": sqlite(tmp_path)})
    vendor.faults.add("status", status=503, action="post_billing_data", times=2)  # also the request for one day
    vendor.faults.add("status", status=503, action="get_billing_csv", times=1)
    [run] = dagster.run(nightly())
    assert run["steps"]["sync_account[shop]"] == ["START", "UP_FOR_RETRY", "RESTARTED", "SUCCESS"]
    assert stored_rows(sqlite(tmp_path), "shop") == listed_rows(vendor)


def test_the_text_of_an_unexpected_error_is_not_recorded(dagster):
    script = """
import dagster as dg
from etl.orchestration.steps import StepConfig, run_step
def run(label):
    raise ValueError("https://vendor.example/SECRET/status")
try:
    with dg.DagsterInstance.ephemeral() as instance:
        run_step(dg.build_op_context(instance=instance), StepConfig(), ["shop"], run, print)
except dg.Failure as failure:
    assert failure.__cause__ is None and failure.__context__ is None
    print(failure.description, failure.allow_retries)
"""
    code, output = dagster.call("python", "-c", script)
    assert code == 0, output
    assert "SECRET" not in output
    last = output.strip().splitlines()[-1]
    assert last.startswith("shop: exit code 70 (internal error (a bug)): unexpected ValueError in run, line ")
    assert last.endswith("False")


def test_checks_pass_after_a_nightly_run_and_name_failing_accounts(dagster, tmp_path, vendor):
    url = sqlite(tmp_path)
    path = write_accounts(
        tmp_path, vendor, {"shop": url, "new": url, "broken": make_url("sqlite:////no/such/folder/x.db")}
    )
    checks = {"job": "checks"}
    api.run(path, "shop", command="sync")
    [before] = dagster.run(checks)
    outcome = {name: (passed, accounts) for name, passed, _, accounts in before["checks"]}
    assert outcome["freshness"][0] is False
    assert outcome["freshness"][1]["new"] == "has no complete day yet"
    assert all("its status cannot be read" in accounts["broken"] for _, accounts in outcome.values())

    path = write_accounts(tmp_path, vendor, {"shop": url, "new": url})
    night, after = dagster.run(nightly(), checks)
    assert night["status"] == "SUCCESS"
    assert [(name, passed, accounts) for name, passed, _, accounts in after["checks"]] == [
        ("freshness", True, {}), ("suspect_days", True, {}), ("unexplained_money", True, {}),
    ]  # fmt: skip

    day = str(current_time().date() - timedelta(days=2))
    vendor.dataset.replace(record for record in vendor.dataset.records if not record["created_at"].startswith(day))
    vendor.dataset.credit -= Decimal(5)
    late = {"job": "checks", "config": {"ops": {"account_checks": {"config": {"max_age_hours": 0.0}}}}}
    night, after = dagster.run(nightly(), late)
    assert night["status"] == "SUCCESS", "65 is no failure"
    outcome = {name: (passed, severity, accounts) for name, passed, severity, accounts in after["checks"]}
    assert [(name, passed, severity) for name, (passed, severity, _) in outcome.items()] == [
        ("freshness", False, "ERROR"), ("suspect_days", False, "WARN"), ("unexplained_money", True, "WARN"),
    ]  # fmt: skip
    assert f"complete up to {last_closed_day()}" in outcome["freshness"][2]["shop"]
    assert outcome["suspect_days"][2]["shop"].startswith(f"{day}: ")


def test_a_charge_without_a_record_fails_the_balance_check(dagster, tmp_path, vendor):
    url = sqlite(tmp_path)
    write_accounts(tmp_path, vendor, {"shop": url})
    path = tmp_path / "billing.toml"
    api.run(path, "shop", command="sync")
    vendor.dataset.credit -= Decimal(5)
    night, after = dagster.run(nightly(), {"job": "checks"})
    assert night["status"] == "SUCCESS"
    [[_, passed, _, accounts]] = [check for check in after["checks"] if check[0] == "unexplained_money"]
    assert (passed, accounts["shop"]) == (False, "the balance changed without a record: -5.000000")


def test_a_backfill_has_a_run_for_each_account_and_month(dagster, tmp_path, vendor):
    labels = ["shop", "Кафе, Москва"]
    days = [f"2025-{month:02}-{day:02}" for month in (2, 3) for day in (1, 15, 28)] + ["2025-03-31"]
    record = vendor.dataset.records[0]
    vendor.dataset.replace(record | {"created_at": f"{day}T10:00:0{n}"} for day in days for n in range(3))
    url = sqlite(tmp_path)
    write_accounts(tmp_path, vendor, dict.fromkeys(labels, url))
    months = ["2025-02-01", "2025-03-01"]
    runs = dagster.run(
        *({"job": "backfill", "partition": f"{key}|{month}"} for key in ("shop", "33f56d66a6") for month in months)
    )
    assert [(run["status"], run["tags"]["dagster/partition/account"]) for run in runs] == [
        ("SUCCESS", "shop"), ("SUCCESS", "shop"), ("SUCCESS", "33f56d66a6"), ("SUCCESS", "33f56d66a6"),
    ]  # fmt: skip
    found = [run["materializations"] for run in runs]
    assert [(asset, partition) for [[asset, partition, _]] in found[:2]] == [
        ("charges_by_month", f"shop|{month}") for month in months
    ]
    assert [(values["records"], values["requested_days"]) for [[_, _, values]] in found[:2]] == [(9, 28), (12, 31)]
    for label in labels:
        assert stored_rows(url, label) == listed_rows(vendor)


@contextmanager
def night_in_the_middle(dagster, vendor, url):
    """A night of the account `shop` whose vendor does not answer after a few windows."""
    (dagster.folder / "quick.yaml").write_text(yaml.safe_dump(nightly()["config"]))
    write_accounts(dagster.folder, vendor, {"shop": url}, {"shop": ("window_days = 1", "concurrency = 1")})
    vendor.faults.add("hang", action="post_billing_data", skip=4, times=1)
    process = dagster.start("dagster", "job", "execute", "-m", MODULE, "-j", "nightly", "-c", "quick.yaml")
    try:
        wait_until(lambda: not len(vendor.faults), process)
        yield process
    finally:
        end(process)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_terminated_step_is_retried_and_ends_with_everything_stored(backend, dagster, tmp_path, vendor):
    with fresh_database(backend, tmp_path) as url:
        with night_in_the_middle(dagster, vendor, url) as process:
            [step] = [pid for pid in children(process.pid) if urlsplit(vendor.root).port in peers_of(pid)]
            os.kill(step, signal.SIGTERM)
            output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, output
        [run] = dagster.recorded()
        assert run["steps"]["sync_account[shop]"] == ["START", "UP_FOR_RETRY", "RESTARTED", "SUCCESS"]
        assert (stored_rows(url, "shop"), watermark_of(url, "shop")) == (listed_rows(vendor), last_closed_day())


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_terminated_run_keeps_its_complete_days_and_the_next_one_continues(backend, dagster, tmp_path, vendor):
    with fresh_database(backend, tmp_path) as url:
        with night_in_the_middle(dagster, vendor, url) as process:
            os.kill(process.pid, signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
        stored, complete = stored_rows(url, "shop"), watermark_of(url, "shop")
        assert 0 < stored.total() < listed_rows(vendor).total()
        assert complete is not None
        assert complete < last_closed_day()
        expected = listed_rows(vendor)
        assert {row: n for row, n in stored.items() if row[0][:10] <= complete} == {
            row: n for row, n in expected.items() if row[0][:10] <= complete
        }
        again, interrupted = dagster.run(nightly())[0], dagster.recorded()[-1]
        assert interrupted["status"] in {"FAILURE", "CANCELED"}
        assert again["status"] == "SUCCESS"
        assert again["steps"]["sync_account[shop]"] == ["START", "SUCCESS"], "the lock is free"
        assert (stored_rows(url, "shop"), watermark_of(url, "shop")) == (expected, last_closed_day())


def test_accounts_with_the_same_token_share_a_step(dagster, tmp_path, vendor):
    url = sqlite(tmp_path)
    own = (f'api_token = "{vendor.token}"',)
    write_accounts(tmp_path, vendor, dict.fromkeys(["a", "b", "c"], url), {"a": own, "c": own})
    [run] = dagster.run(nightly())
    assert sorted(run["steps"]) == ["accounts_to_sync", "sync_account[a__c]", "sync_account[b]"]
    assert sorted(values["account"] for _, _, values in run["materializations"]) == ["a", "b", "c"]
    assert all(stored_rows(url, label) == listed_rows(vendor) for label in "abc")


def test_the_example_instance_limits_the_runs_of_an_account(dagster):
    """The keys are those of the tags that Dagster gives to a partition's run, and of the nightly job."""
    example = yaml.safe_load((HOME / "deploy" / "dagster" / "dagster.yaml").read_text())
    limits = example["concurrency"]["runs"]["tag_concurrency_limits"]
    assert {limit["key"]: limit["limit"] for limit in limits} == {"dagster/partition/account": 1, "billing/job": 1}
    (dagster.home / "dagster.yaml").write_text((HOME / "deploy" / "dagster" / "dagster.yaml").read_text())
    script = """
import os
from dagster._core.instance.config import dagster_instance_config
config, _ = dagster_instance_config(os.environ["DAGSTER_HOME"])
print(config["run_retries"]["retry_on_asset_or_op_failure"], config["concurrency"]["pools"])
"""
    code, output = dagster.call("python", "-c", script)
    assert (code, output.strip()) == (0, "False {'granularity': 'op', 'default_limit': 8}"), output
