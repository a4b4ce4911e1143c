"""A distinctive token, password and phone are used in every command and fault, and appear in no output, log or file."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from conftest import fresh_database
from sqlalchemy import inspect, text
from support.run_helpers import NO_PROGRESS, settings_of
from support.secret_leaks import encodings_of, error_text, leaks, leaks_of_files

from etl.db.engine import new_engine
from etl.errors import BillingError
from etl.log import Redactor, set_up_logs
from etl.sandbox import Dataset, Sandbox
from etl.sandbox.faults import FAULTS
from etl.services.context import open_client
from etl.services.run import RunRequest
from etl.services.sync import run_sync

TOKEN = "CanAry.t0ken+of=the%account~7d1f'0c5e"
PASSWORD = "CanAry;pass w0rd/of:the@database'8e2a"
SECRETS = (TOKEN, PASSWORD)
PHONES = ("9243555100", "9990001122")
SPAN = ("--until", "2025-03-10")


def charge(moment, phone, **changes):
    record = {
        "created_at": moment,
        "code_auth": "0371",
        "status": 1,
        "status_info": "ok",
        "phone": phone,
        "price": Decimal("0.2"),
    }
    return record | changes


def records(url):
    """Valid and invalid records, some of which repeat the URL of the request."""
    return [
        charge("2025-03-01T10:00:00", "89243555100"),
        charge("2025-03-01T10:00:01", "8 (999) 000-11-22", status_info=f"asked by {url}"),
        charge("2025-03-02T09:00:00", "89990001122"),
        charge("2025-03-02T10:00:00", "89990001122", price=f"x {url}"),
        charge("2025-03-09T09:00:00", "89990001122"),
        charge("2025-03-09T10:00:00", "89990001122", price="89243555100"),
    ]


@pytest.fixture
def vendor():
    dataset = Dataset(seed=1, today=date(2025, 3, 10), days=1)
    with Sandbox(port=0, token=TOKEN, dataset=dataset) as sandbox:
        dataset.replace(records(f"{sandbox.url}/{TOKEN}/"))
        yield sandbox


def look_for_leaks(*texts):
    for words in texts:
        assert leaks(words, SECRETS) == []
        assert not any(phone in words for phone in PHONES)


@pytest.fixture
def run(billing, tmp_path):
    """Runs a command and searches its output and the files it left."""
    billing.variables |= {"BILLING_API_TOKEN": TOKEN, "BILLING_RETRY_ATTEMPTS": "1"}

    def run(*arguments, codes, **changes):
        done = billing(*arguments, **changes)
        look_for_leaks(done.out, done.errors)
        assert done.code in codes, done
        assert leaks_of_files(tmp_path, SECRETS) == []

    return run


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request, tmp_path):
    """The URL of a database of each kind, with a password where it has passwords."""
    with fresh_database(request.param, tmp_path) as url:
        # MariaDB would refuse a wrong password.
        yield url.set(password=PASSWORD) if request.param == "postgresql" and not url.password else url


@pytest.fixture
def billing_at(url, run):
    address = url.render_as_string(hide_password=False)
    return lambda *arguments, **changes: run(*arguments, **{"BILLING_DATABASE_URL": address} | changes)


def test_no_command_prints_a_secret_or_stores_the_token(billing_at, url, vendor):
    details = ("-vv", "--log-format", "json")
    billing_at("-vv", "sync", *SPAN, codes={65})
    billing_at(*details, "backfill", "--since", "2025-03-01", "--until", "2025-03-10", "--json", codes={65})
    billing_at("-vv", "verify", "--source", "json,csv", codes={0})
    billing_at("-vv", "accept", "2025-03-09", "--even-if-not-suspect", codes={0})
    billing_at("-vv", "status", "--json", codes={0})
    billing_at("status", codes={0})
    billing_at("-vv", "check", codes={0, 1})
    billing_at("-vv", "migrate", codes={0})
    billing_at("-vv", "sync", *SPAN, codes={77}, BILLING_API_TOKEN=TOKEN + "x")
    vendor.faults.add("echo_url", times=None)
    billing_at(*details, "sync", *SPAN, codes={69})
    vendor.faults.clear()
    vendor.faults.add("refusal", body=f"no {vendor.url}/{TOKEN}/ for 89243555100", times=None)
    billing_at("-vv", "sync", *SPAN, "--json", codes={69})
    billing_at("-vv", "check", "--json", codes={69})
    vendor.faults.clear()
    with new_engine(url).connect() as connection:
        inspector = inspect(connection)
        cells = [
            repr(tuple(row))
            for name in [*inspector.get_table_names(), *inspector.get_view_names()]
            for row in connection.execute(text(f"SELECT * FROM {name}"))
        ]
    assert leaks("\n".join(cells), SECRETS) == []
    assert any("9243555100" in cell for cell in cells), "the token was used"
    with new_engine(url).begin() as connection:
        for table in ("restatements", "synced_days"):
            connection.execute(text(f"ALTER TABLE {table} RENAME TO {table}_gone"))
    billing_at(*details, "sync", *SPAN, codes={74})
    billing_at("-vv", "forget", "--phone", "8 924 355 51 00", codes={74})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:{}@127.0.0.1:1/billing",
        "mysql://root:{}@127.0.0.1:1/billing",
        "postgresql://postgres:{}@h@127.0.0.1/billing",
        "postgresql://postgres:{}@127.0.0.1:port/billing",
        "sqlserver://sa:{}@127.0.0.1/billing",
    ],
)
def test_no_wrong_database_url_is_repeated(run, url):
    from urllib.parse import quote

    address = url.format(quote(PASSWORD, safe=""))
    run("-vv", "sync", codes={74, 78}, BILLING_DATABASE_URL=address)
    run("-vv", "--log-format", "json", "check", "--json", codes={74, 78}, BILLING_DATABASE_URL=address)


def test_no_usage_error_repeats_the_number(run):
    run("forget", "--phone", "89243555100 and 89990001122", codes={2})
    run("-vv", "forget", "--phone", "x" + PHONES[0], codes={2})


def test_demo_prints_no_phone(run):
    run("-vv", "demo", codes={0})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no core files")
def test_a_run_may_leave_no_core_file(billing, vendor, wait_for_request):
    vendor.faults.add("hang", times=None)
    process = billing.start("sync", *SPAN, BILLING_API_TOKEN=TOKEN)
    wait_for_request(process)
    limits = Path(f"/proc/{process.pid}/limits")
    if not limits.exists():
        pytest.skip("this system does not show the limits of a process")
    (line,) = (line for line in limits.read_text().splitlines() if line.startswith("Max core file size"))
    assert line.split()[4:6] == ["0", "0"]


@pytest.fixture
def logs():
    """All logs of the program, at the most detailed level."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook)
    stream = io.StringIO()
    set_up_logs(2, "text", Redactor([TOKEN]), stream)
    yield stream
    root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook = before
    logging.captureWarnings(capture=False)


@pytest.mark.parametrize("action", ["*", "post_billing_data"])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_of_a_fault_contains_a_secret(sqlite_url, vendor, logs, capfd, fault, action):
    redact = Redactor([TOKEN])
    settings = settings_of(
        sqlite_url, vendor, date(2025, 3, 1), timeout=0.2, request_deadline=0.5, max_response_mb=1, window_days=31
    )
    vendor.faults.add(fault, action=action, times=None, megabytes=2, seconds=30)
    report = run_sync(
        settings,
        RunRequest("sync", until=date(2025, 3, 9)),
        NO_PROGRESS,
        redact=redact,
        clock=lambda: datetime(2025, 3, 10, 6, tzinfo=UTC),
    )
    look_for_leaks(logs.getvalue(), error_text(report.error), *capfd.readouterr())
    with open_client(settings, redact) as client:
        try:
            client.get_balance()
        except BillingError as error:
            look_for_leaks(error_text(error))


def test_leaks_are_detected():
    for form in encodings_of(TOKEN):
        assert leaks(f"text {form} text", SECRETS)
    assert leaks(json.dumps({"url": f"/{TOKEN}/"}), SECRETS)
    inner = ValueError(f"/{TOKEN}/")
    outer = BillingError("no")
    outer.__context__ = inner
    assert leaks(error_text(outer), SECRETS)
