"""Personal data: phone numbers in texts and payloads, recognised, masked and removed. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from etl.spreadsheet import restore_key

MASK: Final = "***"
ERASED: Final = "forgotten"
"""The phone of an erased row."""
ERASED_MENTION: Final = "[forgotten]"
"""Replaces an erased number in another person's text."""
PHONE_PATTERN: Final = re.compile(
    r"(?<![\w.-])(?:\+?\d{10,15}|(?:\+7|8|7)[ (-]{1,2}\d{3}[ )-]{1,2}\d{3}[ -]?\d{2}[ -]?\d{2}"
    r"|\+[1-9](?:[ ()-]{0,2}\d){9,14})(?![\w-]|\.\d)"
)
"""Isolated runs of 10 to 15 digits, Russian numbers with brackets and dashes, and numbers with a plus sign. No date or
amount has such a format."""
_NUMBER: Final = re.compile(
    r"((?:19|20)\d\d-[01]\d-[0-3]\d|[0-3]\d\.[01]\d\.20\d\d)|\d(?:[\s()\[\]./\u2010-\u2015\u2212-]{0,3}\d){6,}"
)
"""A date (group 1, to be kept), or seven digits or more with any punctuation between them."""
_PUNCTUATION: Final = r"[\s()\[\]./\u2010-\u2015\u2212-]{0,3}"
_AROUND: Final = re.compile(r"^[^\d+]+|\D+$")
MIN_MENTION_DIGITS: Final = 7
"""Digits of a number to search for in texts: 200 would match every "SIP 200 OK"."""
_VISIBLE_PREFIX, _VISIBLE_SUFFIX = 4, 2
_FULL_LENGTH: Final = 11

FieldRedactor = Callable[[Any], Any]
"""Replaces the value of one field."""
_ERASED_FIELDS: Final[dict[str, FieldRedactor]] = {
    "phone": lambda _raw: ERASED,
    "code_auth": lambda _raw: "",
    "status_info": lambda _raw: "",
}


def redact_phones(text: str) -> str:
    """Replace everything in the format of a phone number by stars."""
    return PHONE_PATTERN.sub(MASK, text)


def redact_numbers(text: str) -> str:
    """Replace every run of seven digits or more, but no date, by stars: more than `redact_phones` does."""
    return _NUMBER.sub(lambda match: match[1] or MASK, text)


def mask_phone(phone: str) -> str:
    """Mask a phone: `+79243555100` becomes `+7924*****00` (country, DEF code and the last two digits).

    Of fewer than eleven digits only the last two are visible, of fewer than seven none. Other characters are kept.
    """
    count = sum(map(str.isdigit, phone))
    prefix = _VISIBLE_PREFIX if count >= _FULL_LENGTH else 0
    suffix_start = count - _VISIBLE_SUFFIX if count >= MIN_MENTION_DIGITS else count
    masked = []
    seen = 0
    for character in phone:
        if character.isdigit():
            seen += 1
            masked.append(character if seen <= prefix or seen > suffix_start else "*")
        else:
            masked.append(character)
    return "".join(masked)


class PhoneNumber:
    """A phone number, recognised in any spelling.

    Args:
        canonical: The result of `parse_phone`.
    """

    def __init__(self, canonical: str) -> None:
        digits = re.sub(r"\D", "", canonical)
        russian = re.fullmatch(r"\+7\d{10}", canonical, re.ASCII) is not None
        self.digits = digits[1:] if russian else digits
        prefix = rf"(?:(?:\+?7|8){_PUNCTUATION})?" if russian else r"\+?"
        self._pattern = re.compile(rf"(?<!\d){prefix}{_PUNCTUATION.join(self.digits)}(?!\d)")

    def matches(self, phone: Any) -> bool:
        """Whether a value is this number and nothing else, also after a spreadsheet has changed its format."""
        text = restore_key(str(phone).strip()) or str(phone)
        return self._pattern.fullmatch(_AROUND.sub("", text)) is not None

    def occurs_in(self, text: str) -> bool:
        """Whether the text contains the number; always false for a number shorter than MIN_MENTION_DIGITS."""
        return len(self.digits) >= MIN_MENTION_DIGITS and self._pattern.search(text) is not None

    def remove_from(self, text: str) -> str:
        """Replace the number in the text."""
        return self._pattern.sub(ERASED_MENTION, text) if self.occurs_in(text) else text


def redact_payload(
    payload: str, fields: Mapping[str, FieldRedactor], redact_text: Callable[[str], str] = redact_phones
) -> str:
    """Redact the JSON text of a rejected record.

    Args:
        payload: JSON text from the vendor.
        fields: Redactors of single fields, by name.
        redact_text: Redacts all other values of an object. In a payload that is not an object the fields are unknown,
            and all digits are replaced.
    """
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return json.dumps(MASK)
    redacted = _redact(value, fields, redact_text if isinstance(value, dict) else _redact_digits)
    # Characters that came as escapes, because no database can store them, stay escapes.
    return json.dumps(redacted, sort_keys=True, ensure_ascii=payload.isascii())


def erase_payload(payload: str) -> str:
    """The JSON text of a rejected record without the person: no phone, no code, no description, no number in a text."""
    return redact_payload(payload, _ERASED_FIELDS, redact_numbers)


def _redact(value: Any, fields: Mapping[str, FieldRedactor], redact_text: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {
            redact_text(name): _redact_field(item, fields[name])
            if name in fields
            else _redact(item, fields, redact_text)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_redact(item, fields, redact_text) for item in value]
    if value is None or isinstance(value, bool):
        return value
    redacted = redact_text(str(value))
    return value if redacted == str(value) else redacted


def _redact_field(value: Any, redact: FieldRedactor) -> Any:
    """Redact one field; the value of a field that is given twice is a list."""
    return list(map(redact, value)) if isinstance(value, list) else redact(value)


def _redact_digits(text: str) -> str:
    return re.sub(r"\d", "*", text)
