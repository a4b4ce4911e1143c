"""The views have exact values that are the same on each database."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

import pytest
from sqlalchemy import bindparam, delete, insert, text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of, token_of
from support.totals_of_rows import write_totals_of_rows

from etl.db.accounts import account_ids
from etl.db.tables import accounts, balance_snapshots, balance_top_ups, billing_records, numbering_ranges
from etl.db.view_columns import VIEW_COLUMNS
from etl.db.views import VIEWS
from etl.services.run import RunRequest
from etl.services.sync import run_sync

TODAY = date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
MONEY = {
    *("price", "amount", "spend", "repeated_spend", "spend_before", "spend_after", "delta", "restated"),
    *("delivery_rate", "cost_per_delivery", "opening", "closing", "charged", "top_ups", "carried", "unexplained"),
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
    "daily_channels": "account, day, channel, records, delivered, delivery_rate, spend, cost_per_delivery, currency",
    "hourly_spend": "account, day, hour, records, delivered, failed, spend",
    "restated_days": "account, day, first_closed_at, restated_at, spend_before, spend_after, delta",
    "balance_proof": "account, opened_at, closed_at, opening, closing, charged, top_ups, carried, restated,"
    " unexplained, finding",
    "monthly_close": "account, month, final, days_missing, days_settling, closed_at, booked, spend,"
    " changed_since_close, currency, net, vat, gross",
    "restatement_lines": "account, day, restated_at, kind, delta, run_id",
    "calendar": "account, day, day_state, records, spend",
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
    """A value of a view in a form that does not depend on the database."""
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
    """A vendor and an account that is synced from it."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, date(2026, 3, 1), lookback_days=3)
        self.engine = open_engine(url)
        self.now = MORNING

    def sync(self, *records, command="sync", since=None, until=None, **changes):
        """Set the vendor's records, if given, and run a sync a minute later than the previous one."""
        if records:
            self.vendor.dataset.replace(records)
        self.now += timedelta(minutes=1)
        if "account" in changes:
            changes["api_token"] = token_of(self.vendor, changes["account"])
        report = run_sync(
            replace(self.settings, **changes),
            RunRequest(command, since, until),
            NO_PROGRESS,
            redact=str,
            clock=lambda: self.now,
        )
        assert report.error is None
        return report

    def read(self, view, columns="*", order="1, 2"):
        """The rows of a view as dicts, or as tuples of the given columns."""
        with self.engine.connect() as connection:
            rows = connection.execute(text(f"SELECT {columns} FROM {view} ORDER BY {order}")).mappings().all()
        dicts = [{name: same_everywhere(name, value) for name, value in row.items()} for row in rows]
        return dicts if columns == "*" else [tuple(row.values()) for row in dicts]

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
            "day_state": "closed", "channel": "unknown",
        },
        common | usual | {
            "created_at": at("2026-03-02 01:00"), "created_at_utc": at("2026-03-01 22:00"), "day": date(2026, 3, 2),
            "status": 1, "status_info": "SMS delivered", "price": Decimal("3.25"), "amount": Decimal("3.25"),
            "delivered": True, "day_state": "closed", "channel": "sms",
        },
        common | {
            "created_at": at("2026-03-09 10:00"), "created_at_utc": at("2026-03-09 07:00"), "day": date(2026, 3, 9),
            "phone": "375291234567", "code_auth": "", "status": 1, "status_info": "ok", "price": Decimal("0.1"),
            "repeats": 3, "amount": Decimal("0.3"), "delivered": True, "day_state": "settling",
            "channel": "call back",
        },
        common | usual | {
            "created_at": at("2026-03-10 23:59:59"), "created_at_utc": at("2026-03-10 20:59:59"),
            "day": date(2026, 3, 10), "status": None, "status_info": "", "price": Decimal("-7.000001"),
            "amount": Decimal("-7.000001"), "delivered": False, "day_state": "settling",
            "channel": "unknown",
        },
        common | usual | {
            "created_at": at("2026-03-11"), "created_at_utc": at("2026-03-10 21:00"), "day": date(2026, 3, 11),
            "status": 2, "status_info": "ok", "price": Decimal(4), "amount": Decimal(4), "delivered": False,
            "day_state": "open", "channel": "unknown",
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


# One day each.
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


def test_repeated_spend_is_exact_to_the_last_digit(shop):
    prices = ["0.1", "-0.1", "333333333.333333", HUGE, "-" + HUGE, "0.000001"]
    shop.sync(*[charge(f"2026-03-0{n + 1}T10:00:00", price) for n, price in enumerate(prices) for _ in range(7)])
    exact = list(map(Decimal, prices))
    assert shop.read("billing", "price, repeats, amount", order="day") == [(price, 7, 7 * price) for price in exact]
    assert shop.read("daily_spend", "spend, repeated_spend", order="day") == [(7 * p, 6 * p) for p in exact]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_amounts_on_sqlite_are_numbers_while_exact_and_text_beyond(shop):
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


def test_the_state_suspect_takes_precedence(shop):
    shop.sync(*charges("2026-03-09", 20), charge("2026-03-10T10:00:00"))
    shop.sync(*charges("2026-03-09", 10), charge("2026-03-10T10:00:00"))
    assert shop.read("daily_spend", "day, records, day_state") == [
        (date(2026, 3, 9), 20, "suspect"),
        (date(2026, 3, 10), 1, "settling"),
    ]
    shop.sync(command="accept", since=date(2026, 3, 9), until=date(2026, 3, 9))
    assert shop.read("daily_spend", "day, records, day_state")[0] == (date(2026, 3, 9), 10, "settling")


def test_a_restated_day_is_compared_between_its_first_close_and_now(shop):
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


def fill(shop, table, *rows):
    with shop.engine.begin() as connection:
        connection.execute(insert(table), rows)


def own(shop, *ranges):
    """Assign ranges of numbers to operators."""
    known = {"region": "r", "file_name": "f", "file_changed_at": MORNING, "imported_at": MORNING}
    rows = [
        {"block": first[:7], "first_phone": first, "last_phone": last, "operator": who} for first, last, who in ranges
    ]
    fill(shop, numbering_ranges, *(known | row for row in rows))
    count_rows(shop)


def count_rows(shop):
    """Recompute the totals from rows that a test inserted or whose operators it changed."""
    with shop.engine.begin() as connection:
        for number in account_ids(connection):
            write_totals_of_rows(connection, number)


def shared(spend, count):
    """Six places, halves away from zero."""
    return (spend / count).quantize(Decimal("0.000001"), ROUND_HALF_UP)


def test_delivery_by_operator_is_one_row_per_account_day_and_operator(shop):
    shop.sync(
        charge("2026-03-02T01:00:00", "0.1", phone="89240000000"),
        *[charge("2026-03-02T02:00:00", "0.1", phone="89240000001")] * 2,
        charge("2026-03-02T03:00:00", "0", status=0, phone="89240000002"),
        charge("2026-03-02T04:00:00", "5", status=None, phone="89250000000"),
        charge("2026-03-02T05:00:00", "7", phone="375291234567"),
        charge("2026-03-02T06:00:00", "1", phone="89260000000"),
        charge("2026-03-03T01:00:00", "-2", phone="89240000000"),
        charge("2026-03-03T02:00:00", "9", phone="89240000000"),
    )
    shop.vendor.dataset.remove([charge("2026-03-03T02:00:00", "9", phone="89240000000")])
    shop.sync(lookback_days=31)
    own(shop, ("+79240000000", "+79240000009", "One"), ("+79250000000", "+79250099999", "Two"))
    columns = ("account", "day", "operator", "records", "delivered", "delivery_rate", "spend", "cost_per_delivery")
    rows = [tuple(row[name] for name in columns) for row in shop.read("delivery_by_operator")]
    second, third = date(2026, 3, 2), date(2026, 3, 3)
    assert sorted(rows, key=str) == sorted([
        ("default", second, None, 2, 2, Decimal(1), Decimal(8), Decimal(4)),
        ("default", second, "One", 4, 3, Decimal("0.75"), Decimal("0.3"), Decimal("0.1")),
        ("default", second, "Two", 1, 0, Decimal(0), Decimal(5), None),
        ("default", third, "One", 1, 1, Decimal(1), Decimal(-2), Decimal(-2)),
    ], key=str)  # fmt: skip


COSTS = [
    *[(total, count) for total in ("1", "-1", "2", "0.000001", "-0.000003", "0.5") for count in (1, 2, 3, 7, 64, 128)],
    *[(total, count) for total in ("1000000001", "999999999999.999999", "-7000000000.000005") for count in (2, 3, 11)],
]


@pytest.mark.fault(40)
def test_the_cost_per_delivery_is_rounded_equally_on_each_database(shop):
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(len(COSTS))]
    shop.sync(
        *[
            record
            for day, (total, count) in zip(days, COSTS, strict=True)
            for record in (*charges(day, count - 1, price="0"), charge(f"{day}T09:00:00", total))
        ],
        *[charge(f"{day}T08:00:00", "0", status=0) for day in days],
        start_date=days[0],
    )
    rate = {day: (Decimal(count) / (count + 1)).quantize(Decimal("0.0001"), ROUND_HALF_UP) for day, (_, count) in
            zip(days, COSTS, strict=True)}  # fmt: skip
    assert shop.read("delivery_by_operator", "day, delivered, delivery_rate, cost_per_delivery", order="day") == [
        (day, count, rate[day], shared(Decimal(total), count)) for day, (total, count) in zip(days, COSTS, strict=True)
    ]


@pytest.mark.parametrize("whole", ["0", "0.000001", "990000000.123456", "-990000000.123456"])
def test_a_cost_just_below_a_half_is_not_rounded_twice(shop, whole):
    shop.sync()
    rest = Decimal("0.005").copy_sign(Decimal(whole))  # 5000 millionths for 10,001 deliveries: 0.49995 of a millionth
    row = {
        "account_id": 1, "created_at": at("2026-03-02 10:00"), "phone": "", "code_auth": "", "status": 1,
        "status_info": "", "utc_offset": 180, "first_seen_at": MORNING,
    }  # fmt: skip
    fill(
        shop,
        billing_records,
        row | {"ordinal": 0, "repeats": 9_990, "price": Decimal(0)},
        *(row | {"ordinal": n, "repeats": 1, "price": Decimal(whole) * 1000} for n in range(1, 11)),
        row | {"ordinal": 11, "repeats": 1, "price": Decimal(whole) + rest},
    )
    count_rows(shop)
    assert shop.read("delivery_by_operator", "delivered, cost_per_delivery", order="1") == [(10_001, Decimal(whole))]


def test_a_cost_of_mixed_signs_is_rounded_by_the_sign_of_the_total(shop):
    days = {date(2026, 3, n + 1): prices for n, prices in enumerate((["4", "-0.000001"], ["-4", "0.000001"],
            ["7", "-0.000004", "0"], ["999999999999", "-0.000001"], ["0.000001", "-0.000001"]))}  # fmt: skip
    shop.sync(*[charge(f"{day}T10:00:0{n}", price) for day, prices in days.items() for n, price in enumerate(prices)])
    assert shop.read("delivery_by_operator", "day, spend, cost_per_delivery", order="day") == [
        (day, sum(map(Decimal, prices)), shared(sum(map(Decimal, prices)), len(prices))) for day, prices in days.items()
    ]


def test_monthly_spend_is_the_sum_of_its_days_and_restated_of_later_changes(shop):
    start = date(2026, 1, 1)
    january, gone = charge("2026-01-31T23:59:59", "0.1"), charge("2026-02-14T10:00:00", "3")
    march = [charge("2026-03-01T00:00:00", HUGE), *[charge("2026-03-09T10:00:00", "0.1", status=0)] * 3]
    shop.sync(january, gone, *march, start_date=start)
    assert shop.read("monthly_spend") == [
        {"account": "default", "month": date(2026, 1, 1), "records": 1, "delivered": 1, "failed": 0,
         "spend": Decimal("0.1"), "restated": Decimal(0), "currency": "RUB"},
        {"account": "default", "month": date(2026, 2, 1), "records": 1, "delivered": 1, "failed": 0,
         "spend": Decimal(3), "restated": Decimal(0), "currency": "RUB"},
        {"account": "default", "month": date(2026, 3, 1), "records": 4, "delivered": 1, "failed": 3,
         "spend": Decimal(HUGE) + Decimal("0.3"), "restated": Decimal(0), "currency": "RUB"},
    ]  # fmt: skip
    late = [charge("2026-01-05T10:00:00", "0.000001"), charge("2026-01-05T10:00:00", "-" + HUGE)]
    shop.sync(january, *late, *march, command="backfill", since=start, until=date(2026, 3, 10), max_withdrawn_share=1)
    shop.sync(command="accept", since=date(2026, 2, 14), until=date(2026, 2, 14))
    assert shop.read("monthly_spend", "month, records, delivered, failed, spend, restated") == [
        (date(2026, 1, 1), 3, 3, 0, Decimal("0.100001") - Decimal(HUGE), Decimal("0.000001") - Decimal(HUGE)),
        (date(2026, 2, 1), 0, 0, 0, Decimal(0), Decimal(-3)),
        (date(2026, 3, 1), 4, 1, 3, Decimal(HUGE) + Decimal("0.3"), Decimal(0)),
    ]


def test_monthly_spend_equals_its_days_after_nights_of_changes(shop, sandbox):
    sandbox.dataset.reset()
    for _ in range(3):
        shop.sync(max_withdrawn_share=Decimal(1), lookback_days=31)
        sandbox.dataset.revise()
    totals = Counter()
    for day, *counts in shop.read("daily_spend", "day, records, delivered, failed, spend"):
        for name, count in zip(("records", "delivered", "failed", "spend"), counts, strict=True):
            totals[day.replace(day=1), name] += count
    for day, delta in shop.read("restated_days", "day, delta"):
        totals[day.replace(day=1), "restated"] += delta
    assert totals[date(2026, 3, 1), "restated"]
    assert {(row["month"], name): row[name] for row in shop.read("monthly_spend") for name in row if name not in
            ("account", "month", "currency")} == dict(totals)  # fmt: skip


BALANCES = [
    # hour, balance, spend on record
    (1, "100", "0"),
    (2, "99.7", "0.3"),
    (3, "149.7", "0.4"),
    (4, "149.600001", "0.4"),
    (5, "0.000001", "150.1"),
    (6, "999999999999.999999", "150.1"),
    (7, "-999999999999.999999", "99999999999999.999999"),
]
TOP_UPS = [(0, "7"), (2, "1"), (3, "50"), (4, "0.4"), (5, "0.1"), (6, "999999999999.099999"), (8, "5")]


def test_the_balance_proof_shows_amounts_without_charge_or_top_up(shop):
    shop.sync()

    def hour(n):
        return datetime(2026, 3, 11, n, tzinfo=UTC)

    with shop.engine.connect() as connection:
        account = connection.scalar(text("SELECT id FROM accounts"))
    with shop.engine.begin() as connection:
        connection.execute(delete(balance_snapshots))  # those of the sync itself
    fill(shop, accounts, {"id": account + 1, "label": "another", "created_at": MORNING})
    fill(shop, balance_snapshots, *[
        {"account_id": account, "taken_at": hour(n), "balance": Decimal(b), "recorded_spend": Decimal(s)}
        for n, b, s in BALANCES
    ], {"account_id": account + 1, "taken_at": hour(3), "balance": Decimal(1), "recorded_spend": Decimal(1)},
    )  # fmt: skip
    fill(shop, balance_top_ups, *[
        {"account_id": account, "at": hour(n), "amount": Decimal(amount), "noted_at": hour(9)} for n, amount in TOP_UPS
    ], {"account_id": account + 1, "at": hour(3), "amount": Decimal(1000), "noted_at": hour(9)})  # fmt: skip
    expected = []
    for (n, opening, spent), (m, closing, spend) in pairwise(BALANCES):
        charged = Decimal(spend) - Decimal(spent)
        top_ups = sum((Decimal(amount) for k, amount in TOP_UPS if n < k <= m), Decimal(0))
        unexplained = Decimal(closing) - (Decimal(opening) + top_ups - charged)
        finding = "unexplained credit" if unexplained > 0 else "unexplained charge" if unexplained else "explained"
        expected.append({
            "account": "default", "opened_at": hour(n).replace(tzinfo=None), "closed_at": hour(m).replace(tzinfo=None),
            "opening": Decimal(opening), "closing": Decimal(closing), "charged": charged, "top_ups": top_ups,
            "carried": 0, "restated": 0, "unexplained": unexplained, "finding": finding,
        })  # fmt: skip
    assert [row["finding"] for row in expected] == [
        "unexplained charge", "unexplained credit", "unexplained charge", "explained", "unexplained credit",
        "unexplained credit",
    ]  # fmt: skip
    assert shop.read("balance_proof") == expected


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_every_column_of_every_view_has_a_comment_on_postgresql(shop):
    shop.sync()
    query = text(
        "SELECT c.relname, a.attname, col_description(c.oid, a.attnum) FROM pg_class c JOIN pg_attribute a"
        " ON a.attrelid = c.oid WHERE c.relname IN :views AND a.attnum > 0 ORDER BY a.attnum"
    ).bindparams(bindparam("views", expanding=True))
    with shop.engine.connect() as connection:
        comments = connection.execute(query, {"views": VIEWS}).all()
    assert {view: [tuple(row[1:]) for row in comments if row[0] == view] for view in VIEWS} == {
        view: [(column.name, column.meaning) for column in columns] for view, columns in VIEW_COLUMNS.items()
    }


TYPED = """
SELECT table_name, column_name, data_type, numeric_precision, numeric_scale FROM information_schema.columns
WHERE table_schema = {schema} AND table_name IN :views"""
NUMBERS = {"amount": (38, 6), "ratio": (12, 4), "percent": (5, 2), "hours": (12, 1)}


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_the_catalogue_has_precision_and_scale_of_every_number(shop):
    shop.sync()
    schema, exact = {"postgresql": ("'public'", "numeric"), "mariadb": ("DATABASE()", "decimal")}[
        shop.engine.dialect.name
    ]
    query = text(TYPED.format(schema=schema)).bindparams(bindparam("views", expanding=True))
    with shop.engine.connect() as connection:
        columns = {tuple(row[:2]): tuple(row[2:]) for row in connection.execute(query, {"views": VIEWS})}
    expected = {
        (view, column.name): (exact, *NUMBERS[column.kind])
        for view, of_view in VIEW_COLUMNS.items()
        for column in of_view
        if column.kind in NUMBERS
    }
    assert {key: columns[key] for key in expected} == expected
    integers = {
        columns[view, column.name][0]
        for view, of_view in VIEW_COLUMNS.items()
        for column in of_view
        if column.kind == "whole number"
    }
    assert integers <= {"integer", "bigint", "smallint", "int"}


def test_freshness_shows_the_watermark_and_delay_of_an_account(shop):
    shop.sync(*charges("2026-03-09", 20), charge("2026-03-11T08:00:00"))
    shop.sync(*charges("2026-03-09", 10), charge("2026-03-11T08:00:00"))
    shop.sync(account="another", start_date=date(2026, 3, 1), until=date(2026, 3, 5))
    assert shop.read("freshness", "account, last_synced_date, last_success_at, open_days, suspect_days") == [
        ("another", date(2026, 3, 5), shop.naive_now(), 0, 0),
        ("default", date(2026, 3, 10), shop.naive_now() - timedelta(minutes=1), 1, 1),
    ]


def test_hours_behind_are_counted_from_the_end_of_the_watermarks_day(shop):
    shop.sync(until=date(2026, 3, 9))
    started = datetime.now(UTC)
    ((hours,),) = shop.read("freshness", "hours_behind", order="1")
    low, high = (
        (now - datetime(2026, 3, 9, 21, tzinfo=UTC)).total_seconds() / 3600 for now in (started, datetime.now(UTC))
    )
    assert low - 0.1 <= float(hours) <= high + 0.1


def test_an_account_without_a_complete_day_has_a_row_in_freshness(shop):
    shop.sync(since=TODAY)
    assert shop.read("freshness", "account, last_synced_date, hours_behind, open_days, suspect_days") == [
        ("default", None, None, 1, 0)
    ]


def test_the_views_equal_the_vendors_records_after_nights_of_changes(shop, sandbox):
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
