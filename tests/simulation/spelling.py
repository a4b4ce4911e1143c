"""Format a charge as a JSON object or as a line of CSV. A spelling is a dict: field → name of a style."""

from __future__ import annotations

import csv
import io
import json
import struct
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any

from simulation.world import Charge, Row

FIELDS = ("created_at", "code_auth", "status", "status_info", "phone", "price")
RUSSIAN = {
    "created_at": "Дата и время",
    "code_auth": "Код авторизации",
    "status": "Статус",
    "status_info": "Описание статуса",
    "phone": "Номер телефона",
    "price": "Стоимость",
}
LARGEST_NOISE_32 = 100
"""Price from which on the rounding error of a 32-bit float reaches the sixth decimal."""

Spelling = dict[str, Any]
_OF_A_RECORD = frozenset({"time", "phone", "code", "status", "price", "info"})
"""Fields that may have two styles within one answer."""


class Number(str):
    """A JSON number, as text."""

    __slots__ = ()


def time_of(charge: Charge, style: str, zone: tzinfo) -> Any:
    """`created_at` in a style."""
    wall = charge.wall
    local = datetime.fromtimestamp(charge.moment, UTC).astimezone(zone)
    match style:
        case "space":
            return f"{wall:%Y-%m-%d %H:%M:%S}"
        case "fraction":
            return f"{wall:%Y-%m-%dT%H:%M:%S}.{charge.number % 1000:03}"
        case "dotted":
            return f"{wall:%d.%m.%Y %H:%M:%S}"
        case "offset":
            return local.isoformat()
        case "utc":
            return f"{datetime.fromtimestamp(charge.moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
        case "minutes":
            return f"{wall:%d.%m.%Y %H:%M}"
        case "epoch":
            return Number(charge.moment)
    return f"{wall:%Y-%m-%dT%H:%M:%S}"


def phone_of(phone: str, style: str) -> Any:
    """A phone in a style; other than Russian numbers have only the styles of a whole column."""
    russian = len(phone) == 12 and phone.startswith("+79")
    digits = "8" + phone[2:] if russian else phone
    match style:
        case "7" | "+7" if russian:
            return style + phone[2:]
        case "ten" if russian:
            return phone[2:]
        case "brackets" if russian:
            return f"8 ({phone[2:5]}) {phone[5:8]}-{phone[8:10]}-{phone[10:]}"
    return _as_key(digits, style)


def code_of(code: str, style: str) -> Any:
    """A code in a style."""
    return _as_key(code, style)


def _as_key(text: str, style: str) -> Any:
    number = text.isascii() and text.isdecimal()
    match style:
        case "number" if number:
            return Number(int(text))
        case "float" if number:
            return Number(f"{int(text)}.0")
        case "comma_float" if number:
            return f"{int(text)},0"
        case "scientific" if number and len(text) > 6:
            return Number(f"{Decimal(int(text)).normalize():E}")
        case "rounded" if number and len(text) > 6:
            return Number(f"{int(text):.3E}".replace(".", ","))
        case "formula":
            return f'="{text}"'
        case "apostrophe":
            return f"'{text}"
        case "null" if not text:
            return None
        case "number" | "float" if not text:
            return None
    return text


def status_of(status: int | None, style: str) -> Any:
    """A status in a style."""
    if status is None:
        return None
    match style:
        case "string":
            return str(status)
        case "bool" if status in (0, 1):
            return bool(status)
        case "float":
            return Number(f"{status}.0")
    return Number(status)


def price_of(price: Decimal, style: str) -> Any:
    """A price in a style."""
    match style:
        case "string":
            return str(price)
        case "comma":
            return str(price).replace(".", ",")
        case "padded":
            return Number(f"{price:.6f}")
        case "noise":
            return Number(f"{float(price):.17g}")
        case "noise32" if abs(price) < LARGEST_NOISE_32:
            return Number(repr(struct.unpack("f", struct.pack("f", price))[0]))
        case "spaces":
            return f"{price:,}".replace(",", " ")
        case "thousands":
            return f"{price:,}"
    return Number(price)


def _values(charge: Charge, row: Row, form: Spelling, zone: tzinfo, broken: str | None) -> dict[str, Any]:
    if "mixed" in form and charge.number % 2:
        form = {name: value for name, value in form.items() if name not in _OF_A_RECORD}
    values = {
        "created_at": time_of(charge, "epoch" if broken == "time" else form.get("time", "iso"), zone),
        "code_auth": code_of(row.code, form.get("code", "string")),
        "status": "delivered" if broken == "status" else status_of(row.status, form.get("status", "int")),
        "status_info": None if form.get("info") == "null" and not row.info else row.info,
        "phone": phone_of(row.phone, form.get("phone", "8")),
        "price": price_of(row.price, form.get("price", "number")),
    }
    match broken:
        case "price":
            values["price"] = f"{row.price} ₽"
        case "no_price" | "no_time":
            values["price" if broken == "no_price" else "created_at"] = None
        case "list":
            values["price"] = Number("[0.2]")
    return values


def json_object(charge: Charge, row: Row, form: Spelling, zone: tzinfo, broken: str | None) -> str:
    """Format one record of a JSON answer; `broken` is its unreadable field."""
    values = _values(charge, row, form, zone, broken)
    parts = [
        f'"{name}": {value if isinstance(value, Number) else json.dumps(value, ensure_ascii=form.get("ascii", False))}'
        for name, value in values.items()
        if name not in form.get("lacks", ())
    ]
    if "extra" in form:
        parts.insert(0, '"operator": "МТС"')
    if broken == "doubled":
        parts.append('"price": 99.5')
    match form.get("layout"):
        case "indented":
            return "{\n    " + ",\n    ".join(parts) + "\n  }"
        case "reversed":
            return "{" + ",".join(reversed(parts)) + "}"
    return "{" + ", ".join(parts) + "}"


def csv_file(lines: Iterable[str], form: Spelling) -> bytes:
    """Join lines from `csv_line` to a file with a header."""
    columns = columns_of(form)
    header = {"none": None, "russian": [RUSSIAN.get(name, name) for name in columns]}.get(
        form.get("header", ""), columns
    )
    text = (_line(list(header), form) if header else "") + "".join(lines)
    return text.encode(form.get("encoding", "utf-8"), errors="replace")  # cp1251 has no sign for a rouble


def csv_line(charge: Charge, row: Row, form: Spelling, zone: tzinfo, broken: str | None) -> str:
    """Format one record of a CSV file; `broken` is its unreadable field."""
    values = _values(charge, row, form, zone, broken)
    values["operator"] = "МТС"
    cells = []
    for name in columns_of(form):
        value = values[name]
        if value is None or value == "":
            optional = name in {"code_auth", "status", "status_info"}
            value = form.get("nothing", "") if optional else ""
        elif form.get("decimal") == "," and name == "price" and isinstance(value, Number):
            value = value.replace(".", ",")
        cells.append(str(value))
    return _line(cells, form)


def columns_of(form: Spelling) -> list[str]:
    """The columns of a CSV file."""
    columns = [name for name in form.get("columns", FIELDS) if name not in form.get("lacks", ())]
    return [*columns, "operator"] if "extra" in form else columns


def _line(cells: list[str], form: Spelling) -> str:
    if form.get("trailing"):
        cells.append("")
    delimiter, newline = form.get("delimiter", ";"), form.get("newline", "\r\n")
    special = set('"\r\n' + delimiter)
    if form.get("quotes") == "none" and not any(special & set(cell.removeprefix('="').rstrip('"')) for cell in cells):
        return delimiter.join(cells) + newline
    buffer = io.StringIO()
    csv.writer(
        buffer,
        delimiter=delimiter,
        lineterminator=newline,
        quoting=csv.QUOTE_ALL if form.get("quotes") == "all" else csv.QUOTE_MINIMAL,
    ).writerow(cells)
    return buffer.getvalue()
