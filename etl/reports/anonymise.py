"""Records without what tells a person, for those who count people and need not know them."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from etl.pii import ERASED, redact_numbers
from etl.reports.columns import COLUMNS

KEPT: Final = 1 << 14
"""Phones, and texts, of which the outcome is remembered: a person is called more than once."""
_SHOWN: Final = 24
"""Hexadecimal digits: two of a billion phones share that many once in a hundred billion files."""


def anonymiser(key: bytes) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """What makes a record one of nobody: a pseudonym for the phone, no code, no number within the text.

    Equal phones have equal pseudonyms. All phone numbers there are can be tried in minutes, so the key must be a random
    one that nobody keeps.
    """

    @lru_cache(KEPT)
    def pseudonym(phone: str) -> str:
        if phone in {"", ERASED}:
            return phone
        return f"person-{hmac.digest(key, phone.encode(), 'sha256').hex()[:_SHOWN]}"

    hide = lru_cache(KEPT)(redact_numbers)
    forms: dict[str, Callable[[str], str]] = {
        "phone": pseudonym,
        "code_auth": lambda _code: "",
        "status_info": hide,
    }
    places = [(list(COLUMNS).index(name), form) for name, form in forms.items()]

    def pseudonymise(row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(row)
        for place, form in places:
            values[place] = form(values[place])
        return tuple(values)

    return pseudonymise
