"""Anonymise records: pseudonyms for phones, no codes, no phone numbers in texts."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from etl.pii import ERASED, redact_numbers
from etl.reports.columns import COLUMNS

CACHE_SIZE: Final = 1 << 14
"""Cached phones, and cached texts: a person is called more than once."""
_PSEUDONYM_DIGITS: Final = 24
"""Hexadecimal digits of a pseudonym: with a billion phones, one file in a hundred billion has a collision."""


def anonymiser(key: bytes) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """A function that anonymises a row of COLUMNS.

    Equal phones have equal pseudonyms. The pseudonyms of all possible phone numbers can be computed within minutes, so
    the key must be random and must not be stored.
    """

    @lru_cache(CACHE_SIZE)
    def pseudonym(phone: str) -> str:
        if phone in {"", ERASED}:
            return phone
        return f"person-{hmac.digest(key, phone.encode(), 'sha256').hex()[:_PSEUDONYM_DIGITS]}"

    transforms: dict[str, Callable[[str], str]] = {
        "phone": pseudonym,
        "code_auth": lambda _code: "",
        "status_info": lru_cache(CACHE_SIZE)(redact_numbers),
    }
    by_index = [(list(COLUMNS).index(name), transform) for name, transform in transforms.items()]

    def anonymise(row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(row)
        for index, transform in by_index:
            values[index] = transform(values[index])
        return tuple(values)

    return anonymise
