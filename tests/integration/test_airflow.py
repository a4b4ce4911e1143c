"""The example DAG in Airflow's own environment (`make airflow`): run once by its scheduler with the LocalExecutor."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from contextlib import ExitStack, closing
from uuid import NAMESPACE_URL, uuid5

import pytest
from sqlalchemy import make_url
from support.environments import HOME, environment
from support.orchestrated_accounts import (
    last_closed_day,
    listed_rows,
    stored_rows,
    ten_days,
    watermark_of,
    write_accounts,
)
from support.processes import PATIENCE, end, free_ports, is_open, wait_until

DAGS = HOME / "deploy" / "airflow"
SYNCED = ["shop", "Кафе, Москва", "review"]


class Airflow:
    """Airflow with its own folder and database."""

    def __init__(self, folder, port):
        self.bin = environment("airflow")
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BILLING_", "AIRFLOW"))}
        self.variables = inherited | {
            "AIRFLOW_HOME": str(folder), "PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]]),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor", "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1", "AIRFLOW__API__PORT": str(port), "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "of this test" * 6, "BILLING_CONFIG": str(folder / "billing.toml"),
        }  # fmt: skip

    def call(self, *arguments):
        done = subprocess.run(
            [self.bin / "airflow", *arguments], env=self.variables, cwd=self.folder, text=True, capture_output=True,
            check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, program):
        with (self.folder / f"{program}.log").open("w") as log:
            return subprocess.Popen(
                [self.bin / "airflow", program], env=self.variables, cwd=self.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def read(self, query):
        with closing(sqlite3.connect(self.folder / "airflow.db", timeout=60)) as connection:
            return connection.execute(query).fetchall()


def test_the_example_runs_once_with_a_task_for_each_account(tmp_path):
    [port] = free_ports(1)
    airflow = Airflow(tmp_path, port)
    url = make_url(f"sqlite:///{tmp_path / 'billing.db'}")
    refused = str(uuid5(NAMESPACE_URL, "a token the vendor does not know"))
    with ExitStack() as stack:
        vendor, other = stack.enter_context(ten_days()), stack.enter_context(ten_days())
        other.dataset.replace([*other.dataset.records[1:], other.dataset.records[0] | {"price": "free"}])
        write_accounts(tmp_path, vendor, dict.fromkeys([*SYNCED, "refused"], url), {
            "review": (f'api_url = "{other.url}"', f'api_token = "{other.token}"'),
            "refused": (f'api_token = "{refused}"',),
        })  # fmt: skip
        airflow.call("db", "migrate")
        airflow.call("pools", "set", "billing", "2", "accounts fetched at the same time")
        running = airflow.start("api-server")
        stack.callback(end, running, signal.SIGTERM)
        wait_until(lambda: is_open(port), running)
        for program in ("dag-processor", "scheduler"):
            stack.callback(end, airflow.start(program), signal.SIGTERM)
        # Airflow catches up on the last night at once.
        wait_until(lambda: airflow.read("SELECT state FROM dag_run") in [[("failed",)], [("success",)]], running)
        tasks = airflow.read(
            "SELECT task_id, rendered_map_index, state, try_number, pool FROM task_instance ORDER BY map_index"
        )
        assert tasks == [
            ("accounts", None, "success", 1, "default_pool"),
            ("sync", "shop", "success", 1, "billing"),
            ("sync", "Кафе, Москва", "success", 1, "billing"),
            ("sync", "review", "success", 1, "billing"),
            ("sync", "refused", "failed", 1, "billing"),
        ]
        results = [json.loads(value) for (value,) in airflow.read("SELECT value FROM xcom WHERE task_id = 'sync'")]
        found = {result["account"]: result for [result] in results}
        assert found.keys() == set(SYNCED)
        assert (found["review"]["exit_code"], found["review"]["review"]) == (65, "rejected records: 1")
        for label in ("shop", "Кафе, Москва"):
            assert (stored_rows(url, label), watermark_of(url, label)) == (listed_rows(vendor), last_closed_day())
        tokens = [token.encode() for token in (refused, other.token, *vendor.tokens)]
    kept = [tmp_path / "airflow.db", *tmp_path.rglob("*.log")]
    assert len(kept) > 5
    assert not [path for path in kept for token in tokens if token in path.read_bytes()]


def test_the_example_runs_in_the_vendors_zone_and_one_night_at_a_time(tmp_path):
    airflow = Airflow(tmp_path, 0)
    script = """
import billing_etl_dag
dag = billing_etl_dag.billing_etl()
print(dag.max_active_runs, dag.catchup, dag.timetable.timezone)
print(dag.get_task("sync").partial_kwargs["pool"], dag.get_task("sync").partial_kwargs["retries"])
"""
    done = subprocess.run(
        [airflow.bin / "python", "-c", script], env=airflow.variables | {"PYTHONPATH": str(DAGS)}, cwd=tmp_path,
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-2:] == ["1 False Europe/Moscow", "billing 3"], done.stdout + done.stderr


@pytest.fixture(autouse=True)
def _installed():
    environment("airflow")
