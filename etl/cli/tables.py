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

    from etl.date_ranges import DateRange

PIPED_WIDTH: Final = 120
"""Columns where stdout is not a terminal."""
MIN_TEXT_WIDTH: Final = 12
"""Columns below which a text that is wrapped cannot be read."""
_GAP: Final = 2
"""Columns between two columns of a table."""


def print_rows(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as a table; where the terminal is too narrow for it, as one block of lines per row.

    No value is cut. A number or a date is never wrapped.

    Args:
        title: The line above the table.
        columns: Names of the columns. One that begins with # is right-aligned, for numbers; one that begins with ~ is
            a text, which is wrapped if need be.
        rows: The cells.
    """
    from rich.cells import cell_len

    console = open_console()
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [
        max(map(cell_len, column)) for column in zip([name.lstrip("#~") for name in columns], *texts, strict=True)
    ]
    needed = (
        min(width, MIN_TEXT_WIDTH) if name.startswith("~") else width
        for name, width in zip(columns, widths, strict=True)
    )
    if sum(needed) + _GAP * (len(columns) - 1) > console.width:
        _print_blocks(console, title, columns, texts)
        return
    table = new_table(*columns)
    for row in texts:
        table.add_row(*row)
    print_table(console, title, table)


def _print_blocks(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    console.print(styled(f"\n{title}", "bold"))
    for number, row in enumerate(rows):
        if number:
            console.print()
        block = new_table("", "~")
        block.show_header = False
        for name, cell in zip(columns, row, strict=True):
            if cell:
                block.add_row(name.lstrip("#~"), cell)
        console.print(block)


def print_table(console: Console, title: str, table: Table) -> None:
    """Print a table below its title."""
    console.print(styled(f"\n{title}", "bold"))
    console.print(table)


def new_table(*columns: str) -> Table:
    """An empty table; for the names of the columns see `print_rows`."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(
            name.lstrip("#~"),
            justify="right" if name.startswith("#") else "left",
            no_wrap=not name.startswith("~"),
            overflow="fold",
        )
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
