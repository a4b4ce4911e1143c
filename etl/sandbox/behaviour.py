"""How the vendor decides what nobody documents. Every attribute is checked when it is set."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from etl.sandbox.dataset import FIELDS


class ValidatedAttributes:
    """Refuses a name that it does not have and a value that its type does not allow."""

    def __setattr__(self, name: str, value: Any) -> None:
        hints = get_type_hints(type(self))
        if name not in hints:
            raise ValueError(f"there is no policy {name!r}, but {', '.join(hints)}")
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


@dataclass
class FieldFormat(ValidatedAttributes):
    """How the values of a record are written.

    The first of each is the record's own value as it stands. The others respell only what looks as the documentation
    has it, so that a record a test made odd stays odd.
    """

    status: Literal["int", "bool", "string"] = "int"
    phone: Literal["8", "7", "+7"] = "8"
    price: Literal["number", "string", "padded", "noise"] = "number"
    """`padded` has six decimal places, `noise` the 17 digits of a binary float."""
    code: Literal["string", "number", "null"] = "string"
    """`number` loses leading zeros, `null` stands for an empty code; a number does both."""


@dataclass
class CsvFormat(FieldFormat):
    """How a CSV file is written."""

    delimiter: Literal[";", ",", "\t"] = ";"
    header: Literal["english", "russian", "none"] = "english"
    columns: tuple[str, ...] = FIELDS
    """Which fields there are, in their order."""
    encoding: Literal["utf-8", "utf-8-sig", "cp1251"] = "utf-8"
    decimal: Literal[".", ","] = "."
    """Of prices that are numbers, not strings."""
    time: Literal["iso", "space", "fraction", "dotted"] = "iso"
    """`2021-12-29T14:06:51`, `2021-12-29 14:06:51`, `2021-12-29T14:06:51.000000`, `29.12.2021 14:06:51`."""


@dataclass
class Behaviour(ValidatedAttributes):
    """All that is undecided, decided."""

    end_date: Literal["inclusive", "exclusive"] = "inclusive"
    zone_offset_hours: int | float = 0
    """The zone that days are cut in, less the zone of `created_at`: -3 for UTC against Moscow."""
    refuse_future: bool = False
    """Answer 400 to an `end_date` after today."""
    first_day: str | None = None
    """Answer 400 to a `start_date` before this day."""
    order: Literal["ascending", "descending", "shuffled"] = "ascending"
    json_limit: int | None = None
    """Rows of an answer to `post_billing_data`; what comes after them, in this order, is left out without a word."""
    csv_limit: int | None = None
    json: FieldFormat = field(default_factory=FieldFormat)
    csv: CsvFormat = field(default_factory=CsvFormat)

    def changed(self, changes: Mapping[str, Any]) -> Behaviour:
        """Copy them with these changes; those to `json` and `csv` are mappings themselves.

        Raises:
            ValueError: A name or a value that there is not.
        """
        policies = copy.deepcopy(self)
        for name, value in changes.items():
            if name in {"json", "csv"}:
                for inner, inner_value in value.items():
                    setattr(getattr(policies, name), inner, inner_value)
            else:
                setattr(policies, name, value)
        return policies
