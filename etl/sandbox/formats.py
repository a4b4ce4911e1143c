"""Records as the vendor writes them: JSON and CSV."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Final

from etl.sandbox.behaviour import CsvFormat, FieldFormat
from etl.sandbox.dataset import Record

RUSSIAN: Final = {
    "created_at": "Дата и время",
    "code_auth": "Код авторизации",
    "status": "Статус",
    "status_info": "Описание статуса",
    "phone": "Номер телефона",
    "price": "Стоимость",
}
"""Column names of a Russian header (assumed: the vendor's reference shows none)."""

_ISO: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d:\d\d:\d\d)", re.ASCII)
_MOBILE: Final = re.compile(r"8\d{10}", re.ASCII)

_STATUS: Final[dict[str, Callable[[int], Any]]] = {"bool": bool, "string": str}
_PHONE: Final[dict[str, Callable[[str], Any]]] = {
    "7": lambda phone: "7" + phone[1:],
    "+7": lambda phone: "+7" + phone[1:],
}
_PRICE: Final[dict[str, Callable[[Decimal], Any]]] = {
    "string": str,
    "padded": lambda price: price + Decimal("0.000000"),
    "noise": lambda price: Decimal(f"{float(price):.17g}"),
}
_CODE: Final[dict[str, Callable[[str], Any]]] = {
    "number": lambda code: int(code) if code.isdecimal() else code or None,
    "null": lambda code: code or None,
}
_TIME: Final = {
    "iso": r"\1-\2-\3T\4",
    "space": r"\1-\2-\3 \4",
    "fraction": r"\1-\2-\3T\4.000000",
    "dotted": r"\3.\2.\1 \4",
}

_encode: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode


def write_json(value: Any) -> str:
    """Encode JSON; a Decimal keeps its digits."""
    match value:
        case str():
            return _encode(value)
        case Decimal():
            return str(value)
        case dict():
            return "{" + ", ".join([f"{_encode(str(key))}: {write_json(item)}" for key, item in value.items()]) + "}"
        case list() | tuple():
            return "[" + ", ".join([write_json(item) for item in value]) + "]"
        case _:
            return _encode(value)


def read_json(text: bytes | str) -> Any:
    """Decode JSON; numbers with a fraction become Decimal."""
    return json.loads(text, parse_float=Decimal)


def json_fragments(records: Iterable[Record], record_format: FieldFormat) -> list[str]:
    """Records as JSON objects."""
    return [write_json(_format_fields(record, record_format)) for record in records]


def csv_lines(records: Iterable[Record], record_format: CsvFormat) -> list[str]:
    """Records as CSV lines, including line ends."""
    rows = (_format_fields(record, record_format) for record in records)
    return _csv_lines(
        ([_cell(row.get(name), record_format) for name in record_format.columns] for row in rows), record_format
    )


def csv_header(record_format: CsvFormat) -> list[str]:
    """The header line; empty if the format has none."""
    if record_format.header == "none":
        return []
    names = RUSSIAN if record_format.header == "russian" else {}
    return _csv_lines([[names.get(name, name) for name in record_format.columns]], record_format)


def _format_fields(record: Record, record_format: FieldFormat) -> Record:
    """Reformat the values that have the documented format."""
    values = dict(record)
    status, phone, price, code = map(record.get, ("status", "phone", "price", "code_auth"))
    if record_format.status in _STATUS and type(status) is int:
        values["status"] = _STATUS[record_format.status](status)
    if record_format.phone in _PHONE and isinstance(phone, str) and _MOBILE.fullmatch(phone):
        values["phone"] = _PHONE[record_format.phone](phone)
    if record_format.price in _PRICE and isinstance(price, Decimal) and price.is_finite():
        values["price"] = _PRICE[record_format.price](price)
    if record_format.code in _CODE and isinstance(code, str):
        values["code_auth"] = _CODE[record_format.code](code)
    return values


def _cell(value: Any, record_format: CsvFormat) -> str:
    match value:
        case None:
            return ""
        case Decimal():
            return str(value).replace(".", record_format.decimal)
        case str():
            return _ISO.sub(_TIME[record_format.time], value) if _ISO.fullmatch(value) else value
        case _:
            return str(value)


def _csv_lines(rows: Iterable[list[str]], record_format: CsvFormat) -> list[str]:
    lines: list[str] = []
    csv.writer(SimpleNamespace(write=lines.append), delimiter=record_format.delimiter).writerows(rows)
    return lines
