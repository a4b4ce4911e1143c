"""Rows of a view as CSV in UTF-8, safe to open in a spreadsheet: by RFC 4180, or as Excel in Russian opens it.

A spreadsheet evaluates a text cell that starts like a formula. Such a text is prefixed with an apostrophe, and so is a
text that starts with an apostrophe, so that `unescape` restores every text exactly.
"""

from __future__ import annotations

import gzip
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, Final

from etl.reports.columns import ColumnType, ExportView
from etl.reports.excel_numbers import has_too_many_digits

_SAFE_TEXT: Final = re.compile(r"\w[^;\t\r\n]*")
_AFTER_SEPARATOR: Final = re.compile(r"(?<=[;\t\r\n])")
_LEADING_APOSTROPHE: Final = re.compile(r"(?:^|(?<=[;\t\r\n]))'")
_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
_NUMBER_START: Final = re.compile(r"[+\d]")
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


def excel_text_cell(text: str) -> str:
    """Escape a phone or a code: with the apostrophe Excel does not take it for a number, and keeps its zeros."""
    return f"'{text}" if _NUMBER_START.match(text) else escape_formula(text)


def russian_number_cell(text: str) -> str:
    """A number with a decimal comma; as text where Excel would lose digits."""
    cell = text.replace(".", ",")
    return f"'{cell}" if has_too_many_digits(text) else cell


def _to_second(text: str) -> str:
    return text[: len("2026-03-08 10:00:00")]


_NUMBER_TYPES: Final = (
    ColumnType.NUMBER, ColumnType.PRICE, ColumnType.AMOUNT, ColumnType.RATIO, ColumnType.PERCENT, ColumnType.HOURS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """A form of CSV.

    Attributes:
        separator: Character between the cells.
        start: First characters of the file.
        cells: Functions that format the texts of a column, by column type; other types are written unchanged.
        needs_quotes: Matches what is quoted in a cell of a text.
    """

    separator: str
    start: str
    cells: Mapping[ColumnType, Callable[[str], str]]
    needs_quotes: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs_quotes", re.compile(rf'[{self.separator}"\r\n]'))

    def quote(self, cell: str) -> str:
        """Quote a cell where RFC 4180 requires it."""
        return '"' + cell.replace('"', '""') + '"' if self.needs_quotes.search(cell) else cell


RFC_4180: Final = CsvFormat(
    ",",
    "",
    {ColumnType.LABEL: escape_formula, ColumnType.TEXT: escape_formula, ColumnType.PHONE: phone_cell},
)
EXCEL_RUSSIAN: Final = CsvFormat(
    ";",
    "\ufeff",
    {
        ColumnType.LABEL: escape_formula,
        ColumnType.TEXT: excel_text_cell,
        ColumnType.PHONE: excel_text_cell,
        ColumnType.SECOND_UTC: _to_second,
        ColumnType.MICROSECOND_UTC: _to_second,
        **dict.fromkeys(_NUMBER_TYPES, russian_number_cell),
    },
)
"""A byte order mark for UTF-8, semicolons, decimal commas, and times that Excel recognises."""


def csv_writer(
    csv_format: CsvFormat = RFC_4180, *, compressed: bool = False
) -> Callable[[BinaryIO, ExportView, Iterable[Sequence[Sequence[str | None]]]], int]:
    """A function that writes a header and batches of rows of a view, as texts, and returns the number of rows.

    Args:
        csv_format: Form of the file.
        compressed: Compress with gzip; the archive has neither name nor time, so equal rows give equal files.
    """

    def write(file: BinaryIO, view: ExportView, batches: Iterable[Sequence[Sequence[str | None]]]) -> int:
        if not compressed:
            return _write_rows(file, view, batches, csv_format)
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as archive:
            return _write_rows(archive, view, batches, csv_format)

    return write


def _write_rows(
    file: BinaryIO | gzip.GzipFile,
    view: ExportView,
    batches: Iterable[Sequence[Sequence[str | None]]],
    csv_format: CsvFormat,
) -> int:
    # Cells are formatted by distinct values of a column, and rows are joined: `csv.writer` examines each character.
    count, separator = 0, csv_format.separator
    file.write((csv_format.start + separator.join(view.columns) + "\r\n").encode())
    for batch in batches:
        columns = zip(view.columns.values(), zip(*batch, strict=True), strict=True)
        rows = zip(*(_cells(csv_format, column_type, values) for column_type, values in columns), strict=True)
        file.write(("\r\n".join(map(separator.join, rows)) + "\r\n").encode())
        count += len(batch)
    return count


def _cells(csv_format: CsvFormat, column_type: ColumnType, values: Sequence[str | None]) -> Iterable[str]:
    to_cell = csv_format.cells.get(column_type)
    if to_cell is None:
        return [value or "" for value in values]
    cells = {value: csv_format.quote(to_cell(value)) if value else "" for value in set(values)}
    return map(cells.__getitem__, values)
