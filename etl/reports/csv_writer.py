"""Records as CSV: RFC 4180 in UTF-8, for programs and, without harm, for spreadsheets.

A spreadsheet runs a text cell that begins like a formula. Such a text gets an apostrophe in front, and so does one that
begins with an apostrophe: nothing is lost, `unescape` has the text back.
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

_HARMLESS: Final = re.compile(r"\w[^;\t\r\n]*")
_BEHIND_A_SEPARATOR: Final = re.compile(r"(?<=[;\t\r\n])")
_FIRST_APOSTROPHE: Final = re.compile(r"(?:^|(?<=[;\t\r\n]))'")
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
_CANONICAL_PHONE: Final = re.compile(r"\+\d+", re.ASCII)
KEPT_TEXTS: Final = 1 << 12
"""Texts whose cells are remembered: the vendor has few."""


@lru_cache(KEPT_TEXTS)
def escape_formula(text: str) -> str:
    """The text, with an apostrophe in front where a spreadsheet may take it for a formula.

    That is where its first letter is one of `= + - @` or looks like it (full-width forms), blanks and characters that
    nobody sees not counted, and where it begins with TAB, CR or LF. The same goes for each part behind a semicolon, TAB
    or line end: a spreadsheet that takes one of them for the separator, as it does where the comma is the decimal sign,
    makes that part a cell of its own.
    """
    if not text or _HARMLESS.fullmatch(text):
        return text
    return "".join(f"'{part}" if _looks_like_formula(part) else part for part in _BEHIND_A_SEPARATOR.split(text))


def _looks_like_formula(part: str) -> bool:
    if part[:1] in {"'", "\t", "\r", "\n"}:
        return True
    seen = next((character for character in part if unicodedata.category(character) not in _UNSEEN), "")
    return unicodedata.normalize("NFKC", seen)[:1] in {"=", "+", "-", "@"}


def unescape(cell: str) -> str:
    """The text that a cell was made of."""
    return _FIRST_APOSTROPHE.sub("", cell)


def phone_cell(phone: str) -> str:
    """As any text, but for a plus sign and digits: at the worst that becomes a number, and so it is read back."""
    return phone if _CANONICAL_PHONE.fullmatch(phone) else escape_formula(phone)


_CELLS: Final[dict[ColumnType, Callable[[Any], Any]]] = {
    ColumnType.LABEL: escape_formula,
    ColumnType.TEXT: escape_formula,
    ColumnType.PHONE: phone_cell,
    ColumnType.WALL_CLOCK: str,
    ColumnType.SECOND_UTC: str,
    ColumnType.MOMENT_UTC: methodcaller("isoformat", " ", "microseconds"),
    ColumnType.DAY: str,
    ColumnType.NUMBER: int,
    ColumnType.PRICE: "{:.6f}".format,
    ColumnType.AMOUNT: "{:.6f}".format,
    ColumnType.FLAG: {False: "false", True: "true"}.__getitem__,
}


def write_csv(file: BinaryIO, batches: Iterable[Sequence[Sequence[Any]]]) -> int:
    """Write a header and all rows.

    Args:
        file: Stays open.
        batches: Rows of the view's columns.

    Returns:
        How many rows.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    count = 0
    try:
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for batch in batches:
            columns = zip(COLUMNS.values(), zip(*batch, strict=True), strict=True)
            writer.writerows(zip(*(_cells(kind, values) for kind, values in columns), strict=True))
            count += len(batch)
        text.flush()
    finally:
        text.detach()
    return count


def _cells(kind: ColumnType, values: Sequence[Any]) -> list[Any]:
    cell = _CELLS[kind]
    return [None if value is None else cell(value) for value in values]
