"""Phone numbers in texts are found, masked, compared and removed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.pii import PhoneNumber, erase_payload, mask_phone, redact_payload, redact_phones

calm = settings(deadline=None)


@pytest.mark.parametrize(
    ("phone", "masked"),
    [
        ("+79243555100", "+7924*****00"),
        ("375291234567", "3752******67"),
        ("+375 29 123-45-67", "+375 2* ***-**-67"),
        ("1234567890", "********90"),
        ("8123456", "*****56"),
        ("0890", "****"),
        ("112", "***"),
        ("", ""),
        ("anonymous", "anonymous"),
        ("sip:100200@pbx", "sip:******@pbx"),
    ],
)
def test_a_mask_shows_country_code_and_last_two_digits_of_a_long_number(phone, masked):
    assert mask_phone(phone) == masked


@calm
@given(st.text(max_size=255))
def test_a_mask_keeps_the_length_and_shows_at_most_six_digits(phone):
    masked = mask_phone(phone)
    assert len(masked) == len(phone)
    assert sum(map(str.isdigit, masked)) <= min(6, max(0, sum(map(str.isdigit, phone)) - 5))


@pytest.mark.parametrize(
    "text", ["+375 (29) 123-45-67", "+49 30 1234567", "call +1-202-555-0123.", "to +44 20 7946 0958, busy"]
)
def test_a_number_with_a_plus_sign_is_found_in_any_format(text):
    assert not any(map(str.isdigit, redact_phones(text)))


SPELLINGS = [
    "89243555100", "79243555100", "+79243555100", "9243555100", "8 (924) 355-51-00", "+7 924 355 51 00",
    "7.924.355.51.00", "(924) 355-51-00", "8-924-355-51-00",
]  # fmt: skip
OTHERS = ["89243555101", "192435551000", "89243555100 1", "9243555", "", None, "forgotten", "+7924*****00"]


@pytest.mark.parametrize(
    "touched", ['="89243555100"', "'89243555100", "89243555100.0", "8,9243555100E+10", 8.92435551e10]
)
def test_a_number_changed_by_a_spreadsheet_is_recognised(touched):
    assert PhoneNumber("+79243555100").matches(touched)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_number_is_recognised_in_any_format(spelling):
    number = PhoneNumber("+79243555100")
    assert number.matches(spelling)
    assert number.occurs_in(f"text:{spelling}!")
    assert number.remove_from(f"a {spelling}, and a{spelling}b") == "a [forgotten], and a[forgotten]b".replace(
        "[forgotten]", "([forgotten]" if spelling.startswith("(") else "[forgotten]"
    )


@pytest.mark.parametrize("other", OTHERS)
def test_other_numbers_are_not_recognised_as_it(other):
    assert not PhoneNumber("+79243555100").matches(other)


def test_a_foreign_number_is_recognised_by_its_digits():
    number = PhoneNumber("375291234567")
    assert number.matches("+375 (29) 123-45-67")
    assert not number.matches("+7375291234567")


def test_a_short_number_is_not_recognised():
    number = PhoneNumber("200")
    assert number.matches("200")
    assert number.remove_from("SIP 200 OK") == "SIP 200 OK"


def covered(payload, **fields):
    return json.loads(
        redact_payload(json.dumps(payload), {name: lambda _raw, to=to: to for name, to in fields.items()})
    )


def test_each_value_of_a_duplicate_field_is_redacted():
    assert covered({"phone": ["1", "2"], "price": [1, 2]}, phone="P") == {"phone": ["P", "P"], "price": [1, 2]}


def test_a_payload_is_redacted_by_name_and_by_format():
    payload = {"phone": 112, "code_auth": "71", "price": 89243555100, "x": ["to 89243555100", {"phone": "8"}], "y": 0.2}
    assert covered(payload, phone="P", code_auth="") == {
        "phone": "P", "code_auth": "", "price": "***", "x": ["to ***", {"phone": "P"}], "y": 0.2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (["2026-03-09", "8 924 355", 71, None, True], ["****-**-**", "* *** ***", "**", None, True]),
        ("89243555100", "***********"),
        (89243555100, "***********"),
        (None, None),
    ],
)
def test_every_digit_of_a_payload_that_is_not_an_object_is_hidden(payload, shown):
    assert covered(payload) == shown


def test_a_payload_that_is_not_json_is_hidden_completely():
    assert redact_payload("89243555100 (", {}) == '"***"'
    assert redact_payload("9" * 5000, {}) == '"***"'


def test_characters_that_no_database_can_store_stay_escaped():
    assert redact_payload('{"x": "\\ud800"}', {}) == '{"x": "\\ud800"}'
    assert redact_payload('{"x": "ё"}', {}) == '{"x": "ё"}'


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_erased_payload_keeps_the_day_and_no_number(spelling):
    payload = {"created_at": "2026-03-09T10:00:00", "phone": spelling, "price": f"tel{spelling}", "code_auth": "0371"}
    assert json.loads(erase_payload(json.dumps(payload))) == {
        "created_at": "2026-03-09T10:00:00",
        "phone": "forgotten",
        "price": "tel(***" if spelling.startswith("(") else "tel+***" if spelling.startswith("+") else "tel***",
        "code_auth": "",
    }


def test_erasing_a_payload_is_idempotent():
    once = erase_payload('{"phone": "89243555100", "created_at": "09.03.2026 10:00:00", "status_info": "to 8924"}')
    assert erase_payload(once) == once
