"""Formats in which phones and codes are stored; nothing else of a record depends on them."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import date
from decimal import Decimal

import pytest

from etl.date_ranges import DateRange
from etl.model import Feed, PartialKey, PrivacyFormat, RawRecord, ReadStats, Record, RejectedRecord
from etl.transform.pseudonymise import PhonePolicy, key_fingerprint

KEY = bytes(range(32))
DAY = date(2026, 3, 9)
CANONICAL = Record("2026-03-09 10:00:00", "+79243555100", "0371", 1, "to 8 (924) 355-51-00", Decimal("0.200000"))
PAYLOAD = '{"code_auth": "0371", "phone": "8 924 355 51 00", "price": "x", "status_info": "89990001122"}'


def read(protection: PhonePolicy, payload: str = PAYLOAD) -> tuple[Record, str]:
    """The stored record and payload of a valid and an invalid record."""

    def one_of_each(_feed, _window, keep):
        keep([CANONICAL])
        return ReadStats(2, 1, None, None, True, True, (RejectedRecord(DAY, "no price", payload),))

    kept: list[Record] = []
    survey = protection.wrap_reader(one_of_each)(Feed(iter(())), DateRange(DAY, DAY), kept.extend)
    return kept[0], survey.rejected[0].payload


def test_plain_phones_skip_the_step():
    assert PhonePolicy().wrap_reader(read) is read
    assert PhonePolicy().form == PrivacyFormat("plain", "", "keep")


def test_masked():
    record, payload = read(PhonePolicy("masked"))
    assert record == CANONICAL._replace(phone="+7924*****00", status_info="to ***")
    assert isinstance(record, Record)
    assert json.loads(payload) == {"code_auth": "0371", "phone": "+7924*****00", "price": "x", "status_info": "***"}


def test_keyed():
    record, payload = read(PhonePolicy("keyed", key=KEY))
    digest = hmac.new(KEY, b"+79243555100", hashlib.sha256).hexdigest()
    assert record.phone == f"hmac-{key_fingerprint(KEY)}-{digest}"
    assert record == CANONICAL._replace(phone=record.phone, status_info="to ***")
    assert json.loads(payload)["phone"] == record.phone
    assert len(record.phone) <= 255


def test_the_id_of_a_key_contains_no_part_of_the_key():
    assert key_fingerprint(KEY) != key_fingerprint(KEY[::-1])
    assert len(key_fingerprint(KEY)) == 8
    assert key_fingerprint(KEY) not in KEY.hex()
    assert key_fingerprint(KEY) != hmac.new(KEY, b"", hashlib.sha256).hexdigest()[:8]


@pytest.mark.parametrize("protection", [PhonePolicy("masked"), PhonePolicy("keyed", key=KEY)], ids=["masked", "keyed"])
def test_an_empty_phone_stays_empty(protection):
    assert protection.phone("") == ""


def test_codes_are_dropped_and_phones_stay():
    record, payload = read(PhonePolicy(codes="drop"))
    assert record == CANONICAL._replace(code_auth="")
    assert json.loads(payload) == json.loads(PAYLOAD) | {"code_auth": ""}


def key_of(protection: PhonePolicy, *key: str | None) -> PartialKey:
    """The stored format of the readable part of an invalid record's key."""
    bad = RejectedRecord(DAY, "no price", "{}", key)
    return (
        protection.wrap_reader(lambda *_: ReadStats(1, 0, None, None, True, True, (bad,)))(
            Feed(iter(())), DateRange(DAY, DAY), print
        )
        .rejected[0]
        .key
    )


@pytest.mark.parametrize(
    "protection",
    [PhonePolicy("masked"), PhonePolicy("keyed", key=KEY), PhonePolicy("masked", "drop"), PhonePolicy(codes="drop")],
    ids=["masked", "keyed", "masked, no codes", "no codes"],
)
def test_the_readable_key_of_an_invalid_record_has_the_stored_format(protection):
    record, _ = read(protection)
    assert key_of(protection, *CANONICAL[:3]) == record[:3]
    assert key_of(protection, None, None, None) == (None, None, "" if protection.form.codes == "drop" else None)
    assert key_of(protection, None, "", "") == (None, "", "")


@pytest.mark.parametrize("protection", [PhonePolicy("masked"), PhonePolicy("keyed", key=KEY)], ids=["masked", "keyed"])
@pytest.mark.parametrize("payload", ['["89243555100", "371"]', "89243555100", '{"phone": ["89243555100"]}', "{broken"])
def test_no_invalid_record_contains_a_phone_after_the_step(protection, payload):
    assert "9243555100" not in read(protection, payload)[1]


def test_a_raw_record_and_its_canonical_phone_have_the_same_stored_format():
    protection = PhonePolicy("keyed", key=KEY)
    raw = RawRecord("", "", 1, "", 89243555100, 1)
    assert protection._raw_phone(raw.phone) == protection.phone("+79243555100")
