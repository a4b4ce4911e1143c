"""Anonymise records: pseudonyms for phones, no codes, no phone numbers in texts."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from etl.pii import ERASED, redact_numbers

CACHE_SIZE: Final = 1 << 14
"""Cached phones, and cached texts: a person is called more than once."""
_PSEUDONYM_DIGITS: Final = 24
"""Hexadecimal digits of a pseudonym: with a billion phones, one file in a hundred billion has a collision."""


def anonymiser(key: bytes) -> dict[str, Callable[[str], str]]:
    """Functions that anonymise the values of a column, by its name; other columns stay as they are.

    Equal phones have equal pseudonyms. The pseudonyms of all possible phone numbers can be computed within minutes, so
    the key must be random and must not be stored.
    """

    @lru_cache(CACHE_SIZE)
    def pseudonym(phone: str) -> str:
        if phone in {"", ERASED}:
            return phone
        return f"person-{hmac.digest(key, phone.encode(), 'sha256').hex()[:_PSEUDONYM_DIGITS]}"

    return {
        "phone": pseudonym,
        "code_auth": lambda _code: "",
        "status_info": lru_cache(CACHE_SIZE)(redact_numbers),
    }
