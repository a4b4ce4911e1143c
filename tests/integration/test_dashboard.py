"""The dashboard: its figures equal the database's, it serves no other query, and its page executes no text."""

from __future__ import annotations

import asyncio
import csv
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from urllib.parse import urlencode

import httpx
import pytest
from markupsafe import escape
from sqlalchemy import insert, text
from support.run_helpers import NO_PROGRESS, settings_of

from etl.config.database_url import parse_url
from etl.db.engine import database_file, new_engine
from etl.db.tables import balance_snapshots
from etl.errors import ConfigError, DatabaseError
from etl.reports.charts.queries import NO_FILTER, QUERIES, build_query
from etl.reports.columns import ColumnType
from etl.reports.dashboard.app import open_dashboard, require_libraries
from etl.reports.dashboard.page import PageOptions
from etl.reports.dashboard.server import bind, is_loopback, url_of
from etl.reports.dashboard.snapshot import create_snapshot, is_snapshot, require_views
from etl.services.database import open_file
from etl.services.numbering import import_plan
from etl.services.run import RunRequest
from etl.services.sync import run_sync

NOW = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
PHONE, CODE, INFO = "+79243555100", "0371", "no answer of +79243555100"
HOSTILE = "<img src=x onerror=\"document.title='ran'\">"
HUGE = "999999999999.999999"
QUOTE = "'"
SINCE, UNTIL = "2026-03-08", "2026-03-09"


def charge(created_at, price="0.2", status=1, phone=PHONE):
    return {
        "created_at": created_at,
        "code_auth": CODE,
        "status": status,
        "status_info": INFO if status else HOSTILE,
        "phone": phone,
        "price": Decimal(price),
    }


LISTED = {
    HOSTILE: [
        *[charge(f"2026-03-{day:02}T{hour:02}:30:00", "0.333333") for day in range(6, 11) for hour in (0, 9, 23)],
        *[charge("2026-03-08T09:30:01", HUGE)] * 3,
        charge("2026-03-09T10:00:00", "-0.000001", 0, "+79000001234"),
        charge("2026-03-11T08:00:00"),
    ],
    "bank": [charge("2026-03-09T09:00:00", "2"), charge("2026-03-09T09:00:01", "3", 0)],
}


def fill(url, vendor, folder):
    """Two accounts, one day of which was restated, with balances and operators."""
    engine = new_engine(url)
    plan = folder / "DEF-9xx.csv"
    heading = "АВС/ DEF;От;До;Емкость;Оператор;Регион;Территория ГАР;ИНН"
    plan.write_text(
        f'{heading}\n924;3550000;3559999;10000;"{HOSTILE.replace(chr(34), chr(34) * 2)}";Край;Край;77\n', "utf-8"
    )
    for label, listed in LISTED.items():
        settings = settings_of(url, vendor, date(2026, 3, 6), account=label, currency="EUR")
        for now, records in ((NOW, listed[1:]), (NOW + timedelta(minutes=1), listed)):
            vendor.dataset.replace(records)
            report = run_sync(
                settings,
                RunRequest("sync"),
                NO_PROGRESS,
                redact=str,
                clock=lambda now=now: now,
            )
            assert report.error is None
    import_plan(settings, [plan], clock=lambda: NOW)
    with engine.begin() as connection:
        for number in connection.scalars(text("SELECT id FROM accounts")).all():
            for day, balance, spend in ((8, "1000", "0"), (9, "998.5", "1"), (10, "1500", HUGE)):
                at = datetime.combine(date(2026, 3, day), time(21))
                row = {"taken_at": at, "balance": Decimal(balance), "recorded_spend": Decimal(spend)}
                connection.execute(insert(balance_snapshots).values(account_id=number, **row))
    return engine


class DashboardClient:
    """A client of the dashboard's ASGI application, without a server."""

    def __init__(self, path, *, at_rest):
        options = PageOptions(lambda: "/* it draws */", lambda: NOW)
        self.application = open_dashboard(path, open_file(path), options, at_rest=at_rest)

    def send(self, method, address, **options):
        async def request():
            transport = httpx.ASGITransport(app=self.application)
            async with httpx.AsyncClient(transport=transport, base_url="http://dashboard") as client:
                return await client.request(method, address, **options)

        return asyncio.run(request())

    def get(self, address):
        return self.send("GET", address)

    def rows(self, dataset, **filters):
        """The rows of a chart."""
        answer = self.get(f"/billing/{dataset}.json?" + urlencode({**filters, "_shape": "objects"}))
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert (document["ok"], document["truncated"]) == (True, False)
        return document["rows"]


@pytest.fixture
def account_files(database_url, sandbox, tmp_path):
    """A database and its clients: on a snapshot, and for SQLite also on the file itself."""
    engine = fill(database_url, sandbox, tmp_path)
    require_views(engine)
    path = tmp_path / "snapshot.db"
    create_snapshot(engine, path)
    file = database_file(engine.url)
    return engine, [DashboardClient(path, at_rest=True), *([DashboardClient(file, at_rest=False)] if file else [])]


@pytest.fixture
def on_sqlite(sqlite_url, sandbox, tmp_path):
    return fill(sqlite_url, sandbox, tmp_path)


@pytest.fixture
def client(on_sqlite):
    return DashboardClient(database_file(on_sqlite.url), at_rest=False)


def as_drawn(rows, columns):
    """Sorted JSON rows of a query, without the column that depends on the current time."""

    def value(name, kind, given):
        if given is None:
            return None
        if kind is ColumnType.AMOUNT:
            return Decimal(f"{given:.6f}") if isinstance(given, float) else Decimal(given)
        return given if isinstance(given, int) else str(given)

    compared = {name: kind for name, kind in columns.items() if name != "hours_behind"}
    drawn = [{name: value(name, kind, row[name]) for name, kind in compared.items()} for row in rows]
    return sorted(drawn, key=lambda row: list(map(str, row.values())))


def query_rows(engine, name, filters):
    """Rows of a query in the database, with the filters as SQL conditions."""
    account = f"account = '{filters['account'].replace(QUOTE, QUOTE * 2)}'" if "account" in filters else NO_FILTER
    bounds = (("since", ">="), ("until", "<="))
    days = " AND ".join(f"day {sign} '{filters[name]}'" for name, sign in bounds if name in filters) or NO_FILTER
    query = build_query(name, engine.dialect.name, accounts=account, days=days)
    with engine.connect() as connection:
        return connection.execute(text(query)).mappings().all()


CHOICES = {
    "all": {},
    "one account since": {"account": HOSTILE, "since": SINCE},
    "the other between": {"account": "bank", "since": SINCE, "until": UNTIL},
    "until": {"until": UNTIL},
    "nobody": {"account": "nobody"},
}


def test_each_chart_has_the_rows_of_the_database_for_each_set_of_filters(account_files):
    engine, clients = account_files
    for filters in CHOICES.values():
        expected = {name: as_drawn(query_rows(engine, name, filters), QUERIES[name].columns) for name in QUERIES}
        assert all(expected.values()) or filters
        for client in clients:
            for name, query in QUERIES.items():
                drawn = client.rows(name, **filters)
                assert as_drawn(drawn, query.columns) == expected[name], (name, filters)
                amounts = [column for column, kind in query.columns.items() if kind is ColumnType.AMOUNT]
                for given in (row[column] for row in drawn for column in amounts):
                    assert given is None or isinstance(given, float) is (abs(float(given)) < 1_000_000_000)


def test_the_page_is_the_filtered_report_with_notices_and_links_to_rows(account_files):
    engine, clients = account_files
    exact = sum(record["price"] for record in LISTED[HOSTILE])
    for client in clients:
        page = client.get("/").text
        assert 'Spend by day <span class="unit">EUR</span>' in page
        assert "<strong>Unexplained charge.</strong>" in page
        assert "Not over when last fetched: Wed 11 Mar 2026." in page
        assert "form-action 'self'" in page
        assert "<img" not in page
        choice = {"account": HOSTILE, "since": SINCE, "until": ""}
        page = client.get("/?" + urlencode(choice)).text
        assert f'<option selected value="{escape(HOSTILE)}">' in page
        assert 'name="since" value="2026-03-08"' in page
        assert "Sun 8 Mar" in page
        rows = f"/billing/days.csv?{urlencode(choice)}"
        assert f'href="{escape(rows)}"' in page
        assert len(client.get(rows).text.splitlines()) == 1 + len(client.rows("days", **choice))
        page = client.get("/?" + urlencode({"account": HOSTILE, "since": "", "until": ""})).text
        assert f"{exact:,.6f}" in page
    assert engine


@pytest.mark.parametrize(
    ("query", "word"),
    [("since=yesterday", "since"), ("until=2026-13-01", "until"), ("account=nobody", "unknown account")],
)
def test_an_invalid_filter_is_named(client, query, word):
    answer = client.get(f"/?{query}")
    assert (answer.status_code, word in answer.text, answer.headers["content-type"]) == (
        400, True, "text/plain; charset=utf-8",
    )  # fmt: skip


def test_the_rows_of_a_chart_can_be_shown_and_saved_as_text(client):
    page = client.get("/billing/days")
    assert (page.status_code, HOSTILE in page.text, "&lt;img" in page.text) == (200, False, True)
    assert "Edit SQL" not in page.text
    assert "/-/billing.css" in page.text
    assert "prefers-color-scheme: dark" in client.get("/-/billing.css").text
    saved = client.get("/billing/days.csv")
    assert saved.headers["content-type"].startswith("text/plain")
    assert len(saved.text.splitlines()) > len(LISTED)


def test_a_saved_csv_has_no_formula(sqlite_url, sandbox, tmp_path):
    settings = settings_of(sqlite_url, sandbox, date(2026, 3, 6), account="=1;+2")
    assert run_sync(settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=lambda: NOW).error is None
    create_snapshot(new_engine(sqlite_url), tmp_path / "snapshot.db")
    for path, at_rest in ((database_file(sqlite_url), False), (tmp_path / "snapshot.db", True)):
        client = DashboardClient(path, at_rest=at_rest)
        saved = list(csv.DictReader(client.get("/billing/days.csv").text.splitlines()))
        assert {row["account"] for row in saved} == {"'=1;'+2"}
        assert {row["account"] for row in client.rows("days", account="=1;+2")} == {"=1;+2"}
        assert "=1;+2" in client.get("/billing/days").text


PRYING = [
    "/billing", "/billing/billing", "/billing/billing.json", "/billing/billing_records", "/billing.db", "/billing?sql=",
    "/billing.json?sql=SELECT+phone+FROM+billing", "/billing/billing_records/1", "/billing/billing_records.csv",
    "/_internal", "/_memory.json?sql=select+1", "/-/databases", "/-/metadata", "/-/settings", "/-/threads", "/-/actor",
    "/-/permissions", "/-/plugins", "/-/versions", "/%2D/databases", "/billing%2Ejson?sql=select+1",
    "/-/static/../databases", "/-/static/..%2f..%2fapp.py",
]  # fmt: skip


def test_no_other_query_of_the_database_is_served(client):
    for address in PRYING:
        answer = client.get(address)
        assert answer.status_code in {302, 403, 404}, address
        for secret in (PHONE, CODE, "no answer", "CREATE", "hookimpl"):
            assert secret not in answer.text, address
    assert client.get("/billing/days.json?sql=SELECT+phone+FROM+billing").json()["columns"] == [
        *QUERIES["days"].columns
    ]
    for method in ("POST", "PUT", "DELETE"):
        assert client.send(method, "/billing/days.json").status_code in {403, 405, 500}
        assert client.send(method, "/billing/billing_records").status_code in {403, 405, 500}


def test_failures_are_reported_in_one_line_without_a_traceback(client, on_sqlite, capfd, caplog):
    with on_sqlite.begin() as connection:
        connection.execute(text("DROP VIEW freshness"))
    caplog.clear()
    answer = client.get("/")
    reason = answer.json()["error"]
    assert (answer.status_code, reason) == (500, "the database failed (OperationalError SQLITE_ERROR)")
    assert [record.message for record in caplog.records] == [f"the dashboard could not answer: {reason}"]
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err


def test_records_of_a_new_run_are_shown_without_a_restart(client, on_sqlite):
    before = sum(row["records"] for row in client.rows("days"))
    with on_sqlite.begin() as connection:
        newest = "account_id = 1 AND day = (SELECT MAX(day) FROM synced_days)"
        connection.execute(text(f"UPDATE synced_days SET records = records + 2 WHERE {newest}"))
    assert sum(row["records"] for row in client.rows("days")) == before + 2
    assert f"of {before + 2:,} charges" in client.get("/").text


def test_a_snapshot_contains_no_personal_data(on_sqlite, tmp_path):
    create_snapshot(on_sqlite, tmp_path / "snapshot.db")
    content = (tmp_path / "snapshot.db").read_bytes()
    assert is_snapshot(tmp_path / "snapshot.db")
    assert HOSTILE.encode() in content
    for secret in (PHONE, PHONE[1:], CODE, "no answer"):
        assert secret.encode() not in content


def test_only_a_snapshot_is_accepted_as_a_snapshot(on_sqlite, tmp_path):
    (tmp_path / "notes.txt").write_text("bill" * 50)
    for path in (database_file(on_sqlite.url), tmp_path / "notes.txt", tmp_path):
        assert not is_snapshot(path)


def test_a_database_without_views_is_reported(tmp_path):
    with pytest.raises(DatabaseError, match="no database yet; run: billing-etl sync"):
        require_views(new_engine(parse_url(f"sqlite:///{tmp_path / 'none.db'}")))
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE other (one INTEGER)")
    with pytest.raises(DatabaseError, match="lacks some of its views; run: billing-etl migrate"):
        require_views(new_engine(parse_url(f"sqlite:///{tmp_path / 'other.db'}")))


@pytest.mark.parametrize("module", ["datasette", "jinja2", "vl_convert"])
def test_a_missing_library_is_named_with_the_remedy(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"pip install 'billing-etl\[dashboard\]'"):
        require_libraries()


def test_a_path_with_special_characters_is_opened(on_sqlite, tmp_path):
    path = tmp_path / "a#b ?c %41.db"
    create_snapshot(on_sqlite, path)
    there = DashboardClient(path, at_rest=True)
    assert len(there.rows("freshness")) == len(LISTED)
    assert there.get("/").status_code == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("", False), ("localhost.example", False)],
)  # fmt: skip
def test_loopback_hosts_are_recognised(host, loopback):
    assert is_loopback(host) is loopback


def test_a_port_in_use_is_reported_in_one_line():
    with bind("127.0.0.1", 0) as sock:
        assert url_of(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}/"
        with pytest.raises(ConfigError, match=r"^--host 127\.0\.0\.1 --port \d+: Address already in use$"):
            bind("127.0.0.1", sock.getsockname()[1])
