"""A run reports the days of its range, and separately suspect days outside of it."""

from __future__ import annotations

import json

import pytest

SPAN = ("--until", "2025-03-10")


def account_of(done):
    return json.loads(done.out)["accounts"][0]


@pytest.fixture
def suspect(synced, vendor):
    """A vendor that no longer lists the records of 3 March."""
    gone = [record for record in vendor.dataset.records if record["created_at"].startswith("2025-03-03")]
    vendor.dataset.replace([record for record in vendor.dataset.records if record not in gone])
    done = synced("sync", "--since", "2025-03-03", "--until", "2025-03-03", "--json")
    assert (done.code, account_of(done)["suspect_days"]) == (65, ["2025-03-03"])
    return synced, gone


@pytest.mark.parametrize("verb", ["backfill", "sync"])
@pytest.mark.parametrize("first", ["2025-03-04", "2025-03-08"])
def test_a_suspect_day_outside_the_range_is_reported_separately_with_65(suspect, vendor, records_on, verb, first):
    billing, _ = suspect
    vendor.dataset.add(records_on("2025-03-09", 5)[3:])
    span = (verb, "--since", first, "--until", "2025-03-09")
    done = billing(*span, "--json")
    shown = account_of(done)
    days = 10 - int(first[-1])
    assert (done.code, shown["first_day"], shown["last_day"], shown["days"]) == (65, first, "2025-03-09", days)
    assert (shown["new"], shown["suspect_days"]) == (2, [])
    assert shown["besides"] == [{"day": "2025-03-03", "suspect": True}]
    text = billing(*span).out
    assert f"{days} days ({first} to 2025-03-09)" in text
    assert "also fetched, being suspect: 2025-03-03" in text
    assert "billing-etl accept 2025-03-03 stores it" in text


def test_a_recovered_suspect_day_outside_the_range_exits_0(suspect, vendor):
    billing, gone = suspect
    vendor.dataset.add(gone)
    done = billing("backfill", "--since", "2025-03-08", "--until", "2025-03-09", "--json")
    shown = account_of(done)
    assert (done.code, shown["days"], shown["besides"]) == (0, 2, [{"day": "2025-03-03", "suspect": False}])


def test_rejected_records_of_a_recovered_day_outside_the_range_are_not_counted(suspect, vendor, records_on):
    billing, gone = suspect
    vendor.dataset.add([*gone, records_on("2025-03-03", 1)[0] | {"price": "a lot"}])
    done = billing("backfill", "--since", "2025-03-08", "--until", "2025-03-09", "--json")
    assert (done.code, account_of(done)["rejected"]) == (0, 0)
    done = billing("backfill", "--since", "2025-03-03", "--until", "2025-03-09", "--json")
    assert (done.code, account_of(done)["rejected"], account_of(done)["besides"]) == (65, 1, [])


def test_a_nightly_sync_reports_a_suspect_day_as_its_own(suspect):
    billing, _ = suspect
    done = billing("sync", "--json", BILLING_LOOKBACK_DAYS="1")
    assert (done.code, account_of(done)["suspect_days"], account_of(done)["besides"]) == (65, ["2025-03-03"], [])
