"""One canonical form for every way a field is spelled.

The forms accepted are those of the vendor's reference, its independent client and other Russian providers' exports.
A value that could be read two ways is not read at all: `FieldError`, and the record is quarantined with the reason.
"""

from __future__ import annotations

import re
import struct
from datetime import date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from etl.model import MISSING, Raw, RawRecord, Record, record_from_tuple
from etl.spreadsheet import is_no_value, restore_key

DECIMAL_PLACES: Final = Decimal("0.000001")
PRICE_DIGITS: Final = 12
"""What NUMERIC(18, 6) holds before the point."""
FLOAT_TOLERANCE_ABS: Final = Decimal("1e-12")
FLOAT_TOLERANCE_REL: Final = Decimal("1e-15")
"""How far a binary float of 64 bits may be from the decimal it was meant to be: some units in its last place."""
FLOAT32_DIGITS: Final = 7
"""Significant digits of a decimal that a binary float of 32 bits holds for certain."""
FLOAT32_EVIDENCE: Final = 9
"""Significant digits that identify one float of 32 bits: a price of fewer is not shown to be one."""
MAX_KEY_LENGTH: Final = 255
"""Characters of a phone or code: the longest that every database can index."""
STATUS_LIMIT: Final = 2**63
CODE_DIGITS: Final = 4

DOCUMENTED_TIME: Final = r"\d{4}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
DOCUMENTED_PHONE: Final = r"[78]\d{10}"
DOCUMENTED_CODE: Final = rf"\d{{{CODE_DIGITS}}}"
"""Patterns, for ASCII digits, of the spellings that the parsers read without looking further."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_DOCUMENTED_TIME = re.compile(DOCUMENTED_TIME, re.ASCII)
_ISO_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:[.,]\d+)?[ ]?(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)
_RUSSIAN_TIME = re.compile(r"(\d\d)\.(\d\d)\.(\d{4})[T ]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:[.,]\d+)?", re.ASCII)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_RUSSIAN_DATE = re.compile(r"(\d\d)\.(\d\d)\.(\d{4})", re.ASCII)
_OFFSET = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?)\Z", re.ASCII)
_DOCUMENTED_PHONE = re.compile(DOCUMENTED_PHONE, re.ASCII)
_RUSSIAN_PHONE = re.compile(r"(?:\+7|7|8)(\d{10})|(9\d{9})", re.ASCII)
_PHONE_PUNCTUATION = re.compile(r"[\s()\[\]\-\u2010-\u2015\u2212]")
_INTEGER = re.compile(r"([+-]?\d{1,19})(?:\.0+)?", re.ASCII)
_PRICE = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:[ \u00a0\u202f]\d{3})+)(?:[.,]\d+)?(?:[eE][+-]?\d{1,4})?", re.ASCII)
_TWO_READINGS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_GROUPED_CODE = re.compile(r"[1-9]\d{0,2}(?:[ \u00a0\u202f]\d{3})+", re.ASCII)
_THOUSANDS = str.maketrans("", "", " \u00a0\u202f")
_WORDS_FOR_STATUS: Final = {"true": 1, "false": 0}


class FieldError(ValueError):
    """A field cannot be what it must be. The text names the field and the trouble, never the value."""


class CorruptKey(FieldError):
    """A phone or code whose digits a spreadsheet has lost: its whole source cannot be trusted."""


def parse_record(raw: RawRecord, time: str) -> Record:
    """Give one raw record its canonical form.

    Args:
        raw: As the source spelled it.
        time: Its `created_at`, normalised.

    Raises:
        FieldError: It has no valid price, or a field is of a kind that cannot be read.
    """
    try:
        return record_from_tuple(
            (
                time,
                parse_phone(raw.phone),
                parse_code(raw.code_auth),
                parse_status(raw.status),
                parse_info(raw.status_info),
                parse_price(raw.price),
            )
        )
    except TypeError:
        # The caches below cannot remember lists and objects, and no field may be one.
        raise FieldError("a field is a list or an object") from None


def parse_time(raw: Raw, zone: tzinfo) -> str:
    """`YYYY-MM-DD HH:MM:SS` in the vendor's wall clock; fractions of a second are cut off.

    Args:
        raw: As the source spelled it.
        zone: Of the vendor's wall clock; only a time that carries an offset of its own is turned into it.

    Raises:
        FieldError: It is no valid time, or in no known form of one.

    Source: the vendor's reference shows `2021-12-29T14:06:51`; the other forms are assumed.
    """
    if not isinstance(raw, str):
        raise FieldError("created_at is missing" if raw is None or raw is MISSING else "created_at is not a text")
    if _DOCUMENTED_TIME.fullmatch(raw) and is_valid_date(raw[:10]):
        return raw.replace("T", " ")
    day, time, offset = _time_from_text(raw)
    return f"{day} {time}" if offset is None else str(_in_zone(day, time, offset, zone).replace(tzinfo=None))


def read_fold(raw: Raw, zone: tzinfo) -> int | None:
    """The reading of a time that the clock shows twice: 0 for the first, 1 for the second; None without an offset.

    Args:
        raw: As the source spelled it; `parse_time` can read it.
        zone: Of the vendor's wall clock.
    """
    day, time, offset = _time_from_text(raw)
    return None if offset is None else _in_zone(day, time, offset, zone).fold


def _time_from_text(raw: str) -> tuple[str, str, str | None]:
    """Date, time and offset as ISO 8601 writes them."""
    if match := _ISO_TIME.fullmatch(raw.strip()):
        day, time, offset = match.groups()
    elif match := _RUSSIAN_TIME.fullmatch(raw.strip()):
        day, time, offset = f"{match[3]}-{match[2]}-{match[1]}", match[4], None
    else:
        raise FieldError("created_at is in no known form of a time")
    if not is_valid_date(day):
        raise FieldError("created_at is no day of the calendar")
    return day, time, offset


def _in_zone(day: str, time: str, offset: str, zone: tzinfo) -> datetime:
    try:
        return datetime.fromisoformat(f"{day}T{time}{offset}").astimezone(zone)
    except (ValueError, OverflowError):
        raise FieldError("created_at carries an impossible offset") from None


def day_if_readable(raw: Raw) -> date | None:
    """The day a record says it belongs to, even where its time of day is broken; None where it says none."""
    if not isinstance(raw, str):
        return None
    text = raw.strip()
    if match := _RUSSIAN_DATE.match(text):
        day = f"{match[3]}-{match[2]}-{match[1]}"
    elif match := _ISO_DATE.match(text):
        day = match[0]
    else:
        return None
    # With an offset it may be another day of the wall clock.
    return date.fromisoformat(day) if is_valid_date(day) and not _OFFSET.search(text, match.end()) else None


def parse_phone(raw: Raw) -> str:
    """`+7XXXXXXXXXX` for a Russian number however it is spelled, any other as given and trimmed.

    Raises:
        CorruptKey: A spreadsheet has lost its digits.

    Source: the vendor's reference shows `8…` in billing and `7…` elsewhere; the rest is assumed.
    """
    if isinstance(raw, str) and _DOCUMENTED_PHONE.fullmatch(raw):
        return russian_phone(raw)
    text = _trimmed(raw, "phone")
    phone = _find_russian(text)
    if phone is None:
        text = _restored(text, "phone")
        phone = _find_russian(text)
    return text if phone is None else phone


def _find_russian(text: str) -> str | None:
    match = _RUSSIAN_PHONE.fullmatch(_PHONE_PUNCTUATION.sub("", text))
    return f"+7{match[1] or match[2]}" if match else None


def russian_phone(documented: str) -> str:
    """`+7XXXXXXXXXX` of a phone in documented form."""
    return "+7" + documented[1:]


# The caches: codes, states and prices come from small vocabularies, and a look-up is cheaper than a rule.
# Typed, because True and 1 are equal and are not the same price.


def parse_code(raw: Raw) -> str:
    """The code as text, leading zeros that a spreadsheet lost restored to four digits; no code is the empty text.

    Raises:
        CorruptKey: A spreadsheet has lost its digits.

    Source: the vendor's reference shows four digits in a text; null, numbers and spaces between thousands are assumed.
    """
    return _code_from_text(_as_written(raw))


@lru_cache(maxsize=16384, typed=True)
def _code_from_text(raw: Raw) -> str:
    text = _restored(_trimmed(raw, "code_auth"), "code_auth")
    if _GROUPED_CODE.fullmatch(text):
        text = text.translate(_THOUSANDS)
    return text.zfill(CODE_DIGITS) if text.isdecimal() and text.isascii() else text


def parse_status(raw: Raw) -> int | None:
    """An integer; booleans and numeric texts are one; null, a word for it and a lacking field are None.

    Source: an integer in the vendor's reference, a boolean in the independent client.
    """
    return _status_from_text(_as_written(raw))


@lru_cache(maxsize=1024, typed=True)
def _status_from_text(raw: Raw) -> int | None:
    if raw is None or raw is MISSING:
        return None
    text = str(raw).strip()
    if not text or is_no_value(text):
        return None
    text = text.lower()
    if text in _WORDS_FOR_STATUS:
        return _WORDS_FOR_STATUS[text]
    if (match := _INTEGER.fullmatch(text)) and -STATUS_LIMIT <= int(match[1]) < STATUS_LIMIT:
        return int(match[1])
    raise FieldError("status is not an integer")


def parse_info(raw: Raw) -> str:
    """Free text, kept as it is but for what no database can hold; null and a word for it are the empty text."""
    if raw is None or raw is MISSING:
        return ""
    if isinstance(raw, dict | list):
        raise FieldError("a field is a list or an object")
    text = str(raw)
    return "" if is_no_value(text) else sanitise_text(text)


@lru_cache(maxsize=4096, typed=True)
def parse_price(raw: Raw) -> Decimal:
    """Money to six decimal places, exactly; the noise of a binary float is rounded away.

    The point is the decimal sign of the reference. A comma is one too where it cannot stand between thousands:
    `1,234` is refused, `0,234`, `1,23` and `1 234,500` are read.

    Source: a JSON number in the vendor's reference; texts and the decimal comma are assumed.
    """
    if raw is None or raw is MISSING or raw == "":
        raise FieldError("price is missing")
    if isinstance(raw, bool):
        raise FieldError("price is not a number")
    try:
        if isinstance(raw, str):
            text = raw.strip()
            if not _PRICE.fullmatch(text):
                raise FieldError("price is not a number")
            if _TWO_READINGS.fullmatch(text):
                raise FieldError("price has a comma that may be a decimal sign or stand between thousands")
            raw = text.translate(_THOUSANDS).replace(",", ".")
        price = Decimal(raw)
    except InvalidOperation:
        raise FieldError("price is not a number") from None
    # By its exponent: arithmetic itself would overflow on a number as absurd as 1e9999999.
    if not price.is_finite() or (price and price.adjusted() >= PRICE_DIGITS):
        raise FieldError("price has more than twelve digits before the point")
    exact = _without_noise(price)
    if exact is None:
        raise FieldError("price has more than six decimal places")
    if exact.adjusted() >= PRICE_DIGITS:
        raise FieldError("price has more than twelve digits before the point")
    return exact + 0  # -0 is 0


def _without_noise(price: Decimal) -> Decimal | None:
    """A price to six decimal places; None where more of them are real.

    A price of up to six places is kept as it is. One of more is the decimal that a binary float was made of: of 64
    bits where it is as near as those are, of 32 bits where it is, to its last digit, what such a float holds of a
    decimal of seven digits.
    """
    exact = price.quantize(DECIMAL_PLACES)
    if abs(price - exact) <= max(FLOAT_TOLERANCE_ABS, abs(price) * FLOAT_TOLERANCE_REL):
        return exact
    # Equal prices are one, however many zeros they end in.
    digits, exponent = price.normalize().as_tuple()[1:]
    if len(digits) < FLOAT32_EVIDENCE or not isinstance(exponent, int):
        return None
    places = min(6, max(0, FLOAT32_DIGITS - 1 - price.adjusted()))
    meant = price.quantize(Decimal(1).scaleb(-places))
    held = Decimal(struct.unpack("f", struct.pack("f", meant))[0])
    is_held = abs(held - price) <= Decimal(5).scaleb(exponent - 1)
    return meant.quantize(DECIMAL_PLACES) if meant and is_held else None


def _as_written(raw: Raw) -> Raw:
    """A decimal as text: equal ones differ in the digits that they show, and a cache would take one for the other."""
    return str(raw) if isinstance(raw, Decimal) else raw


def _trimmed(raw: Raw, name: str) -> str:
    if isinstance(raw, str):
        return sanitise_text(raw).strip()
    if raw is None or raw is MISSING:
        return ""
    if isinstance(raw, bool | dict | list):
        raise FieldError(f"{name} is neither a text nor a number")
    return str(raw)


def _restored(text: str, name: str) -> str:
    key = restore_key(text)
    if key is None:
        raise CorruptKey(f"a spreadsheet has changed a {name} beyond recovery: a rounded number or an error")
    if len(key) > MAX_KEY_LENGTH:
        raise FieldError(f"{name} is longer than {MAX_KEY_LENGTH} characters")
    return key


def sanitise_text(text: str) -> str:
    """The text with U+FFFD for what some database cannot hold.

    PostgreSQL refuses U+0000 and every driver a lone surrogate: one rule for all, before anything is compared.
    """
    return _UNSTORABLE.sub("\ufffd", text) if _UNSTORABLE.search(text) else text


@lru_cache(maxsize=4096)
def is_valid_date(text: str) -> bool:
    """Whether `YYYY-MM-DD` is a day of the calendar."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
