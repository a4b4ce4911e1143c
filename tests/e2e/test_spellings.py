"""Fields in other formats on the command line: the same row, a quarantined record, or a refused source."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest

SPAN = ("--until", "2025-03-10")
PHONES = [f"8999000{number:04}" for number in range(20, 40)]
PLAIN = [
    {
        "created_at": f"2025-03-05T10:00:{number:02}",
        "code_auth": f"{number * 10 + 1:04}",
        "status": 1,
        "status_info": "ok",
        "phone": phone,
        "price": Decimal("0.2"),
    }
    for number, phone in enumerate(PHONES)
]
TOUCHED = {
    "formula guards": lambda key: f'="{key}"',
    "formulas without quotes": lambda key: f"={key}",
    "apostrophes": lambda key: f"'{key}",
    "pairs of typographic apostrophes": lambda key: f"‘{key}’",
    "texts of floats": lambda key: f"{int(key)}.0",
    "texts of floats with a comma": lambda key: f"{int(key)},00",
    "floats": lambda key: Decimal(f"{int(key)}.0"),
    "all digits in scientific notation": lambda key: f"{int(key):.10E}".replace(".", ","),
    "numbers in scientific notation": lambda key: Decimal(f"{int(key):.10E}"),
}
ROUNDED = [{**record, "phone": f"{int(record['phone']):.3E}".replace(".", ",")} for record in PLAIN]


def rows(billing, columns="*", table="billing_records"):
    with closing(sqlite3.connect(billing.folder / "billing.db")) as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()


def json_is_down(vendor):
    vendor.faults.add("status", action="post_billing_data", status=503, times=None)


@pytest.mark.parametrize("touch", TOUCHED.values(), ids=TOUCHED)
def test_keys_changed_by_a_spreadsheet_are_the_same_rows_from_csv_and_json(billing, vendor, touch):
    touched = [record | {name: touch(record[name]) for name in ("phone", "code_auth")} for record in PLAIN]
    vendor.dataset.replace(touched)
    json_is_down(vendor)
    assert billing("sync", *SPAN).code == 0
    stored = rows(billing)
    assert [tuple(row) for row in rows(billing, "phone, code_auth")] == [
        ("+7" + record["phone"][1:], record["code_auth"]) for record in PLAIN
    ]
    vendor.faults.clear()
    for listed in (touched, PLAIN):
        vendor.dataset.replace(listed)
        assert billing("sync", *SPAN).code == 0
        assert rows(billing) == stored


def test_the_csv_is_used_when_json_has_rounded_phones(billing, vendor):
    json_answer = json.dumps({"success": True, "error": "", "data": ROUNDED}, default=float)
    vendor.dataset.replace(PLAIN)
    vendor.faults.add("status", status=200, action="post_billing_data", times=None, body=json_answer)
    done = billing("sync", *SPAN)
    assert (done.code, "a spreadsheet has changed a phone beyond recovery" in done.errors) == (0, True)
    assert {phone for (phone,) in rows(billing, "phone")} == {"+7" + phone[1:] for phone in PHONES}


@pytest.mark.parametrize("lost", ["8,999E+10", "########", Decimal("8.999E+10")])
@pytest.mark.parametrize("name", ["phone", "code_auth"])
def test_one_lost_key_refuses_both_sources_that_list_it(billing, vendor, name, lost):
    vendor.dataset.replace([*PLAIN, PLAIN[0] | {"created_at": "2025-03-05T11:00:00", name: lost}])
    done = billing("sync", *SPAN)
    assert (done.code, f"a spreadsheet has changed a {name} beyond recovery" in done.errors) == (69, True)
    assert rows(billing) == rows(billing, table="rejected_records") == []


@pytest.mark.parametrize("word", ["NULL", "null", "None", r"\N"])
def test_words_for_no_value_are_empty_from_csv_and_json(billing, vendor, word):
    names = ("code_auth", "status", "status_info", "phone")
    vendor.dataset.replace([PLAIN[0] | dict.fromkeys(names, word)])
    json_is_down(vendor)
    assert billing("sync", *SPAN).code == 0
    stored = rows(billing)
    assert rows(billing, ", ".join(names)) == [("", None, "", "")]
    vendor.faults.clear()
    for none in (word, None):
        vendor.dataset.replace([PLAIN[0] | dict.fromkeys(names, none)])
        assert billing("sync", *SPAN).code == 0
        assert rows(billing) == stored


def test_noise_of_32_bit_floats_is_rounded_away(billing, vendor):
    prices = {"0.20000000298023224": 0.2, "2.950000047683716": 2.95, "514.1400146484375": 514.14}
    vendor.dataset.replace([record | {"price": Decimal(price)} for record, price in zip(PLAIN, prices, strict=False)])
    assert billing("sync", *SPAN).code == 0
    assert rows(billing, "created_at, price", "billing") == [
        (record["created_at"].replace("T", " "), price) for record, price in zip(PLAIN, prices.values(), strict=False)
    ]


@pytest.mark.parametrize("price", ["1,234", "25,000"])
def test_an_ambiguous_price_is_quarantined(billing, vendor, price):
    vendor.dataset.replace([*PLAIN[1:], PLAIN[0] | {"price": price}])
    assert billing("sync", *SPAN).code == 65
    assert len(rows(billing)) == len(PLAIN) - 1
    [(reason,)] = rows(billing, "reason", "rejected_records")
    assert reason == "price has a comma that may be a decimal sign or stand between thousands"


def test_an_ambiguous_balance_is_refused(synced, vendor):
    body = json.dumps({"success": True, "error": "", "data": {"balance": "25,000", "price": 0.2, "balance_limit": 0}})
    before = rows(synced, table="balance_snapshots")
    vendor.faults.add("status", status=200, action="get_balance", times=None, body=body)
    done = synced("balance")
    assert (done.code, "25.00" in done.out, "25,000" in done.out) == (69, False, False)
    assert rows(synced, table="balance_snapshots") == before
