"""Dagster with deploy/dagster/dagster.yaml: storage on PostgreSQL, limits, the daemon; Celery with RabbitMQ and two
workers, one of which is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from conftest import fresh_database
from support.dagster_instance import MODULE, Dagster
from support.environments import HOME
from support.external_tools import tool
from support.orchestrated_accounts import (
    last_closed_day,
    listed_rows,
    stored_rows,
    ten_days,
    watermark_of,
    write_accounts,
)
from support.processes import children, end, free_ports, is_open, peers_of, wait_until

EXAMPLE = HOME / "deploy" / "dagster" / "dagster.yaml"
LABELS = ["a", "b", "c", "d"]


@pytest.fixture
def vendor():
    with ten_days() as sandbox:
        yield sandbox


@pytest.fixture
def dagster(tmp_path):
    """The example instance, with more frequent checks for lost runs than every two minutes."""
    instance = Dagster(tmp_path)
    example = yaml.safe_load(EXAMPLE.read_text())
    example["run_monitoring"]["poll_interval_seconds"] = 2
    (instance.home / "dagster.yaml").write_text(yaml.safe_dump(example))
    with fresh_database("postgresql", tmp_path, empty=True) as url:
        instance.variables |= {
            "DAGSTER_PG_HOST": url.host, "DAGSTER_PG_PORT": str(url.port or 5432), "DAGSTER_PG_DB": url.database,
            "DAGSTER_PG_USERNAME": url.username, "DAGSTER_PG_PASSWORD": str(url.password or "unused"),
        }  # fmt: skip
        assert instance.recorded() == []  # it creates Dagster's tables, which two programs cannot do at once
        yield instance


@pytest.fixture
def broker(tmp_path) -> Iterator[str]:
    """The URL of a RabbitMQ server for this test."""
    server = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    tool("rabbitmqctl")
    ports = free_ports(3)
    home = tmp_path / "rabbitmq"
    home.mkdir()
    (home / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{ports[0]}\n")
    variables = {
        "PATH": os.environ["PATH"], "HOME": str(home), "RABBITMQ_NODENAME": f"test{ports[0]}@localhost",
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"), "RABBITMQ_DIST_PORT": str(ports[1]),
        "ERL_EPMD_PORT": str(ports[2]), "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"), "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
    }  # fmt: skip
    with ExitStack() as stack:
        output = stack.enter_context((home / "output").open("w"))
        for command in (["epmd", "-port", str(ports[2])], [server]):
            process = subprocess.Popen(
                command, env=variables, cwd=home, stdout=output, stderr=output, text=True, start_new_session=True
            )
            stack.callback(end, process)
        wait_until(lambda: is_open(ports[0]), process)
        yield f"pyamqp://guest:guest@127.0.0.1:{ports[0]}//"


@contextmanager
def daemon(dagster, **variables):
    """Dagster's daemon: the queue of runs, their monitoring and their retries."""
    process = dagster.start("dagster-daemon", "run", "-m", MODULE, log="daemon.log", **variables)
    try:
        yield process
    finally:
        runs = children(process.pid)
        end(process, signal.SIGTERM)
        for pid in runs:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def worker(dagster, name, broker):
    """A Celery worker with one process for steps."""
    return dagster.start(
        "celery", "-A", "dagster_celery.app", "worker", "--prefetch-multiplier", "1", "-c", "1", "-n", f"{name}@%h",
        "-Q", "dagster", "--loglevel", "INFO", log=f"{name}.log", CELERY_BROKER_URL=broker,
    )  # fmt: skip


def unfinished(dagster, name):
    """The number of steps that a worker has started and not finished."""
    log = (dagster.folder / f"{name}.log").read_text()
    taken, ended = (len(re.findall(rf"execute_plan\[\S+\] {word}", log)) for word in ("received", "succeeded"))
    return taken - ended


def test_the_run_of_a_killed_worker_is_retried_without_loss(dagster, broker, vendor, tmp_path):
    quick = {"ops": {"sync_account": {"config": {"max_retries": 1, "retry_seconds": 0.0}}}}
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(quick))
    port = urlsplit(vendor.root).port
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database("postgresql", tmp_path))
        own = dict.fromkeys(LABELS, ("window_days = 1", "timeout = 3600", "request_deadline = 3600"))
        write_accounts(tmp_path, vendor, dict.fromkeys(LABELS, url), own)
        vendor.faults.add("hang", action="post_billing_data", skip=8, times=1)
        running = stack.enter_context(daemon(dagster, BILLING_EXECUTOR="celery", CELERY_BROKER_URL=broker))
        workers = {name: worker(dagster, name, broker) for name in ("first", "second")}
        for process in workers.values():
            stack.callback(end, process)
        code, log = dagster.call(
            "dagster", "job", "launch", "-m", MODULE, "-j", "nightly", "-c", "quick.yaml",
            "--tags", json.dumps({"dagster/max_runtime": "60"}), BILLING_EXECUTOR="celery",
        )  # fmt: skip
        assert code == 0, log

        def hangs():
            """Whether one worker waits for the vendor and the other one is idle."""
            connected = [name for name in workers if any(port in peers_of(pid) for pid in children(workers[name].pid))]
            idle = [name for name in workers if name not in connected and not unfinished(dagster, name)]
            return not len(vendor.faults) and len(connected) == len(idle) == 1 and connected

        wait_until(hangs, running)
        [name] = hangs()
        end(workers[name])
        wait_until(lambda: all(watermark_of(url, label) == last_closed_day() for label in LABELS), running)
        wait_until(lambda: dagster.recorded()[0]["status"] == "SUCCESS", running)
        retried, lost = dagster.recorded()
        assert (lost["status"], retried["parent"]) == ("FAILURE", lost["id"])
        assert [step for step in retried["steps"] if step.startswith("sync")] == [
            step for step, outcome in lost["steps"].items() if outcome == ["START"]
        ], "only what was lost runs again"
        for label in LABELS:
            assert stored_rows(url, label) == listed_rows(vendor)


def test_the_pool_limits_the_accounts_that_call_the_vendor_concurrently(dagster, vendor, tmp_path):
    path = dagster.home / "dagster.yaml"
    instance = yaml.safe_load(path.read_text())
    instance["concurrency"]["pools"]["default_limit"] = 1
    path.write_text(yaml.safe_dump(instance))
    with fresh_database("postgresql", tmp_path) as url:
        write_accounts(tmp_path, vendor, dict.fromkeys(LABELS, url))
        code, log = dagster.call(
            "dagster", "job", "execute", "-m", MODULE, "-j", "nightly", DAGSTER_MULTIPROCESS_EXECUTOR_MAX_CONCURRENT="4"
        )
        assert code == 0, log
        [run] = dagster.recorded()
    spans = sorted(times for step, times in run["times"].items() if step.startswith("sync_account"))
    assert len(spans) == len(LABELS)
    assert all(earlier[-1] <= later[0] for earlier, later in pairwise(spans))


def test_the_months_of_an_account_run_one_after_another(dagster, vendor, tmp_path):
    """By the limits of the example: a backfill of two accounts, and a vendor that does not answer the first request."""
    keys = [f"{label}|2025-0{month}-01" for label in "ab" for month in (2, 3)]
    with fresh_database("postgresql", tmp_path) as url:
        patient = dict.fromkeys("ab", ("timeout = 3600", "request_deadline = 3600"))
        write_accounts(tmp_path, vendor, dict.fromkeys("ab", url), patient)
        vendor.faults.add("hang", action="post_billing_data", times=1)
        with daemon(dagster) as running:
            code, log = dagster.call(
                "dagster",
                "job",
                "backfill",
                "-m",
                MODULE,
                "-j",
                "backfill",
                "--noprompt",
                "--partitions",
                ",".join(keys),
            )
            assert code == 0, log
            wait_until(lambda: [run["status"] for run in dagster.recorded()].count("SUCCESS") == 2, running)
            runs = {run["tags"]["dagster/partition"]: run["status"] for run in dagster.recorded()}
    assert sorted(runs) == keys
    first, second = ({status for key, status in runs.items() if key[0] == label} for label in "ab")
    assert first | second == {"SUCCESS", "STARTED", "QUEUED"}
    assert {"SUCCESS"} in (first, second), "the other account went on"
