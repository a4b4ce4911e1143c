"""`close` on the command line."""

from __future__ import annotations

import json

import pytest

from etl.exit_codes import ExitCode


def test_close_books_a_month_and_prints_it(billing, vendor, records_on):
    assert billing("close", "2025-03").code == ExitCode.DATABASE
    vendor.dataset.add(records_on("2025-03-31", 1, "1234567.891"))
    vat = {"BILLING_VAT_RATE": "20", "BILLING_VAT": "excluded"}
    assert billing("sync", "--until", "2025-03-31", **vat).code == ExitCode.OK

    done = billing("close", "2025-03", **vat)
    assert done.code == ExitCode.CHECK_FAILED
    assert done.out.splitlines() == [
        "default, 2025-03: not booked: settling: 2025-03-25..2025-03-31",
        "  billing-etl status shows the days; --provisional books the month as it is now",
    ]
    document = json.loads(billing("close", "2025-03", "--json", **vat).out)
    assert document["exit_code"] == ExitCode.CHECK_FAILED
    assert document["accounts"][0]["unsettled_days"] == {"settling": [["2025-03-25", "2025-03-31"]]}
    assert document["accounts"][0]["booking"] is None

    assert billing("close", "2024-12").out == "default, 2024-12: not booked: no day of it is stored\n"
    done = billing("close", "2025-03", "--provisional", **vat)
    assert (done.code, done.errors) == (ExitCode.OK, "")
    booked = "1234573.891 RUB (net 1234573.891, VAT 246914.7782, gross 1481488.6692), 31 charges"
    assert done.out == f"default, 2025-03: booked, provisional: {booked}\n"

    assert billing("sync", "--since", "2025-04-01", "--until", "2025-04-08", **vat).code == ExitCode.OK
    assert billing("-q", "close", "2025-03", **vat).out == ""
    (result,) = json.loads(billing("close", "2025-03", "--json", **vat).out)["accounts"]
    assert (result["outcome"], result["final"], result["unsettled_days"]) == ("unchanged", True, {})
    booking = {key: result["booking"][key] for key in result["booking"] if key != "closed_at"}
    assert booking == {
        "closing": 2, "kind": "final", "booked": "1234573.891000", "records": 31, "currency": "RUB", "vat_rate": 20.0,
        "prices_include_vat": False, "net": "1234573.891000", "vat": "246914.778200", "gross": "1481488.669200",
    }  # fmt: skip

    vendor.dataset.add(records_on("2025-03-05", 4)[3:])
    assert billing("backfill", "--since", "2025-03-01", "--until", "2025-03-31", **vat).code == ExitCode.OK
    done = billing("-q", "close", "2025-03", **vat)
    assert done.code == ExitCode.CHECK_FAILED
    lines = done.out.splitlines()
    assert lines[0] == "default, 2025-03: not booked: it is closed already and has changed since"
    assert lines[1].startswith("default, 2025-03: booked at 20")
    assert lines[1].endswith(f" UTC, final: {booked}")
    assert lines[2:] == ["  the current spend is 1234574.091 (+0.20); --again books it"]
    done = billing("close", "2025-03", "--again", **vat)
    assert done.code == ExitCode.OK
    assert "  before: final, 1234573.891 RUB at 20" in done.out


@pytest.mark.parametrize("month", ["2025-13", "2025", "2025-03-01", "March"])
def test_an_invalid_month_is_a_usage_error(synced, month):
    done = synced("close", month)
    assert (done.code, f"'{month}' must be a month like 2026-03" in done.errors) == (ExitCode.USAGE, True)


def test_close_uses_the_stored_terms_of_an_unconfigured_account(synced):
    assert synced("account", "rename", "default", "shop").code == ExitCode.OK
    done = synced("close", "2025-03", "--provisional", "--account", "shop", BILLING_CURRENCY="USD")
    assert (done.code, "shop, 2025-03: booked, provisional: 6.00 RUB, 30 charges\n") == (ExitCode.OK, done.out)
