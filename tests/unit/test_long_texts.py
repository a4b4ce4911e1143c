"""Texts too long for the database: how they are detected, and what is kept of their records."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import pytest

from etl.date_ranges import DateRange
from etl.model import ReadStats, Record, RejectedRecord, TextLimit
from etl.transform.long_texts import MAX_KEPT_LENGTH, quarantine_long_texts, shorten_payload

DAY = date(2026, 3, 10)
WINDOW = DateRange(DAY, DAY)
LIMIT = TextLimit(10_000, "max_allowed_packet is 16,777,216 bytes", "'\\")


def record(info):
    return Record("2026-03-10 10:00:00", "+79990001122", "0042", 1, info, Decimal("0.200000"))


def read(*infos, rejected=()):
    """The accepted records of a feed, and its survey."""
    records = list(map(record, infos))
    kept = []

    def read_feed(_feed, _window, keep):
        keep(records)
        return ReadStats(len(records) + len(rejected), len(records), None, None, True, True, tuple(rejected))

    survey = quarantine_long_texts(read_feed, LIMIT)(None, WINDOW, kept.extend)
    return [each.status_info for each in kept], survey


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("x" * 10_000, True),
        ("x" * 10_001, False),
        ("я" * 5_000, True),
        ("я" * 5_001, False),
        ("'" * 5_000, True),
        ("'" * 5_001, False),
        ("😀" * 2_500, True),
        ("😀" * 2_501, False),
    ],
)
def test_a_text_is_measured_as_the_driver_sends_it(text, fits):
    assert LIMIT.allows(text) is fits


def test_a_too_long_record_is_rejected_alone_with_the_limit_in_its_reason():
    kept, survey = read("ok", "x" * 20_000, "also ok")
    assert (kept, survey.listed, survey.kept) == (["ok", "also ok"], 3, 2)
    (item,) = survey.rejected
    assert item.day == DAY
    assert "status_info of 20,000 bytes" in item.reason
    assert "max_allowed_packet is 16,777,216 bytes" in item.reason
    assert len(item.reason) < 255
    payload = json.loads(item.payload)
    assert payload["phone"] == "+79990001122"
    assert payload["status_info"].startswith("x" * MAX_KEPT_LENGTH + "… (20,000 characters, digest ")
    assert LIMIT.allows(item.payload)


def test_different_long_texts_are_different_rejected_records_and_equal_ones_one():
    _, survey = read("x" * 20_000, "x" * 19_999 + "y", "x" * 20_000)
    first, second, third = (item.payload for item in survey.rejected)
    assert first != second
    assert first == third


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps({"phone": "89990001122", "price": "much", "status_info": "x" * 20_000}),
        json.dumps({str(number): "x" * 900 for number in range(20)}),
        json.dumps("x" * 20_000),
        json.dumps(["x" * 20_000]),
        json.dumps({"status_info": "\ud800" * 20_000}),
        "x" * 20_000,
    ],
)
def test_a_too_long_invalid_record_is_kept_shortened(payload):
    _, survey = read(rejected=[RejectedRecord(None, "price is missing", payload)])
    (item,) = survey.rejected
    assert (item.day, item.reason) == (None, "price is missing")
    assert LIMIT.allows(item.payload)
    json.loads(item.payload)
    assert item.payload != shorten_payload(payload.replace("x", "y").replace("ud800", "ud801"), LIMIT)
    if "phone" in payload:
        assert json.loads(item.payload)["phone"] == "89990001122"


def test_a_payload_that_fits_is_kept_unchanged():
    payload = '{"price": 1.50, "phone": "89990001122"}'
    assert shorten_payload(payload, LIMIT) == payload
