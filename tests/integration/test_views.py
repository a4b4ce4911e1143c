"""The views: what BI tools read is the same on each database, and exact."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from jobs import SILENT, settings_of
from sqlalchemy import text

from etl.load.engine import open_engine
from etl.runs import Order, run_account

TODAY = date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
MONEY = {
    *("price", "amount", "spend", "repeated_spend", "spend_before", "spend_after", "delta", "restated"),
    *("delivery_rate", "cost_per_delivery", "opening", "closing", "charged", "top_ups", "unexplained"),
}
DATES = {"day", "month", "last_synced_date"}
TIMES = {
    "created_at",
    "created_at_utc",
    "first_seen_at",
    "updated_at",
    "first_closed_at",
    "restated_at",
    "last_success_at",
    "opened_at",
    "closed_at",
}
CONTRACT = {
    "billing": "account, created_at, created_at_utc, day, phone, code_auth, status, status_info, price, repeats,"
    " amount, delivered, operator, region, day_state, first_seen_at, updated_at",
    "daily_spend": "account, day, records, delivered, failed, spend, repeated_spend, day_state",
    "monthly_spend": "account, month, records, delivered, failed, spend, restated",
    "delivery_by_operator": "account, day, operator, records, delivered, delivery_rate, spend, cost_per_delivery",
    "restated_days": "account, day, first_closed_at, restated_at, spend_before, spend_after, delta",
    "balance_proof": "account, opened_at, closed_at, opening, closing, charged, top_ups, unexplained, finding",
    "freshness": "account, last_synced_date, last_success_at, hours_behind, open_days, suspect_days",
}


def charge(moment, price="0.2", status=1, info="ok", phone="89243555100", code="0371"):
    return {
        "created_at": moment,
        "code_auth": code,
        "status": status,
        "status_info": info,
        "phone": phone,
        "price": Decimal(price),
    }


def charges(day, count, **values):
    return [charge(f"{day}T10:{n // 60:02}:{n % 60:02}", **values) for n in range(count)]


def same_everywhere(name, value):
    """A value of a view in the one form that the three databases' own forms stand for."""
    if value is None:
        return None
    if name in MONEY:
        return Decimal(str(value))
    if name in DATES:
        return date.fromisoformat(str(value))
    if name in TIMES:
        return datetime.fromisoformat(str(value))
    return bool(value) if name == "delivered" and value in {True, False} else value


class Shop:
    """A vendor, a database, and the job between them."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, date(2026, 3, 1), lookback_days=3)
        self.engine = open_engine(url)
        self.now = MORNING

    def sync(self, *records, command="sync", since=None, until=None, **changes):
        """Let the vendor have these records, if any are given, and run the job a minute later than before."""
        if records:
            self.vendor.dataset.replace(records)
        self.now += timedelta(minutes=1)
        report = run_account(
            replace(self.settings, **changes),
            Order(command, since, until),
            SILENT,
            redact=str,
            exit_code_of=lambda report: 69 if report.error else 0,
            clock=lambda: self.now,
        )
        assert report.error is None
        return report

    def read(self, view, columns="*", order="1, 2"):
        """A view's rows, as dicts or, of some columns, as tuples."""
        with self.engine.connect() as connection:
            rows = connection.execute(text(f"SELECT {columns} FROM {view} ORDER BY {order}")).mappings().all()
        told = [{name: same_everywhere(name, value) for name, value in row.items()} for row in rows]
        return told if columns == "*" else [tuple(row.values()) for row in told]

    def naive_now(self):
        return self.now.replace(tzinfo=None)


@pytest.fixture
def shop(database_url, sandbox):
    sandbox.dataset.replace([])
    return Shop(database_url, sandbox)


def at(moment):
    return datetime.fromisoformat(moment)


@pytest.mark.parametrize("view", CONTRACT)
def test_a_view_has_the_columns_of_the_contract_in_their_order(shop, view):
    shop.sync()
    with shop.engine.connect() as connection:
        columns = list(connection.execute(text(f"SELECT * FROM {view}")).keys())
    assert columns[: len(CONTRACT[view].split(", "))] == CONTRACT[view].replace(" ", "").split(",")


def test_billing_shows_each_current_record(shop):
    shop.sync(
        charge("2026-03-02T01:00:00", "3.25", info="SMS delivered"),
        charge("2026-03-02T01:00:00", "0", status=0, info="no answer"),
        *[charge("2026-03-09T10:00:00", "0.1", phone="375291234567", code="")] * 3,
        charge("2026-03-10T23:59:59", "-7.000001", status=None, info=""),
        charge("2026-03-11T00:00:00", "4", status=2),
        charge("2026-03-11T01:00:00", "5"),
    )
    first = shop.naive_now()
    shop.vendor.dataset.remove([charge("2026-03-11T01:00:00", "5")])
    shop.sync()
    common = {"account": "default", "operator": None, "region": None, "first_seen_at": first, "updated_at": first}
    usual = {"phone": "+79243555100", "code_auth": "0371", "repeats": 1}
    assert shop.read("billing", order="created_at, price") == [
        common | usual | {
            "created_at": at("2026-03-02 01:00"), "created_at_utc": at("2026-03-01 22:00"), "day": date(2026, 3, 2),
            "status": 0, "status_info": "no answer", "price": Decimal(0), "amount": Decimal(0), "delivered": False,
            "day_state": "closed",
        },
        common | usual | {
            "created_at": at("2026-03-02 01:00"), "created_at_utc": at("2026-03-01 22:00"), "day": date(2026, 3, 2),
            "status": 1, "status_info": "SMS delivered", "price": Decimal("3.25"), "amount": Decimal("3.25"),
            "delivered": True, "day_state": "closed",
        },
        common | {
            "created_at": at("2026-03-09 10:00"), "created_at_utc": at("2026-03-09 07:00"), "day": date(2026, 3, 9),
            "phone": "375291234567", "code_auth": "", "status": 1, "status_info": "ok", "price": Decimal("0.1"),
            "repeats": 3, "amount": Decimal("0.3"), "delivered": True, "day_state": "settling",
        },
        common | usual | {
            "created_at": at("2026-03-10 23:59:59"), "created_at_utc": at("2026-03-10 20:59:59"),
            "day": date(2026, 3, 10), "status": None, "status_info": "", "price": Decimal("-7.000001"),
            "amount": Decimal("-7.000001"), "delivered": False, "day_state": "settling",
        },
        common | usual | {
            "created_at": at("2026-03-11"), "created_at_utc": at("2026-03-10 21:00"), "day": date(2026, 3, 11),
            "status": 2, "status_info": "ok", "price": Decimal(4), "amount": Decimal(4), "delivered": False,
            "day_state": "open",
        },
    ]  # fmt: skip


def test_daily_spend_counts_records_as_the_vendor_lists_them(shop):
    shop.sync(
        *[charge("2026-03-02T01:00:00", "0.1")] * 3,
        charge("2026-03-02T02:00:00", "0", status=0),
        *[charge("2026-03-02T03:00:00", "2.5", status=None)] * 2,
        charge("2026-03-02T04:00:00", "-1", status=2),
        charge("2026-03-10T23:59:59", "1"),
        charge("2026-03-11T00:00:00", "2"),
    )
    columns = ("account", "day", "records", "delivered", "failed", "spend", "repeated_spend", "day_state")
    assert [tuple(row[name] for name in columns) for row in shop.read("daily_spend")] == [
        ("default", date(2026, 3, 2), 7, 3, 4, Decimal("4.3"), Decimal("2.7"), "closed"),
        ("default", date(2026, 3, 10), 1, 1, 0, Decimal(1), Decimal(0), "settling"),
        ("default", TODAY, 1, 1, 0, Decimal(2), Decimal(0), "open"),
    ]


HUGE = "999999999999.999999"


# Each of these is a day.
SUMS = [
    ["0.1"] * 3,
    ["0.1"] * 300 + ["0.2"] * 300 + ["0.000001"],
    ["-0.1"] * 3,
    ["-0.5"],
    ["0.5", "-0.7"],
    ["1", "-0.000001"],
    ["-1", "0.000001"],
    ["999999999.999999"],
    ["-999999999.999999"],
    ["1000000000"],
    ["1000000000", "-0.000001"],
    ["-1000000000", "0.000001"],
    ["-1000000000.000001"],
    [HUGE],
    [HUGE] * 7,
    ["-" + HUGE] * 7,
    [HUGE, "-" + HUGE],
    [HUGE, "0.000001"],
    [HUGE] * 5 + ["-" + HUGE] * 4 + ["0.000002"],
    ["123456789012.345678", "0.654322", "-123456789013"],
]


@pytest.mark.fault(40)
def test_sums_are_exact_to_the_last_digit(shop):
    days = [date(2026, 2, 1) + timedelta(days=n) for n in range(len(SUMS))]
    shop.sync(
        *[
            charge(f"{day}T10:{n // 60:02}:{n % 60:02}", price)
            for day, prices in zip(days, SUMS, strict=True)
            for n, price in enumerate(prices)
        ],
        start_date=days[0],
    )
    expected = [(day, sum(map(Decimal, prices)), Decimal(0)) for day, prices in zip(days, SUMS, strict=True)]
    assert shop.read("daily_spend", "day, spend, repeated_spend") == expected
    amounts = [(Decimal(price), Decimal(price)) for prices in SUMS for price in prices]
    assert shop.read("billing", "price, amount", order="created_at") == amounts


def test_what_repeats_add_is_exact_to_the_last_digit(shop):
    prices = ["0.1", "-0.1", "333333333.333333", HUGE, "-" + HUGE, "0.000001"]
    shop.sync(*[charge(f"2026-03-0{n + 1}T10:00:00", price) for n, price in enumerate(prices) for _ in range(7)])
    exact = list(map(Decimal, prices))
    assert shop.read("billing", "price, repeats, amount", order="day") == [(price, 7, 7 * price) for price in exact]
    assert shop.read("daily_spend", "spend, repeated_spend", order="day") == [(7 * p, 6 * p) for p in exact]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_an_amount_is_a_number_where_a_number_is_exact_and_text_beyond(shop):
    shop.sync(
        *[charge("2026-03-08T10:00:00", "0.1")] * 3,
        charge("2026-03-09T10:00:00", "999999999.999999"),
        charge("2026-03-10T10:00:00", "999999999.999999"),
        charge("2026-03-10T10:00:01", "0.000001"),
    )
    with shop.engine.connect() as connection:
        rows = connection.execute(text("SELECT spend, typeof(spend) FROM daily_spend ORDER BY day")).all()
    assert rows == [(0.3, "real"), (999999999.999999, "real"), ("1000000000.000000", "text")]


def test_a_day_is_open_then_settling_then_closed(shop):
    shop.sync(*[charge(f"2026-03-{n:02}T10:00:00") for n in range(5, 12)])
    expected = ["closed"] * 3 + ["settling"] * 3 + ["open"]
    assert [row[0] for row in shop.read("daily_spend", "day_state", order="day")] == expected
    assert [row[0] for row in shop.read("billing", "day_state", order="day")] == expected
    shop.now += timedelta(days=1)
    shop.vendor.set_now(at("2026-03-12 09:30"))
    shop.sync()
    expected = ["closed"] * 4 + ["settling"] * 3
    assert [row[0] for row in shop.read("daily_spend", "day_state", order="day")] == expected


def test_a_suspect_day_is_suspect_whatever_else_it_is(shop):
    shop.sync(*charges("2026-03-09", 20), charge("2026-03-10T10:00:00"))
    shop.sync(*charges("2026-03-09", 10), charge("2026-03-10T10:00:00"))
    assert shop.read("daily_spend", "day, records, day_state") == [
        (date(2026, 3, 9), 20, "suspect"),
        (date(2026, 3, 10), 1, "settling"),
    ]
    shop.sync(command="accept", since=date(2026, 3, 9), until=date(2026, 3, 9))
    assert shop.read("daily_spend", "day, records, day_state")[0] == (date(2026, 3, 9), 10, "settling")


def test_a_days_restatement_is_from_when_it_was_first_closed_to_now_however_often_it_changed(shop):
    late = charge("2026-03-09T12:00:00", "0.000001")
    shop.sync(charge("2026-03-09T10:00:00", "0.1"), charge("2026-03-10T10:00:00"), charge("2026-03-11T08:00:00"))
    closed = shop.naive_now()
    assert shop.read("restated_days") == []
    shop.sync(charge("2026-03-09T10:00:00", "0.4"), charge("2026-03-10T10:00:00"), charge("2026-03-11T08:00:00", "9"))
    shop.sync(charge("2026-03-09T10:00:00", "0.3"), late, charge("2026-03-10T10:00:00"))
    restated = shop.naive_now()
    shop.sync()
    row = {"account": "default", "day": date(2026, 3, 9), "first_closed_at": closed, "restated_at": restated}
    amounts = {"spend_before": Decimal("0.1"), "spend_after": Decimal("0.300001"), "delta": Decimal("0.200001")}
    assert shop.read("restated_days") == [row | amounts]


def test_the_delta_of_a_restatement_is_exact(shop):
    pairs = [(HUGE, "-" + HUGE), ("-0.3", "0.000001"), ("0.3", "1000000000.1"), ("0.1", "0.3")]
    for column in (0, 1):
        shop.sync(
            *[charge(f"2026-03-0{n + 1}T10:00:00", pair[column]) for n, pair in enumerate(pairs)], lookback_days=31
        )
    exact = [(Decimal(before), Decimal(after)) for before, after in pairs]
    expected = [(before, after, after - before) for before, after in exact]
    assert shop.read("restated_days", "spend_before, spend_after, delta", order="day") == expected


def test_freshness_tells_how_far_an_account_is(shop):
    shop.sync(*charges("2026-03-09", 20), charge("2026-03-11T08:00:00"))
    shop.sync(*charges("2026-03-09", 10), charge("2026-03-11T08:00:00"))
    shop.sync(account="another", start_date=date(2026, 3, 1), until=date(2026, 3, 5))
    assert shop.read("freshness", "account, last_synced_date, last_success_at, open_days, suspect_days") == [
        ("another", date(2026, 3, 5), shop.naive_now(), 0, 0),
        ("default", date(2026, 3, 10), shop.naive_now() - timedelta(minutes=1), 1, 1),
    ]


def test_hours_behind_are_counted_from_the_end_of_the_watermarks_day(shop):
    shop.sync(until=date(2026, 3, 9))
    begun = datetime.now(UTC)
    ((hours,),) = shop.read("freshness", "hours_behind", order="1")
    low, high = (
        (moment - datetime(2026, 3, 9, 21, tzinfo=UTC)).total_seconds() / 3600 for moment in (begun, datetime.now(UTC))
    )
    assert low - 0.1 <= float(hours) <= high + 0.1


def test_an_account_without_a_complete_day_has_a_row_in_freshness(shop):
    shop.sync(since=TODAY)
    assert shop.read("freshness", "account, last_synced_date, hours_behind, open_days, suspect_days") == [
        ("default", None, None, 1, 0)
    ]


def test_after_nights_of_changes_the_views_are_what_the_vendor_says(shop, sandbox):
    sandbox.dataset.reset()
    for _ in range(3):
        shop.sync(max_withdrawn_share=Decimal(1))
        sandbox.dataset.revise()
    shop.sync(max_withdrawn_share=Decimal(1), lookback_days=31)

    records = [record for record in sandbox.dataset.records if record["created_at"] >= "2026-03-01"]
    assert len(records) > 100
    days = {date.fromisoformat(record["created_at"][:10]) for record in records}
    expected = []
    for day in sorted(days):
        of_day = [record for record in records if record["created_at"].startswith(day.isoformat())]
        delivered = sum(record["status"] == 1 for record in of_day)
        spend = sum((record["price"] for record in of_day), Decimal(0))
        once = sum(
            (Decimal(price) for *_, price in {tuple(map(str, record.values())) for record in of_day}), Decimal(0)
        )
        expected.append((day, len(of_day), delivered, len(of_day) - delivered, spend, spend - once))
    assert shop.read("daily_spend", "day, records, delivered, failed, spend, repeated_spend") == expected

    stored = Counter()
    for row in shop.read("billing"):
        key = (row["created_at"], row["code_auth"], row["status"], row["status_info"], row["price"])
        stored[key] += row["repeats"]
    assert stored == Counter(
        (at(r["created_at"]), r["code_auth"], r["status"], r["status_info"], r["price"]) for r in records
    )
