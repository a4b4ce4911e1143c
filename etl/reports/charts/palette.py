"""The colours of the charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by meaning: hexadecimal for a canvas, `var(--…)` for SVG styled by CSS.

    Attributes:
        main: Colour of single-colour charts.
        accounts: Colours of accounts, repeated when there are more accounts.
        states: Colours of DAY_STATES.
    """

    main: str
    accounts: tuple[str, ...]
    states: tuple[str, str, str, str, str]


PLAIN: Final = Palette(
    main="#4a86b5",
    accounts=("#4a86b5", "#d08c3f", "#5d9f7a", "#9a7fb8", "#c46d6d", "#7d8e9e", "#a3a04a", "#5aa0b0"),
    states=("#8ea6b8", "#4a86b5", "#d9b35f", "#d2554b", "#a04a9a"),
)
"""Colours for light and dark pages, distinguishable with colour blindness."""
