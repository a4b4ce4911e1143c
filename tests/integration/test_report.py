"""The report: its figures equal the vendor's on every database, and a browser executes none of the vendor's texts."""

from __future__ import annotations

import re
import subprocess
from base64 import b64encode
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
from conftest import NOW, TODAY, fresh_database
from sqlalchemy import delete, event, insert, text
from support.engines import open_engine
from support.external_tools import tool
from support.run_helpers import NO_PROGRESS, settings_of
from support.totals_of_rows import write_totals_of_rows

from etl.db.accounts import account_ids
from etl.db.engine import new_engine, read_connection
from etl.db.migrate import ensure_current
from etl.db.tables import (
    accounts,
    balance_snapshots,
    balance_top_ups,
    hourly_totals,
    numbering_ranges,
    operator_totals,
)
from etl.errors import ConfigError, DatabaseError
from etl.reports.charts.catalog import all_charts
from etl.reports.charts.queries import QUERIES, build_query
from etl.reports.html.report import load_vega_bundle, write_report
from etl.reports.query import ExportFilter
from etl.sandbox import Dataset, Sandbox
from etl.services.run import RunRequest
from etl.services.sync import run_sync

ZONE = ZoneInfo("Europe/Moscow")
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
HUGE = "999999999999.999999"
HOSTILE = "</script><img src=x onerror=\"document.title='run'\">\u2028<!--'\"&\\"
SHOP, BANK = "shop", HOSTILE


def charge(created_at, price="0.2", status=1, info=HOSTILE, phone="89240000000"):
    return {
        "created_at": created_at, "code_auth": "0371", "status": status, "status_info": info, "phone": phone,
        "price": Decimal(price),
    }  # fmt: skip


# Sunday 8, Monday 9 and Tuesday 10 March; Wednesday is not over.
LISTED = {
    SHOP: [
        *[charge("2026-03-08T10:00:00", "0.1")] * 3,
        charge("2026-03-08T10:30:00", "0.000001", 0),
        charge("2026-03-09T23:59:59", "3.25", phone="89250000000"),
        charge("2026-03-10T00:00:00", "-0.5", None, phone="375291234567"),
        charge("2026-03-11T08:00:00", "0.2"),
    ],
    BANK: [
        charge("2026-03-08T10:00:00", HUGE),
        charge("2026-03-08T11:00:00", HUGE, 2),
        charge("2026-03-10T10:00:00", "0.3", phone="89250000000"),
    ],
}
LATE = charge("2026-03-09T23:00:00", "1.75")
BALANCES = {  # day and hour, balance, spend on record
    SHOP: [(9, 0, "100", "0"), (9, 1, "99.7", "0.3"), (10, 2, "149.2", "0.8")],
    BANK: [(10, 0, "0.000001", "0"), (10, 1, "-1.5", "1.4")],
}


class Company:
    """Two accounts in a database, and its reports."""

    def __init__(self, url, vendor):
        self.url = url
        self.engine = open_engine(url)
        for label, listed in LISTED.items():
            vendor.dataset.replace(listed)
            self.sync(vendor, label, MORNING)
        vendor.dataset.replace([*LISTED[SHOP], LATE])
        self.sync(vendor, SHOP, MORNING + timedelta(minutes=1))
        known = {"region": "r", "file_name": "f", "file_changed_at": MORNING, "imported_at": MORNING}
        with self.engine.begin() as connection:
            for first, operator in (("+79240000000", HOSTILE), ("+79250000000", "Two")):
                row = {"block": first[:7], "first_phone": first, "last_phone": first, "operator": operator}
                connection.execute(insert(numbering_ranges), known | row)
            for number in account_ids(connection):
                write_totals_of_rows(connection, number)
            connection.execute(delete(balance_snapshots))  # those of the syncs
            for label, balances in BALANCES.items():
                number = connection.scalar(accounts.select().with_only_columns(accounts.c.id).filter_by(label=label))
                for day, hour, balance, spend in balances:
                    connection.execute(insert(balance_snapshots), {
                        "account_id": number, "taken_at": datetime(2026, 3, day, hour, tzinfo=UTC),
                        "balance": Decimal(balance), "recorded_spend": Decimal(spend),
                    })  # fmt: skip
                connection.execute(insert(balance_top_ups), {
                    "account_id": number, "at": datetime(2026, 3, 10, 2, tzinfo=UTC), "amount": Decimal(50),
                    "noted_at": MORNING,
                })  # fmt: skip

    def sync(self, vendor, label, now):
        settings = settings_of(self.url, vendor, date(2026, 3, 8), account=label)
        done = run_sync(
            settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=lambda: now
        )  # fmt: skip
        assert done.error is None

    def report(self, renderer="", **selection):
        return render_report(self.engine, renderer, **selection)


def render_report(engine, renderer="", **selection):
    file = BytesIO()
    written = write_report(
        engine, ExportFilter(**selection), lambda: renderer, nullcontext(file), now=MORNING.astimezone(ZONE)
    )
    return written.totals, file.getvalue().decode()


@contextmanager
def company_on(backend, folder):
    dataset = Dataset(seed=1, today=TODAY, days=1, until=NOW.time())
    with fresh_database(backend, folder) as url, Sandbox(port=0, dataset=dataset, now=NOW) as vendor:
        yield Company(url, vendor)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def company(request, tmp_path_factory):
    """A company on each database; tests only read it, or restore what they change."""
    with company_on(request.param, tmp_path_factory.mktemp("report")) as made:
        yield made


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory):
    with company_on("sqlite", tmp_path_factory.mktemp("report")) as made:
        yield made


@pytest.fixture(scope="module")
def renderer():
    return load_vega_bundle()()


class Page(HTMLParser):
    """The parsed page, without scripts: its elements, text and tables."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.tables, self.path = [], [], {}, []
        self.feed(page)
        text_parts = "".join(self.texts)
        self.text = " ".join(text_parts.split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.path.append(tag)
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in {"th", "td"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        while self.path and self.path.pop() != tag:
            pass

    def handle_data(self, data):
        if "script" in self.path or "style" in self.path:
            return
        self.texts.append(data + ("" if "bdi" in self.path else " "))
        if "caption" in self.path:
            self.tables[data] = self.rows
        elif {"th", "td"} & set(self.path):
            self.rows[-1][-1] += data


def money(amount, places):
    return f"{amount:,.{places}f}"


def test_the_figures_equal_those_computed_from_the_vendors_records(company):
    figures, page = company.report()
    seen = Page(page)
    every = [(label, record) for label, records in LISTED.items() for record in records] + [(SHOP, LATE)]

    def oracle(records):
        spend = sum((Decimal(record["price"]) for record in records), Decimal(0))
        delivered = sum(record["status"] == 1 for record in records)
        rate = (Decimal(delivered) / len(records)).quantize(Decimal("0.0001"), ROUND_HALF_UP)
        cost = (spend / delivered).quantize(Decimal("0.000001"), ROUND_HALF_UP) if delivered else None
        return len(records), delivered, rate, spend, cost

    def as_tuple(totals):
        return totals.records, totals.delivered, totals.delivery_rate, totals.spend, totals.cost_per_delivery

    expected = oracle([record for _, record in every])
    assert as_tuple(figures.total) == expected
    assert (expected[0], expected[1], expected[3]) == (11, 8, 2 * Decimal(HUGE) + Decimal("5.300001"))
    assert figures.total.repeated_spend == Decimal("0.2")
    assert {label: as_tuple(totals) for label, totals in figures.by_account.items()} == {
        label: oracle([record for account, record in every if account == label]) for label in (SHOP, BANK)
    }
    assert (figures.balances, figures.balance) == (
        {SHOP: Decimal("149.2"), BANK: Decimal("-1.5")}, Decimal("147.7"),
    )  # fmt: skip
    assert (figures.since, figures.until, figures.closed_through) == (date(2026, 3, 8), date(2026, 3, 11), None)
    assert f"Spend {money(expected[3], 6)} RUB 0.20 RUB of it" in seen.text
    assert "Delivered 8 of 11 charges Delivery rate 72.73% 3 not delivered" in seen.text
    assert f"Cost per delivery {money(expected[4], 4)} RUB " in seen.text
    assert "Balance 147.70 RUB on Tue 10 Mar 2026" in seen.text

    days = seen.tables["Figures of each day"]
    assert [row[:6] for row in days[1:-1] if row[1] == SHOP] == [
        ["Sun 8 Mar 2026", SHOP, "4", "3", "75.00%", "0.300001"],
        ["Mon 9 Mar 2026", SHOP, "2", "2", "100.00%", "5.000000"],
        ["Tue 10 Mar 2026", SHOP, "1", "0", "0.00%", "-0.500000"],
        ["Wed 11 Mar 2026", SHOP, "1", "1", "100.00%", "0.200000"],
    ]
    assert days[-1] == ["Total", "", "11", "8", "72.73%", money(expected[3], 6), "0.20", ""]
    assert seen.tables["Figures of each operator"][1:] == [
        [HOSTILE, "8", "6", "75.00%", money(2 * Decimal(HUGE) + Decimal("2.250001"), 6),
         money((2 * Decimal(HUGE) + Decimal("2.250001")) / 6, 6)],
        ["Two", "2", "2", "100.00%", "3.550000", "1.775000"],
        ["not in the plan", "1", "0", "0.00%", "-0.500000", "–"],
        ["All", "11", "8", "72.73%", money(expected[3], 6), money(expected[4], 6)],
    ]  # fmt: skip
    assert sorted(seen.tables["Figures of each month"][1:-1]) == sorted([
        ["Mar 2026", BANK, "3", "2", "66.67%", money(2 * Decimal(HUGE) + Decimal("0.3"), 6), "0.00"],
        ["Mar 2026", SHOP, "8", "6", "75.00%", "5.000001", "+1.75"],
    ])  # fmt: skip
    assert "Unexplained charge. The balance fell by more than the charges on record" in seen.text
    assert ": 0.100001 RUB, last on Tue 10 Mar 2026" in seen.text
    assert "Not over when last fetched: Wed 11 Mar 2026. Not final yet." in seen.text
    hours = {row[0]: dict(enumerate(map(int, row[1:]))) for row in seen.tables["Charges of each hour"][1:]}
    assert {(day, hour): count for day, row in hours.items() for hour, count in row.items() if count} == {
        ("Sun", 10): 5, ("Sun", 11): 1, ("Mon", 23): 2, ("Tue", 0): 1, ("Tue", 10): 1, ("Wed", 8): 1,
        ("Sun", 24): 6, ("Mon", 24): 2, ("Tue", 24): 2, ("Wed", 24): 1,
        ("All", 10): 6, ("All", 11): 1, ("All", 23): 2, ("All", 0): 1, ("All", 8): 1, ("All", 24): 11,
    }  # fmt: skip
    assert sorted(seen.tables["Balances and top-ups"][1:-1]) == sorted([
        ["Tue 10 Mar 2026", BANK, "-1.50", "1.40", "0.00", "0.00", "-0.100001"],
        ["Mon 9 Mar 2026", SHOP, "99.70", "0.30", "0.00", "0.00", "0.000000"],
        ["Tue 10 Mar 2026", SHOP, "149.20", "0.50", "50.00", "0.00", "0.000000"],
    ])  # fmt: skip
    (restated,) = seen.tables["Figures of each restated day"][1:-1]
    assert restated == [
        "Mon 9 Mar 2026", SHOP, "Wed 11 Mar 2026, 06:30", "Wed 11 Mar 2026, 06:31", "3.25", "5.00", "+1.75",
    ]  # fmt: skip
    assert sorted(seen.tables["Days in each state"][1:]) == sorted(
        [[SHOP, "0", "3", "1", "0", "0"], [BANK, "0", "3", "1", "0", "0"], ["All", "0", "6", "2", "0", "0"]]
    )
    assert {row[0]: row[1] for row in seen.tables["Freshness of each account"][1:]} == dict.fromkeys(
        (SHOP, BANK), "Tue 10 Mar 2026"
    )


def test_only_requested_accounts_and_days_are_reported(company):
    figures, page = company.report(accounts=(SHOP,), since=date(2026, 3, 9), until=date(2026, 3, 10))
    assert (figures.total.records, figures.total.spend, list(figures.by_account)) == (3, Decimal("4.5"), [SHOP])
    assert (figures.since, figures.until, figures.balance) == (date(2026, 3, 9), date(2026, 3, 10), Decimal("149.2"))
    seen = Page(page)
    assert [row[1] for row in seen.tables["Figures of each operator"][1:]] == ["1", "1", "1", "3"]
    assert seen.tables["Charges of each hour"][-1][-1] == "3"
    assert unescape(HOSTILE) not in [row[0] for row in seen.tables["Freshness of each account"]]
    with pytest.raises(ConfigError, match="no such account"):
        company.report(accounts=("nobody",))


def test_every_query_returns_exactly_its_declared_columns(company):
    assert {chart.dataset for chart in all_charts()} == set(QUERIES)
    with read_connection(company.engine) as connection:
        for name, query in QUERIES.items():
            rows = connection.execute(text(build_query(name, connection.dialect.name)))
            assert list(rows.keys()) == list(query.columns)
            assert rows.all()


def test_charges_settled_later_are_not_deposits(company):
    snapshots = [(1, "149.2", "2.8"), (2, "147.2", "2.8"), (3, "157.2", "2.8")]
    with company.engine.connect() as connection, connection.begin() as transaction:
        shop = connection.scalar(accounts.select().with_only_columns(accounts.c.id).filter_by(label=SHOP))
        for hour, balance, spend in snapshots:
            row = {"account_id": shop, "taken_at": datetime(2026, 3, 11, hour, tzinfo=UTC)}
            amounts = {"balance": Decimal(balance), "recorded_spend": Decimal(spend)}
            connection.execute(insert(balance_snapshots), row | amounts)
        query = build_query("balances", connection.dialect.name, days="day = '2026-03-11'")
        [day] = connection.execute(text(query)).mappings()
        found = {name: Decimal(str(day[name])) for name in ("unexplained_credit", "unexplained_charge", "paid_in")}
        transaction.rollback()
    assert found == {"unexplained_credit": 12, "unexplained_charge": -2, "paid_in": 10}


def test_the_report_is_compared_with_the_days_before_it(company):
    _, page = company.report(accounts=(SHOP,), since=date(2026, 3, 9), until=date(2026, 3, 9))
    text = Page(page).text
    assert "Spend 5.00 RUB +1,567% on the day before" in text
    assert "Delivery rate 100.00% +25.00 points on the day before" in text


def test_amounts_of_different_currencies_are_not_added(on_sqlite):
    with on_sqlite.engine.begin() as connection:
        connection.execute(accounts.update().where(accounts.c.label == SHOP).values(currency="EUR"))
    try:
        both, first, second = (on_sqlite.report(accounts=labels) for labels in ((), (BANK,), (SHOP,)))
    finally:
        with on_sqlite.engine.begin() as connection:
            connection.execute(accounts.update().values(currency="RUB"))
    assert both[0] == first[0]
    assert "Only the accounts in RUB. Amounts of different currencies are not added." in Page(both[1]).text
    assert f"EUR: {SHOP}" in Page(both[1]).text
    assert "Only the accounts" not in first[1]
    assert second[0].total == second[0].by_account[SHOP]
    assert "Amounts are exact, in EUR." in second[1]


def test_a_report_reads_one_consistent_state(company):
    """A commit between two of its queries is visible in none of them."""
    statements = []

    def add(_connection, _cursor, statement, *_):
        if "daily_spend" in statement and not statements:
            statements.append(statement)
            with new_engine(company.url).begin() as other:
                other.execute(text("UPDATE hourly_totals SET records = records + 100"))
                other.execute(text("UPDATE synced_days SET records = records + 100 WHERE records > 0"))

    event.listen(company.engine, "after_cursor_execute", add)
    try:
        before, page = company.report()
        assert Page(page).tables["Charges of each hour"][-1][-1] == f"{before.total.records:,}" == "11"
        assert company.report()[0].total.records > 100
    finally:
        event.remove(company.engine, "after_cursor_execute", add)
        with company.engine.begin() as connection:
            for number in account_ids(connection):
                write_totals_of_rows(connection, number)


# Without figures ------------------------------------------------------------------------------------------------------


def test_the_page_states_that_there_are_no_charges(sqlite_url):
    engine = new_engine(sqlite_url)
    with pytest.raises(DatabaseError, match="there is no database yet"):
        render_report(engine)
    ensure_current(engine)
    figures, page = render_report(engine)
    seen = Page(page)
    assert (figures.total.records, figures.balance, figures.since) == (0, None, None)
    assert "No charges No account was ever fetched. Freshness Nothing was ever fetched. billing-etl sync" in seen.text
    assert not seen.tables
    assert "figure" not in [tag for tag, _ in seen.elements]
    assert "No charges from Fri 1 Jan 2027" in render_report(engine, since=date(2027, 1, 1))[1]


def test_a_single_day_and_an_unknown_operator_are_in_text_and_tables(on_sqlite):
    day = date(2026, 3, 11)
    with on_sqlite.engine.begin() as connection:
        rows = connection.execute(numbering_ranges.select()).mappings().all()
        connection.execute(numbering_ranges.delete())
        for number in account_ids(connection):
            write_totals_of_rows(connection, number)
    try:
        seen = Page(on_sqlite.report(since=day, until=day)[1])
    finally:
        with on_sqlite.engine.begin() as connection:
            connection.execute(insert(numbering_ranges), [dict(row) for row in rows])
            for number in account_ids(connection):
                write_totals_of_rows(connection, number)
    assert "A single day makes no picture" in seen.text
    assert "No operators are stored" in seen.text
    assert "No balance is on record" in seen.text
    assert "No day changed after it was first complete" in seen.text
    assert "Not final yet. 1 day may still change" in seen.text
    drawn = [attributes["id"] for tag, attributes in seen.elements if attributes.get("class") == "picture"]
    assert drawn == ["spend_by_channel", "weekday_and_hour", "freshness"]
    assert len([tag for tag, attributes in seen.elements if tag == "details" and "open" in attributes]) == 3


def test_the_page_states_that_totals_of_days_with_records_are_missing(on_sqlite):
    with on_sqlite.engine.begin() as connection:
        connection.execute(operator_totals.delete())
        connection.execute(hourly_totals.delete())
    try:
        seen = Page(on_sqlite.report()[1])
    finally:
        with on_sqlite.engine.begin() as connection:
            for number in account_ids(connection):
                write_totals_of_rows(connection, number)
    assert seen.text.count("The totals of these days are missing. billing-etl backfill of the days writes them.") == 2
    drawn = [attributes["id"] for tag, attributes in seen.elements if attributes.get("class") == "picture"]
    assert "spend_by_day" in drawn
    assert not {"operators", "weekday_and_hour"} & set(drawn)


# In a browser ---------------------------------------------------------------------------------------------------------

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def test_a_page_allows_only_its_own_script_and_loads_nothing(on_sqlite, renderer):
    _, page = on_sqlite.report(renderer)
    seen = Page(page)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    (policy,) = [
        attributes["content"] for _, attributes in seen.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]  # fmt: skip
    hashed = b64encode(sha256(scripts[0].encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'", f"script-src 'sha256-{hashed}'", "style-src 'unsafe-inline'", "base-uri 'none'",
        "form-action 'none'",
    ]  # fmt: skip
    assert [tag for tag, _ in seen.elements if tag in {"img", "link", "iframe", "a", "object"}] == []
    assert not [names for _, names in seen.elements if {"src", "href", "srcset", "onerror"} & names.keys()]
    assert "url(" not in page.partition("</style>")[0]
    assert len(page) < 1_200_000


def test_a_browser_draws_every_chart_and_executes_no_text(on_sqlite, renderer, tmp_path):
    chromium = tool("chromium")
    (tmp_path / "report.html").write_text(on_sqlite.report(renderer)[1], "utf-8")
    done = subprocess.run(
        [chromium, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom",
         (tmp_path / "report.html").as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    drawn = Page(done.stdout)
    pictures = {
        attributes["id"]: attributes.get("data-drawn")
        for _, attributes in drawn.elements
        if attributes.get("class", "").startswith("picture")
    }
    assert pictures == {chart.name: "yes" for chart in all_charts() if chart.name != "months"}, "a single month"
    tags = [tag for tag, _ in drawn.elements]
    assert len([names for tag, names in drawn.elements if tag == "svg" and names.get("class") == "marks"]) == len(
        pictures
    )
    assert tags.count("path") > 50
    assert "img" not in tags
    assert "<title>Telefon-IP charges, Sun 8 Mar – Wed 11 Mar 2026</title>" in done.stdout
    assert done.stdout.count("onerror=") > 0, "the text is on the page, as text"
