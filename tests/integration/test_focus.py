"""The view focus_charges against the rules of the specification, on each database."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of
from support.sync_account import vendor_record

from etl.reports.query import ViewMoney
from etl.services.close import CloseRequest, close_month
from etl.services.run import RunRequest
from etl.services.sync import run_sync

MARCH = date(2026, 3, 1)
NOW = datetime(2026, 4, 10, 6, 30, tzinfo=UTC)
MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
}
MAY_BE_NULL = {
    *("BillingAccountName", "ChargeClass", "ChargeDescription", "PricingQuantity", "PricingUnit"),
    *("ConsumedQuantity", "ConsumedUnit"),
}
"""Source: specification 1.2, "Content constraints" of each column."""
ALLOWED = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"Correction", None},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "ServiceCategory": {
        *("AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools"),
        *("Multicloud", "Identity", "Integration", "Internet of Things", "Management and Governance", "Media"),
        *("Migration", "Mobile", "Networking", "Security", "Storage", "Web", "Other"),
    },
    "ServiceSubcategory": {"Identity and Access Management", "Other (Identity)"},
}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def charge(day, price):
    return vendor_record(f"{day}T10:00:00", price)


class Shop:
    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, MARCH, lookback_days=3, currency="KZT")
        self.engine = open_engine(url)
        self.now = NOW
        self.records = [charge("2026-03-02", "1.5"), charge("2026-03-31", "0.000001"), charge("2026-04-05", "7")]

    def sync(self, command="sync", since=None, until=None):
        self.vendor.dataset.replace(self.records)
        self.now += timedelta(minutes=1)
        result = run_sync(
            replace(self.settings, max_withdrawn_share=Decimal(1)), RunRequest(command, since, until), NO_PROGRESS,
            redact=str, clock=lambda: self.now,
        )  # fmt: skip
        assert result.error is None

    def close(self, *, provisional=False):
        self.now += timedelta(minutes=1)
        request = CloseRequest(MARCH, provisional)
        assert close_month(self.settings, request, is_configured=True, wait=0, clock=lambda: self.now).closing

    def rows(self):
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text("SELECT * FROM focus_charges")).mappings()]


def money(value):
    return ViewMoney(38).process_result_value(value, None)


def require_rules(rows):
    """Check the rules of the specification that hold for every row."""
    for row in rows:
        assert row.keys() >= MANDATORY
        assert all(re.fullmatch(r"[A-Z][A-Za-z0-9]+", name) for name in row)
        assert {name for name, value in row.items() if value is None} <= MAY_BE_NULL
        assert {name: row[name] for name in ALLOWED if row[name] not in ALLOWED[name]} == {}
        assert re.fullmatch(r"[A-Z]{3}", row["BillingCurrency"])
        periods = [row[f"{name}Period{end}"] for name in ("Billing", "Charge") for end in ("Start", "End")]
        assert all(map(MOMENT.fullmatch, periods))
        assert periods[0] < periods[1]
        assert periods[2] < periods[3]
        for quantity, unit in (("PricingQuantity", "PricingUnit"), ("ConsumedQuantity", "ConsumedUnit")):
            assert (row[quantity] is None) == (row[unit] is None) == (row["ChargeClass"] == "Correction")
        assert len({money(row[f"{name}Cost"]) for name in ("Billed", "Contracted", "Effective", "List")}) == 1
        assert row["ChargeClass"] or periods[0] <= periods[2] <= periods[3] <= periods[1]


def costs(rows):
    """The cost by billing period, day and class."""
    found = defaultdict(Decimal)
    for row in rows:
        found[row["BillingPeriodStart"][:10], row["ChargePeriodStart"][:10], row["ChargeClass"]] += money(
            row["BilledCost"]
        )
    assert len(found) == len(rows)
    return dict(found)


@pytest.fixture
def shop(database_url, sandbox):
    return Shop(database_url, sandbox)


def test_days_are_charges_and_changes_after_the_close_are_corrections(shop):
    shop.sync()
    shop.close(provisional=True)
    shop.records.append(charge("2026-03-02", "2"))
    shop.sync("backfill", MARCH, date(2026, 3, 31))
    require_rules(shop.rows())
    before = {
        ("2026-03-01", "2026-03-02", None): Decimal("1.5"),
        ("2026-03-01", "2026-03-31", None): Decimal("0.000001"),
        ("2026-04-01", "2026-04-05", None): Decimal(7),
    }
    # The first close was final; the change came after it.
    assert costs(shop.rows()) == before | {("2026-04-01", "2026-03-02", "Correction"): Decimal(2)}
    shop.records = [
        charge(day, price)
        for day, price in (("2026-03-02", "0"), ("2026-03-09", "9"), ("2026-03-31", "5"), ("2026-04-05", "8"))
    ]
    shop.now += timedelta(days=30)
    shop.sync("backfill", MARCH, date(2026, 4, 30))
    rows = shop.rows()
    require_rules(rows)
    assert {row["BillingCurrency"] for row in rows} == {"KZT"}
    assert costs(rows) == before | {
        ("2026-04-01", "2026-04-05", None): Decimal(8),
        ("2026-03-01", "2026-03-09", None): Decimal(0),
        ("2026-04-01", "2026-03-02", "Correction"): Decimal(2),
        ("2026-05-01", "2026-03-02", "Correction"): Decimal("-3.5"),
        ("2026-05-01", "2026-03-09", "Correction"): Decimal(9),
        ("2026-05-01", "2026-03-31", "Correction"): Decimal("4.999999"),
    }
    assert sum(costs(rows).values()) == sum(record["price"] for record in shop.records)


def test_a_month_without_a_final_close_has_no_corrections(shop):
    shop.sync(until=date(2026, 3, 31))
    shop.close(provisional=True)
    shop.records.append(charge("2026-03-02", "2"))
    shop.sync("backfill", MARCH, date(2026, 3, 31))
    require_rules(shop.rows())
    assert costs(shop.rows()) == {
        ("2026-03-01", "2026-03-02", None): Decimal("3.5"),
        ("2026-03-01", "2026-03-31", None): Decimal("0.000001"),
    }


def test_a_correction_is_in_a_later_period_where_its_month_has_not_ended_in_utc(shop):
    shop.settings = replace(shop.settings, timezone=ZoneInfo("Asia/Vladivostok"), lookback_days=0)
    shop.now = datetime(2026, 3, 31, 14, 30, tzinfo=UTC)
    shop.records = [charge("2026-03-02", "1.5"), charge("2026-04-01", "7")]
    shop.sync()
    shop.close()
    shop.records.append(charge("2026-03-02", "2"))
    shop.sync("backfill", MARCH, MARCH.replace(day=2))
    assert costs(shop.rows()) == {
        ("2026-03-01", "2026-03-02", None): Decimal("1.5"),
        ("2026-04-01", "2026-04-01", None): Decimal(7),
        ("2026-04-01", "2026-03-02", "Correction"): Decimal(2),
    }
