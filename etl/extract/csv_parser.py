"""Parser of the vendor's CSV export, whose format is not documented: an ambiguous file is rejected.

    bytes → encoding → delimiter, header, columns → rows

Each arrow is a pass over the file, which may be large: the first over the whole file, the second over its first line
(the whole file without a header), the third when the caller consumes the rows. Memory use is constant.

Source: vendor-api.md, point 12 (the formats are assumed; the vendor confirms none).
"""

from __future__ import annotations

import codecs
import csv
import io
import logging
import re
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from etl.errors import InvalidResponse, RequestRejected
from etl.extract.csv_columns import (
    FIELDS,
    ColumnIndex,
    ColumnProfile,
    columns_by_content,
    columns_by_header,
    field_for_header,
    has_price_alone,
    is_sum_of_others,
    is_time,
    is_total_line,
    printable_name,
    reject_false_phones,
    reject_swapped_keys,
)
from etl.extract.json_parser import is_about_dates
from etl.model import MISSING, Feed, RawRecord

if TYPE_CHECKING:
    from _csv import Reader as CsvReader
    from collections.abc import Generator, Iterator
    from typing import TextIO

log = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 1 << 20
"""Bytes read at once, and the maximum length of a line and a cell, to limit memory use."""

_BATCH_SIZE: Final = 100
"""Rows that are read at once."""

_ROWS_TO_CHECK: Final = 100
"""Rows whose cells are compared with the header."""

_APOSTROPHE: Final = "'"

_BLANKS: Final = " \t\0\x1a\ufeff\xa0"
"""Characters of a line without content: some programs end a file with Ctrl-Z or a NUL."""
_DELIMITERS: Final = ";,\t|"
_DELIMITER_LINE: Final = re.compile(rf'"?sep=[{re.escape(_DELIMITERS)}]?"?[\r\n]*', re.IGNORECASE)
"""A first line that sets the delimiter for Excel: `sep=;`."""

_LINE_ENDS: Final = (b"\n", b"\r")
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig", _LINE_ENDS),
    (codecs.BOM_UTF16_LE, "utf-16", (b"\n\0", b"\r\0")),
    (codecs.BOM_UTF16_BE, "utf-16", (b"\0\n", b"\0\r")),
)
_BINARY: Final = {
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive or an .xlsx workbook",
    b"\xd0\xcf\x11\xe0": "an .xls workbook",
    b"%PDF": "a PDF",
}


def parse_csv(file: BinaryIO) -> Feed:
    """Detect the format of a billing export and parse it.

    Args:
        file: The body of the response. It is read several times and must stay open until the rows are consumed.

    Returns:
        A feed whose rows are parsed lazily, with unconverted cells. They raise InvalidResponse if the file is invalid,
        so that no row may be used before all are consumed.

    Raises:
        InvalidResponse: The file is not CSV, is invalid, or its format is unknown or ambiguous. The message contains no
            cell.
        RequestRejected: It is an error message about the date of the request.

    """
    encoding = _detect_encoding(file)
    csv_format = _detect_format(file, encoding)
    size = file.seek(0, io.SEEK_END)
    fields = frozenset(csv_format.columns)
    return Feed(rows=_records(file, csv_format), fields=fields, unknown=csv_format.unknown, size=size)


# Encoding ------------------------------------------------------------------------------------------------------------


def _detect_encoding(file: BinaryIO) -> str:
    """Return the encoding that decodes the whole file; reject one that is not text or ends within a line."""
    file.seek(0)
    head = file.read(_CHUNK_BYTES)
    marked, encoding, line_ends = next(
        (mark for mark in _BYTE_ORDER_MARKS if head.startswith(mark[0])), (b"", "utf-8", _LINE_ENDS)
    )
    _reject_non_csv(head, encoding)
    file.seek(0)
    tail = b""
    valid = stray = 0
    impossible_in_cp1251 = False
    decoder = codecs.getincrementaldecoder(encoding)("strict" if marked else "surrogateescape")
    for chunk in _chunks(file):
        if len(chunk) == _CHUNK_BYTES and b"\n" not in chunk and b"\r" not in chunk:
            raise InvalidResponse(f"a line is longer than {_CHUNK_BYTES} bytes")
        tail = (tail + chunk)[-2:]
        text = None
        with suppress(UnicodeDecodeError):
            text = decoder.decode(chunk)
        if text is None:
            # Outside the block: the decoder's error contains the whole chunk with phone numbers.
            raise InvalidResponse(f"it starts with the byte order mark of {encoding}, and is not valid {encoding}")
        if not text.isascii():
            decoded = text.encode("utf-8", "ignore").decode()
            stray += len(text) - len(decoded)
            valid += len(decoded) - len(decoded.encode("ascii", "ignore"))
        impossible_in_cp1251 = impossible_in_cp1251 or b"\x98" in chunk
    if not tail.endswith(line_ends) or decoder.getstate()[0]:
        raise InvalidResponse("it breaks off in the middle of a line")
    if not stray:
        return encoding
    # Letters of cp1251 are rarely valid UTF-8. If most are, the text is UTF-8 with a few damaged bytes.
    if valid >= stray or impossible_in_cp1251:
        raise InvalidResponse("its text is neither UTF-8 nor cp1251")
    return "cp1251"


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _reject_non_csv(head: bytes, encoding: str) -> None:
    for magic, description in _BINARY.items():
        if head.startswith(magic):
            raise InvalidResponse(f"{description} in place of a CSV")
    if encoding != "utf-16" and head.count(b"\0") * 4 > len(head):
        raise InvalidResponse("binary data in place of a CSV")
    text = head.decode(encoding, "replace").lstrip("\ufeff\0 \t\r\n")
    if not text:
        raise InvalidResponse("an empty answer in place of a CSV")
    if text[0] in "{[":
        is_error = '"error"' in text
        if is_error and is_about_dates(text):
            raise RequestRejected("a JSON error about the date in place of a CSV")
        raise InvalidResponse(f"{'a JSON error' if is_error else 'JSON'} in place of a CSV")
    if text[0] == "<":
        raise InvalidResponse("an HTML or XML page in place of a CSV")


# Delimiter, header, columns ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _CsvFormat:
    """One possible format of the file.

    Attributes:
        width: Columns of every row, an empty one after a trailing delimiter included.
        quote: The quotation mark around cells.
    """

    encoding: str
    delimiter: str
    width: int
    quote: str = '"'
    header: list[str] | None = None
    columns: ColumnIndex = field(default_factory=dict)

    @property
    def has_trailing_delimiter(self) -> bool:
        return self.header is not None and not self.header[-1].strip()

    @property
    def unknown(self) -> tuple[str, ...]:
        names = (self.header or [])[: -1 if self.has_trailing_delimiter else None]
        known = set(self.columns.values())
        return tuple(printable_name(name) for index, name in enumerate(names) if index not in known)


def _detect_format(file: BinaryIO, encoding: str) -> _CsvFormat:
    """Try every delimiter; exactly one of them must fit."""
    candidates: list[_CsvFormat] = []
    errors: list[tuple[int, InvalidResponse]] = []
    for delimiter in _DELIMITERS:
        first_row = _first_line(file, encoding, delimiter)
        try:
            if csv_format := _try_delimiter(file, _CsvFormat(encoding, delimiter, len(first_row)), first_row):
                candidates.append(csv_format)
        except InvalidResponse as error:
            errors.append((len(first_row), error))
    match candidates:
        case [csv_format]:
            return csv_format
        case [first, second, *_]:
            raise InvalidResponse(
                f"it can be read with {first.delimiter!r} and with {second.delimiter!r} as the delimiter"
            )
    if errors:  # the error of the delimiter with the most columns, which is most likely the right one
        raise max(errors, key=itemgetter(0))[1]
    raise InvalidResponse("the first line is neither a header nor a record")


def _first_line(file: BinaryIO, encoding: str, delimiter: str) -> list[str]:
    with _as_text(file, encoding) as text, _raised_cell_limit:
        try:
            return next(filter(None, csv.reader(text, delimiter=delimiter, strict=True)), [])
        except csv.Error:
            return []


def _try_delimiter(file: BinaryIO, csv_format: _CsvFormat, first_row: list[str]) -> _CsvFormat | None:
    """Find the columns for a delimiter; None if the first line is neither a header nor a record with it."""
    if all(len(cell) > 1 and cell[0] == cell[-1] == _APOSTROPHE for cell in first_row):
        csv_format = replace(csv_format, quote=_APOSTROPHE)
        first_row = [cell[1:-1] for cell in first_row]
    if any(map(is_time, first_row)):
        if csv_format.width not in range(len(FIELDS) - 1, len(FIELDS) + 2):
            raise InvalidResponse(f"no header, and {csv_format.width} columns where there should be five or six")
        return replace(csv_format, columns=columns_by_content(_profile_columns(file, csv_format)))
    if len({field_for_header(name) for name in first_row} - {None}) >= 2:
        csv_format = replace(csv_format, header=first_row, columns=columns_by_header(first_row))
        columns = csv_format.columns
        cells = _first_cells(file, csv_format)
        reject_swapped_keys(columns, cells)
        reject_false_phones(first_row, columns, cells)
        return csv_format
    return None


def _profile_columns(file: BinaryIO, csv_format: _CsvFormat) -> list[ColumnProfile]:
    """Profile every column over all rows of the file."""
    columns = [ColumnProfile() for _ in range(csv_format.width)]
    with closing(_rows(file, csv_format)) as rows:
        while batch := list(islice(rows, 1000)):
            for column, cells in zip(columns, zip(*batch, strict=True), strict=True):
                column.observe(cells)
    return columns


def _first_cells(file: BinaryIO, csv_format: _CsvFormat) -> list[tuple[str, ...]]:
    """The cells of each column in the first rows."""
    with closing(_rows(file, csv_format)) as all_rows:
        rows = list(islice(all_rows, _ROWS_TO_CHECK))
    return list(zip(*rows, strict=True)) or [()] * csv_format.width


@contextmanager
def _as_text(file: BinaryIO, encoding: str) -> Iterator[TextIO]:
    """The file as text, from its first line that is not for Excel alone."""
    file.seek(0)
    text = TextIOWrapper(file, encoding, newline="")
    if not _DELIMITER_LINE.fullmatch(text.readline()):
        text.seek(0)
    try:
        yield text
    finally:
        text.detach()  # otherwise it would close the file


# Rows ----------------------------------------------------------------------------------------------------------------


def _rows(
    file: BinaryIO, csv_format: _CsvFormat, total_lines: list[int] | None = None
) -> Generator[list[Any], None, None]:
    """Yield every row except blank ones, sums of others, and the header, which may be repeated.

    A header followed by the first record again begins a second copy of the export, which is refused.

    Args:
        file: The export.
        csv_format: Its format.
        total_lines: Receives the line numbers of the sums.
    """
    time_column = csv_format.columns.get("created_at")
    width, header, has_trailing_delimiter = csv_format.width, csv_format.header, csv_format.has_trailing_delimiter
    with _as_text(file, csv_format.encoding) as text:
        reader = csv.reader(text, delimiter=csv_format.delimiter, quotechar=csv_format.quote, strict=True)
        try:
            first_row: list[Any] | None = None
            after_header = False
            for line_number, row in _numbered_rows(reader):
                if not any(cell.strip(_BLANKS) for cell in row):
                    continue
                if is_total_line(row, time_column):
                    if total_lines is not None:
                        total_lines.append(line_number)
                    continue
                if row == header:
                    after_header = True
                    continue
                if after_header and row == first_row:
                    raise InvalidResponse(f"line {line_number} repeats the first record after another header")
                first_row, after_header = first_row or row, False
                if len(row) != width:
                    raise InvalidResponse(f"line {line_number} has {len(row)} columns, the first one has {width}")
                if has_trailing_delimiter and row[-1].strip():
                    raise InvalidResponse(f"line {line_number} has something in column {width}, which has no name")
                yield row
        except csv.Error:
            pass
        else:
            return
    # Outside the except block: the message of the reader's error may contain a cell.
    raise InvalidResponse(f"line {reader.line_num} has an unclosed or misplaced quote, or no end")


def _numbered_rows(reader: CsvReader) -> Iterator[tuple[int, list[Any]]]:
    """Yield rows with their line numbers. The cell limit is restored before each yield."""
    while True:
        with _raised_cell_limit:
            batch = [(reader.line_num, row) for row in islice(reader, _BATCH_SIZE)]
        if not batch:
            return
        yield from batch


class _CellLimit:
    """A thread-safe context manager that raises the maximum length of a cell to _CHUNK_BYTES.

    The default is too short for a long status_info. The limit is global to the process, so that it is restored for
    other users of the csv module.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._limit = csv.field_size_limit()
                csv.field_size_limit(max(self._limit, _CHUNK_BYTES))
            self._users += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                csv.field_size_limit(self._limit)


_raised_cell_limit = _CellLimit()


def _records(file: BinaryIO, csv_format: _CsvFormat) -> Generator[RawRecord, None, None]:
    # Missing fields are taken from MISSING, appended to each row.
    pick = itemgetter(*(csv_format.columns.get(name, csv_format.width) for name in FIELDS))
    total_lines: list[int] = []
    held_back: list[Any] | None = None
    with closing(_rows(file, csv_format, total_lines)) as rows:
        for row in rows:
            row.append(MISSING)
            if held_back is not None:
                yield RawRecord(*pick(held_back))
                held_back = None
            if has_price_alone(row, csv_format.columns):
                held_back = row
            else:
                yield RawRecord(*pick(row))
    if held_back is not None:
        price = csv_format.columns["price"]
        with closing(_rows(file, csv_format)) as rows:
            is_total = is_sum_of_others(held_back[price], (row[price] for row in rows))
        if is_total:
            log.info("the last line of the export is skipped: it is the sum of its prices")
        else:
            yield RawRecord(*pick(held_back))
    if total_lines:
        first_lines = ", ".join(map(str, total_lines[:10]))
        log.info("the export has %d lines with totals, which are no records: line %s", len(total_lines), first_lines)
