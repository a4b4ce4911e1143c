"""The charges of an account, each with its complete history."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

DAY = timedelta(days=1)
DAY_SECONDS = 86_400

Draw = Callable[[str], Random]
"""Returns the random numbers of a freedom, independent of the other freedoms."""


class Row(NamedTuple):
    """A charge in canonical form."""

    time: str
    phone: str
    code: str
    status: int | None
    info: str
    price: Decimal

    @property
    def key(self) -> tuple[str, str, str]:
        """Its time, phone and code."""
        return self[:3]


@dataclass(slots=True)
class Charge:
    """One charge and its states.

    Attributes:
        moment: Unix time.
        wall: The time in the vendor's wall clock.
        states: Its content from each Unix time on; None while it is not listed.
        copies: How often it is listed.
    """

    number: int
    moment: int
    wall: datetime
    states: list[tuple[int, Row | None]]
    copies: int = 1

    @property
    def day(self) -> date:
        """The day it belongs to."""
        return self.wall.date()

    def at(self, now: int) -> Row | None:
        """Its content at a Unix time; None if it is not listed."""
        if len(self.states) == 1:
            since, row = self.states[0]
            return row if since <= now else None
        place = bisect.bisect_right(self.states, now, key=lambda state: state[0])
        return self.states[place - 1][1] if place else None

    def versions(self) -> set[Row]:
        """All rows of its history."""
        return {row for _, row in self.states if row is not None}


PRICES = [Decimal(text) for text in ("0.2", "0.2", "0.2", "0.6", "3.25", "2.95", "3.6", "2.4", "4", "12.5")]
LARGE_PRICES = [Decimal(text) for text in ("1234", "2500.5", "12000", "1234567.89")]
INFOS = ["ok", "ok", "ok", "Ok: SIP 200 OK", "Error: SIP 486 Busy Here", "no answer"]
ODD_INFOS = ["", "нет ответа", 'он "занят"; да,\nвсё', "ok; 1,5", "=1+1", "0", "  ok ", "a\tb|c", "x" * 3000]
MOST_RECORDS = 120
"""Maximum number of records per day: ten such days exceed all limits except the largest."""
LARGEST_ROW = 120_000
"""Maximum size of a row in bytes, with huge texts: far less than that of a packet of MariaDB, for speed."""
HUGE_INFO = "long " * 25_000
ODD_PHONES = ["+375291234567", "112", "", "375291234567", "+77071234567", "анонимный"]


@dataclass(slots=True)
class World:
    """All charges of an account, in the order of their time."""

    charges: list[Charge] = field(default_factory=list)

    def listed(self, now: datetime) -> list[tuple[Charge, Row]]:
        """All listed charges at a moment, one item per copy."""
        moment = int(now.timestamp())
        found = []
        for charge in self.charges:
            if charge.moment > moment:
                break
            row = charge.at(moment)
            if row is not None:
                found += [(charge, row)] * charge.copies
        return found


def make_world(traits: dict[str, Any], draw: Draw, first: date, last: date, zone: tzinfo) -> World:
    """The charges of the days from `first` to `last`."""
    volume = traits.get("volume", 5)
    numbers = draw("records")
    charges: list[Charge] = []
    for index in range((last - first).days + 1):
        day = first + index * DAY
        for _ in range(_volume_of(traits, draw, index, volume)):
            charge = _charge(traits, numbers, len(charges), day, zone)
            if charge is None:
                continue
            charges.append(charge)
            if numbers.random() < traits.get("siblings", 0):
                charges.append(_sibling(numbers, charge, len(charges)))
    if "three_records" in traits:
        charges = draw("three_records").sample(charges, min(3, len(charges)))
    charges.sort(key=lambda charge: charge.moment)
    if traits.keys() & {"late_records", "corrections", "withdrawals"}:
        for charge in charges:
            _change(traits, draw, charge)
    return World(charges)


def _volume_of(traits: dict[str, Any], draw: Draw, index: int, volume: float) -> int:
    numbers = draw(f"volume of day {index}")
    mean = volume * traits.get("growth", 1) ** index
    if numbers.random() < traits.get("quiet_days", 0):
        return 0
    if "busy_days" in traits and numbers.random() < 0.15:
        mean *= traits["busy_days"]
    if "level" in traits:
        return min(MOST_RECORDS, round(mean))
    return min(MOST_RECORDS, max(0, round(numbers.gauss(mean, mean / 3 + 0.7))))


def _charge(traits: dict[str, Any], numbers: Random, number: int, day: date, zone: tzinfo) -> Charge | None:
    second = numbers.choice([0, DAY_SECONDS - 1]) if numbers.random() < 0.05 else numbers.randrange(DAY_SECONDS)
    noon = datetime.combine(day, time(12), zone)
    if noon.utcoffset() != (noon - DAY).utcoffset() and numbers.random() < 0.5:
        second = 3_600 + numbers.randrange(7_200)  # around a change to or from summer time
    wall = datetime.combine(day, time()) + timedelta(seconds=second)
    moment = wall.replace(tzinfo=zone, fold=numbers.randrange(2)).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) != wall:
        return None  # a time that the change to summer time skips
    phone, code = f"+79{numbers.randrange(10**9):09}", f"{numbers.randrange(10**4):04}"
    info, price, status = numbers.choice(INFOS), numbers.choice(PRICES), numbers.choice((1, 1, 1, 0))
    odd = numbers.random()
    if odd < traits.get("odd_keys", 0):
        phone, code = numbers.choice([phone, *ODD_PHONES]), numbers.choice(["", code, "123456", "7"])
        code = code.zfill(4) if code.isdigit() else code
    if odd < traits.get("odd_texts", 0):
        info, status = numbers.choice(ODD_INFOS), numbers.choice((1, 0, None, 486, -1))
    if odd < traits.get("free_records", 0):
        price = Decimal(0)
    if odd < traits.get("refunds", 0):
        price = -price
    if odd < traits.get("large_prices", 0):
        price = numbers.choice(LARGE_PRICES)
    if "long_texts" in traits:
        info = (info + " ") * (traits["long_texts"] // (len(info) + 1))
    if odd < traits.get("huge_texts", 0):
        info = HUGE_INFO
    row = Row(f"{wall:%Y-%m-%d %H:%M:%S}", phone, code, status, info, price)
    start = int(moment.timestamp())
    copies = numbers.randrange(2, 5) if numbers.random() < traits.get("repeats", 0) else 1
    return Charge(number, start, wall, [(start, row)], copies)


def _sibling(numbers: Random, charge: Charge, number: int) -> Charge:
    """The SMS after a failed call: with the same second, phone and code."""
    ((start, row),) = charge.states
    assert row is not None
    return Charge(number, start, charge.wall, [(start, row._replace(price=row.price + 3, info="sms"))])


def _change(traits: dict[str, Any], draw: Draw, charge: Charge) -> None:
    """Draw the history of a charge."""
    numbers = draw(f"fate of {charge.number}")
    ((start, row),) = charge.states
    assert row is not None
    if numbers.random() < traits.get("late_records", 0):
        start += round(numbers.expovariate(1 / (2 * DAY_SECONDS)))
        charge.states = [(start, row)]
    if numbers.random() < traits.get("corrections", 0):
        pending = row._replace(
            status=numbers.choice((None, 0)), info="pending", price=numbers.choice((row.price, Decimal(0)))
        )
        after = start + round(numbers.expovariate(1 / DAY_SECONDS)) + 1
        charge.states = [(start, pending), (after, row)]
    if numbers.random() < traits.get("withdrawals", 0):
        gone = charge.states[-1][0] + round(numbers.expovariate(1 / (2 * DAY_SECONDS))) + 1
        charge.states.append((gone, None))
        if numbers.random() < 0.3:
            charge.states.append((gone + 2 * DAY_SECONDS, row))
