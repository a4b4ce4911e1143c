"""The report of days that are missing, empty, purged or of other accounts, and its notices, from real runs."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of
from support.sync_account import vendor_record

from etl.date_ranges import DateRange
from etl.reports.html.page import render_page
from etl.reports.html.report import load_report
from etl.services.close import CloseRequest, close_month
from etl.services.purge import RetentionAge, purge_account
from etl.services.run import RunRequest
from etl.services.sync import run_sync

NOW = datetime(2026, 4, 20, 6, 30, tzinfo=UTC)
MARCH = date(2026, 3, 1)


class Shop:
    """An account with one charge of 0.2 on each day, and its reports."""

    def __init__(self, url, vendor, first, **changes):
        self.vendor, self.now = vendor, NOW
        self.settings = settings_of(url, vendor, first, lookback_days=3, **changes)
        self.engine = open_engine(url)
        days = DateRange(first, NOW.date()).days()
        self.records = {day: [vendor_record(f"{day}T00:00:00")] for day in days}

    def run(self, command="sync", since=None, until=None, *, in_progress=()):
        """Run a command, with charges that the vendor makes after the days are fetched."""
        charges = list(in_progress)

        def advance(*_):
            self.vendor.dataset.add(charges)
            charges.clear()

        self.vendor.dataset.replace(record for records in self.records.values() for record in records)
        self.now += timedelta(minutes=1)
        done = run_sync(
            self.settings,
            RunRequest(command, since, until),
            replace(NO_PROGRESS, advance=advance),
            redact=str,
            clock=self.clock,
        )
        assert done.error is None

    def clock(self):
        self.now += timedelta(seconds=2)
        return self.now

    def book(self, month):
        self.now += timedelta(minutes=1)
        booked = close_month(self.settings, CloseRequest(month), is_configured=True, wait=0, clock=lambda: self.now)
        assert booked.outcome == "booked"

    def purge(self):
        """Purge January."""
        self.now += timedelta(minutes=1)
        age = RetentionAge(2, "m")
        purge_account(self.settings, age, explicit_account=True, dry_run=False, wait=0, clock=lambda: self.now)

    def read(self, query):
        with self.engine.connect() as connection:
            return connection.scalars(text(query)).all()

    def report(self, since=None, until=None, labels=(), budgets=None):
        labels = list(labels) or [self.settings.account]
        with self.engine.connect() as connection:
            return load_report(connection, labels, since, until, NOW.date(), budgets or {})

    def page(self, since=None, until=None, labels=()):
        return render_page(self.report(since, until, labels), "", NOW)


@pytest.fixture
def shop(database_url, sandbox):
    return Shop(database_url, sandbox, date(2026, 1, 1))


def test_free_charges_that_are_listed_twice_are_not_denied(shop):
    shop.records[date(2026, 4, 10)] = [vendor_record("2026-04-10T10:00:00", "0")] * 3
    shop.run("backfill", date(2026, 4, 10), NOW.date())
    page = shop.page()
    assert "listed twice" not in page
    assert "none of it for charges listed more than once" in page


def test_a_booking_keeps_its_currency(shop):
    shop.run("backfill", date(2026, 2, 1), date(2026, 2, 28))
    shop.run("sync", MARCH)
    shop.book(MARCH)
    assert "Booked, RUB" in shop.page()
    shop.settings = replace(shop.settings, currency="KZT")
    shop.run()
    page = shop.page()
    assert "Spend, KZT" in page
    assert re.findall(r"<th[^>]*>((?:Booked|Changed since)[^<]*)", page) == ["Booked, RUB", "Changed since, RUB"]
    shop.book(date(2026, 2, 1))
    page = shop.page()
    assert re.findall(r"<th[^>]*>((?:Booked|Changed since)[^<]*)", page) == ["Booked", "Changed since"]
    assert "<td>5.60 KZT</td><td>0.00 KZT</td>" in page
    assert "<td>6.20 RUB</td><td>0.00 RUB</td>" in page


def test_a_report_names_purged_days_whose_charges_are_in_months_alone(shop):
    shop.run()
    shop.purge()
    page = shop.page(date(2026, 1, 1), date(2026, 1, 31))
    assert "No charges" not in page
    assert "<title>Telefon-IP charges, Thu 1 Jan – Sat 31 Jan 2026</title>" in page
    assert "<strong>Purged: 31 days.</strong> Months has the totals of these charges" in page
    report = shop.report()
    assert (report.totals.since, report.totals.total.records) == (date(2026, 2, 1), 79)
    assert sum(month["records"] for month in report.rows["months"]) == 31 + 79
    assert "<strong>Purged: 31 days.</strong>" in shop.page()
    assert "Purged" not in shop.page(date(2026, 2, 1))


def test_a_report_is_not_compared_with_missing_days(shop):
    shop.run("backfill", date(2026, 2, 1), date(2026, 2, 9))
    shop.run("sync", MARCH)
    assert shop.report(MARCH, date(2026, 3, 31)).comparison is None
    shop.run("backfill", date(2026, 2, 10), date(2026, 2, 28))
    comparison = shop.report(MARCH, date(2026, 3, 31)).comparison
    assert (comparison.name, comparison.before.records, comparison.current.records) == ("on Feb 2026", 28, 31)


def test_a_report_is_not_compared_with_days_before_another_account(shop, database_url, sandbox):
    shop.run()
    second = Shop(database_url, sandbox, MARCH, account="second")
    second.run()
    labels = ["default", "second"]
    assert shop.report(MARCH, date(2026, 3, 31), labels).comparison is None
    assert shop.report(date(2026, 4, 1), date(2026, 4, 15), labels).comparison.before.records == 30


def test_a_report_is_not_compared_with_purged_days(shop):
    shop.run()
    february = date(2026, 2, 1), date(2026, 2, 28)
    assert shop.report(*february).comparison.before.records == 31
    shop.purge()
    assert shop.report(*february).comparison is None
    assert shop.report().comparison.name == "in the last 30 days, on the 30 before"


def test_a_forecast_has_an_estimate_for_missing_days(shop):
    shop.run("backfill", date(2026, 3, 20), date(2026, 3, 31))
    shop.run("sync", date(2026, 4, 12))
    forecast = shop.report().forecast
    assert (forecast.spend, forecast.a_day) == (Decimal("6.00"), Decimal("0.2"))


def test_a_forecast_has_no_estimate_for_stored_days_without_charges(shop):
    shop.records[date(2026, 4, 18)] = shop.records[date(2026, 4, 19)] = []
    shop.run()
    forecast = shop.report().forecast
    assert (forecast.so_far, forecast.days_left) == (Decimal("3.4"), 11)


def test_a_forecast_adds_accounts_of_different_age(shop, database_url, sandbox):
    shop.run()
    second = Shop(database_url, sandbox, date(2026, 4, 13), account="second")
    second.run()
    assert shop.report(labels=["default", "second"]).forecast.spend == Decimal("9.60")


def test_the_budget_is_compared_with_the_whole_month_on_a_page_of_a_part_of_it(shop):
    shop.run()
    budgets = {"default": Decimal(3)}
    budget = shop.report(until=date(2026, 4, 10), budgets=budgets).budget
    assert (budget.so_far, budget.expected) == (Decimal("4.0"), Decimal("6.00"))
    assert shop.report(until=date(2026, 3, 31), budgets=budgets).budget is None


def test_a_charge_in_progress_is_no_notice_and_a_hidden_one_is(shop):
    shop.run("backfill", date(2026, 4, 10), NOW.date())
    in_progress = vendor_record("2026-04-20T09:29:59", "3")
    shop.run(in_progress=[in_progress])
    assert shop.read("SELECT finding FROM balance_proof ORDER BY closed_at DESC")[0] == "unexplained charge"
    assert "Unexplained charge." not in shop.page()
    shop.records[NOW.date()].append(in_progress)
    shop.run()
    assert "Unexplained charge." not in shop.page()
    shop.vendor.dataset.credit -= 50
    shop.run()
    notice = "</bdi>: 50.00 RUB, last on Mon 20 Apr 2026"
    assert notice in shop.page()
    assert notice in shop.page(NOW.date(), NOW.date())
    assert "Unexplained charge." not in shop.page(until=date(2026, 4, 19))
