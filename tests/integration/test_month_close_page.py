"""The queries of docs/how-to/month-close.md, run by the reader on the views."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from conftest import fresh_database
from sqlalchemy import text
from support.database_users import database_with_users
from support.run_helpers import NO_PROGRESS, settings_of

from etl.date_ranges import DateRange
from etl.db.engine import new_engine
from etl.services.close import CloseRequest, close_month
from etl.services.numbering import import_plan
from etl.services.run import RunRequest
from etl.services.sync import run_sync

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "month-close.md"
PLAN = Path(__file__).parents[1] / "data" / "numbering" / "DEF-9xx.csv"
BLOCK = re.compile(r"(?:<!-- database: (?P<only>\w+) -->\n)?```sql\n(?P<query>.+?)```", re.DOTALL)
QUERIES = [(found["only"], found["query"]) for found in BLOCK.finditer(PAGE.read_text("utf-8"))]
MARCH, TODAY = date(2026, 3, 1), date(2026, 4, 10)
MORNING = datetime(2026, 4, 10, 6, 30, tzinfo=UTC)
OPERATORS = {"+79243555100": 'ПАО "Третий"', "+79001234567": None}
"""By phone: what the plan of the tests says; a sandbox phone and one outside of the plan."""


def charges():
    """Charges on all days but two, at two hours, to two phones; uneven prices, a third not delivered."""
    for number in range(41):
        day = MARCH + timedelta(days=number)
        for n in range(0 if number in {4, 20} else 3 + number % 4):
            yield {
                "created_at": f"{day}T{9 + n % 2:02}:00:{n:02}",
                "code_auth": f"{n:04}",
                "status": 1 if n % 3 else 0,
                "status_info": "ok",
                "phone": list(OPERATORS)[n % 2],
                "price": Decimal(f"{number % 5}.{number + 100:03}001"),
            }


def day_of(record):
    return record["created_at"][:10]


def spend_of(records):
    return sum((record["price"] for record in records), Decimal(0))


def plain(value):
    if isinstance(value, float):
        return Decimal(f"{value:.6f}")
    return str(value) if isinstance(value, date) else value


class Books:
    """March, closed on the tenth of April and changed afterwards, and the reader who queries it."""

    def __init__(self, url, reader_url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, MARCH, lookback_days=3, vat_rate=Decimal(20))
        self.reader = new_engine(reader_url)
        self.now = MORNING
        self.records = list(charges())
        import_plan(self.settings, [PLAN], clock=lambda: MORNING)
        self.sync()
        self.booked = spend_of(self.of("2026-03"))
        self.closed = close_month(
            self.settings, CloseRequest(MARCH), is_configured=True, wait=0, clock=lambda: MORNING + timedelta(minutes=2)
        )
        march = self.of("2026-03")
        self.changed = [march[0], march[7]]
        self.records.remove(march[0])
        self.records.remove(march[7])
        self.records += [march[7] | {"price": Decimal("12.5")}, march[9] | {"created_at": "2026-03-31T23:59:59"}]
        self.now += timedelta(minutes=5)
        self.sync("backfill", MARCH, date(2026, 3, 31))
        self.now += timedelta(minutes=5)
        self.sync()

    def sync(self, command="sync", since=None, until=None):
        self.vendor.dataset.replace(self.records)
        result = run_sync(
            self.settings, RunRequest(command, since, until), NO_PROGRESS, redact=str,
            clock=lambda: self.now,
        )  # fmt: skip
        assert result.error is None

    def of(self, prefix):
        return [record for record in self.records if record["created_at"].startswith(prefix)]

    def answers(self):
        """The rows of each query that runs on this database."""
        backend = self.reader.dialect.name
        queries = [query for only, query in QUERIES if only in {None, backend}]
        if backend == "mariadb":
            queries = [query.replace('"', "`") for query in queries]
        with self.reader.connect() as connection:
            return [
                [tuple(map(plain, row)) for row in connection.execute(text(query.replace(":00+", r"\:00+")))]
                for query in queries
            ]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def books(request, tmp_path, sandbox):
    if request.param == "sqlite":
        with fresh_database("sqlite", tmp_path, empty=False) as url:
            yield Books(url, url, sandbox)
    else:
        with database_with_users(request.param, tmp_path) as users:
            yield Books(users.url_of("writer"), users.url_of("reader"), sandbox)


def test_every_question_of_the_page_is_answered_by_one_query(books):
    answers = iter(books.answers())
    closed_at = "2026-04-10 06:32:00"
    (final,) = next(answers)
    assert (*final[:-1], final[-1][:19]) == (1, 0, 0, 0, 0, 0, "final", closed_at)

    march = spend_of(books.of("2026-03"))
    change = march - books.booked
    vat = (books.booked / 6).quantize(Decimal("0.000001"), ROUND_HALF_UP)
    (booked,) = next(answers)
    assert (booked[0][:19], *booked[1:]) == (
        *(closed_at, "final", books.booked, books.booked - vat, vat, books.booked, "RUB"),
        *(march, change),
    )

    lines = next(answers)
    assert [row[1] for row in lines] == sorted(row[1] for row in lines)
    assert len(lines) == 3
    assert sum(row[4] for row in lines) == change
    by_kind = defaultdict(lambda: [0, Decimal(0)])
    for row in lines:
        by_kind[row[3]][0] += 1
        by_kind[row[3]][1] += row[4]
    assert [(kind, *sums) for kind, *sums in next(answers)] == [
        (kind, *by_kind[kind]) for kind in ("corrected", "late", "withdrawn")
    ]
    assert next(answers) == [(books.booked,)]

    assert next(answers) == [
        (str(day), state, len(books.of(str(day))), spend_of(books.of(str(day))))
        for day, state in zip(DateRange(date(2026, 4, 7), TODAY).days(), ["settling"] * 3 + ["open"], strict=True)
    ]

    groups = defaultdict(list)
    for record in books.records:
        groups[record["created_at"][:7], OPERATORS[record["phone"]]].append(record)
    expected = []
    for (month, operator), records in groups.items():
        delivered = sum(record["status"] == 1 for record in records)
        total = spend_of(records)
        cost = (total / delivered).quantize(Decimal("0.000001"), ROUND_HALF_UP)
        expected.append((month, operator, len(records), delivered, total, cost))
    assert next(answers) == sorted(expected, key=lambda row: (row[0], -row[4]))

    hours = defaultdict(list)
    for record in books.of("2026-03"):
        hours[int(record["created_at"][11:13])].append(record)
    assert next(answers) == [(hour, len(records), spend_of(records)) for hour, records in sorted(hours.items())]

    same_days = {
        month: [record for record in books.of(month) if day_of(record)[8:] <= "09"] for month in ("2026-04", "2026-03")
    }
    assert next(answers) == [(month, 9, len(records), spend_of(records)) for month, records in same_days.items()]

    recent = [str(date(2026, 4, 9) - timedelta(days=number)) for number in range(28)]
    per_day = spend_of(record for record in books.records if day_of(record) in recent) / 28
    april = spend_of(same_days["2026-04"]) + 21 * per_day
    ((month, currency, forecast),) = next(answers)
    assert (month, currency) == ("2026-04-01", "RUB")
    assert abs(forecast - april) <= Decimal("0.01")

    ((_, balance, days),) = next(answers)
    assert balance == books.vendor.dataset.balance
    assert abs(days - balance / per_day) <= Decimal("0.1")

    corrected = len({day_of(record) for record in books.changed} | {"2026-03-31"})
    focus = sorted(next(answers), key=lambda row: (row[0], row[1] or ""))
    assert [(row[0][:7], *row[1:]) for row in focus] == [
        ("2026-03", None, 29, books.booked),
        ("2026-04", None, 10, spend_of(books.of("2026-04"))),
        ("2026-04", "Correction", corrected, change),
    ]
    if books.reader.dialect.name == "postgresql":
        assert next(answers) == [(books.booked,)]
    assert list(answers) == []


def test_the_forecast_has_the_mean_for_missing_days(database_url, sandbox):
    (forecast,) = (query for _, query in QUERIES if "AS forecast" in query)
    settings = settings_of(database_url, sandbox, date(2026, 4, 1))
    sandbox.dataset.replace(
        {**next(charges()), "created_at": f"{day}T09:00:00", "price": Decimal("0.2")}
        for day in DateRange(date(2026, 4, 1), TODAY).days()
    )
    for request in (RunRequest("sync", None, date(2026, 4, 3)), RunRequest("backfill", date(2026, 4, 8), TODAY)):
        result = run_sync(settings, request, NO_PROGRESS, redact=str, clock=lambda: MORNING)
        assert result.error is None
    with new_engine(database_url).connect() as connection:
        days = connection.execute(text("SELECT days_missing, days_open, days_ahead FROM monthly_close")).one()
        ((*_, spend),) = connection.execute(text(forecast))
    assert days == (4, 1, 20)
    assert plain(spend) == Decimal("0.2") * 30
