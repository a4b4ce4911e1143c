"""Tables on stdout, and the formats of the values in them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from etl.model import DateRange

PIPED_WIDTH: Final = 120
"""Columns where stdout is not a terminal."""


def print_rows(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as a table; `columns` as for `new_table`."""
    table = new_table(*columns)
    for row in rows:
        table.add_row(*map(str, row))
    print_table(open_console(), title, table)


def print_table(console: Console, title: str, table: Table) -> None:
    """Print a table below its title."""
    console.print(styled(f"\n{title}", "bold"))
    console.print(table)


def new_table(*columns: str) -> Table:
    """An empty table; a column whose name begins with # is right-aligned, for numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name.removeprefix("#"), justify="right" if name.startswith("#") else "left")
    return table


def open_console() -> Console:
    """Stdout for tables: coloured on a terminal, plain and `PIPED_WIDTH` wide elsewhere.

    Markup is off: texts of the vendor, labels and file names may contain square brackets.
    """
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def styled(text: str, style: str) -> Text:
    """A text with a rich style, for a cell or a line of a console without markup."""
    from rich.text import Text

    return Text(text, style)


def render_money(amount: Decimal | None) -> str:
    """An amount with two decimal places, or up to six where they are needed; zero for None."""
    text = f"{amount or 0:.6f}".rstrip("0")
    return text.ljust(text.index(".") + 3, "0")


def render_minute(timestamp: datetime) -> str:
    """A timestamp in UTC, to the minute."""
    return f"{timestamp.astimezone(UTC):%Y-%m-%d %H:%M}"


def render_range(days: DateRange) -> str:
    """A date range as `first to last`, or its only day."""
    return str(days.first) if len(days) == 1 else f"{days.first} to {days.last}"
