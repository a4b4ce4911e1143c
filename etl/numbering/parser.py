"""A file of the public numbering plan, as the regulator publishes it: `;` between fields, a range a line.

Source: the files ABC-3xx, ABC-4xx, ABC-8xx and DEF-9xx of the Russian numbering plan. Their headers have odd spaces and
Cyrillic letters that look like Latin ones; older copies lack the last two columns.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from etl.errors import ConfigError

CODE, FIRST, LAST, CAPACITY, OPERATOR, REGION, INN = "авс/def", "от", "до", "емкость", "оператор", "регион", "инн"
"""The names of the columns, in small letters and without spaces."""
REQUIRED: Final = (CODE, FIRST, LAST, CAPACITY, OPERATOR, REGION)
HEADER: Final = "АВС/ DEF;От;До;Емкость;Оператор;Регион"
MAX_LINE_LENGTH: Final = {OPERATOR: 500, REGION: 500, INN: 12}
"""Characters that the database has room for."""
CODE_DIGITS, NUMBER_DIGITS = 3, 7
_LATIN: Final = str.maketrans("abcё", "авсе")


@dataclass(frozen=True, slots=True)
class PlanRange:
    """One line: which numbers were given to whom.

    Attributes:
        first: The first number: ten digits, code included.
        last: The last one, which belongs to the range.
        source: The file it stands in.
        line: Its number in the file, from 1.
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
        """What the views tell of a number: two ranges of one owner never contradict each other."""
        return self.operator, self.region


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A file of the plan, without its ranges.

    Attributes:
        name: Without the folder.
        changed_at: When it was last written.
    """

    name: str
    changed_at: datetime


def read_plan_file(path: Path) -> list[PlanRange]:
    """The ranges of a file, in its order.

    Raises:
        ConfigError: It cannot be read, or is no such file; names the line.
    """
    try:
        content = path.read_bytes()
        source = PlanFile(path.name, datetime.fromtimestamp(path.stat().st_mtime, UTC))
    except (OSError, ValueError) as error:  # a ValueError is a path with U+0000
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or 'it cannot be read'}") from None
    lines = _decode(content, path).splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip("; \t")]
    if not numbered:
        raise ConfigError(f"{path}: the file is empty")
    columns = _column_indexes(numbered[0][1], path)
    ranges = []
    for number, line in numbered[1:]:
        try:
            ranges.append(_parse_range(line, columns, source, number))
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
    if not ranges:
        raise ConfigError(f"{path}: the file has a header and no ranges")
    return ranges


def _decode(content: bytes, path: Path) -> str:
    for encoding in ("utf-8-sig", "cp1251"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise ConfigError(f"{path}: the file is neither UTF-8 nor Windows-1251; is it a file of the numbering plan?")


def _split_line(line: str) -> list[str]:
    # Line by line: a quotation mark that is never closed must not swallow the lines below.
    return [" ".join(field.split()) for field in next(csv.reader([line], delimiter=";"))]


def _column_indexes(header: str, path: Path) -> dict[str, int]:
    try:
        names = ["".join(name.split()).casefold() for name in _split_line(header)]
    except (csv.Error, StopIteration):
        names = []
    # The first name is told by either alphabet's letters; those of DEF are Latin in both.
    names = [CODE if name.translate(_LATIN) == CODE else name.replace("ё", "е") for name in names]
    lacking = [name for name in REQUIRED if names.count(name) != 1]
    if lacking:
        raise ConfigError(
            f"{path}: not a file of the numbering plan: its first line must name the columns {HEADER}, "
            f"and lacks, or repeats, {', '.join(lacking)}"
        )
    return {name: position for position, name in enumerate(names)}


def _parse_range(line: str, columns: dict[str, int], source: PlanFile, number: int) -> PlanRange:
    try:
        fields = _split_line(line)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if len(fields) <= max(columns[name] for name in REQUIRED) or any(fields[len(columns) :]):
        raise ValueError(f"{len(fields)} fields where the first line has {len(columns)}")
    field = {name: fields[position] if position < len(fields) else "" for name, position in columns.items()}
    code = _digits(field[CODE], "АВС/ DEF", CODE_DIGITS)
    if code < 10 ** (CODE_DIGITS - 1):
        raise ValueError("АВС/ DEF must be three digits and not begin with 0")
    first, last = _digits(field[FIRST], "От", NUMBER_DIGITS), _digits(field[LAST], "До", NUMBER_DIGITS)
    if first > last:
        raise ValueError("От lies behind До")
    if (capacity := _digits(field[CAPACITY], "Емкость", NUMBER_DIGITS + 1)) != last - first + 1:
        raise ValueError(f"Емкость says {capacity}, and from От to До there are {last - first + 1} numbers")
    if not field[OPERATOR]:
        raise ValueError("there is no operator")
    for name, longest in MAX_LINE_LENGTH.items():
        text = field.get(name, "")
        if len(text) > longest or not text.isprintable():
            raise ValueError(f"{name.capitalize()} has more than {longest} characters, or some that cannot be seen")
    base = code * 10**NUMBER_DIGITS
    return PlanRange(base + first, base + last, field[OPERATOR], field[REGION], field.get(INN) or None, source, number)


def _digits(text: str, name: str, most: int) -> int:
    """A number whose leading zeros a spreadsheet may have taken."""
    if not (text.isascii() and text.isdigit() and len(text) <= most):
        raise ValueError(f"{name} must be a number of at most {most} digits")
    return int(text)
