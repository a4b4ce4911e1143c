"""How the vendor resolves what its reference leaves open. Attributes are validated when they are set."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from etl.sandbox.dataset import FIELDS


class ValidatedAttributes:
    """Validates attributes on assignment: a known name, and a value that its type hint allows."""

    def __setattr__(self, name: str, value: Any) -> None:
        own: type = type(self)
        hints = _hints_of(own)
        if name not in hints:
            raise ValueError(f"unknown policy {name!r}; the policies are {', '.join(hints)}")
        hint = hints[name]
        if get_origin(hint) is Literal:
            fits, expected = value in get_args(hint), f"one of {get_args(hint)}"
        elif get_origin(hint) is tuple:
            value = tuple(value)
            fits, expected = all(isinstance(item, str) for item in value), "names"
        else:
            fits, expected = isinstance(value, hint), str(hint)
        if not fits:
            raise ValueError(f"{name} is {expected}, not {value!r}")
        super().__setattr__(name, value)


_hints_of = cache(get_type_hints)


@dataclass
class FieldFormat(ValidatedAttributes):
    """Formats of a record's values.

    The first choice leaves the record's own value unchanged. The others reformat only values in the documented format,
    so that a test's malformed records stay malformed.
    """

    status: Literal["int", "bool", "string"] = "int"
    phone: Literal["8", "7", "+7"] = "8"
    price: Literal["number", "string", "padded", "noise"] = "number"
    """`padded` has six decimal places, `noise` the 17 significant digits of a binary float."""
    code: Literal["string", "number", "null"] = "string"
    """`number` drops leading zeros and writes an empty code as null, `null` does only the latter."""


@dataclass
class CsvFormat(FieldFormat):
    """Format of a CSV file."""

    delimiter: Literal[";", ",", "\t"] = ";"
    header: Literal["english", "russian", "none"] = "english"
    columns: tuple[str, ...] = FIELDS
    """The fields in order."""
    encoding: Literal["utf-8", "utf-8-sig", "cp1251"] = "utf-8"
    decimal: Literal[".", ","] = "."
    """Decimal separator of prices that are numbers, not strings."""
    time: Literal["iso", "space", "fraction", "dotted"] = "iso"
    """`2021-12-29T14:06:51`, `2021-12-29 14:06:51`, `2021-12-29T14:06:51.000000`, `29.12.2021 14:06:51`."""


@dataclass
class Behaviour(ValidatedAttributes):
    """The vendor's policies."""

    end_date: Literal["inclusive", "exclusive"] = "inclusive"
    zone_offset_hours: int | float = 0
    """Hours between the time zone of days and that of `created_at`: -3 for days in UTC and times in Moscow."""
    refuse_future: bool = False
    """Respond with 400 to an `end_date` after today."""
    first_day: str | None = None
    """Respond with 400 to a `start_date` before this day."""
    order: Literal["ascending", "descending", "shuffled"] = "ascending"
    json_limit: int | None = None
    """Maximum rows of a response to `post_billing_data`; the rows after them, in `order`, are left out silently."""
    csv_limit: int | None = None
    json: FieldFormat = field(default_factory=FieldFormat)
    csv: CsvFormat = field(default_factory=CsvFormat)

    def changed(self, changes: Mapping[str, Any]) -> Behaviour:
        """A copy with changes; those to `json` and `csv` are nested mappings.

        Raises:
            ValueError: Unknown name or invalid value.
        """
        policies = copy.deepcopy(self)
        for name, value in changes.items():
            if name in {"json", "csv"}:
                for option, option_value in value.items():
                    setattr(getattr(policies, name), option, option_value)
            else:
                setattr(policies, name, value)
        return policies
