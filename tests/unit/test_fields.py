"""All formats of a field, and values that are refused instead of guessed."""

from __future__ import annotations

import struct
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.date_ranges import DateRange
from etl.model import MISSING, Feed, RawRecord, Record, raw_record
from etl.transform.fields import (
    CorruptKey,
    FieldError,
    day_if_readable,
    parse_code,
    parse_info,
    parse_phone,
    parse_price,
    parse_status,
    parse_time,
    sanitise_text,
)
from etl.transform.reader import read_feed

calm = settings(deadline=None)
MOSCOW = ZoneInfo("Europe/Moscow")
EVER = DateRange(date.min, date.max)
NBSP = "\u00a0"

ANYTHING = (
    st.none()
    | st.just(MISSING)
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=True, allow_infinity=True).filter(lambda number: not number.is_snan())
    | st.text()
    | st.text("0123456789+-.,eE T:ZNaIinfty \u00a0", max_size=30)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)
TIMES = st.sampled_from(["2021-12-29T14:06:51", "2021-12-29T14:06:51Z", "29.12.2021 14:06:51"])


def read(raw: RawRecord) -> Record | str:
    """The canonical record, or the reason for its rejection."""
    records: list[Record] = []
    survey = read_feed(Feed([raw]), EVER, MOSCOW, records.extend)
    return records[0] if records else survey.rejected[0].reason


def reason(function, raw) -> str:
    with pytest.raises(FieldError) as refusal:
        function(raw)
    return str(refusal.value)


def time_in_moscow(raw) -> str:
    return parse_time(raw, MOSCOW)


def test_a_documented_record_has_its_canonical_form():
    raw = RawRecord("2021-12-29T14:06:51", "2371", 1, "ok", "89243555100", Decimal("0.2"))
    assert read(raw) == Record("2021-12-29 14:06:51", "+79243555100", "2371", 1, "ok", Decimal("0.200000"))


def test_a_record_in_other_formats_is_the_same_record():
    one = RawRecord("2021-12-29T14:06:51", "0371", 1, "ok", "89243555100", Decimal("0.2"))
    other = RawRecord("29.12.2021 14:06:51", 371, "true", "ok", "+7 (924) 355-51-00", "0,20")
    assert read(one) == read(other)


def test_a_record_requires_its_key_and_a_price():
    assert read(RawRecord("2021-12-29T14:06:51", None, MISSING, MISSING, None, 1)) == Record(
        "2021-12-29 14:06:51", "", "", None, "", Decimal("1.000000")
    )


@pytest.mark.parametrize("field", ["created_at", "phone", "code_auth", "price"])
def test_a_record_without_a_required_field_is_refused(field):
    documented = {"created_at": "2021-12-29T14:06:51", "phone": "89243555100", "code_auth": "2371", "price": 1}
    assert isinstance(read(raw_record(**documented)), Record)
    del documented[field]
    assert read(raw_record(**documented)) == f"{field} is missing"


@calm
@given(st.builds(RawRecord, TIMES | ANYTHING, ANYTHING, ANYTHING, ANYTHING, ANYTHING, ANYTHING))
def test_any_record_is_read_or_refused(raw):
    record = read(raw)
    if isinstance(record, Record):
        assert read(raw_record(**record._asdict())) == record
    else:
        assert record


@pytest.mark.parametrize("field", RawRecord.__struct_fields__)
@pytest.mark.parametrize("value", [[], {}, ["2021-12-29T14:06:51"], {"value": 1}], ids=str)
def test_lists_and_objects_are_refused_as_fields(field, value):
    documented = {"created_at": "2021-12-29T14:06:51", "phone": "89243555100", "code_auth": "2371", "price": 1}
    assert isinstance(read(raw_record(**documented)), Record)
    assert isinstance(read(raw_record(**documented | {field: value})), str)


# Time ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        *("2021-12-29T14:06:51", "2021-12-29 14:06:51", " 2021-12-29T14:06:51\n", "29.12.2021 14:06:51"),
        *("29.12.2021T14:06:51", "2021-12-29T14:06:51.000000", "2021-12-29T14:06:51.9", "2021-12-29 14:06:51,123"),
        *("29.12.2021 14:06:51.5", "2021-12-29T14:06:51.1234567890123456789"),
        *("2021/12/29 14:06:51", "29.12.2021, 14:06:51", "2021-12-29  14:06:51", f"2021-12-29{NBSP}14:06:51"),
        *("20211229T140651", "2021-12-29t14:06:51"),
        *('="2021-12-29 14:06:51"', "'2021-12-29T14:06:51", '="29.12.2021 14:06:51"'),
    ],
)
def test_a_time_without_an_offset_is_kept_as_the_wall_clock_to_the_second(raw):
    assert time_in_moscow(raw) == "2021-12-29 14:06:51"


@pytest.mark.parametrize(
    "raw", ["2021-02-09T4:06:51", "9.2.2021 4:06:51", "09.02.2021 4:06:51.25", " 9.02.2021T4:06:51"]
)
def test_a_spreadsheet_may_drop_leading_zeros(raw):
    assert time_in_moscow(raw) == "2021-02-09 04:06:51"
    assert day_if_readable(raw) == date(2021, 2, 9)


@pytest.mark.parametrize(
    "raw",
    [
        *("2021-12-29T11:06:51Z", "2021-12-29T14:06:51+03:00", "2021-12-29T14:06:51+0300", "2021-12-29T14:06:51+03"),
        *("2021-12-29 11:06:51 Z", "2021-12-29T11:06:51.999Z", "2021-12-29T01:06:51-10:00"),
        *("2021-12-29T11:06:51-00:00", "2021-12-29 11:06:51 UTC", "2021-12-29t11:06:51z", "20211229T110651Z"),
    ],
)
def test_a_time_with_an_offset_is_converted_to_the_wall_clock(raw):
    assert time_in_moscow(raw) == "2021-12-29 14:06:51"


def test_an_offset_may_move_a_time_to_another_day():
    assert time_in_moscow("2021-12-31T21:00:00Z") == "2022-01-01 00:00:00"


def test_the_wall_clock_is_that_of_the_zone_given():
    assert parse_time("2021-12-29T11:06:51Z", ZoneInfo("Asia/Vladivostok")) == "2021-12-29 21:06:51"
    assert parse_time("2021-12-29T11:06:51", ZoneInfo("Asia/Vladivostok")) == "2021-12-29 11:06:51"


@pytest.mark.fault(53)
@pytest.mark.parametrize("raw", ["2026-03-29T02:30:00", "2026-10-25T02:30:00"])
def test_a_wall_clock_in_a_gap_or_a_fold_is_kept_as_given(raw):
    assert parse_time(raw, ZoneInfo("Europe/Berlin")) == raw.replace("T", " ")


@pytest.mark.parametrize("raw", ["0001-01-01T00:00:00", "9999-12-31T23:59:59", "2024-02-29T23:59:59"])
def test_the_first_and_last_day_of_the_calendar_are_valid(raw):
    assert time_in_moscow(raw) == raw.replace("T", " ")


@pytest.mark.fault(48, 49, 50, 51)
@pytest.mark.parametrize(
    ("raw", "why"),
    {
        None: "created_at is missing",
        MISSING: "created_at is missing",
        1640775991: "created_at is not a text",
        Decimal("1640775991.5"): "created_at is not a text",
        True: "created_at is not a text",
        **dict.fromkeys(
            (
                *("", "  ", "soon", "1640775991", "2021-12-29", "2021-12-29T14:06", "14:06:51", "20211229140651"),
                *("2021-12-29T24:00:00", "2021-12-29T14:06:60", "2021-12-29T14:60:00", "2021-12-29X14:06:51"),
                *("2021-1.9T1:02:03", "2021-W52-3T14:06:51", "12/29/2021 14:06:51", "29.12.21 14:06:51"),
                *("２０２１-12-29T14:06:51", "2021-12-29T14:06:5١", "2021-12-29T14:06:51 MSK", "+2021-12-29T14:06:51"),
                *("2021-12-29T14:06:51.", "2021-12-29   14:06:51", "29.12.2021 14:06:51Z", "2021-12-29T14:06:51+3:00"),
                *("2021-12-29T14:06:51\u0000", "2021-12-29T14:06:51+03:00Z"),
            ),
            "created_at has an unknown time format",
        ),
        **dict.fromkeys(
            ("2021-02-29T14:06:51", "2021-13-01T14:06:51", "31.04.2021 14:06:51", "0000-01-01T14:06:51"),
            "created_at is not a valid date",
        ),
        "2021-12-29T14:06:51+24:00": "created_at carries an impossible offset",
        "2021-12-29T14:06:51+99": "created_at carries an impossible offset",
        "0001-01-01T00:00:00+14:00": "created_at carries an impossible offset",
        "9999-12-31T23:59:59-12:00": "created_at carries an impossible offset",
    }.items(),
)
def test_an_invalid_time_is_refused(raw, why):
    assert reason(time_in_moscow, raw) == why


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        ("2021-12-29T25:00:00", date(2021, 12, 29)),
        (" 2021-12-29", date(2021, 12, 29)),
        ("29.12.2021 25:00:00", date(2021, 12, 29)),
        ("2021-02-30T10:00:00", None),
        ("30.02.2021 10:00:00", None),
        # An offset may turn it into another day of the wall clock.
        ("2021-12-29T25:00:00Z", None),
        ("2021-12-29 25:00:00 +03:00", None),
        ("soon", None),
        ("", None),
        (None, None),
        (MISSING, None),
        (20211229, None),
    ],
)
def test_the_day_of_an_invalid_time_is_read_if_it_has_one(raw, day):
    assert day_if_readable(raw) == day


# Phone ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        *("89243555100", "79243555100", "+79243555100", "9243555100", 89243555100, 79243555100, 9243555100),
        *("８９２４３５５５１００", "89.243.555.100", "8.924.355.51.00", "tel:+79243555100"),
        *("8 (924) 355-51-00", "+7 924 355 51 00", "8(924)3555100", "[8] 924-355-51-00", " 89243555100\t"),
        *(f"8{NBSP}924{NBSP}3555100", "8\u2011924\u2013355\u221251\u201400", "(924) 355-51-00", "7-924-355-51-00"),
        *("\u202a+79243555100\u202c", "\u200b8924\u2060355\u00ad51-00\ufeff", '="\u200e89243555100"'),
    ],
)
def test_all_formats_of_a_russian_number_are_equal(raw):
    assert parse_phone(raw) == "+79243555100"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("375291234567", "375291234567"),
        ("+375 29 123-45-67", "+375 29 123-45-67"),
        ("+49\u200b 151 2345678\u202c", "+49 151 2345678"),
        ("tel:+49301234567", "+49301234567"),
        (" 112 ", "112"),
        (112, "112"),
        ("0800", "0800"),
        ("8243555100", "8243555100"),
        ("+89243555100", "+89243555100"),
        ("892435551001", "892435551001"),
        ("8924355510.0", "8924355510"),
        ("8924355510x", "8924355510x"),
        ("anonymous", "anonymous"),
        ("", ""),
        ("   ", ""),
        (None, ""),
    ],
)
def test_any_other_number_is_kept_as_given_and_trimmed(raw, text):
    assert parse_phone(raw) == text


def test_a_number_with_the_country_code_of_russia_is_formatted_like_one():
    assert parse_phone("87071234567") == parse_phone("+7 707 123-45-67") == "+77071234567"


@pytest.mark.parametrize(
    ("raw", "phone"),
    [
        *(('="89990001122"', "+79990001122"), ("=89990001122", "+79990001122"), ("'89990001122", "+79990001122")),
        *(('="+7 (999) 000-11-22"', "+79990001122"), ('"89990001122"', "+79990001122")),
        *(("89990001122.0", "+79990001122"), ("9990001122,0", "+79990001122"), ("89 990 001 122,00", "+79990001122")),
        *((Decimal("89990001122.0"), "+79990001122"), (Decimal("8.99900011E+10"), "+79990001100")),
        *(
            ("8,99900011e10", "+79990001100"),
            ('="8.9990001122E+10"', "+79990001122"),
            ("'375291234567", "375291234567"),
        ),
        *(("NULL", ""), (r"\N", ""), ('=""', "")),
    ],
)
def test_a_phone_changed_by_a_spreadsheet_is_restored(raw, phone):
    assert parse_phone(raw) == phone


@pytest.mark.parametrize("parse", [parse_phone, parse_code])
@pytest.mark.parametrize("raw", ["8,999E+10", Decimal("8.999E+10"), "########", "1,000", Decimal("1E+3")])
def test_a_key_lost_by_a_spreadsheet_is_distinguished_from_an_invalid_record(parse, raw):
    with pytest.raises(CorruptKey):
        parse(raw)


def test_a_boolean_is_not_a_phone():
    assert reason(parse_phone, True) == "phone is neither a text nor a number"


def test_a_phone_may_be_as_long_as_every_database_can_index():
    assert parse_phone("x" * 255) == "x" * 255
    assert reason(parse_phone, "x" * 256) == "phone is longer than 255 characters"


# Code ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("2371", "2371"),
        ("0371", "0371"),
        ("371", "0371"),
        (371, "0371"),
        (0, "0000"),
        ("0", "0000"),
        (" 71 ", "0071"),
        ("123456", "123456"),
        ("00371", "00371"),
        ("12a", "12a"),
        ("-5", "-5"),
        ("１２", "0012"),
        ("٣", "0003"),
        ("²", "²"),
        ('="0042"', "0042"),
        ("'42", "0042"),
        ("42,0", "0042"),
        ("101.00", "0101"),
        (Decimal("101.0"), "0101"),
        ("4.2E+01", "0042"),
        ("2 371", "2371"),
        (f"2{NBSP}371,00", "2371"),
        ("\u200e42\ufeff", "0042"),
        ("4\u200b2a", "4\u200b2a"),
        ("2 37", "2 37"),
        ("NULL", ""),
        ("None", ""),
        (r"\N", ""),
        ("none", "none"),
        ("", ""),
        ("  ", ""),
        (None, ""),
    ],
)
def test_lost_leading_zeros_of_a_code_are_restored(raw, code):
    assert parse_code(raw) == code


def test_equal_decimals_are_cached_separately():
    assert parse_code(Decimal("1000.0")) == "1000"
    with pytest.raises(CorruptKey):
        parse_code(Decimal("1E+3"))
    assert parse_status(Decimal("100.0")) == 100
    assert reason(parse_status, Decimal("1E+2")) == "status is not an integer"


def test_a_boolean_is_not_a_code():
    assert reason(parse_code, False) == "code_auth is neither a text nor a number"


def test_a_code_may_be_as_long_as_every_database_can_index():
    assert reason(parse_code, "1" * 256) == "code_auth is longer than 255 characters"


# Status --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        *((1, 1), (0, 0), (-3, -3), (404, 404), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63))),
        *((True, 1), (False, 0), ("true", 1), ("False", 0), (" TRUE ", 1)),
        *(("1", 1), (" 0 ", 0), ("+2", 2), ("-2", -2), ("1.0", 1), ("007", 7)),
        *((Decimal("1.0"), 1), (Decimal("2.000"), 2)),
        *((None, None), (MISSING, None), ("", None), ("  ", None), ('=""', None), ('="1"', 1), ("'0", 0)),
        *(("NULL", None), ("null", None), ("None", None), (r"\N", None), (" NULL ", None), ("nan", None)),
    ],
)
def test_a_status_is_an_integer_or_null(raw, status):
    result = parse_status(raw)
    assert (result, type(result)) == (status, type(status))


@pytest.mark.fault(46)
def test_equal_statuses_of_different_types_are_cached_separately():
    assert [type(parse_status(raw)) for raw in (True, 1, "1", Decimal(1))] == [int] * 4
    assert [parse_status(raw) for raw in (False, 0, "0", Decimal(0))] == [0] * 4


@pytest.mark.parametrize(
    "raw",
    [
        *("ok", "yes", "on", "none", "n/a", "1,0", "1.5", "1_0", "１", "٣", "1e0", "0x1", "--1", "1 0", "inf", "1."),
        *(Decimal("1.5"), Decimal("1E+2"), Decimal("Infinity")),
        *(2**63, -(2**63) - 1, str(2**63), "9" * 5000),
    ],
    ids=lambda raw: str(raw)[:20],
)
def test_any_other_status_rejects_the_record(raw):
    assert reason(parse_status, raw) == "status is not an integer"


# Status info ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("ok", "ok"),
        ("Ok: SIP 200 OK", "Ok: SIP 200 OK"),
        ("  доставлено, 100 %\n", "  доставлено, 100 %\n"),
        ('="ok"', "ok"),
        ('=""', ""),
        ("'ok'", "'ok'"),
        ("", ""),
        (None, ""),
        (MISSING, ""),
        (200, "200"),
        (True, "true"),
        (False, "false"),
        (Decimal("1.50"), "1.50"),
        ("x" * 500_000, "x" * 500_000),
        ("👍", "👍"),
        ("NULL", ""),
        (r"\N", ""),
        (" None ", ""),
        ("NULL and void", "NULL and void"),
        ("n/a", "n/a"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_free_text_is_kept_unchanged(raw, text):
    assert parse_info(raw) == text


# Unusual text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [parse_info, parse_phone, parse_code, sanitise_text])
@pytest.mark.parametrize("number", [0, 0xD800, 0xDBFF, 0xDC00, 0xDFFF], ids=hex)
def test_characters_that_a_database_cannot_store_are_replaced_on_all(function, number):
    odd = chr(number)
    assert function(f"a{odd}b") == "a\ufffdb"
    assert function(odd * 3) == "\ufffd" * 3


@pytest.mark.fault(36)
@calm
@given(st.text(st.characters(exclude_categories=())))
def test_stored_text_is_encodable_and_other_characters_stay(text):
    kept = sanitise_text(text)
    assert kept.encode().count(0) == 0
    assert [a for a, b in zip(text, kept, strict=True) if a != b] == [
        sign for sign in text if sign == "\x00" or "\ud800" <= sign <= "\udfff"
    ]


# Price ---------------------------------------------------------------------------------------------------------------


@pytest.mark.fault(44)
@pytest.mark.parametrize(
    ("raw", "price"),
    [
        *((0, "0"), (3, "3"), (-3, "-3"), (Decimal("0.2"), "0.2"), (Decimal("-0.000001"), "-0.000001")),
        *((Decimal("1E+2"), "100"), (Decimal("2E-1"), "0.2"), (Decimal("0.200000000"), "0.2")),
        *((Decimal("-0.0"), "0"), (Decimal("-0.0000000000000001"), "0")),
        *(("0.2", "0.2"), ("0,2", "0.2"), (" 0.20 ", "0.2"), ("+1.5", "1.5"), ("-1,5", "-1.5"), ("007", "7")),
        *(("2e-1", "0.2"), ("1E3", "1000"), ("1e+2", "100"), ("1,5e1", "15")),
        *(("1 234,50", "1234.5"), (f"1{NBSP}234.50", "1234.5"), ("1\u202f234\u202f567", "1234567")),
        *(("-12 345", "-12345"), ("1.234", "1.234"), ("25.000", "25"), ("0,234", "0.234"), ("-0,200", "-0.2")),
        *(("1,2345", "1.2345"), ("1,23", "1.23"), ("1234,500", "1234.5"), ("1 234,500", "1234.5"), ("007,250", "7.25")),
        *(("1,234.50", "1234.5"), ("1.234,50", "1234.5"), ("1,234,567.8", "1234567.8"), ("1'234", "1234")),
        *((".20", "0.2"), ("- 1", "-1"), ("\u22120.20", "-0.2"), ("(0,20)", "-0.2"), ("0.20-", "-0.2")),
        *(("1\u2009234,50", "1234.5"), ("0,20 руб", "0.2")),
        *(("0.2 руб.", "0.2"), ("0,20 ₽", "0.2"), ("0.2 RUB", "0.2"), ("0,2р.", "0.2")),
        *(("0,200000", "0.2"), ("1,234e1", "12.34"), (Decimal("1.234"), "1.234")),
        *((999_999_999_999, "999999999999"), ("999999999999.999999", "999999999999.999999")),
        *((Decimal("-999999999999.999999"), "-999999999999.999999"),),
    ],
)
def test_a_price_is_money_to_six_places(raw, price):
    result = parse_price(raw)
    assert result == Decimal(price)
    assert result.as_tuple().exponent == -6
    assert not (result == 0 and result.is_signed())


@pytest.mark.parametrize(
    ("raw", "price"),
    [
        ("0.30000000000000004", "0.3"),
        ("0.20000000000000001", "0.2"),
        ("0.59999999999999998", "0.6"),
        ("2.9500000000000001776", "2.95"),
        ("1234567.8900000001", "1234567.89"),
        ("0.1000000000000000055511151231257827", "0.1"),
        ("-3.6000000000000001", "-3.6"),
        ("99999999999.99999999", "100000000000"),
    ],
)
def test_noise_of_a_binary_float_is_rounded_away(raw, price):
    assert parse_price(Decimal(raw)) == parse_price(raw) == Decimal(price)


@pytest.mark.fault(41)
@pytest.mark.parametrize(
    ("raw", "price"),
    [
        *(("0.20000000298023224", "0.2"), ("2.950000047683716", "2.95"), ("514.1400146484375", "514.14")),
        *(("-0.20000000298023224", "-0.2"), ("0.20000000298023223876953125", "0.2"), ("0.200000003", "0.2")),
        *(("2.95000005", "2.95"), ("9.899999618530273", "9.9"), ("1024.199951171875", "1024.2")),
        *(("65536.1015625", "65536.1"), ("0.12345699965953827", "0.123457"), ("1.2000000424450263e-05", "0.000012")),
        *(("0.2000000030", "0.2"), ("1.2345670461654663", "1.234567")),
    ],
)
def test_noise_of_a_32_bit_float_is_rounded_away(raw, price):
    assert parse_price(Decimal(raw)) == parse_price(raw) == Decimal(price)


@calm
@given(st.integers(-9_999_999, 9_999_999), st.integers(0, 6))
def test_a_price_of_seven_digits_is_restored_from_a_32_bit_float(number, places):
    price = Decimal(number).scaleb(-places)
    [held] = struct.unpack("f", struct.pack("f", price))
    if -Decimal(held).as_tuple().exponent > 6:  # an amount of six places is not mangled
        assert parse_price(Decimal(held)) == price
        assert parse_price(Decimal(repr(held))) == price


@calm
@given(st.decimals(min_value=-99_999_999, max_value=99_999_999, places=6))
def test_a_price_of_six_places_is_never_rounded(price):
    assert parse_price(price) == parse_price(f"{price}000") == price


@calm
@given(st.decimals(min_value=-99_999_999, max_value=99_999_999, places=6))
def test_a_price_is_restored_from_a_binary_float(price):
    assert parse_price(Decimal(repr(float(price)))) == price
    assert parse_price(Decimal(float(price))) == price
    assert parse_price(Decimal(f"{float(price):.17g}")) == price


@pytest.mark.fault(41)
@pytest.mark.parametrize(
    "raw",
    [
        *(Decimal("0.0000001"), "0.1234567", "0,1234567", Decimal("1E-7"), "1e-7", Decimal("0.00000000001"), "5e-9"),
        *("2.9500001", "9.8999996", "0.20000001", "514.1400147", "514.14001464", "12.345677375793457", "0.2000000031"),
    ],
)
def test_a_real_seventh_decimal_is_refused(raw):
    assert reason(parse_price, raw) == "price has more than six decimal places"


@pytest.mark.parametrize(
    "raw",
    [
        *(10**12, -(10**12), "1000000000000", Decimal("1E+12"), Decimal("1e400"), "1e400", "-1e9999", 2**70, 10**5000),
        *("9" * 60, "999999999999.9999999999999", Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity")),
    ],
    ids=lambda raw: str(raw)[:20] if not isinstance(raw, int) else f"{raw.bit_length()} bits",
)
def test_a_price_beyond_twelve_digits_is_refused(raw):
    assert reason(parse_price, raw) == "price has more than twelve digits before the point"


@pytest.mark.parametrize(
    "raw",
    [Decimal("1e9999999"), Decimal("-1e9999999"), "9" * 1_000_001],
    ids=["1e9999999", "-1e9999999", "a million digits"],
)
def test_a_price_beyond_the_range_of_arithmetic_is_refused(raw):
    assert reason(parse_price, raw) == "price has more than twelve digits before the point"


@pytest.mark.fault(43)
@pytest.mark.parametrize(
    "raw",
    [
        *("NaN", "nan", "Infinity", "-inf", "free", "0.2 USD", "$1", "1_000", "１２", "٣", "0x10", "1.", "1,"),
        *("1 23", "1  234", "12 34 567", "1'23", "1e", "1e99999", "--1", "(-1)", "1\u0000", "1,23.5", "1.234.567"),
        *(True, False),
    ],
    ids=lambda raw: f"{type(raw).__name__} {raw}",
)
def test_a_price_that_is_not_a_number_is_refused(raw):
    assert reason(parse_price, raw) == "price is not a number"


@pytest.mark.fault(44)
@pytest.mark.parametrize("raw", ["1,234", "25,000", "12,500", "-1,234", "+999,999", " 1,000 "])
def test_an_ambiguous_price_is_refused(raw):
    assert reason(parse_price, raw) == "price has a comma that may be a decimal sign or stand between thousands"


@pytest.mark.parametrize("raw", ["NULL", r"\N", "None"])
def test_a_word_for_no_value_is_not_a_price(raw):
    assert reason(parse_price, raw) == "price is not a number"


def test_equal_prices_of_different_types_are_cached_separately():
    documented = {"created_at": "2021-12-29T14:06:51", "phone": "89243555100", "code_auth": "2371", "status": 1}
    for price in (1, True, Decimal(1), "1", True, 0, False):
        record = read(raw_record(**documented, price=price))
        assert isinstance(record, Record) is not isinstance(price, bool)


@pytest.mark.parametrize("raw", [None, MISSING, ""], ids=["null", "lacking", "empty"])
def test_a_missing_price_is_refused(raw):
    assert reason(parse_price, raw) == "price is missing"


def test_a_reason_never_repeats_the_value():
    texts = [reason(function, "89243555100 zzz") for function in (time_in_moscow, parse_status, parse_price)]
    assert not [text for text in texts if "8924" in text or "zzz" in text]
