"""What in a text is about a person: how a phone number is found, told from others, masked and left out. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from etl.spreadsheet import restore_key

MASK: Final = "***"
ERASED: Final = "forgotten"
"""The phone of a row whose person was forgotten."""
ERASED_MENTION: Final = "[forgotten]"
"""What stands in another person's text where the number stood."""
PHONE_PATTERN: Final = re.compile(
    r"(?<![\w.-])(?:\+?\d{10,15}|(?:\+7|8|7)[ (-]{1,2}\d{3}[ )-]{1,2}\d{3}[ -]?\d{2}[ -]?\d{2}"
    r"|\+[1-9](?:[ ()-]{0,2}\d){9,14})(?![\w-]|\.\d)"
)
"""Long runs of digits that stand alone, Russian numbers with brackets and dashes, and any with a plus sign: no date or
amount looks so."""
_NUMBER: Final = re.compile(
    r"((?:19|20)\d\d-[01]\d-[0-3]\d|[0-3]\d\.[01]\d\.20\d\d)|\d(?:[\s()\[\]./\u2010-\u2015\u2212-]{0,3}\d){6,}"
)
"""A date, which stays, or anything that may be a number, however it is spelled and whatever it stands in."""
_PUNCTUATION: Final = r"[\s()\[\]./\u2010-\u2015\u2212-]{0,3}"
_AROUND: Final = re.compile(r"^[^\d+]+|\D+$")
MIN_MENTION_DIGITS: Final = 7
"""Digits of a number that is looked for within a text: 200 would be found in every "SIP 200 OK"."""
_KEPT_IN_FRONT, _KEPT_AT_END = 4, 2
_WHOLE_NUMBER: Final = 11

FieldRedactor = Callable[[Any], Any]


def redact_phones(text: str) -> str:
    """The text with stars for all that has the form of a phone number."""
    return PHONE_PATTERN.sub(MASK, text)


def redact_numbers(text: str) -> str:
    """The text with stars for all that may be a phone number: more than has the form of one, but no date."""
    return _NUMBER.sub(lambda match: match[1] or MASK, text)


def mask_phone(phone: str) -> str:
    """`+7924*****00` of `+79243555100`: country, DEF code and the last two digits.

    Of a number with fewer than eleven digits only the last two are shown, of one with fewer than seven none. What is no
    digit stays.
    """
    count = sum(map(str.isdigit, phone))
    front = _KEPT_IN_FRONT if count >= _WHOLE_NUMBER else 0
    end = count - _KEPT_AT_END if count >= MIN_MENTION_DIGITS else count
    masked = []
    seen = 0
    for character in phone:
        if character.isdigit():
            seen += 1
            masked.append(character if seen <= front or seen > end else "*")
        else:
            masked.append(character)
    return "".join(masked)


class PhoneNumber:
    """One phone number, recognised in any spelling.

    Args:
        canonical: As `parse_phone` gives it.
    """

    def __init__(self, canonical: str) -> None:
        digits = re.sub(r"\D", "", canonical)
        russian = re.fullmatch(r"\+7\d{10}", canonical, re.ASCII) is not None
        self.digits = digits[1:] if russian else digits
        prefix = rf"(?:(?:\+?7|8){_PUNCTUATION})?" if russian else r"\+?"
        self._pattern = re.compile(rf"(?<!\d){prefix}{_PUNCTUATION.join(self.digits)}(?!\d)")

    def matches(self, phone: Any) -> bool:
        """Whether this is the number, and nothing else, also where a spreadsheet touched it."""
        text = restore_key(str(phone).strip()) or str(phone)
        return self._pattern.fullmatch(_AROUND.sub("", text)) is not None

    def occurs_in(self, text: str) -> bool:
        """Whether the text mentions it; a short number is never looked for within a text."""
        return len(self.digits) >= MIN_MENTION_DIGITS and self._pattern.search(text) is not None

    def remove_from(self, text: str) -> str:
        """The text without it."""
        return self._pattern.sub(ERASED_MENTION, text) if self.occurs_in(text) else text


def redact_payload(
    payload: str, fields: Mapping[str, FieldRedactor], hide: Callable[[str], str] = redact_phones
) -> str:
    """The JSON text of a bad record, fit to be kept without what it says of a person.

    Args:
        payload: As the vendor sent it.
        fields: What becomes of the values under these names.
        hide: What becomes of all other values of an object. Of what is no object nobody knows where the phone and the
            code stand, so that all its digits are hidden.
    """
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return json.dumps(MASK)
    covered = _redact(value, fields, hide if isinstance(value, dict) else _hide_digits)
    # What came as escapes, because no database could hold it, stays escapes.
    return json.dumps(covered, sort_keys=True, ensure_ascii=payload.isascii())


def _redact(value: Any, fields: Mapping[str, FieldRedactor], hide: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {
            hide(name): _cover_field(part, fields[name]) if name in fields else _redact(part, fields, hide)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_redact(part, fields, hide) for part in value]
    if value is None or isinstance(value, bool):
        return value
    hidden = hide(str(value))
    return value if hidden == str(value) else hidden


def _cover_field(value: Any, cover: FieldRedactor) -> Any:
    """A field that is given twice has a list of values."""
    return list(map(cover, value)) if isinstance(value, list) else cover(value)


def _hide_digits(text: str) -> str:
    return re.sub(r"\d", "*", text)
