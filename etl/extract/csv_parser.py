"""Reads the vendor's CSV of charges, whose format nobody has published: what is not certain is refused.

    bytes → encoding → delimiter, header, columns → rows

Each arrow is a pass over the file, which may be large: the first over all of it, the second over its beginning (over
all of it where there is no header), the third is the caller's. Memory stays constant.

Source: vendor-api.md, point 12 (the forms are assumed; the vendor confirms none).
"""

from __future__ import annotations

import codecs
import csv
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from etl.errors import InvalidResponse
from etl.extract.csv_columns import (
    FIELDS,
    ColumnIndex,
    ColumnProfile,
    columns_by_content,
    columns_by_header,
    field_for_header,
    is_time,
    printable_name,
)
from etl.model import MISSING, Feed, RawRecord

if TYPE_CHECKING:
    from _csv import Reader as CsvReader
    from collections.abc import Generator, Iterator
    from typing import TextIO

_CHUNK: Final = 1 << 20
"""Bytes read at once. No line and no cell may be longer, so that neither can fill the memory."""

_BATCH: Final = 100
"""Lines that are read together."""

_DELIMITERS: Final = ";,\t|"

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
    """Recognise the form of a billing export and open it.

    Args:
        file: The answer's body as it came. It is read more than once, and must stay open until the rows are read.

    Returns:
        Its rows as a stream, cells as they stand. It raises InvalidResponse where the file turns out to be broken, so
        nothing of it counts until all of it is read.

    Raises:
        InvalidResponse: It is no CSV, is broken, or can be read in no way or in more than one. The text holds no cell.

    """
    encoding = _detect_encoding(file)
    form = _detect_format(file, encoding)
    return Feed(rows=_records(file, form), fields=frozenset(form.columns), unknown=form.unknown)


# Encoding ------------------------------------------------------------------------------------------------------------


def _detect_encoding(file: BinaryIO) -> str:
    """Make sure that the file is text, of whole lines, in an encoding that decodes all of it."""
    file.seek(0)
    head = file.read(_CHUNK)
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
        if len(chunk) == _CHUNK and b"\n" not in chunk and b"\r" not in chunk:
            raise InvalidResponse(f"a line is longer than {_CHUNK} bytes")
        tail = (tail + chunk)[-2:]
        text = None
        with suppress(UnicodeDecodeError):
            text = decoder.decode(chunk)
        if text is None:
            # Outside of the block: the decoder's own error holds the whole chunk, phones and all.
            raise InvalidResponse(f"its byte order mark promises {encoding}, and it is not")
        if not text.isascii():
            whole = text.encode("utf-8", "ignore").decode()
            stray += len(text) - len(whole)
            valid += len(whole) - len(whole.encode("ascii", "ignore"))
        impossible_in_cp1251 = impossible_in_cp1251 or b"\x98" in chunk
    if not tail.endswith(line_ends) or decoder.getstate()[0]:
        raise InvalidResponse("it breaks off in the middle of a line")
    if not stray:
        return encoding
    # Letters of cp1251 rarely happen to form UTF-8. Where most do, it is UTF-8 that lost or gained a few bytes.
    if valid >= stray or impossible_in_cp1251:
        raise InvalidResponse("its text is neither UTF-8 nor cp1251")
    return "cp1251"


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _reject_non_csv(head: bytes, encoding: str) -> None:
    for magic, kind in _BINARY.items():
        if head.startswith(magic):
            raise InvalidResponse(f"{kind} in place of a CSV")
    if encoding != "utf-16" and head.count(b"\0") * 4 > len(head):
        raise InvalidResponse("binary data in place of a CSV")
    text = head.decode(encoding, "replace").lstrip("\ufeff\0 \t\r\n")
    if not text:
        raise InvalidResponse("an empty answer in place of a CSV")
    if text[0] in "{[":
        kind = "a JSON error" if '"error"' in text else "JSON"
        raise InvalidResponse(f"{kind} in place of a CSV")
    if text[0] == "<":
        raise InvalidResponse("an HTML or XML page in place of a CSV")


# Delimiter, header, columns ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _CsvFormat:
    """One way to read the file."""

    encoding: str
    delimiter: str
    width: int
    """Columns of every line, a trailing empty one included."""
    header: list[str] | None = None
    columns: ColumnIndex = field(default_factory=dict)

    @property
    def ends_in_delimiter(self) -> bool:
        return self.header is not None and not self.header[-1].strip()

    @property
    def unknown(self) -> tuple[str, ...]:
        names = (self.header or [])[: -1 if self.ends_in_delimiter else None]
        known = set(self.columns.values())
        return tuple(printable_name(name) for index, name in enumerate(names) if index not in known)


def _detect_format(file: BinaryIO, encoding: str) -> _CsvFormat:
    """Try every delimiter, and insist that only one of them makes sense."""
    forms: list[_CsvFormat] = []
    refusals: list[tuple[int, InvalidResponse]] = []
    for delimiter in _DELIMITERS:
        first = _first_line(file, encoding, delimiter)
        try:
            if form := _try_delimiter(file, _CsvFormat(encoding, delimiter, len(first)), first):
                forms.append(form)
        except InvalidResponse as refusal:
            refusals.append((len(first), refusal))
    match forms:
        case [form]:
            return form
        case [one, other, *_]:
            raise InvalidResponse(
                f"it can be read with {one.delimiter!r} and with {other.delimiter!r} as the delimiter"
            )
    if refusals:  # of several, that of the delimiter that makes the most columns, most likely the one that was meant
        raise max(refusals, key=itemgetter(0))[1]
    raise InvalidResponse("the first line is neither a header nor a record")


def _first_line(file: BinaryIO, encoding: str, delimiter: str) -> list[str]:
    with _as_text(file, encoding) as text, _long_cells:
        try:
            return next(filter(None, csv.reader(text, delimiter=delimiter, strict=True)), [])
        except csv.Error:
            return []


def _try_delimiter(file: BinaryIO, form: _CsvFormat, first: list[str]) -> _CsvFormat | None:
    """Find the columns, given the delimiter; None where the first line makes no sense with it."""
    if any(map(is_time, first)):
        if form.width not in range(len(FIELDS) - 1, len(FIELDS) + 2):
            raise InvalidResponse(f"no header, and {form.width} columns where there should be five or six")
        return replace(form, columns=columns_by_content(_profile_columns(file, form)))
    if len({field_for_header(name) for name in first} - {None}) >= 2:
        return replace(form, header=first, columns=columns_by_header(first))
    return None


def _profile_columns(file: BinaryIO, form: _CsvFormat) -> list[ColumnProfile]:
    """Look at every cell of the file."""
    columns = [ColumnProfile() for _ in range(form.width)]
    with closing(_lines(file, form)) as lines:
        while batch := list(islice(lines, 1000)):
            for column, cells in zip(columns, zip(*batch, strict=True), strict=True):
                column.see(cells)
    return columns


@contextmanager
def _as_text(file: BinaryIO, encoding: str) -> Iterator[TextIO]:
    """The file from its beginning."""
    file.seek(0)
    text = TextIOWrapper(file, encoding, newline="")
    try:
        yield text
    finally:
        text.detach()  # else it would close the file


# Rows ----------------------------------------------------------------------------------------------------------------


def _lines(file: BinaryIO, form: _CsvFormat) -> Generator[list[Any], None, None]:
    """Every line but blank ones and the header, wherever and however often it stands."""
    width, header, ends_in_delimiter = form.width, form.header, form.ends_in_delimiter
    with _as_text(file, form.encoding) as text:
        reader = csv.reader(text, delimiter=form.delimiter, strict=True)
        try:
            for number, line in _numbered(reader):
                if len(line) != width:
                    if not line:
                        continue
                    raise InvalidResponse(f"line {number} has {len(line)} columns, the first one has {width}")
                if line == header:
                    continue
                if ends_in_delimiter and line[-1].strip():
                    raise InvalidResponse(f"line {number} has something in column {width}, which has no name")
                yield line
        except csv.Error:
            pass
        else:
            return
    # Outside of the except block: the text of the reader's own error may hold a cell.
    raise InvalidResponse(f"line {reader.line_num} has an unclosed or misplaced quote, or no end")


def _numbered(reader: CsvReader) -> Iterator[tuple[int, list[Any]]]:
    """Lines with their numbers. While a caller has one, the limit of a cell is that of the process again."""
    while True:
        with _long_cells:
            batch = [(reader.line_num, line) for line in islice(reader, _BATCH)]
        if not batch:
            return
        yield from batch


class _LongCells:
    """As long as it is entered, in whichever threads, a cell may have _CHUNK characters.

    The default is too short for a long status_info. The limit is one for the whole process: it is put back for whoever
    else reads CSV in it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._limit = csv.field_size_limit()
                csv.field_size_limit(max(self._limit, _CHUNK))
            self._users += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                csv.field_size_limit(self._limit)


_long_cells = _LongCells()


def _records(file: BinaryIO, form: _CsvFormat) -> Generator[RawRecord, None, None]:
    # What the file lacks is taken from one place past the end of each line.
    pick = itemgetter(*(form.columns.get(name, form.width) for name in FIELDS))
    with closing(_lines(file, form)) as lines:
        for line in lines:
            line.append(MISSING)
            yield RawRecord(*pick(line))
