"""`sync --parallel`: the results of a sequential run, and accounts do not affect each other."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from support.processes import children, peers_of

from etl.db.engine import new_engine

LABELS = [f"shop-{number}" for number in range(6)]
RANGE = ("--since", "2025-03-01", "--until", "2025-03-10")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


def write_config(billing, vendor, **own):
    """Write accounts of the vendor to a file, those in `own` with further lines."""
    # A variable would override the lines of an account.
    lines = [f'api_url = "{vendor.url}"']
    for label in LABELS:
        token = str(uuid5(NAMESPACE_URL, label))
        vendor.tokens.add(token)
        lines += [f"[accounts.{label}]", f'api_token = "{token}"', own.get(label.replace("-", "_"), "")]
    path = billing.folder / "billing.toml"
    path.write_text("\n".join(lines), "utf-8")
    path.chmod(0o600)
    for variable in ("BILLING_API_TOKEN", "BILLING_API_URL"):
        billing.variables.pop(variable, None)
    return ("--config", str(path))


@contextmanager
def silent_vendor():
    """A vendor that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f'api_url = "http://127.0.0.1:{listener.getsockname()[1]}/api/v1/authcalls"'


def without_times(text):
    return sorted(re.sub(r"[\d.]+ s$", "", line) for line in text.splitlines())


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def complete(billing, accounts):
    """Whether the runs of this many accounts are done."""
    query = "SELECT COUNT(*) FROM sync_runs WHERE outcome = 'done'"

    def is_complete():
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(billing.folder / "billing.db")) as connection:
            return connection.execute(query).fetchone() == (accounts,)

    return is_complete


def test_results_and_exit_code_equal_those_of_a_sequential_run(billing, vendor):
    config = write_config(billing, vendor, shop_3='window_days = "many"')
    vendor.tokens.remove(str(uuid5(NAMESPACE_URL, LABELS[1])))
    assert billing(*config, "sync", *RANGE).code == 78  # it creates the rows
    one_by_one = billing.interpret(*config, "sync", *RANGE)
    at_once = billing.interpret(*config, "sync", *RANGE, "--parallel", "3")
    assert (at_once.code, without_times(at_once.out)) == (one_by_one.code, without_times(one_by_one.out))
    assert sorted(at_once.errors.splitlines()) == sorted(one_by_one.errors.splitlines())
    assert len(at_once.errors.splitlines()) == 2, "the refused token, and the wrong setting"

    documents = [
        json.loads(billing.interpret(*config, "sync", *RANGE, "--json", *options).out)
        for options in ((), ("--parallel", "3"))
    ]
    for document in documents:
        assert [account["account"] for account in document["accounts"]] == LABELS
        for account in document["accounts"]:
            del account["seconds"]
    assert documents[0] == documents[1]


@pytest.mark.parametrize("folder", ["t", "t" * 100])
def test_each_log_line_is_complete_with_account_and_run(billing, vendor, folder):
    """Also if the path of the temporary folder is too long for a socket."""
    config = write_config(billing, vendor)
    with tempfile.TemporaryDirectory() as parent:
        temporary = Path(parent) / folder
        temporary.mkdir()
        arguments = ("--log-format", "json", "-v", *config, "sync", *RANGE, "--parallel", "6", "--json")
        done = billing.interpret(*arguments, TMPDIR=str(temporary))
    assert done.code == 0, done.errors
    lines = [json.loads(line) for line in done.errors.splitlines()]
    assert {line.get("account") for line in lines} >= {*LABELS}
    assert len({line["run_id"] for line in lines if "account" in line}) == 1


def test_accounts_with_the_same_token_never_run_at_the_same_time(billing, vendor):
    write_config(billing, vendor)
    token = str(uuid5(NAMESPACE_URL, LABELS[0]))
    path = billing.folder / "billing.toml"
    accounts = "".join(f'[accounts.{label}]\napi_token = "{token}"\n' for label in LABELS[:3])
    path.write_text(f'api_url = "{vendor.url}"\n{accounts}', "utf-8")
    done = billing.interpret("-v", "--config", str(path), "sync", *RANGE, "--parallel", "3", "--json")
    assert done.code == 0, done.errors
    order = re.findall(r"INFO: (shop-\d): 2025", done.errors)
    assert [label for position, label in enumerate(order) if label not in order[:position]] == LABELS[:3]
    assert order == sorted(order)


@on_linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_workers_and_keeps_complete_windows(billing, vendor, number):
    with silent_vendor() as silent:
        config = write_config(billing, vendor, shop_0=silent, shop_4=silent)
        process = billing.start(*config, "sync", *RANGE, "--parallel", "3", "--json")
        wait_until(complete(billing, 4), process)
        workers = children(process.pid)
        process.send_signal(number)
        done = billing.finish(process)
    assert done.code == 128 + number
    assert "Traceback" not in done.errors
    while any(map(is_running, workers)):
        time.sleep(0.02)
    runs = json.loads(billing(*config, "status", "--json").out)["accounts"]
    outcomes = {account["account"]: account["last_run"]["outcome"] for account in runs if account["last_run"]}
    assert outcomes == {label: "stopped" if label in {LABELS[0], LABELS[4]} else "done" for label in LABELS}


@on_linux
def test_a_killed_worker_fails_only_its_own_account(billing, vendor):
    with silent_vendor() as silent:
        config = write_config(billing, vendor, shop_0=silent)
        process = billing.start(*config, "sync", *RANGE, "--parallel", "2", "--json")
        wait_until(complete(billing, 5), process)
        (hanging,) = {
            pid for pid in children(process.pid) if len(children(pid)) == 0 and silent_port(silent) in peers_of(pid)
        }
        os.kill(hanging, signal.SIGKILL)
        done = billing.finish(process)
    codes = {account["account"]: account["exit_code"] for account in json.loads(done.out)["accounts"]}
    assert (done.code, codes) == (70, {label: 70 if label == LABELS[0] else 0 for label in LABELS})
    assert "shop-0: the worker process was killed" in done.errors


@on_linux
def test_workers_end_when_the_main_process_is_killed(billing, vendor):
    with silent_vendor() as silent:
        config = write_config(billing, vendor, shop_0=silent)
        process = billing.start(*config, "sync", *RANGE, "--parallel", "2")
        wait_until(complete(billing, 5), process)
        workers = children(process.pid)
        process.kill()
        billing.finish(process)
        while any(map(is_running, workers)):
            time.sleep(0.02)
    assert billing(*config, "sync", *RANGE, "--account", LABELS[1]).code == 0


CONNECTIONS = {
    "postgresql": "SELECT COUNT(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mariadb": "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
CONNECTIONS_PER_RUN = 2
"""One holds the account's lock, the other one reads and writes."""


@on_linux
@pytest.mark.empty_database
def test_no_account_waits_for_one_that_hangs_or_fails(billing, vendor, database_url):
    billing.variables["BILLING_DATABASE_URL"] = database_url.render_as_string(hide_password=False)
    billing.variables["BILLING_TIMEOUT"] = "3600"  # only the signal ends the hanging runs
    engine = new_engine(database_url)

    def ask(query):
        with suppress(DBAPIError), engine.connect() as connection:
            return connection.execute(text(query)).scalar()

    with silent_vendor() as silent:
        config = write_config(billing, vendor, shop_0=silent, shop_4=silent)
        vendor.tokens.remove(str(uuid5(NAMESPACE_URL, LABELS[1])))
        process = billing.start(*config, "sync", *RANGE, "--parallel", "3", "--json")
        wait_until(lambda: ask("SELECT COUNT(*) FROM sync_runs WHERE outcome = 'running'") == 2, process)
        wait_until(lambda: ask("SELECT COUNT(*) FROM sync_runs WHERE outcome IN ('done', 'failed')") == 4, process)
        if count := CONNECTIONS.get(engine.dialect.name):
            wait_until(lambda: ask(count) <= 2 * CONNECTIONS_PER_RUN, process)
        codes = [billing(*config, "sync", *RANGE, "--account", label).code for label in LABELS]
        assert codes == [75, 77, 0, 0, 75, 0], "each account has its own lock"
        workers = children(process.pid)
        process.send_signal(signal.SIGTERM)
        done = billing.finish(process)
        while any(map(is_running, workers)):
            time.sleep(0.02)
    assert done.code == 143
    assert "Traceback" not in done.errors
    status = json.loads(billing(*config, "status", "--json").out)["accounts"]
    found = {account["account"]: (account["last_synced_date"], account["last_run"]["outcome"]) for account in status}
    complete, stopped = ("2025-03-10", "done"), (None, "stopped")
    assert found == dict(zip(LABELS, [stopped, (None, "failed"), complete, complete, stopped, complete], strict=True))
    if count:
        assert ask(count) == 0, "a connection remains"


@on_linux
def test_the_number_of_connections_is_independent_of_the_number_of_accounts(billing, vendor, database_url):
    engine = new_engine(database_url)
    if not (count := CONNECTIONS.get(engine.dialect.name)):
        pytest.skip("a file has no connections to count")
    billing.variables["BILLING_DATABASE_URL"] = database_url.render_as_string(hide_password=False)
    config = write_config(billing, vendor)
    process = billing.start(*config, "sync", *RANGE, "--parallel", "2", "--json")
    most = 0
    with engine.connect() as connection:
        while process.poll() is None:
            most = max(most, connection.execute(text(count)).scalar())
            connection.rollback()
    done = billing.finish(process)
    assert (done.code, len(json.loads(done.out)["accounts"])) == (0, len(LABELS))
    # The main process migrates and reads the labels before the first worker starts.
    assert 0 < most <= 2 * CONNECTIONS_PER_RUN + 1


def silent_port(line):
    return int(re.search(r":(\d+)/", line)[1])
