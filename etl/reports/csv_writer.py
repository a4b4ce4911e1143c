"""Records as CSV: RFC 4180 in UTF-8, safe to open in a spreadsheet.

A spreadsheet evaluates a text cell that starts like a formula. Such a text is prefixed with an apostrophe, and so is a
text that starts with an apostrophe, so that `unescape` restores every text exactly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import BinaryIO, Final

from etl.reports.columns import COLUMNS, ColumnType

_SAFE_TEXT: Final = re.compile(r"\w[^;\t\r\n]*")
_AFTER_SEPARATOR: Final = re.compile(r"(?<=[;\t\r\n])")
_LEADING_APOSTROPHE: Final = re.compile(r"(?:^|(?<=[;\t\r\n]))'")
_NEEDS_QUOTES: Final = re.compile(r'[,"\r\n]')
_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
_CANONICAL_PHONE: Final = re.compile(r"\+\d+", re.ASCII)
CACHE_SIZE: Final = 1 << 14
"""Cached texts: the vendor has few distinct ones, and ten thousand codes."""


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


def quote(cell: str) -> str:
    """Quote a cell where RFC 4180 requires it."""
    return '"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell


_ESCAPES: Final[dict[ColumnType, Callable[[str], str]]] = {
    ColumnType.LABEL: escape_formula,
    ColumnType.TEXT: escape_formula,
    ColumnType.PHONE: phone_cell,
}
"""Functions by column type; a spreadsheet evaluates no other type, and no other type needs quotes."""


def write_csv(file: BinaryIO, batches: Iterable[Sequence[Sequence[str | None]]]) -> int:
    """Write a header and all rows.

    Cells are quoted by distinct values of a column, and rows are joined: `csv.writer` examines each character.

    Args:
        file: Left open.
        batches: Rows of COLUMNS as texts.

    Returns:
        The number of rows.
    """
    count = 0
    file.write(_lines([tuple(COLUMNS)]))
    for batch in batches:
        columns = zip(COLUMNS.values(), zip(*batch, strict=True), strict=True)
        file.write(_lines(zip(*(_cells(column_type, values) for column_type, values in columns), strict=True)))
        count += len(batch)
    return count


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    return ("\r\n".join(map(",".join, rows)) + "\r\n").encode()


def _cells(column_type: ColumnType, values: Sequence[str | None]) -> Iterable[str]:
    escape = _ESCAPES.get(column_type)
    if escape is None:
        return [value or "" for value in values]
    cells = {value: quote(escape(value)) if value else "" for value in set(values)}
    return map(cells.__getitem__, values)
