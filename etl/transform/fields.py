"""Parsers of the fields: one for each field, for every spelling.

The accepted spellings are those of the vendor's reference, of its independent client and of exports of other Russian
providers. An ambiguous value is an error: the parser raises FieldError, and the record is quarantined with the reason.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from etl.model import MISSING, Raw, RawRecord, Record, record_from_tuple
from etl.spreadsheet import is_no_value, restore_key, without_guards
from etl.timestamps import TimeParts, is_valid_date, leading_date, split_time

DECIMAL_PLACES: Final = Decimal("0.000001")
PRICE_DIGITS: Final = 12
"""Digits before the decimal point of NUMERIC(18, 6)."""
FLOAT_TOLERANCE_ABS: Final = Decimal("1e-12")
FLOAT_TOLERANCE_REL: Final = Decimal("1e-15")
"""Maximum distance of a 64-bit float from the decimal it represents: a few units in the last place."""
FLOAT32_DIGITS: Final = 7
"""Significant decimal digits that a 32-bit float represents reliably."""
FLOAT32_EVIDENCE: Final = 9
"""Significant digits that identify a 32-bit float: a price with fewer is not recognised as one."""
MAX_KEY_LENGTH: Final = 255
"""Characters of a phone or code that every database can index."""
STATUS_LIMIT: Final = 2**63
CODE_DIGITS: Final = 4

DOCUMENTED_TIME: Final = r"\d{4}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
DOCUMENTED_PHONE: Final = r"[78]\d{10}"
DOCUMENTED_CODE: Final = rf"\d{{{CODE_DIGITS}}}"
"""Patterns of the documented spellings, for ASCII digits: parsed on a fast path."""

_INVISIBLE_CHARACTERS: Final = r"\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
"""Zero-width spaces and joiners, soft hyphens, byte order marks, marks of the writing direction: text copied from pages
and messengers has them."""
_INVISIBLE = re.compile(rf"[{_INVISIBLE_CHARACTERS}]")
_MAY_BE_GUARDED = re.compile("[=\"'\u2018\u2019\u201c\u201d]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_DOCUMENTED_TIME = re.compile(DOCUMENTED_TIME, re.ASCII)
_DOCUMENTED_PHONE = re.compile(DOCUMENTED_PHONE, re.ASCII)
_RUSSIAN_PHONE = re.compile(r"(?:\+7|7|8)(\d{10})|(9\d{9})", re.ASCII)
_PHONE_PUNCTUATION = re.compile(r"[\s()\[\]\-\u2010-\u2015\u2212]")
_INTEGER = re.compile(r"([+-]?\d{1,19})(?:\.0+)?", re.ASCII)
_PRICE = re.compile(
    r"[+-]? ?(?:"
    r"\d*[.,]\d+|\d+"
    r"|\d{1,3}(?:[ '\u2019]\d{3})+(?:[.,]\d+)?"
    r"|\d{1,3}(?:,\d{3})+\.\d+|\d{1,3}(?:\.\d{3})+,\d+"
    r")(?:[eE][+-]?\d{1,4})?",
    re.ASCII,
)
_CURRENCY = re.compile(r"\s*(?:₽|руб\.?|р\.|RUB|RUR)\Z", re.IGNORECASE)
_OTHER_NEGATIVE = re.compile(r"\(([^()+-]+)\)|([^()+-]+)-")
"""The negative amounts of accountants, `(0.20)` and `0.20-`."""
_AMBIGUOUS_COMMA = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_AMBIGUOUS_POINT = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}", re.ASCII)
_DECIMAL_COMMA = re.compile(r".*,\d+", re.ASCII)
_GROUPED_CODE = re.compile(r"[1-9]\d{0,2}(?:[ \u00a0\u202f]\d{3})+", re.ASCII)
_THOUSANDS = str.maketrans("", "", " \u00a0\u202f")
_NUMBER_CHARACTERS = str.maketrans({"\u2212": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " "})
_STATUS_WORDS: Final = {"true": 1, "false": 0}


class FieldError(ValueError):
    """A field is invalid. The message names the field and the problem, never the value."""


class CorruptKey(FieldError):
    """A phone or code with digits lost by a spreadsheet: the whole source is unreliable."""


def parse_record(raw: RawRecord, time: str) -> Record:
    """Parse a raw record.

    Args:
        raw: The record as the source spells it.
        time: Its parsed `created_at`.

    Raises:
        FieldError: A field is invalid.
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
        # The cached parsers cannot hash lists and objects.
        raise FieldError("a field is a list or an object") from None


def parse_time(raw: Raw, zone: tzinfo) -> str:
    """Parse a time to `YYYY-MM-DD HH:MM:SS` in the vendor's wall clock; fractions of a second are cut off.

    Args:
        raw: The time as the source spells it.
        zone: The zone of the vendor's wall clock, to which a time with an offset is converted.

    Raises:
        FieldError: The time is missing, invalid or in an unknown format.

    Source: `timestamps`.
    """
    if not isinstance(raw, str):
        raise FieldError("created_at is missing" if raw is None or raw is MISSING else "created_at is not a text")
    if _DOCUMENTED_TIME.fullmatch(raw) and is_valid_date(raw[:10]):
        return raw.replace("T", " ")
    parts = _time_from_text(raw)
    return f"{parts.day} {parts.clock}" if parts.offset is None else str(_in_zone(parts, zone).replace(tzinfo=None))


def read_fold(raw: Raw, zone: tzinfo) -> int | None:
    """Return `datetime.fold` of a time with an offset, 0 or 1; None without an offset.

    Args:
        raw: The time as the source spells it; `parse_time` accepts it.
        zone: The zone of the vendor's wall clock.
    """
    parts = _time_from_text(raw)
    return None if parts.offset is None else _in_zone(parts, zone).fold


def _time_from_text(raw: str) -> TimeParts:
    """Split a time into its parts, whose day is a valid date."""
    parts = split_time(trim(raw))
    if parts is None:
        raise FieldError("created_at has an unknown time format")
    if not is_valid_date(parts.day):
        raise FieldError("created_at is not a valid date")
    return parts


def _in_zone(parts: TimeParts, zone: tzinfo) -> datetime:
    try:
        return datetime.fromisoformat(f"{parts.day}T{parts.clock}{parts.offset}").astimezone(zone)
    except (ValueError, OverflowError):
        raise FieldError("created_at carries an impossible offset") from None


def day_if_readable(raw: Raw) -> date | None:
    """Return the day of a `created_at`, even if its time of day is invalid; None if the day is unreadable."""
    if not isinstance(raw, str):
        return None
    return leading_date(trim(raw))


def parse_phone(raw: Raw) -> str:
    """Parse a phone: Russian numbers to `+7XXXXXXXXXX`, others unchanged but trimmed.

    Raises:
        CorruptKey: A spreadsheet has lost digits.
        FieldError: The field is missing, or its value is neither text nor number, or too long.

    Source: the vendor's reference shows `8…` in billing and `7…` elsewhere; other spellings are assumed, and that a
    record without a phone has an empty one.
    """
    if raw is MISSING:
        raise FieldError("phone is missing")
    if isinstance(raw, str) and _DOCUMENTED_PHONE.fullmatch(raw):
        return russian_phone(raw)
    text = _INVISIBLE.sub("", _ascii_digits(_trimmed(raw, "phone"))).strip().removeprefix("tel:")
    phone = _find_russian(text)
    if phone is None:
        text = _restored(text, "phone")
        phone = _find_russian(text)
    return text if phone is None else phone


def _find_russian(text: str) -> str | None:
    if text.count(".") > 1:  # with a single one, it is a float
        text = text.replace(".", "")
    match = _RUSSIAN_PHONE.fullmatch(_PHONE_PUNCTUATION.sub("", text))
    return f"+7{match[1] or match[2]}" if match else None


def _ascii_digits(text: str) -> str:
    """Replace the decimal digits of other scripts, and full-width ones."""
    return text if text.isascii() else "".join(str(unicodedata.decimal(character, character)) for character in text)


def russian_phone(documented: str) -> str:
    """Convert a phone in the documented format to `+7XXXXXXXXXX`."""
    return "+7" + documented[1:]


# Codes, statuses and prices have few distinct values, so their parsers are cached. The caches are typed, because True
# equals 1 and is not a price.


def parse_code(raw: Raw) -> str:
    """Parse a code to text, padded with zeros to four digits if numeric; empty text without a code.

    Raises:
        CorruptKey: A spreadsheet has lost digits.
        FieldError: The field is missing, or its value is neither text nor number, or too long.

    Source: the vendor's reference shows four digits in a text; null, numbers and spaces between thousands are assumed.
    """
    if raw is MISSING:
        raise FieldError("code_auth is missing")
    return _code_from_text(_as_written(raw))


@lru_cache(maxsize=16384, typed=True)
def _code_from_text(raw: Raw) -> str:
    text = _restored(_trimmed(raw, "code_auth"), "code_auth")
    visible = _ascii_digits(trim(text))
    if _GROUPED_CODE.fullmatch(visible):
        visible = visible.translate(_THOUSANDS)
    return visible.zfill(CODE_DIGITS) if visible.isdecimal() and visible.isascii() else text


def parse_status(raw: Raw) -> int | None:
    """Parse a status to an integer; null, a word for it and a missing field are None.

    Raises:
        FieldError: It is not an integer of 64 bits, a boolean or their text.

    Source: an integer in the vendor's reference, a boolean in the independent client.
    """
    return _status_from_text(_as_written(raw))


@lru_cache(maxsize=1024, typed=True)
def _status_from_text(raw: Raw) -> int | None:
    if raw is None or raw is MISSING:
        return None
    text = trim(str(raw))
    if not text or is_no_value(text):
        return None
    text = text.lower()
    if text in _STATUS_WORDS:
        return _STATUS_WORDS[text]
    if (match := _INTEGER.fullmatch(text)) and -STATUS_LIMIT <= int(match[1]) < STATUS_LIMIT:
        return int(match[1])
    raise FieldError("status is not an integer")


def parse_info(raw: Raw) -> str:
    """Parse the free text; null is the empty text.

    Only a spreadsheet's formula around it is removed, and characters that a database cannot store are replaced.
    """
    if raw is None or raw is MISSING:
        return ""
    if isinstance(raw, dict | list):
        raise FieldError("a field is a list or an object")
    text = str(raw).lower() if isinstance(raw, bool) else str(raw)
    bare = without_guards(text) if text.startswith('="') else None
    text = text if bare is None else bare
    return "" if is_no_value(text) else sanitise_text(text)


@lru_cache(maxsize=4096, typed=True)
def parse_price(raw: Raw) -> Decimal:
    """Parse a price to exactly six decimal places; the rounding error of a binary float is removed.

    The decimal separator is a point, or a comma that cannot be a thousands separator: `0,234`, `1,23`, `1 234,500` and
    `1.234,50` are accepted, `1,234` is an error.

    Raises:
        FieldError: It is missing, ambiguous, not a number, or has too many digits.

    Source: a JSON number in the vendor's reference; texts are assumed, in the formats of spreadsheets and exports.
    """
    if raw is None or raw is MISSING or raw == "":
        raise FieldError("price is missing")
    if isinstance(raw, bool):
        raise FieldError("price is not a number")
    try:
        if isinstance(raw, str):
            text = _plain_number(raw)
            if not _PRICE.fullmatch(text):
                raise FieldError("price is not a number")
            if _AMBIGUOUS_COMMA.fullmatch(text):
                raise FieldError("price has a comma that may be a decimal sign or stand between thousands")
            integer, sign, fraction = _split_at_decimal_sign(text)
            raw = re.sub("[ ,.'\u2019]", "", integer) + ("." if sign else "") + fraction
        price = Decimal(raw)
    except InvalidOperation:
        raise FieldError("price is not a number") from None
    # Check the exponent first: arithmetic would overflow on 1e9999999.
    if not price.is_finite() or (price and price.adjusted() >= PRICE_DIGITS):
        raise FieldError("price has more than twelve digits before the point")
    exact = _without_float_error(price)
    if exact is None:
        raise FieldError("price has more than six decimal places")
    if exact.adjusted() >= PRICE_DIGITS:
        raise FieldError("price has more than twelve digits before the point")
    return exact + 0  # -0 is 0


def _plain_number(raw: str) -> str:
    """The trimmed text of a price, without the word for roubles, with an ASCII sign and ASCII spaces."""
    text = _CURRENCY.sub("", trim(raw)).translate(_NUMBER_CHARACTERS)
    match = _OTHER_NEGATIVE.fullmatch(text)
    return f"-{match[1] or match[2]}" if match else text


def _split_at_decimal_sign(text: str) -> tuple[str, str, str]:
    """Split a number at its last point or comma."""
    return text.rpartition(max(".,", key=text.rfind)) if {".", ","}.intersection(text) else (text, "", "")


class DecimalSigns:
    """The decimal signs of the prices of a feed, which may make a price ambiguous."""

    def __init__(self) -> None:
        self._has_comma = self._has_ambiguous_point = False

    def add(self, prices: Iterable[Raw]) -> None:
        """Add the prices of a batch."""
        for text in map(_plain_number, {raw for raw in prices if isinstance(raw, str)}):
            self._has_comma = self._has_comma or _DECIMAL_COMMA.fullmatch(text) is not None
            self._has_ambiguous_point = self._has_ambiguous_point or _AMBIGUOUS_POINT.fullmatch(text) is not None

    @property
    def are_ambiguous(self) -> bool:
        """Whether there are prices such as `0,20` and `1.234`: the second may be a thousand."""
        return self._has_comma and self._has_ambiguous_point


def _without_float_error(price: Decimal) -> Decimal | None:
    """Round a price to six decimal places; None if further places are significant.

    A price with more than six places is accepted if it is the representation of a shorter decimal as a binary float: of
    64 bits within the tolerance, of 32 bits if it equals, to its last digit, the float nearest to a decimal of seven
    digits.
    """
    exact = price.quantize(DECIMAL_PLACES)
    if abs(price - exact) <= max(FLOAT_TOLERANCE_ABS, abs(price) * FLOAT_TOLERANCE_REL):
        return exact
    # Trailing zeros carry no information.
    digits, exponent = price.normalize().as_tuple()[1:]
    if len(digits) < FLOAT32_EVIDENCE or not isinstance(exponent, int):
        return None
    places = min(6, max(0, FLOAT32_DIGITS - 1 - price.adjusted()))
    decimal = price.quantize(Decimal(1).scaleb(-places))
    float32 = Decimal(struct.unpack("f", struct.pack("f", decimal))[0])
    is_float32 = abs(float32 - price) <= Decimal(5).scaleb(exponent - 1)
    return decimal.quantize(DECIMAL_PLACES) if decimal and is_float32 else None


def _as_written(raw: Raw) -> Raw:
    """Convert a Decimal to text, because equal Decimals with different digits share a cache entry."""
    return str(raw) if isinstance(raw, Decimal) else raw


def _trimmed(raw: Raw, name: str) -> str:
    if isinstance(raw, str):
        return sanitise_text(raw).strip()
    if raw is None or raw is MISSING:
        return ""
    if isinstance(raw, bool | dict | list):
        raise FieldError(f"{name} is neither a text nor a number")
    return str(raw)


def trim(text: str) -> str:
    """Strip a value other than free text: remove spaces and text guards around it, and invisible characters."""
    visible = _INVISIBLE.sub("", text).strip()
    bare = without_guards(visible) if _MAY_BE_GUARDED.match(visible) else None
    return visible if bare is None else bare


def _restored(text: str, name: str) -> str:
    key = restore_key(text)
    if key is None:
        raise CorruptKey(f"a spreadsheet has changed a {name} beyond recovery: a rounded number or an error")
    if len(key) > MAX_KEY_LENGTH:
        raise FieldError(f"{name} is longer than {MAX_KEY_LENGTH} characters")
    return key


def sanitise_text(text: str) -> str:
    """Replace characters that a database cannot store by U+FFFD.

    PostgreSQL refuses U+0000, and every driver refuses lone surrogates. The rule is the same for all databases.
    """
    return _UNSTORABLE.sub("\ufffd", text) if _UNSTORABLE.search(text) else text
