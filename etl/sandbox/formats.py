"""How the vendor writes a record: in JSON and as a line of CSV."""

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
"""The names of the columns under a Russian header: made up, as nobody outside the vendor has seen one."""

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
    """Write JSON in which a Decimal keeps its digits."""
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
    """Read what `write_json` wrote, digits and all."""
    return json.loads(text, parse_float=Decimal)


def json_fragments(records: Iterable[Record], form: FieldFormat) -> list[str]:
    """Write each record as a JSON object."""
    return [write_json(_spelled(record, form)) for record in records]


def csv_lines(records: Iterable[Record], form: CsvFormat) -> list[str]:
    """Write each record as a line, with its end."""
    return _lines(
        ([_cell(_spelled(record, form).get(name), form) for name in form.columns] for record in records), form
    )


def csv_header(form: CsvFormat) -> list[str]:
    """Write the line above the records, if there is one."""
    if form.header == "none":
        return []
    names = RUSSIAN if form.header == "russian" else {}
    return _lines([[names.get(name, name) for name in form.columns]], form)


def _spelled(record: Record, form: FieldFormat) -> Record:
    """Respell those values that are as the documentation has them."""
    spelled = dict(record)
    status, phone, price, code = map(record.get, ("status", "phone", "price", "code_auth"))
    if form.status in _STATUS and type(status) is int:
        spelled["status"] = _STATUS[form.status](status)
    if form.phone in _PHONE and isinstance(phone, str) and _MOBILE.fullmatch(phone):
        spelled["phone"] = _PHONE[form.phone](phone)
    if form.price in _PRICE and isinstance(price, Decimal) and price.is_finite():
        spelled["price"] = _PRICE[form.price](price)
    if form.code in _CODE and isinstance(code, str):
        spelled["code_auth"] = _CODE[form.code](code)
    return spelled


def _cell(value: Any, form: CsvFormat) -> str:
    match value:
        case None:
            return ""
        case Decimal():
            return str(value).replace(".", form.decimal)
        case str():
            return _ISO.sub(_TIME[form.time], value) if _ISO.fullmatch(value) else value
        case _:
            return str(value)


def _lines(rows: Iterable[list[str]], form: CsvFormat) -> list[str]:
    lines: list[str] = []
    csv.writer(SimpleNamespace(write=lines.append), delimiter=form.delimiter).writerows(rows)
    return lines
