"""The names closest to an unknown one, for error messages."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

MAX_LISTED: Final = 10
"""Names listed in full; of more, only the closest are named."""
_CLOSEST: Final = 3
_SIMILARITY: Final = 0.6


def similar_names(name: str, known: Iterable[str], *, similarity: float = _SIMILARITY, count: int = 1) -> list[str]:
    """Up to `count` known names, the most similar first, that reach a similarity from 0 to 1."""
    from difflib import get_close_matches  # needed only for an unknown name

    return get_close_matches(name, known, n=count, cutoff=similarity)


def describe_known(name: str, known: Collection[str]) -> str:
    """A clause about the names that exist, for an error about one that does not: a few are listed, many are counted."""
    if not known:
        return "it has none yet"
    if len(known) > MAX_LISTED:
        closest = similar_names(name, known, similarity=0.0, count=_CLOSEST)
        return f"it has {len(known):,}; the closest are {', '.join(closest)}"
    similar = similar_names(name, known)
    return f"it has {', '.join(known)}" + (f"; did you mean {similar[0]}?" if similar else "")
