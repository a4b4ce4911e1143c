"""What spreadsheets and table exports do to a key, and how it is undone. Pure.

A phone or a code that passed through Excel, LibreOffice or pandas may carry a mark that keeps it a text (`="0042"`,
`'0042`), or have become a number (`42.0`, `8.99900011E+10`). Both are undone where every digit is certain. Where digits
are lost, all keys of the same file are in doubt: the caller refuses the source.

Source: the spellings are those that the programs named write; that the vendor's answers hold them is assumed.
"""

from __future__ import annotations

import re
from typing import Final

NO_VALUE: Final = frozenset({"NULL", "Null", "null", "None", r"\N", "NaN", "nan"})
"""Words that databases (`\\N` of PostgreSQL and MySQL), Python and pandas write for no value. `n/a`, `none` and `-` are
not among them: people write those."""

ROUNDED_DIGITS: Final = 8
"""Significant digits that a rounded number may show. A General cell shows 6 at the most, one of `0.00E+00` shows 3,
printf's `%e` writes 7, a binary float of 32 bits has 8. A mantissa of more digits is taken for exact (assumed)."""

EXACT_DIGITS: Final = 15
"""Digits of an integer that a spreadsheet's cell and a binary float of 64 bits hold exactly."""

_GUARDS_DEEP: Final = 4
"""Guards around one key; a cell that has more was not made by programs that each add one."""
_MAY_BE_TOUCHED: Final = re.compile(r"[A-Za-z=#\"'\u2018\u2019\u201c\u201d.,\\]")
_GUARDED: Final = re.compile(
    r"=\s*\"([^\"]*)\"*|=\s*([+-]?\d[\d.,]*(?:[eE][+-]?\d+)?)\"*"
    r"|[\"\u201c\u201d](.*?)[\"\u201c\u201d]?|['\u2018\u2019](.*?)['\u2018\u2019]?",
    re.ASCII | re.DOTALL,
)
"""A formula that is one text or number, or a text in quotes; a broken CSV may have lost or doubled a quote."""
_NUMBER: Final = re.compile(
    r"([+-]?)(\d+|\d{1,3}(?:[ \u00a0\u202f]\d{3})+)(?:[.,](\d*))?(?:[eE]([+-]?\d{1,3}))?", re.ASCII
)
_SCIENTIFIC: Final = re.compile(r"[+-]?[\d.,][\d \u00a0\u202f.,]*[eE][+-]?\d+", re.ASCII)
_LOST: Final = (
    re.compile(r"#{2,}|#(?:N/A|Н/Д|[A-ZА-ЯЁ]+(?:/0)?[!?])"),  # a column too narrow, an error value
    re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+", re.ASCII),  # 1,000 is one or a thousand
)


def is_no_value(text: str) -> bool:
    """Whether the whole of a text is a word for no value."""
    return text.strip() in NO_VALUE


def restore_key(text: str) -> str | None:
    """The text of a phone or code before a spreadsheet touched it.

    Args:
        text: Trimmed.

    Returns:
        The key as text; the empty text for a word that means no value; None where digits are lost or uncertain.
    """
    if not _MAY_BE_TOUCHED.search(text):
        return text
    bare = _without_guards(text)
    if bare is None or any(form.fullmatch(bare) for form in _LOST):
        return None
    if bare in NO_VALUE:
        return ""
    if _SCIENTIFIC.fullmatch(bare):
        return _exact_integer(bare)
    return _without_fraction(bare)


def _without_guards(text: str) -> str | None:
    for _ in range(_GUARDS_DEEP):
        match = _GUARDED.fullmatch(text)
        if match is None or match.lastindex is None:
            return text
        text = match[match.lastindex].strip()
    return None


def _without_fraction(text: str) -> str | None:
    """`42` of `42.0`; any text that is not an integer with a fraction of zeros is returned unchanged."""
    match = _NUMBER.fullmatch(text)
    if match is None or match[3] is None or match[3].strip("0"):
        return text
    digits = "".join(match[2].split())
    return None if len(digits.lstrip("0")) > EXACT_DIGITS else match[1] + digits


def _exact_integer(text: str) -> str | None:
    """The integer that a number in scientific notation stands for; None where it may have been rounded.

    It is exact where it shows as many digits as the integer has, or more digits than a rounded number shows. In the
    second case zeros were dropped from its end; a zero that is still there shows a fixed number of decimals instead,
    to which the number may have been rounded.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction, exponent = match.groups(default="")
    whole = "".join(whole.split())
    written = (whole + fraction).lstrip("0")
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
