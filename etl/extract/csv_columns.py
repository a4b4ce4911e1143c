"""Which column of the vendor's CSV is which field: by the names in its header or, without one, by all its cells.

A wrong guess would write wrong records without a word, so both ways accept only what leaves no second reading.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import permutations
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from etl.errors import InvalidResponse
from etl.model import REQUIRED_FIELDS, RawRecord
from etl.spreadsheet import is_no_value, restore_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FIELDS: Final = RawRecord.__struct_fields__

ColumnIndex: TypeAlias = dict[str, int]
"""Field → index of its column."""


# By name -------------------------------------------------------------------------------------------------------------


class _HeaderPattern(NamedTuple):
    """A name means a field when it holds one of the words that say so, and nothing but those and words `beside` them.

    That every word be understood is what keeps "Код ошибки", "Номер договора", "updated_at" or "Цена, коп." out.
    """

    says: re.Pattern[str]
    beside: re.Pattern[str]


def _any_of(*stems: str) -> re.Pattern[str]:
    return re.compile("|".join(" ".join(stems).split()))


_CODE: Final = r"code код\w{0,2}"
_STATUS: Final = r"status state result статус\w* состояни\w+ результат\w*"
_EVENT: Final = r"of the auth authorization call request авторизаци\w+ вызов\w* звон\w+ запрос\w* операци\w+"

_HEADER_PATTERNS: Final = {
    "created_at": _HeaderPattern(
        _any_of(r"created? creation date time datetime timestamp дат[аеуы] датавремя врем\w+ создан\w*"),
        _any_of(_EVENT, r"at and event start msk и в начала отправки события мск"),
    ),
    "phone": _HeaderPattern(
        _any_of(r"phone telephone tel msisdn number mobile subscriber тел телефон\w* номер\w* абонент\w*"),
        # Not the _EVENT: "Номер запроса" is no telephone.
        _any_of(r"of the auth client customer user recipient авторизаци\w+ клиент\w* мобильн\w+ получател\w+"),
    ),
    "code_auth": _HeaderPattern(
        _any_of(_CODE, r"pin otp пин\w{0,2} пинкод\w?"),
        _any_of(_EVENT, r"confirmation verification sms из подтверждени\w+ проверки смс"),
    ),
    # A code may stand beside a status and a status not beside a code, so that "Код статуса" is a status.
    "status": _HeaderPattern(_any_of(_STATUS), _any_of(_CODE, _EVENT, r"delivery доставк\w+")),
    "status_info": _HeaderPattern(
        _any_of(
            r"info information desc description message details? comments? text",
            r"инф\w* опис\w+ коммент\w+ расшифр\w+ детал\w+ текст\w* сообщени\w+",
        ),
        _any_of(_STATUS, _CODE, _EVENT, r"about delivery о об по к доставк\w+"),
    ),
    "price": _HeaderPattern(
        _any_of(r"price cost amount sum tariff цен[аеуы] стоимост\w+ сумм\w+ тариф\w*"),
        _any_of(_EVENT, r"in per rub rur rubles? в за списани\w+ услуг\w+ руб\w* р"),
    ),
}


def printable_name(name: str) -> str:
    """Make a column's name fit for a message: printable, short, and no number even if it was no name at all."""
    printable = "".join(character if character.isprintable() else " " for character in name[:200])
    return re.sub(r"\d{2,}", "…", " ".join(printable.split()))[:40] or "(no name)"


def _tokenise(name: str) -> list[str]:
    """`createdAt`, `CREATED_AT` and `Created at` are the same two words."""
    spaced = re.sub(r"(?<=[a-zа-яё])(?=[A-ZА-ЯЁ])", " ", unicodedata.normalize("NFKC", name))
    # A sign that changes the amount is a word, so that it is noticed as one not understood.
    return re.findall(r"[^\W_]+|[$€%]", spaced.casefold().replace("ё", "е"))


def field_for_header(name: str) -> str | None:
    """Tell the field that a column's name means, if it is certain."""
    if len(name) > 100 or not set(name).isdisjoint(';|\t"'):
        return None  # no name, but a line split at the wrong delimiter
    words = _tokenise(name)
    for field, (says, beside) in _HEADER_PATTERNS.items():
        if any(map(says.fullmatch, words)) and all(says.fullmatch(word) or beside.fullmatch(word) for word in words):
            return field
    return None


def columns_by_header(header: Sequence[str]) -> ColumnIndex:
    """Find every field's column by its name; the vendor's documented name goes before any other for the same field.

    Raises:
        InvalidResponse: Two columns claim one field, or a required field has none.

    """
    named = [field_for_header(name) for name in header]
    columns: ColumnIndex = {}
    for field in FIELDS:
        claims = [index for index, claimed in enumerate(named) if claimed == field]
        certain = [index for index in claims if _tokenise(header[index]) == field.split("_")]
        match certain or claims:
            case []:
                continue
            case [index]:
                columns[field] = index
            case [first, second, *_]:
                raise InvalidResponse(
                    f"two columns claim to be the {field}: number {first + 1} ({printable_name(header[first])}) "
                    f"and number {second + 1} ({printable_name(header[second])})"
                )
    if missing := [field for field in REQUIRED_FIELDS if field not in columns]:
        strange = [printable_name(name) for name, field in zip(header, named, strict=True) if field is None][:10]
        raise InvalidResponse(
            f"the header names no {', '.join(missing)}" + (f"; not understood: {', '.join(strange)}" if strange else "")
        )
    return columns


# By content ----------------------------------------------------------------------------------------------------------

_DATE: Final = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_RUSSIAN_DATE: Final = r"(?:0[1-9]|[12][0-9]|3[01])\.(?:0[1-9]|1[0-2])\.[0-9]{4}"
_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.,][0-9]+)?"
_OFFSET: Final = r"(?: ?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?))?"
_TIME: Final = re.compile(rf"{_DATE}[T ]{_CLOCK}{_OFFSET}|{_RUSSIAN_DATE}[T ]{_CLOCK}")
"""A time without its seconds is not readable: the seconds belong to a record's key."""

_NUMBER: Final = re.compile(
    r"[-+]?(?:0|[1-9][0-9]*|[1-9][0-9]{0,2}(?:[ \u00a0\u202f][0-9]{3})+)(?:[.,][0-9]+)?(?:[eE][-+]?[0-9]{1,4})?"
)
_BOOLEAN: Final = r"(?i:true|false)"
_ANYTHING: Final = re.compile(r"(?s:.+)")

_ALL_CELLS: Final = {
    "created_at": _TIME,
    "phone": re.compile(r"[0-9+()\[\]\s\u2010-\u2015\u2212-]*"),
    "code_auth": re.compile(r"[0-9]{0,8}"),
    # Never four digits: those are codes. Up to three, in case the vendor takes over the numbers of SIP or HTTP.
    "status": re.compile(rf"(?:-?(?:0|[1-9][0-9]{{0,2}})|{_BOOLEAN})?"),
    "status_info": re.compile(r"(?s:.*)"),
    "price": re.compile(rf"(?:{_NUMBER.pattern})?"),
}
"""What a column of the field may hold at all: wide, because it is what rules the other readings out.

Phones and codes are looked at as they were before a spreadsheet touched them.
"""

_KEYS: Final = frozenset({"phone", "code_auth"})

_ANY_CELL: Final = {
    "created_at": _ANYTHING,
    "phone": re.compile(r"(?:[^0-9]*[0-9]){10,15}[^0-9]*"),
    "code_auth": _ANYTHING,
    "status": _ANYTHING,
    "status_info": re.compile(rf"(?s:(?!{_BOOLEAN}\Z).*[^\W\d_].*)"),
    "price": _ANYTHING,
}
"""What a column of the field must hold at least once."""


def is_time(cell: str) -> bool:
    """Tell whether a cell is a moment in one of the forms that are read."""
    return _TIME.fullmatch(cell.strip()) is not None


class ColumnProfile:
    """What the cells of one column speak for and against."""

    __slots__ = ("_allowed", "_has_value", "_shown", "blank")

    def __init__(self) -> None:
        self.blank = True
        self._has_value = False
        self._allowed = set(FIELDS)
        self._shown: set[str] = set()

    def see(self, cells: Iterable[str]) -> None:
        """Take in some more of its cells."""
        written = set(map(str.strip, cells))
        self.blank = self.blank and not any(written)
        values = set(map(_value_shown, written))
        self._has_value = self._has_value or any(values)
        keys = set(map(_key_shown, values)) if self._allowed & _KEYS else values
        seen = {field: keys if field in _KEYS else values for field in self._allowed}
        self._allowed = {field for field in self._allowed if all(map(_ALL_CELLS[field].fullmatch, seen[field]))}
        self._shown |= {f for f in self._allowed - self._shown if any(map(_ANY_CELL[f].fullmatch, seen[f]))}

    @property
    def fields(self) -> set[str]:
        """Fields it could be; a column without a value can be nothing but descriptions that nobody wrote."""
        return self._allowed & self._shown if self._has_value else {"status_info"}


def _value_shown(cell: str) -> str:
    """A cell's text, trimmed; the empty text for a word that means no value."""
    return "" if is_no_value(cell) else cell.strip()


def _key_shown(cell: str) -> str:
    """The key that a cell shows; the cell itself, which no key looks like, where a spreadsheet has lost it."""
    key = restore_key(cell)
    return cell if key is None else key


def columns_by_content(columns: Sequence[ColumnProfile]) -> ColumnIndex:
    """Find the one way to give every column a field. The order of the columns counts for nothing.

    The six fields or the five without `status_info`; an empty last column may be the mark of a trailing delimiter.

    Raises:
        InvalidResponse: There is no such way, or more than one.

    """
    readings = list(_assignments(columns))
    if columns[-1].blank:
        readings += _assignments(columns[:-1])
    if not readings:
        unseen = [field for field in FIELDS if not any(field in column.fields for column in columns)]
        raise InvalidResponse(
            f"no header, and no column is certain to be the {', '.join(unseen)}"
            if unseen
            else f"no header, and its {len(columns)} columns do not make up the fields of a record"
        )
    if len(readings) > 1:
        one, other = readings[:2]
        field = next(field for field in FIELDS if one.get(field) != other.get(field))
        places = [f"column {reading[field] + 1}" if field in reading else "none" for reading in (one, other)]
        raise InvalidResponse(f"no header, and the {field} could be {' or '.join(sorted(places))}")
    return readings[0]


def _assignments(columns: Sequence[ColumnProfile]) -> Iterator[ColumnIndex]:
    if len(columns) not in (len(FIELDS), len(FIELDS) - 1):
        return
    fields = [field for field in FIELDS if len(columns) == len(FIELDS) or field != "status_info"]
    possible = [column.fields for column in columns]
    for order in permutations(fields):
        if all(field in could_be for field, could_be in zip(order, possible, strict=True)):
            yield {field: index for index, field in enumerate(order)}
