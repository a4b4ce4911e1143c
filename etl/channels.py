"""The channel of a charge (the kind of authorisation), by ordered rules. Pure.

The vendor's records do not name it. It is derived from a record as it is stored, and is not part of its identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

UNKNOWN: Final = "unknown"
"""The channel of a record that no rule matches."""


class Evidence(NamedTuple):
    """The fields of a record that determine its channel.

    Attributes:
        status_info: The text as it is stored.
        price: The price of one charge.
        has_code: Whether there is a code; None for a record whose text and code were erased.
    """

    status_info: str
    price: Decimal
    has_code: bool | None


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """A rule, which matches a record if all of its conditions are true; those of None are ignored.

    Attributes:
        channel: The channel of the records that it matches.
        status_info: Pattern of the vendor's text, in which `*` is any text and `?` any character; a pattern without
            either is looked for anywhere in the text. Upper and lower case, and blanks at the ends, do not count.
        min_price: The lowest price.
        max_price: The highest price.
        code: Whether there is a code.
    """

    channel: str
    status_info: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    code: bool | None = None

    def matches(self, record: Evidence) -> bool:
        """Whether the conditions are true for a record."""
        return (
            (self.code is None or self.code == record.has_code)
            and (self.min_price is None or record.price >= self.min_price)
            and (self.max_price is None or record.price <= self.max_price)
            and (self.status_info is None or fnmatchcase(_normalised(record.status_info), _glob(self.status_info)))
        )


@dataclass(frozen=True, slots=True)
class ChannelRules:
    """The rules of an account, in order: the first that matches decides."""

    rules: tuple[ChannelRule, ...]

    def classify(self, record: Evidence) -> str:
        """The channel of a record; UNKNOWN if no rule matches, and of an erased record."""
        if record.has_code is None:
            return UNKNOWN
        return next((rule.channel for rule in self.rules if rule.matches(record)), UNKNOWN)

    def names(self) -> Iterator[str]:
        """The channels that a record can have."""
        yield from dict.fromkeys([*(rule.channel for rule in self.rules), UNKNOWN])

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that differ between rules that may classify differently."""
        return hashlib.blake2b(repr(self.rules).encode(), digest_size=8).hexdigest()

    def without_codes(self) -> ChannelRules:
        """The rules for records whose codes are dropped, without those that depend on a code."""
        return ChannelRules(tuple(rule for rule in self.rules if rule.code is None))


def _glob(pattern: str) -> str:
    """A normalised pattern for `fnmatchcase`, without its character sets."""
    text = _normalised(pattern)
    return text.replace("[", "[[]") if {"*", "?"} & set(text) else f"*{text.replace('[', '[[]')}*"


def _normalised(text: str) -> str:
    # MariaDB ignores blanks at the end of a text when it compares.
    return text.strip().casefold()


DEFAULT_RULES: Final = ChannelRules(
    (
        ChannelRule("telegram", status_info="telegram"),
        ChannelRule("sms", status_info="sms"),
        ChannelRule("sms", status_info="смс"),
        ChannelRule("call back", code=False),
        ChannelRule("flash call", status_info="sip"),
        ChannelRule("flash call", min_price=Decimal("0.2"), max_price=Decimal("0.2")),
    )
)
"""The rules unless others are set. Assumed: no answer of the vendor was seen that distinguishes the channels.

The texts contain the name of the channel; a call back has no code; SIP is the protocol of calls, and 0.2 the price of
the flash call in the vendor's reference ("post_billing_data").
"""
