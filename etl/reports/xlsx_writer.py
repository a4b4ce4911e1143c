"""Rows of a view as an Excel workbook: typed cells, a frozen header, and texts that cannot become formulas.

Excel keeps 15 digits of a number. A number with more digits is written as text, so that no digit
is lost, and so is a date before March 1900, which Excel counts wrongly or not at all.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO, Final

from etl import signals
from etl.errors import ConfigError, DiskFullError
from etl.reports.columns import ColumnType, ExportView
from etl.reports.excel_numbers import has_too_many_digits

MAX_SHEET_ROWS: Final = 1_048_576
"""Rows of a sheet, with the header."""
_MAX_TEXT: Final = 32_767
"""UTF-16 units of a cell's text."""
_EPOCH: Final = datetime(1899, 12, 30, tzinfo=UTC)
_FIRST_DATE: Final = datetime(1900, 3, 1, tzinfo=UTC)
_SECONDS_OF_DAY: Final = 86_400
_CACHE_SIZE: Final = 1 << 14
_CREATED: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""The workbook's own date, constant so that equal rows give equal files."""

_TEXT_FORMAT: Final = {"num_format": "@", "quote_prefix": True}
"""A text stays a text when it is edited, too."""
_FORMATS: Final[dict[ColumnType, dict[str, Any]]] = {
    ColumnType.LABEL: _TEXT_FORMAT,
    ColumnType.TEXT: _TEXT_FORMAT,
    ColumnType.PHONE: _TEXT_FORMAT,
    ColumnType.WALL_CLOCK: {"num_format": "yyyy-mm-dd hh:mm:ss"},
    ColumnType.SECOND_UTC: {"num_format": "yyyy-mm-dd hh:mm:ss"},
    ColumnType.MICROSECOND_UTC: {"num_format": "yyyy-mm-dd hh:mm:ss"},
    ColumnType.DAY: {"num_format": "yyyy-mm-dd"},
    ColumnType.NUMBER: {"num_format": "0"},
    ColumnType.PRICE: {"num_format": "#,##0.00####"},
    ColumnType.AMOUNT: {"num_format": "#,##0.00####"},
    ColumnType.RATIO: {"num_format": "0.00%"},
    ColumnType.PERCENT: {"num_format": "0.00"},
    ColumnType.HOURS: {"num_format": "0.0"},
    ColumnType.FLAG: {},
}
_WIDTHS: Final = {
    ColumnType.DAY: 11,
    ColumnType.WALL_CLOCK: 19,
    ColumnType.SECOND_UTC: 19,
    ColumnType.MICROSECOND_UTC: 19,
    ColumnType.PHONE: 15,
    ColumnType.LABEL: 16,
}
"""Characters, by column type; others have the width of their header."""
_MIN_WIDTH: Final = 10
_NUMBERS: Final = frozenset(
    {ColumnType.NUMBER, ColumnType.PRICE, ColumnType.AMOUNT, ColumnType.RATIO, ColumnType.PERCENT, ColumnType.HOURS}
)
_TIMES: Final = frozenset({ColumnType.DAY, ColumnType.WALL_CLOCK, ColumnType.SECOND_UTC, ColumnType.MICROSECOND_UTC})

Cell = str | float | bool
log = logging.getLogger(__name__)


@lru_cache(_CACHE_SIZE)
def number_cell(text: str) -> float | str:
    """The number, or its text where Excel would lose digits."""
    return text if has_too_many_digits(text) else float(text)


@lru_cache(_CACHE_SIZE)
def time_cell(text: str) -> float | str:
    """The date or time as Excel's number of days, without its offset; its text where Excel has no such date."""
    time = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return (time - _EPOCH).total_seconds() / _SECONDS_OF_DAY if time >= _FIRST_DATE else text


def _cell_function(column_type: ColumnType) -> Callable[[str], Cell]:
    if column_type in _NUMBERS:
        return number_cell
    if column_type in _TIMES:
        return time_cell
    return "true".__eq__ if column_type is ColumnType.FLAG else str


class _InterruptibleFile:
    """A file to which nothing is written after a signal, not even by the destructor of the archive."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        if self._failed:
            return len(data)
        try:
            signals.raise_if_interrupted()
            return self._file.write(data)
        except BaseException:
            self._failed = True
            raise


def open_xlsx(
    max_sheet_rows: int = MAX_SHEET_ROWS,
) -> Callable[[BinaryIO, ExportView, Iterable[Sequence[Sequence[str | None]]]], int]:
    """A function that writes batches of rows of a view, as texts, to a file and returns the number of rows.

    The rows are collected in temporary files, so memory does not grow with their number.

    Args:
        max_sheet_rows: Number of rows, with the header, after which the next sheet begins.

    Raises:
        ConfigError: XlsxWriter is not installed.
    """
    try:
        from xlsxwriter import Workbook  # type: ignore[import-untyped]  # untyped, and part of an extra
        from xlsxwriter.exceptions import FileCreateError  # type: ignore[import-untyped]  # the same
    except ImportError:
        raise ConfigError(
            "--out FILE.xlsx needs a library that is not installed; run: pip install 'billing-etl[excel]'"
        ) from None

    def write(file: BinaryIO, view: ExportView, batches: Iterable[Sequence[Sequence[str | None]]]) -> int:
        with tempfile.TemporaryDirectory(prefix="billing-etl-") as folder:
            options = {"constant_memory": True, "tmpdir": folder}
            workbook = Workbook(_InterruptibleFile(file), options)
            try:
                workbook.use_zip64()
                workbook.set_properties({"created": _CREATED})
                rows = _write_sheets(workbook, view, batches, max_sheet_rows)
                workbook.close()
            except (OSError, FileCreateError) as failure:
                error = failure if isinstance(failure, OSError) else failure.args[0]
                raise DiskFullError(
                    f"the workbook or its temporary files cannot be written: {error.strerror or type(error).__name__}; "
                    "free some space, or set TMPDIR to a folder with more"
                ) from None
            finally:
                for worksheet in workbook.worksheets():
                    worksheet._opt_close()  # after an error the library leaves it open
                workbook.fileclosed = True  # its destructor warns otherwise
        return rows

    return write


def _write_sheets(
    workbook: Any, view: ExportView, batches: Iterable[Sequence[Sequence[str | None]]], max_sheet_rows: int
) -> int:
    formats = [workbook.add_format(_FORMATS[column_type]) for column_type in view.columns.values()]
    bold = workbook.add_format({"bold": True, "bottom": 1})
    columns = list(enumerate(zip(map(_cell_function, view.columns.values()), formats, strict=True)))
    count = cut = 0
    sheet, row = _add_sheet(workbook, view, formats, bold), 1
    for batch in batches:
        for texts in batch:
            if row == max_sheet_rows:
                sheet, row = _add_sheet(workbook, view, formats, bold), 1
            for index, (to_cell, cell_format) in columns:
                text = texts[index]
                if text is None:
                    continue
                cell = to_cell(text)
                if isinstance(cell, str):
                    cut += sheet.write_string(row, index, cell, cell_format) != 0
                elif isinstance(cell, bool):
                    sheet.write_boolean(row, index, cell)
                else:
                    sheet.write_number(row, index, cell, cell_format)
            row += 1
        count += len(batch)
    if cut:
        log.warning("%d texts were cut to the %s characters that a cell of Excel holds", cut, f"{_MAX_TEXT:,}")
    return count


def _add_sheet(workbook: Any, view: ExportView, formats: Sequence[Any], bold: Any) -> Any:
    number = len(workbook.worksheets()) + 1
    sheet = workbook.add_worksheet(view.name if number == 1 else f"{view.name} {number}")
    sheet.freeze_panes(1, 0)
    sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
    for index, ((name, column_type), cell_format) in enumerate(zip(view.columns.items(), formats, strict=True)):
        width = max(_WIDTHS.get(column_type, _MIN_WIDTH), len(name) + 2)
        sheet.set_column(index, index, width, cell_format)
        sheet.write_string(0, index, name, bold)
    return sheet
