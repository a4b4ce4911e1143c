"""The records, generated from the day alone, so that the fake vendor and the verification have the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from random import Random
from typing import NamedTuple

REVISED_DAYS = 3
REVISED_ONE_IN = 25
PRICES = ("0.2", "0.2", "2.5", "3.1", "0")


class Charge(NamedTuple):
    """One record in the vendor's format; no two have the same time, phone and code."""

    created_at: str
    phone: str
    code_auth: str
    status: int
    status_info: str
    price: str

    def as_json(self) -> str:
        return (
            f'{{"created_at": "{self.created_at}", "code_auth": "{self.code_auth}", "status": {self.status}, '
            f'"status_info": "{self.status_info}", "phone": "{self.phone}", "price": {self.price}}}'
        )


@dataclass(frozen=True, slots=True)
class Load:
    """The size of a load: the number of days, records per day, and the last day."""

    days: int
    per_day: int
    last: date

    @property
    def first(self) -> date:
        return self.last - timedelta(days=self.days - 1)

    def newest(self, days: int) -> list[date]:
        return [self.last - timedelta(days=ago) for ago in reversed(range(days))]

    def charges(self, day: date, *, revised: bool = False) -> Iterator[Charge]:
        """The charges of a day, the oldest first, spread evenly over it.

        Args:
            day: Any; the vendor has none beyond the first and the last.
            revised: After the vendor changed status and price of one in 25 of the last three days.
        """
        if not self.first <= day <= self.last:
            return
        chance = Random(day.toordinal())
        midnight = datetime.combine(day, time.min)
        revised = revised and day > self.last - timedelta(days=REVISED_DAYS)
        for number in range(self.per_day):
            charge = Charge(
                created_at=(midnight + timedelta(seconds=number * 86_400 // self.per_day)).isoformat(),
                phone=f"89{day.toordinal() % 1000:03d}{number:06d}",
                code_auth=f"{chance.randrange(10_000):04d}",
                status=int(chance.random() < 0.95),
                status_info="Ok: SIP 200 OK",
                price=chance.choice(PRICES),
            )
            if revised and number % REVISED_ONE_IN == 0:
                charge = charge._replace(status=1 - charge.status, price="0.6")
            yield charge


@dataclass(frozen=True, slots=True)
class Holding:
    """A summary of the stored records that differs for different contents."""

    records: int
    spend: Decimal
    digest: str

    @classmethod
    def of(cls, charges: Iterable[Charge]) -> Holding:
        spend = Decimal(0)
        lines = []
        for charge in charges:
            price = Decimal(charge.price)
            spend += price
            lines.append(repr((*charge[:5], f"{price:.6f}")))
        lines.sort()
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return cls(len(lines), spend.quantize(Decimal("0.000001")), digest)


@cache
def expected(load: Load, *, revised: bool = False) -> Holding:
    """The expected content of a database after all days were loaded."""
    days = load.newest(load.days)
    return Holding.of(charge for day in days for charge in load.charges(day, revised=revised))
