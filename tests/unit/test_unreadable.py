"""What is known of an unreadable record and of its day."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.model import ReadStats, RejectedRecord, raw_record, single_slice_day
from etl.transform.rejection import add_key, payload_json, reject_record
from etl.unreadable_days import readable_day, unreadable_days

calm = settings(deadline=None)
MOSCOW = ZoneInfo("Europe/Moscow")
EIGHTH, NINTH, TENTH = (date(2026, 3, day) for day in (8, 9, 10))
GOOD = {
    "created_at": "2026-03-09T10:00:00",
    "code_auth": 42,
    "status": 1,
    "status_info": "ok",
    "phone": "8 (924) 355-51-00",
    "price": "0.20 ₽",
}
TIME, PHONE, CODE = KEY = ("2026-03-09 10:00:00", "+79243555100", "0042")


def rejected(day, *, key=(None, None, None)):
    return RejectedRecord(day, "why", "{}", key)


# A record -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "key", "day"),
    [
        ({}, KEY, NINTH),
        ({"created_at": "09.03.2026 10:00:00.5"}, KEY, NINTH),
        ({"created_at": "2026-03-08T21:30:00Z"}, ("2026-03-09 00:30:00", PHONE, CODE), NINTH),
        ({"created_at": "2026-03-09T25:00:00"}, (None, PHONE, CODE), NINTH),
        ({"created_at": "09.03.2026 25:00:00"}, (None, PHONE, CODE), NINTH),
        ({"created_at": None}, (None, PHONE, CODE), None),
        ({"created_at": 1773036000}, (None, PHONE, CODE), None),
        ({"phone": "8" * 256}, (TIME, None, CODE), NINTH),
        ({"phone": {"number": 1}}, (TIME, None, CODE), NINTH),
        ({"code_auth": [42]}, (TIME, PHONE, None), NINTH),
        ({"code_auth": True}, (TIME, PHONE, None), NINTH),
        ({"phone": None, "code_auth": ""}, (TIME, "", ""), NINTH),
        ({"created_at": [], "phone": [], "code_auth": []}, (None, None, None), None),
    ],
)
def test_a_rejected_record_has_the_readable_part_of_its_key_in_canonical_form(bad, key, day):
    item = reject_record(raw_record(**GOOD | bad), "price is not a number", MOSCOW)
    assert (item.key, item.day, item.reason) == (key, day, "price is not a number")


def test_a_field_that_a_record_lacks_is_no_part_of_its_key():
    item = reject_record(raw_record(price="x"), "price is not a number", MOSCOW)
    assert (item.key, item.day, item.payload) == ((None, None, None), None, '{"price": "x"}')


@pytest.mark.parametrize(
    ("payload", "day", "key"),
    [
        (json.dumps(GOOD), NINTH, KEY),
        (json.dumps(GOOD | {"price": [1, 2]}), NINTH, KEY),
        (json.dumps(GOOD | {"phone": ["1", "2"]}), NINTH, (KEY[0], None, KEY[2])),
        (json.dumps(GOOD | {"created_at": [GOOD["created_at"]] * 2}), None, (None, *KEY[1:])),
        (json.dumps(GOOD | {"created_at": "2026-03-09 at noon"}), NINTH, (None, *KEY[1:])),
        (json.dumps({"created_at": "soon", "more": 1}), None, (None, None, None)),
        ('["2026-03-09T10:00:00"]', None, (None, None, None)),
        ("null", None, (None, None, None)),
        ("{broken", None, (None, None, None)),
    ],
)
def test_the_key_of_an_item_that_is_not_a_record_is_read_from_its_payload(payload, day, key):
    assert add_key(RejectedRecord(None, "a field is given twice", payload), MOSCOW) == RejectedRecord(
        day, "a field is given twice", payload, key
    )


def test_payloads_are_equal_for_equal_records_and_contain_the_source_fields():
    one = raw_record(price=Decimal("1.10"), created_at=None, phone="8", status=True)
    assert payload_json(one) == '{"created_at": null, "phone": "8", "price": "1.10", "status": true}'
    assert payload_json(raw_record()) == "{}"


@calm
@given(
    st.builds(
        raw_record,
        created_at=st.text(st.characters(exclude_categories=())),
        code_auth=st.none() | st.integers() | st.text(st.characters(exclude_categories=())),
        price=st.decimals(allow_nan=True).filter(lambda number: not number.is_snan()),
    )
)
def test_a_payload_is_json_that_every_database_can_store(row):
    payload = payload_json(row)
    assert payload.encode().count(0) == 0
    assert json.loads(payload).keys() == {"created_at", "code_auth", "price"}


# A day ----------------------------------------------------------------------------------------------------------------


def test_the_day_of_a_rejected_record_is_that_of_its_key_by_default():
    assert readable_day(rejected(EIGHTH, key=KEY)) == EIGHTH
    assert readable_day(rejected(None, key=KEY)) == NINTH
    assert readable_day(rejected(None, key=(None, PHONE, CODE))) is None


def listing(*bad, listed=10, earliest="2026-03-08 10:00:00"):
    return ReadStats(listed, 0, earliest, earliest, ascending=True, descending=True, rejected=bad)


DAYS = {NINTH: single_slice_day(NINTH, []), TENTH: single_slice_day(TENTH, [object()])}


def test_a_day_with_only_unreadable_records_is_not_empty():
    assert unreadable_days(DAYS, listing(rejected(NINTH), rejected(NINTH), rejected(TENTH), rejected(None))) == {
        NINTH: "none of the 2 records of the day can be read (why)"
    }
    assert unreadable_days(DAYS, listing()) == {}
    assert unreadable_days(DAYS, listing(rejected(date(2026, 3, 7)))) == {}
    assert unreadable_days({NINTH: DAYS[NINTH]}, listing(rejected(None, key=KEY))).keys() == {NINTH}


def test_a_listing_with_only_unreadable_records_completes_no_day():
    assert unreadable_days(DAYS, listing(rejected(None), earliest=None)).keys() == DAYS.keys()
    assert unreadable_days(DAYS, listing(listed=0, earliest=None)) == {}, "an empty listing does"


def test_several_records_without_a_day_may_be_those_of_a_day_fetched_alone():
    alone = {NINTH: DAYS[NINTH]}
    assert unreadable_days(alone, listing(rejected(None), rejected(None))).keys() == {NINTH}
    assert unreadable_days(alone, listing(rejected(None))) == {}, "a single record may be an exception"
    assert unreadable_days(DAYS, listing(rejected(None), rejected(None))) == {}
    assert unreadable_days({TENTH: DAYS[TENTH]}, listing(rejected(None), rejected(None))) == {}
