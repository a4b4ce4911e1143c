"""Assignment of the vendor's CSV columns to fields, by the header or, without one, by the content of all cells.

A wrong assignment would silently store wrong records, so both methods accept only an unambiguous one.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from itertools import pairwise, permutations
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from etl.errors import InvalidResponse
from etl.model import REQUIRED_FIELDS, RawRecord
from etl.spreadsheet import is_no_value, restore_key, without_guards
from etl.timestamps import is_valid_date, split_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

FIELDS: Final = RawRecord.__struct_fields__

ColumnIndex: TypeAlias = dict[str, int]
"""Field → index of its column."""


# By header -----------------------------------------------------------------------------------------------------------


class _HeaderPattern(NamedTuple):
    """The words of a column name that identify a field.

    A name matches if it has a `required` word and only `required` or `allowed` ones. An unknown word rejects the name:
    "Код ошибки", "Номер договора", "updated_at" and "Цена, коп." are other fields.
    """

    required: re.Pattern[str]
    allowed: re.Pattern[str]


def _compile_words(*stems: str) -> re.Pattern[str]:
    return re.compile("|".join(" ".join(stems).split()))


_CODE: Final = r"code код\w{0,2}"
_STATUS: Final = r"status state result статус\w* состояни\w+ результат\w*"
_EVENT: Final = r"of the auth authorization call request авторизаци\w+ вызов\w* звон\w+ запрос\w* операци\w+"

_HEADER_PATTERNS: Final = {
    "created_at": _HeaderPattern(
        _compile_words(r"created? creation date time datetime timestamp дат[аеуы] датавремя врем\w+ создан\w*"),
        _compile_words(_EVENT, r"at and event start msk и в начала отправки события мск"),
    ),
    "phone": _HeaderPattern(
        _compile_words(r"phone telephone tel msisdn number mobile subscriber тел телефон\w* номер\w* абонент\w*"),
        # Without _EVENT: "Номер запроса" is not a phone.
        _compile_words(r"of the auth client customer user recipient авторизаци\w+ клиент\w* мобильн\w+ получател\w+"),
    ),
    "code_auth": _HeaderPattern(
        _compile_words(_CODE, r"pin otp пин\w{0,2} пинкод\w?"),
        _compile_words(_EVENT, r"confirmation verification sms из подтверждени\w+ проверки смс"),
    ),
    # A status allows a code word, but a code no status word, so that "Код статуса" is a status.
    "status": _HeaderPattern(_compile_words(_STATUS), _compile_words(_CODE, _EVENT, r"delivery доставк\w+")),
    "status_info": _HeaderPattern(
        _compile_words(
            r"info information desc description message details? comments? text",
            r"инф\w* опис\w+ коммент\w+ расшифр\w+ детал\w+ текст\w* сообщени\w+",
        ),
        _compile_words(_STATUS, _CODE, _EVENT, r"about delivery о об по к доставк\w+"),
    ),
    "price": _HeaderPattern(
        _compile_words(r"price cost amount sum tariff цен[аеуы] стоимост\w+ сумм\w+ тариф\w*"),
        _compile_words(_EVENT, r"in per rub rur rubles? в за списани\w+ услуг\w+ руб\w* р"),
    ),
}


_PLAIN_AMOUNT: Final = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_TOTAL: Final = re.compile(r"(?:итого|всего|сумма|(?:grand |sub)?total)\b", re.IGNORECASE)
_MAX_TOTAL_VALUES: Final = 3
"""Values of a row of sums: the word, a number of records, an amount. A record has a time, phone, code and price."""


_ROW_NUMBER: Final = re.compile(r"[0-9]{1,9}[.)]?")
_MIN_NUMBERED_ROWS: Final = 3
"""Rows from which on consecutive numbers are those of the rows; those of fewer may be short phones by chance."""
_FULL_PHONE: Final = re.compile(r"\+?[78][0-9]{10}|9[0-9]{9}|\+[0-9]{10,15}")
"""A Russian phone, or one with the international plus sign, without separators."""


def printable_name(name: str) -> str:
    """Format a column name for a message: printable, short, without numbers, in case it is a cell."""
    printable = "".join(character if character.isprintable() else " " for character in name[:200])
    return re.sub(r"\d{2,}", "…", " ".join(printable.split()))[:40] or "(no name)"


def _tokenise(name: str) -> list[str]:
    """Split a name into lower-case words: `createdAt`, `CREATED_AT` and `Created at` are equal."""
    spaced = re.sub(r"(?<=[a-zа-яё])(?=[A-ZА-ЯЁ])", " ", unicodedata.normalize("NFKC", name))
    # A currency or percent sign is a word, so that it is unknown and rejects the name.
    return re.findall(r"[^\W_]+|[$€%]", spaced.casefold().replace("ё", "е"))


def is_total_line(row: Sequence[str], time_column: int | None) -> bool:
    """Whether a row has totals in place of a record: its first value is a word for them, with few others (assumed).

    A row with a valid time is a record, whatever its text.

    Args:
        row: The cells.
        time_column: Index of the column of `created_at`; None if it is not known yet, and may be any.
    """
    first = row[0].strip() or next(filter(None, map(str.strip, row)), "")
    if _TOTAL.match(first) is None or sum(map(bool, row)) > _MAX_TOTAL_VALUES:
        return False
    return not any(map(is_time, row if time_column is None else row[time_column : time_column + 1]))


def has_price_alone(row: Sequence[object], columns: ColumnIndex) -> bool:
    """Whether the only text of a row is that of a price."""
    time_column, price_column = columns.get("created_at"), columns.get("price")
    if time_column is None or price_column is None or row[time_column]:
        return False
    return [index for index, cell in enumerate(row) if isinstance(cell, str) and cell.strip()] == [price_column]


def is_sum_of_others(last: str, prices: Iterable[str]) -> bool:
    """Whether the price of the last row is the sum of all others: a total without a word for it (assumed).

    Args:
        last: The price of the last row.
        prices: Those of all rows, the last one included. Unless all are plain numbers, the sum is unknown.
    """
    total = Decimal(0)
    for text in (price.strip().replace(",", ".") for price in prices):
        if _PLAIN_AMOUNT.fullmatch(text) is None:
            return False
        total += Decimal(text)
    return total == 2 * Decimal(last.strip().replace(",", "."))


def field_for_header(name: str) -> str | None:
    """Return the field of a column name, if it is certain."""
    if len(name) > 100 or not set(name).isdisjoint(';|\t"'):
        return None  # a line split at the wrong delimiter
    words = _tokenise(name)
    for field, (required, allowed) in _HEADER_PATTERNS.items():
        if any(map(required.fullmatch, words)) and all(
            required.fullmatch(word) or allowed.fullmatch(word) for word in words
        ):
            return field
    return None


def columns_by_header(header: Sequence[str]) -> ColumnIndex:
    """Find every field's column by its name; the documented name takes precedence over others for the same field.

    Raises:
        InvalidResponse: Two columns match one field, or a required field has no column.

    """
    header_fields = [field_for_header(name) for name in header]
    columns: ColumnIndex = {}
    for field in FIELDS:
        candidates = [index for index, header_field in enumerate(header_fields) if header_field == field]
        exact = [index for index in candidates if _tokenise(header[index]) == field.split("_")]
        match exact or candidates:
            case []:
                continue
            case [index]:
                columns[field] = index
            case [first, second, *_]:
                raise InvalidResponse(
                    f"two columns match the field {field}: number {first + 1} ({printable_name(header[first])}) "
                    f"and number {second + 1} ({printable_name(header[second])})"
                )
    if missing := [field for field in REQUIRED_FIELDS if field not in columns]:
        unrecognised = [
            printable_name(name) for name, field in zip(header, header_fields, strict=True) if field is None
        ][:10]
        raise InvalidResponse(
            f"the header names no {', '.join(missing)}"
            + (f"; not understood: {', '.join(unrecognised)}" if unrecognised else "")
        )
    return columns


def reject_swapped_keys(columns: ColumnIndex, cells: Sequence[Sequence[str]]) -> None:
    """Check that the header does not confuse the phones with the codes.

    Args:
        columns: The columns found by the header.
        cells: Cells of each column, of the first rows.

    Raises:
        InvalidResponse: The column of codes has phones, and that of the phones has none.
    """
    phones, codes = ColumnProfile(), ColumnProfile()
    phones.observe(cells[columns["phone"]])
    codes.observe(cells[columns["code_auth"]])
    if "phone" in codes.fields and "phone" not in phones.fields:
        raise InvalidResponse("its header names the phones code_auth, or the codes phone")


def reject_false_phones(header: Sequence[str], columns: ColumnIndex, cells: Sequence[Sequence[str]]) -> None:
    """Check that the column named phone has no numbers of rows, orders or the like, in place of phones.

    Masked, short and foreign phones are accepted, unless another column has Russian or international ones in all cells.

    Args:
        header: The column names.
        columns: The columns found by them.
        cells: Cells of each column, of the first rows.

    Raises:
        InvalidResponse: They count the rows, or none is a full phone and another column has nothing else.
    """
    index = columns["phone"]
    named = f"its column {printable_name(header[index])} (number {index + 1}) has"
    if _count_rows(cells[index]):
        raise InvalidResponse(f"{named} the numbers of the rows in place of phones")
    if any(map(_is_full_phone, cells[index])):
        return
    for other, other_cells in enumerate(cells):
        values = list(filter(None, map(_shown_value, other_cells)))
        if values and all(_ALL_CELLS["phone"](_restored_key(value)) and _is_full_phone(value) for value in values):
            raise InvalidResponse(
                f"{named} no phones, but column {printable_name(header[other])} (number {other + 1}) has"
            )


def _count_rows(cells: Sequence[str]) -> bool:
    """Whether the cells are consecutive numbers, ascending or descending, that are too short for phones."""
    keys = [_restored_key(_shown_value(cell)) for cell in cells]
    if len(keys) < _MIN_NUMBERED_ROWS or not all(map(_ROW_NUMBER.fullmatch, keys)):
        return False
    numbers = [int(key.rstrip(".)")) for key in keys]
    return {after - before for before, after in pairwise(numbers)} in ({1}, {-1})


def _is_full_phone(cell: str) -> bool:
    """Whether a cell has a number that nothing but a phone looks like, whatever stands between its digits."""
    digits = re.sub(r"[^0-9+]", "", _restored_key(_shown_value(cell)))
    return _FULL_PHONE.fullmatch(digits) is not None


# By content ----------------------------------------------------------------------------------------------------------

_CellTest: TypeAlias = "Callable[[str], object]"
"""The result is true or false."""

_NUMBER: Final = re.compile(
    r"[-+]?(?:0|[1-9][0-9]*|[1-9][0-9]{0,2}(?:[ \u00a0\u202f][0-9]{3})+)(?:[.,][0-9]+)?(?:[eE][-+]?[0-9]{1,4})?"
)
_BOOLEAN: Final = r"(?i:true|false)"
_ANYTHING: Final = re.compile(r"(?s:.+)").fullmatch


def is_time(cell: str) -> bool:
    """Whether a cell is a time in a supported format."""
    parts = split_time(_shown_value(cell))
    return parts is not None and is_valid_date(parts.day)


_ALL_CELLS: Final[dict[str, _CellTest]] = {
    "created_at": is_time,
    "phone": re.compile(r"[0-9+()\[\]\s\u2010-\u2015\u2212-]*").fullmatch,
    "code_auth": re.compile(r"[0-9]{0,8}").fullmatch,
    # Up to three digits, like the status codes of SIP and HTTP; four digits are a code.
    "status": re.compile(rf"(?:-?(?:0|[1-9][0-9]{{0,2}})|{_BOOLEAN})?").fullmatch,
    "status_info": re.compile(r"(?s:.*)").fullmatch,
    "price": re.compile(rf"(?:{_NUMBER.pattern})?").fullmatch,
}
"""The test that all cells of a field's column must pass: wide, because it excludes the other assignments.

Phones and codes are tested after restoring the format that a spreadsheet has changed.
"""

_KEYS: Final = frozenset({"phone", "code_auth"})

_ANY_CELL: Final[dict[str, _CellTest]] = {
    "created_at": _ANYTHING,
    "phone": re.compile(r"(?:[^0-9]*[0-9]){10,15}[^0-9]*").fullmatch,
    "code_auth": _ANYTHING,
    "status": _ANYTHING,
    "status_info": re.compile(rf"(?s:(?!{_BOOLEAN}\Z).*[^\W\d_].*)").fullmatch,
    "price": _ANYTHING,
}
"""The test that at least one cell of a field's column must pass."""


class ColumnProfile:
    """The fields that the cells of one column match."""

    __slots__ = ("_has_value", "_matched", "_possible", "blank")

    def __init__(self) -> None:
        self.blank = True
        self._has_value = False
        self._possible = set(FIELDS)
        self._matched: set[str] = set()

    def observe(self, cells: Iterable[str]) -> None:
        """Add a batch of cells."""
        trimmed = set(map(str.strip, cells))
        self.blank = self.blank and not any(trimmed)
        values = set(map(_shown_value, trimmed))
        self._has_value = self._has_value or any(values)
        keys = set(map(_restored_key, values)) if self._possible & _KEYS else values
        cells_by_field = {field: keys if field in _KEYS else values for field in self._possible}
        self._possible = {field for field in self._possible if all(map(_ALL_CELLS[field], cells_by_field[field]))}
        self._matched |= {
            field for field in self._possible - self._matched if any(map(_ANY_CELL[field], cells_by_field[field]))
        }

    @property
    def fields(self) -> set[str]:
        """The possible fields; a column without a value can only be `status_info`."""
        return self._possible & self._matched if self._has_value else {"status_info"}


def _shown_value(cell: str) -> str:
    """The trimmed text of a cell without text guards; empty for a placeholder of a missing value."""
    return "" if is_no_value(cell) else without_guards(cell.strip()) or ""


def _restored_key(cell: str) -> str:
    """The key in a cell; the cell itself, which matches no key, if a spreadsheet has destroyed it."""
    key = restore_key(cell)
    return cell if key is None else key


def columns_by_content(columns: Sequence[ColumnProfile]) -> ColumnIndex:
    """Find the only assignment of columns to fields, whatever their order.

    The fields are all six, or five without `status_info`; an empty last column may be due to a trailing delimiter.

    Raises:
        InvalidResponse: There is no such assignment, or more than one.

    """
    assignments = list(_assignments(columns))
    if columns[-1].blank:
        assignments += _assignments(columns[:-1])
    if not assignments:
        unassigned = [field for field in FIELDS if not any(field in column.fields for column in columns)]
        raise InvalidResponse(
            f"no header, and no column is certain to be the {', '.join(unassigned)}"
            if unassigned
            else f"no header, and its {len(columns)} columns do not make up the fields of a record"
        )
    if len(assignments) > 1:
        first, second = assignments[:2]
        field = next(field for field in FIELDS if first.get(field) != second.get(field))
        positions = [
            f"column {assignment[field] + 1}" if field in assignment else "none" for assignment in (first, second)
        ]
        raise InvalidResponse(f"no header, and the {field} could be {' or '.join(sorted(positions))}")
    return assignments[0]


def _assignments(columns: Sequence[ColumnProfile]) -> Iterator[ColumnIndex]:
    if len(columns) not in (len(FIELDS), len(FIELDS) - 1):
        return
    fields = [field for field in FIELDS if len(columns) == len(FIELDS) or field != "status_info"]
    possible_fields = [column.fields for column in columns]
    for order in permutations(fields):
        if all(field in fields_of_column for field, fields_of_column in zip(order, possible_fields, strict=True)):
            yield {field: index for index, field in enumerate(order)}
