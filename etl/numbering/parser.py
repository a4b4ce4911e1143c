"""Parse a file of the public numbering plan: a range per line, `;` between the fields.

Source: the files ABC-3xx, ABC-4xx, ABC-8xx and DEF-9xx that the Russian regulator publishes. Their headers contain
irregular spaces and Cyrillic letters that look like Latin ones; older files lack the last two columns.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from etl.errors import ConfigError

CODE, FIRST, LAST, CAPACITY, OPERATOR, REGION, INN = "авс/def", "от", "до", "емкость", "оператор", "регион", "инн"
"""Column names in lower case and without spaces."""
REQUIRED: Final = (CODE, FIRST, LAST, CAPACITY, OPERATOR, REGION)
HEADER: Final = "АВС/ DEF;От;До;Емкость;Оператор;Регион"
MAX_FIELD_LENGTHS: Final = {OPERATOR: 500, REGION: 500, INN: 12}
"""Characters that the database columns hold."""
CODE_DIGITS, NUMBER_DIGITS = 3, 7
_LATIN: Final = str.maketrans("abcё", "авсе")


@dataclass(frozen=True, slots=True)
class PlanRange:
    """A range of numbers and its assignee: a line of a file.

    Attributes:
        first: First number of the range: ten digits, including the code.
        last: Last number of the range, inclusive.
        inn: The operator's taxpayer number.
        source: File of the range.
        line: Line number in the file, from 1.
    """

    first: int
    last: int
    operator: str
    region: str
    inn: str | None
    source: PlanFile
    line: int

    @property
    def assignee(self) -> tuple[str, str]:
        """Operator and region, which the views show: overlapping ranges with equal assignees do not conflict."""
        return self.operator, self.region


@dataclass(frozen=True, slots=True)
class PlanFile:
    """Metadata of a file of the plan.

    Attributes:
        name: File name without the folder.
        changed_at: Modification time.
    """

    name: str
    changed_at: datetime


def read_plan_file(path: Path) -> list[PlanRange]:
    """Read the ranges of a file, in file order.

    Raises:
        ConfigError: The file cannot be read or is not a file of the plan; the text names the line.
    """
    try:
        content = path.read_bytes()
        source = PlanFile(path.name, datetime.fromtimestamp(path.stat().st_mtime, UTC))
    except (OSError, ValueError) as error:  # ValueError: the path contains U+0000
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'it cannot be read'}") from None
    lines = _decode_plan(content, path).splitlines()
    numbered = [(line_number, line) for line_number, line in enumerate(lines, start=1) if line.strip("; \t")]
    if not numbered:
        raise ConfigError(f"{path}: the file is empty")
    columns = _column_indexes(numbered[0][1], path)
    ranges = []
    for line_number, line in numbered[1:]:
        try:
            ranges.append(_parse_range(line, columns, source, line_number))
        except ValueError as error:
            raise ConfigError(f"{path}, line {line_number}: {error}") from None
    if not ranges:
        raise ConfigError(f"{path}: the file has a header and no ranges")
    return ranges


def _decode_plan(content: bytes, path: Path) -> str:
    for encoding in ("utf-8-sig", "cp1251"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ConfigError(f"{path}: the file is neither UTF-8 nor Windows-1251; is it a file of the numbering plan?")


def _split_line(line: str) -> list[str]:
    # One line at a time: an unclosed quotation mark must not extend to the following lines.
    return [" ".join(field.split()) for field in next(csv.reader([line], delimiter=";"))]


def _column_indexes(header: str, path: Path) -> dict[str, int]:
    try:
        names = ["".join(name.split()).casefold() for name in _split_line(header)]
    except (csv.Error, StopIteration):
        names = []
    # The first name may be in Cyrillic or Latin letters; DEF is Latin in both.
    names = [CODE if name.translate(_LATIN) == CODE else name.replace("ё", "е") for name in names]
    missing = [name for name in REQUIRED if names.count(name) != 1]
    if missing:
        raise ConfigError(
            f"{path}: not a file of the numbering plan: its first line must name the columns {HEADER} "
            f"once each; missing or repeated: {', '.join(missing)}"
        )
    return {name: position for position, name in enumerate(names)}


def _parse_range(line: str, columns: dict[str, int], source: PlanFile, line_number: int) -> PlanRange:
    try:
        fields = _split_line(line)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if len(fields) <= max(columns[name] for name in REQUIRED) or any(fields[len(columns) :]):
        raise ValueError(f"{len(fields)} fields, but the first line has {len(columns)}")
    field = {name: fields[position] if position < len(fields) else "" for name, position in columns.items()}
    code = _parse_digits(field[CODE], "АВС/ DEF", CODE_DIGITS)
    if code < 10 ** (CODE_DIGITS - 1):
        raise ValueError("АВС/ DEF must be three digits and not start with 0")
    first, last = _parse_digits(field[FIRST], "От", NUMBER_DIGITS), _parse_digits(field[LAST], "До", NUMBER_DIGITS)
    if first > last:
        raise ValueError("От is greater than До")
    if (capacity := _parse_digits(field[CAPACITY], "Емкость", NUMBER_DIGITS + 1)) != last - first + 1:
        raise ValueError(f"Емкость is {capacity}, but the range has {last - first + 1} numbers")
    if not field[OPERATOR]:
        raise ValueError("the operator is missing")
    for name, max_length in MAX_FIELD_LENGTHS.items():
        text = field.get(name, "")
        if len(text) > max_length or not text.isprintable():
            raise ValueError(f"{name.capitalize()} has more than {max_length} characters, or unprintable ones")
    base = code * 10**NUMBER_DIGITS
    return PlanRange(
        base + first, base + last, field[OPERATOR], field[REGION], field.get(INN) or None, source, line_number
    )


def _parse_digits(text: str, name: str, max_digits: int) -> int:
    """Parse a number whose leading zeros a spreadsheet may have dropped."""
    if not (text.isascii() and text.isdigit() and len(text) <= max_digits):
        raise ValueError(f"{name} must be a number of at most {max_digits} digits")
    return int(text)
