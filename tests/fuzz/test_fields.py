"""Any text or value as a field raises FieldError with a message, or has exactly one canonical form."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from support.fuzzing import assert_clean_message, fuzz, parts, spoil

from etl.extract.csv_columns import is_time
from etl.model import MISSING, raw_record
from etl.transform.fields import (
    FieldError,
    day_if_readable,
    parse_code,
    parse_info,
    parse_phone,
    parse_price,
    parse_record,
    parse_status,
    parse_time,
)

MOSCOW = ZoneInfo("Europe/Moscow")
WORD = re.compile(r"\d+|\D")
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
ODD = [
    "",
    " ",
    "\0",
    "\ud800",
    "\u00a0",
    "\u202f",
    "\u2212",
    "\u2010",
    "٣",
    "1٣",
    "１２",
    "_",
    ".",
    ",",
    "+",
    "-",
    "e",
    "E",
]
NUMBERS = ["0", "00", "1", "9", "24", "29", "31", "59", "60", "99", "2021", "9999", "0000", "1" * 18, "9" * 400]
NOT_TEXTS = [
    *(None, MISSING, True, False, 0, 1, -1, 371, 2**63, -(2**63), 2**63 - 1, 10**64, 89243555100),
    *(Decimal("0.2"), Decimal("-0"), Decimal("1e11"), Decimal("1e12"), Decimal("999999999999.9999999")),
    *(Decimal("0.30000000000000004"), Decimal("0.0000005"), Decimal("1e-99"), Decimal("1.0")),
    *(Decimal("1e9999999"), Decimal("-1e-9999999"), Decimal("NaN"), Decimal("Infinity")),
    *([], [1], {}, {"a": "89243555100"}),
]

TIMES = [
    *("2021-12-29T14:06:51", "2021-12-29 14:06:51", "29.12.2021 14:06:51", "29.12.2021T14:06:51,5"),
    *("2021-12-29T14:06:51.999999999", "2021-12-29T14:06:51Z", "2021-12-29 14:06:51.5 +05:00"),
    *(
        "2024-02-29T23:59:59+03",
        "2021-12-29T14:06:51-0330",
        "2010-10-31T02:30:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-23:59",
    ),
    *("2021-13-29T14:06:51", "2021-02-30T14:06:51", "2021-12-29T24:00:00", "2021-W52-3T14:06:51", "20211229T140651"),
    *(
        "1.12.2021 9:06:51",
        "2021/12/29 14:06:51",
        "29.12.2021, 14:06:51",
        "2021-12-29 14:06:51 UTC",
        "20211229T140651Z",
    ),
]
PRICES = [
    "0.2",
    "-3.25",
    "1,50",
    "1 234,5",
    "1\u00a0234\u202f567.25",
    "2e-1",
    "1E+3",
    "0.30000000000000004",
    "0.20000000298023224",
    "514.1400146484375",
    "1,234",
    "999999999999.999999",
    *("1,234.50", "1.234,50", "1'234.5", ".20", "(0.20)", "0.20-", "\u22120.20", "0.2 руб.", "0,20 ₽", "1 RUB"),
]
PHONES = [
    "89243555100",
    "+79243555100",
    "7 (924) 355-51-00",
    "9243555100",
    "+44 20 7946 0958",
    "0611",
    "",
    "+7 924 355‑51‑00",
    '="89243555100"',
    "'89243555100",
    "89243555100.0",
    "8.99900011E+10",
    "8,999E+10",
    "NULL",
]
CODES = [
    "2371",
    "0371",
    "71",
    "",
    "+371",
    "00000371",
    "12ab",
    "x" * 255,
    "x" * 256,
    '="0042"',
    "42,0",
    "2 371",
    "4.2E+1",
]
STATUSES = ["1", "0", "-1", "true", "FALSE", "1.0", "1.00", "200", "", "9223372036854775807", "-9223372036854775808"]


def field(seeds: list[str]) -> Callable[[Random], Any]:
    def make(random: Random) -> Any:
        chance = random.random()
        if chance < 0.05:
            return random.choice(NOT_TEXTS)
        if chance < 0.1:
            return Decimal(random.randrange(-(10**13), 10**13)).scaleb(-random.randrange(12))
        return spoil(random, seeds, ODD + NUMBERS + seeds, WORD)

    return make


def canonical(function: Callable[[Any], Any], raw: Any) -> Any:
    """The canonical form, or MISSING if there is none; any other error is raised."""
    try:
        return function(raw)
    except FieldError as refusal:
        assert_clean_message(refusal)
    except TypeError:
        # The caches cannot look up a list or an object; `parse_record` refuses them with a message.
        assert isinstance(raw, list | dict)
    return MISSING


@parts
@pytest.mark.fault(49, 50, 51)
def test_any_time_is_refused_or_is_a_second_of_the_calendar(part: int) -> None:
    def accepts(raw: Any) -> bool:
        day_if_readable(raw)
        time = canonical(lambda text: parse_time(text, MOSCOW), raw)
        if time is MISSING:
            return False
        moment = datetime.strptime(time, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007  # a wall clock has no zone
        assert moment.isoformat(" ", "seconds") == time
        assert parse_time(time, MOSCOW) == parse_time(time.replace(" ", "T"), MOSCOW) == time
        assert parse_time(f"{moment:%d.%m.}{time[:4]} {time[11:]}", MOSCOW) == time
        assert day_if_readable(time) == moment.date()
        assert is_time(INVISIBLE.sub("", raw))  # a CSV may contain what JSON may
        if re.fullmatch(r"\D*\d+(?:-\d\d){2}.\d\d(?::\d\d){2}\s*", raw):
            assert [int(one) for one in re.findall(r"\d+", raw)] == list(moment.timetuple()[:6])
        # An offset moves the time by at most a day; nothing else does.
        year = re.search(r"\d{4}", raw)
        assert year is not None
        assert abs(moment.year - int(year[0])) <= timedelta(days=1).days
        return True

    fuzz(part, field(TIMES), accepts)


def value_of(text: str) -> Fraction:
    """The number of the digits, read independently of the tested program."""
    plain = INVISIBLE.sub("", text).strip().strip("=\"'\u2018\u2019").replace("\u2212", "-")
    plain = re.sub(r"(?:₽|руб\.?|р\.|rub|rur)$", "", plain, flags=re.IGNORECASE)
    plain = re.sub(r"[ \u00a0\u2009\u202f'\u2019]", "", plain)
    is_negative = plain[:1] in {"-", "("} or plain[-1:] == "-"
    digits = plain.strip("+-()")
    decimal_sign = max(".,", key=digits.rfind)
    for sign in {".", ","} - {decimal_sign}:
        digits = digits.replace(sign, "")
    return Fraction(digits.replace(decimal_sign, ".")) * (-1 if is_negative else 1)


@parts
@pytest.mark.fault(37, 41, 42, 43)
def test_any_price_is_refused_or_equals_its_digits_exactly(part: int) -> None:
    def accepts(raw: Any) -> bool:
        price = canonical(parse_price, raw)
        if price is MISSING:
            return False
        assert not isinstance(raw, bool)
        assert not isinstance(raw, str) or all(character.isascii() for character in raw if character.isdigit())
        assert price.as_tuple().exponent == -6
        assert abs(price) < 10**12
        assert not (price.is_zero() and price.is_signed())
        assert parse_price(price) == parse_price(str(price)) == price
        assert parse_price(f"{price:f}".replace(".", ",")) == price
        # Beyond the limits of the oracle.
        if len(raw) < 4000 if isinstance(raw, str) else abs(Decimal(raw).adjusted()) < 4000:
            meant = value_of(raw) if isinstance(raw, str) else Fraction(raw)
            off = abs(Fraction(price) - meant)
            assert off <= max(Fraction(1, 10**12), abs(meant) / 2**24)  # of a float of 64 bits, or of 32
            assert not off or (meant * 10**6).denominator != 1
        return True

    fuzz(part, field(PRICES), accepts)


SPREADSHEETS = re.compile(
    r"=\s*\"?\d+\"*|[\"'\u2018\u2019].*|\d+[.,]0*|[\d.,]+[eE][+-]?\d+|NULL|None|\\N|##+", re.ASCII | re.DOTALL
)


def is_storable(text: str) -> bool:
    text.encode()
    is_plain = SPREADSHEETS.fullmatch(text) is None
    return is_plain and "\0" not in text and len(text) <= 255 and text == text.strip()


@parts
@pytest.mark.fault(35, 36)
def test_any_phone_is_refused_or_has_one_format(part: int) -> None:
    def accepts(raw: Any) -> bool:
        phone = canonical(parse_phone, raw)
        if phone is MISSING:
            return False
        assert not isinstance(raw, bool)
        assert is_storable(phone)
        assert parse_phone(phone) == phone
        if re.fullmatch(r"\+7[0-9]{10}", phone):
            digits = phone[2:]
            spellings = [f"8{digits}", f"7{digits}", f"+7 ({digits[:3]}) {digits[3:6]}-{digits[6:8]}-{digits[8:]}"]
            assert {parse_phone(one) for one in [*spellings, int(spellings[0])]} == {phone}
        return True

    fuzz(part, field(PHONES), accepts)


@parts
@pytest.mark.fault(35, 36)
def test_any_code_is_refused_or_has_four_digits(part: int) -> None:
    def accepts(raw: Any) -> bool:
        code = canonical(parse_code, raw)
        if code is MISSING:
            return False
        assert not isinstance(raw, bool)
        assert is_storable(code)
        assert parse_code(code) == code
        if re.fullmatch(r"[0-9]+", code):
            assert len(code) >= 4
            assert parse_code(code.lstrip("0") or "0") == (code.lstrip("0").zfill(4))
        return True

    fuzz(part, field(CODES), accepts)


@parts
@pytest.mark.fault(43, 45, 46)
def test_any_status_is_refused_or_is_an_integer_of_every_database(part: int) -> None:
    def accepts(raw: Any) -> bool:
        status = canonical(parse_status, raw)
        if status is MISSING:
            return False
        assert status is None or type(status) is int
        assert parse_status(status) == status
        if status is not None:
            assert not isinstance(raw, str) or INVISIBLE.sub("", raw).strip().isascii()
            assert -(2**63) <= status < 2**63
            assert parse_status(str(status)) == parse_status(f"{status}.0") == status
        return True

    fuzz(part, field(STATUSES), accepts)


@parts
@pytest.mark.fault(35, 36)
def test_a_record_of_any_fields_is_refused_or_stable_when_read_again(part: int) -> None:
    makers = {
        "created_at": field(TIMES),
        "phone": field(PHONES),
        "code_auth": field(CODES),
        "status": field(STATUSES),
        "status_info": field([*PHONES, *CODES, *ODD]),
        "price": field(PRICES),
    }

    def make(random: Random) -> dict[str, Any]:
        good = {"created_at": TIMES[0], "phone": PHONES[0], "code_auth": "2371", "status": 1, "price": "0.2"}
        spoilt = random.sample(sorted(makers), random.randrange(4))
        return good | {name: makers[name](random) for name in spoilt}

    def accepts(fields: dict[str, Any]) -> bool:
        try:
            raw = raw_record(**fields)
            record = parse_record(raw, parse_time(raw.created_at, MOSCOW))
        except FieldError as refusal:
            assert_clean_message(refusal)
            return False
        record.status_info.encode()
        assert "\0" not in record.status_info
        assert parse_info(record.status_info) == record.status_info
        assert parse_record(raw_record(**record._asdict()), parse_time(record.created_at, MOSCOW)) == record
        return True

    fuzz(part, make, accepts)
