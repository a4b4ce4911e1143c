"""Records as CSV: RFC 4180 in UTF-8, safe to open in a spreadsheet.

A spreadsheet evaluates a text cell that starts like a formula. Such a text is prefixed with an apostrophe, and so is a
text that starts with an apostrophe, so that `unescape` restores every text exactly.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import methodcaller
from typing import Any, BinaryIO, Final

from etl.reports.columns import COLUMNS, ColumnType

_SAFE_TEXT: Final = re.compile(r"\w[^;\t\r\n]*")
_AFTER_SEPARATOR: Final = re.compile(r"(?<=[;\t\r\n])")
_LEADING_APOSTROPHE: Final = re.compile(r"(?:^|(?<=[;\t\r\n]))'")
_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
_CANONICAL_PHONE: Final = re.compile(r"\+\d+", re.ASCII)
CACHE_SIZE: Final = 1 << 12
"""Cached texts: the vendor has few distinct ones."""


@lru_cache(CACHE_SIZE)
def escape_formula(text: str) -> str:
    """Prefix a text with an apostrophe where a spreadsheet may evaluate it as a formula.

    That is a text that starts with TAB, CR or LF, or whose first visible character is one of `= + - @` or a full-width
    form of one. The same applies to each part after a semicolon, TAB or line end: a spreadsheet that uses one of these
    as the separator, as it does where the comma is the decimal separator, splits the text there.
    """
    if not text or _SAFE_TEXT.fullmatch(text):
        return text
    return "".join(f"'{part}" if _looks_like_formula(part) else part for part in _AFTER_SEPARATOR.split(text))


def _looks_like_formula(part: str) -> bool:
    if part[:1] in {"'", "\t", "\r", "\n"}:
        return True
    visible = (character for character in part if unicodedata.category(character) not in _INVISIBLE_CATEGORIES)
    return unicodedata.normalize("NFKC", next(visible, ""))[:1] in {"=", "+", "-", "@"}


def unescape(cell: str) -> str:
    """Restore the text of a cell."""
    return _LEADING_APOSTROPHE.sub("", cell)


def phone_cell(phone: str) -> str:
    """Escape a phone like any text, except `+` and digits: a spreadsheet can only read that as the number itself."""
    return phone if _CANONICAL_PHONE.fullmatch(phone) else escape_formula(phone)


_FORMATS: Final[dict[ColumnType, Callable[[Any], Any]]] = {
    ColumnType.LABEL: escape_formula,
    ColumnType.TEXT: escape_formula,
    ColumnType.PHONE: phone_cell,
    ColumnType.WALL_CLOCK: str,
    ColumnType.SECOND_UTC: str,
    ColumnType.MICROSECOND_UTC: methodcaller("isoformat", " ", "microseconds"),
    ColumnType.DAY: str,
    ColumnType.NUMBER: int,
    ColumnType.PRICE: "{:.6f}".format,
    ColumnType.AMOUNT: "{:.6f}".format,
    ColumnType.FLAG: {False: "false", True: "true"}.__getitem__,
}


def write_csv(file: BinaryIO, batches: Iterable[Sequence[Sequence[Any]]]) -> int:
    """Write a header and all rows.

    Args:
        file: Left open.
        batches: Rows of COLUMNS.

    Returns:
        The number of rows.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    count = 0
    try:
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for batch in batches:
            columns = zip(COLUMNS.values(), zip(*batch, strict=True), strict=True)
            writer.writerows(zip(*(_cells(column_type, values) for column_type, values in columns), strict=True))
            count += len(batch)
        text.flush()
    finally:
        text.detach()
    return count


def _cells(column_type: ColumnType, values: Sequence[Any]) -> list[Any]:
    format_cell = _FORMATS[column_type]
    return [None if value is None else format_cell(value) for value in values]
