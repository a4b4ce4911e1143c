"""Restore phones and codes that a spreadsheet or a table export has changed. Pure.

Excel, LibreOffice and pandas may write a key with a text guard (`="0042"`, `'0042`) or as a number (`42.0`,
`8.99900011E+10`). The key is restored if every digit is certain. If digits are lost, all keys of the file are
unreliable, and the caller rejects the source.

Source: the output of these programs; that the vendor's answers contain such keys is assumed.
"""

from __future__ import annotations

import re
from typing import Final

NO_VALUE: Final = frozenset({"NULL", "Null", "null", "None", r"\N", "NaN", "nan"})
"""Texts that databases (`\\N` of PostgreSQL and MySQL), Python and pandas write for null. `n/a`, `none` and `-` are not
among them, because people type those."""

ROUNDED_DIGITS: Final = 8
"""Maximum significant digits of a rounded number: 6 in a General cell, 3 in format `0.00E+00`, 7 from printf's `%e`, 8
from a 32-bit float. A longer mantissa counts as exact (assumed)."""

EXACT_DIGITS: Final = 15
"""Digits of an integer that a spreadsheet cell and a 64-bit float represent exactly."""

_MAX_GUARDS: Final = 4
"""Nested guards around a key: each program adds at most one."""
_MAY_BE_CHANGED: Final = re.compile(r"[A-Za-z=#\"'\u2018\u2019\u201c\u201d.,\\]")
_GUARDED: Final = re.compile(
    r"=\s*\"([^\"]*)\"*|=\s*([+-]?\d[\d.,]*(?:[eE][+-]?\d+)?)\"*"
    r"|[\"\u201c\u201d](.*?)[\"\u201c\u201d]?|['\u2018\u2019](.*?)['\u2018\u2019]?",
    re.ASCII | re.DOTALL,
)
"""A formula of one text or number, or a text in quotes; a malformed CSV may have lost or doubled a quote."""
_NUMBER: Final = re.compile(
    r"([+-]?)(\d+|\d{1,3}(?:[ \u00a0\u202f]\d{3})+)(?:[.,](\d*))?(?:[eE]([+-]?\d{1,3}))?", re.ASCII
)
_SCIENTIFIC: Final = re.compile(r"[+-]?[\d.,][\d \u00a0\u202f.,]*[eE][+-]?\d+", re.ASCII)
_LOST: Final = (
    re.compile(r"#{2,}|#(?:N/A|Н/Д|[A-ZА-ЯЁ]+(?:/0)?[!?])"),  # too narrow column, error value
    re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+", re.ASCII),  # 1,000 is one or a thousand
)


def is_no_value(text: str) -> bool:
    """Whether a text means null."""
    return text.strip() in NO_VALUE


def restore_key(text: str) -> str | None:
    """Restore a phone or code.

    Args:
        text: The key, trimmed.

    Returns:
        The original key; the empty text for a null; None if digits are lost or uncertain.
    """
    if not _MAY_BE_CHANGED.search(text):
        return text
    bare = without_guards(text)
    if bare is None or any(pattern.fullmatch(bare) for pattern in _LOST):
        return None
    if bare in NO_VALUE:
        return ""
    if _SCIENTIFIC.fullmatch(bare):
        return _exact_integer(bare)
    return _without_fraction(bare)


def without_guards(text: str) -> str | None:
    """Remove a spreadsheet's text guards, `="…"` and `'…`, from a trimmed value; None if there are too many."""
    for _ in range(_MAX_GUARDS):
        match = _GUARDED.fullmatch(text)
        if match is None or match.lastindex is None:
            return text
        text = match[match.lastindex].strip()
    return None


def _without_fraction(text: str) -> str | None:
    """Convert `42.0` to `42`; any other text is unchanged. None if the integer has too many digits to be exact."""
    match = _NUMBER.fullmatch(text)
    if match is None or match[3] is None or match[3].strip("0"):
        return text
    digits = "".join(match[2].split())
    return None if len(digits.lstrip("0")) > EXACT_DIGITS else match[1] + digits


def _exact_integer(text: str) -> str | None:
    """The integer of a number in scientific notation; None if it may have been rounded.

    It is exact if the mantissa has all digits of the integer, or more than ROUNDED_DIGITS. In the second case trailing
    zeros were dropped. A mantissa that still ends in zero has a fixed number of decimals and may have been rounded.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, integer, fraction, exponent = match.groups(default="")
    integer = "".join(integer.split())
    written = (integer + fraction).lstrip("0")
    length = len(written) - len(fraction) + int(exponent)
    if not written:
        return "0"
    if len(written.rstrip("0")) > length or length > EXACT_DIGITS:
        return None
    if len(written) >= length:
        return sign + written[:length]
    if len(written) > ROUNDED_DIGITS and not written.endswith("0"):
        return sign + written.ljust(length, "0")
    return None
