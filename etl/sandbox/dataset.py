"""The vendor's records: charges generated from a seed, which grow with time and are revised afterwards."""

from __future__ import annotations

import bisect
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

Record: TypeAlias = dict[str, Any]
"""A charge as the vendor's documentation shows it; `price` is a Decimal."""

T = TypeVar("T")

FIELDS: Final = ("created_at", "code_auth", "status", "status_info", "phone", "price")

FLASH_CALL: Final = Decimal("0.2")
TELEGRAM: Final = Decimal("0.6")
FREE: Final = Decimal(0)

PENDING: Final = "pending"
DELIVERED: Final = ("ok", "ok", "ok", "Ok: SIP 200 OK")
FAILED: Final = (
    "Error: SIP 486 Busy Here",
    "Error: SIP 480 Temporarily Unavailable",
    "Error: SIP 404 Not Found",
    "no answer",
)

UNSETTLED_DAYS: Final = 3
"""Number of newest days that have pending records."""
REVISED_DAYS: Final = 5
"""Number of newest complete days that `revise` changes."""

WEEKDAYS: Final = (1.05, 1.1, 1.1, 1.05, 1.15, 0.8, 0.7)
HOURS: Final = (3, 2, 1, 1, 1, 2, 4, 8, 14, 20, 24, 25, 26, 25, 24, 23, 24, 26, 28, 29, 27, 22, 14, 7)


class _Operator(NamedTuple):
    share: int
    failure_rate: float
    sms_price: Decimal
    prefixes: tuple[str, ...]


OPERATORS: Final = (
    _Operator(32, 0.06, Decimal("3.25"), ("910", "912", "915", "916", "917", "919", "981", "985", "988")),
    _Operator(27, 0.04, Decimal("3.6"), ("920", "922", "924", "925", "926", "927", "929", "931", "937")),
    _Operator(20, 0.09, Decimal("2.95"), ("903", "905", "906", "909", "961", "963", "965", "967")),
    _Operator(17, 0.12, Decimal("2.4"), ("900", "902", "904", "908", "950", "952", "953", "977")),
    _Operator(4, 0.05, Decimal(4), ("995", "996", "999")),
)
FOREIGN: Final = ("37529", "99890", "99455", "8707")  # the last is Kazakhstan, which shares Russia's code

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", re.ASCII)


def seeded_random(*parts: object) -> Random:
    """A random generator with the same sequence for the same parts on every machine."""
    return Random("/".join(map(str, parts)))  # noqa: S311 - generated data, not secrets


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision by the vendor: counts of changed records, and their days."""

    late: int
    corrected: int
    withdrawn: int
    days: list[date]


class Dataset:
    """The charges of an account, oldest first, and its credit.

    Records are copied in and out, so that only methods change them. A record whose `created_at` is not a time belongs
    to every range.

    Args:
        seed: The same seed, `today`, `days` and `per_day` generate the same records; days are independent.
        today: The last day, in the vendor's wall clock.
        days: Number of days, including `today`.
        per_day: Average records a day.
        until: Time of `today` up to which records are generated.
    """

    def __init__(self, seed: int, today: date, days: int = 45, per_day: int = 40, until: time = time(14, 30)) -> None:
        self.lock: Final = threading.RLock()
        self.seed: Final = seed
        self.today = today
        self.version = 0
        """Increases with every change."""
        self._per_day = per_day
        self._revisions = 0
        self._records: list[Record] = []
        self._times: list[str] = []
        self._grown: datetime | None = datetime.combine(today - timedelta(days), time.max)
        self.grow(datetime.combine(today, until))
        self.credit = (self.charged // 1000 + 2) * 1000
        """Total of all payments; the balance is this less the charges."""
        self._initial = (self._records, self._grown, today, self.credit)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def records(self) -> list[Record]:
        """All records, oldest first; those without a valid time are last."""
        with self.lock:
            return [dict(record) for record in self._records]

    @property
    def charged(self) -> Decimal:
        """The sum of all finite prices."""
        with self.lock:
            prices = [Decimal(p) for p in (r.get("price") for r in self._records) if isinstance(p, int | Decimal)]
            return sum((price for price in prices if price.is_finite()), Decimal(0))

    @property
    def balance(self) -> Decimal:
        """The credit less the charges."""
        return self.credit - self.charged

    def records_between(self, start: datetime, end: datetime) -> list[Record]:
        """The records from `start` up to, but not including, `end`."""
        with self.lock:
            return [dict(record) for record in self.select(self._records, start, end)]

    def select(self, parallel: Sequence[T], start: datetime, end: datetime) -> list[T]:
        """Select from a list parallel to `records` the items whose records are from `start` up to `end`."""
        with self.lock:
            low, high = (bisect.bisect_left(self._times, bound.isoformat()) for bound in (start, end))
            return [*parallel[low:high], *parallel[len(self._times) :]]

    def replace(self, records: Iterable[Record]) -> None:
        """Replace all records. The dataset then no longer grows with time."""
        with self.lock:
            self._grown = None
            self._store(map(_copy_record, records))

    def add(self, records: Iterable[Record]) -> None:
        """Add records."""
        with self.lock:
            self._store([*self._records, *map(_copy_record, records)])

    def remove(self, records: Iterable[Record]) -> None:
        """Remove records, one for each given.

        Raises:
            ValueError: A record is not listed; nothing is removed.
        """
        with self.lock:
            remaining = list(self._records)
            for record in map(_copy_record, records):
                remaining.remove(record)
            self._store(remaining)

    def grow(self, until: datetime) -> int:
        """Generate records up to `until`.

        Returns:
            The number of new records; 0 for a dataset whose records were replaced.
        """
        with self.lock:
            if self._grown is None or until <= self._grown:
                return 0
            after, last = self._grown.isoformat(), until.date()
            new: list[Record] = []
            for n in range((last - self._grown.date()).days + 1):
                day = self._grown.date() + timedelta(n)
                settled = (last - day).days >= UNSETTLED_DAYS
                new += _generate_day(self.seed, day, self._per_day, settled=settled)
            new = [record for record in new if after < record["created_at"] <= until.isoformat()]
            self._grown, self.today = until, last
            self._store(self._records + new)
            return len(new)

    def revise(self, seed: int | None = None) -> Revision:
        """Revise the last complete days.

        Pending records are settled, up to three prices are corrected, at least four late records appear, and up to two
        records are withdrawn.

        Args:
            seed: Replaces the dataset's own seed; repeated calls make different changes either way.
        """
        with self.lock:
            self._revisions += 1
            random = seeded_random(self.seed if seed is None else seed, "revision", self._revisions)
            days = [self.today - timedelta(n) for n in range(1, REVISED_DAYS + 1)]
            start, end = min(days).isoformat(), self.today.isoformat()
            pending: list[int] = []
            priced: list[int] = []
            remaining: list[int] = []
            for index, (created_at, record) in enumerate(zip(self._times, self._records, strict=False)):
                if start <= created_at < end:
                    kind = pending if _is_pending(record) else priced if _is_text_message(record) else remaining
                    kind.append(index)
            changed: dict[int, Record | None] = {i: _settle(random, self._records[i]) for i in pending}
            changed |= {i: _correct_price(random, self._records[i]) for i in _sample(random, priced, 3)}
            changed |= dict.fromkeys(_sample(random, remaining, 2))
            late = [record for _ in range(4) for record in _generate_charge(random, random.choice(days), settled=True)]
            touched = [self._records[i] for i in changed] + late

            revised = (changed.get(i, record) for i, record in enumerate(self._records))
            self._store([record for record in revised if record is not None] + late)
            withdrawn = sum(record is None for record in changed.values())
            return Revision(
                late=len(late),
                corrected=len(changed) - withdrawn,
                withdrawn=withdrawn,
                days=sorted({date.fromisoformat(record["created_at"][:10]) for record in touched}),
            )

    def reset(self) -> None:
        """Restore the first records and credit."""
        with self.lock:
            records, self._grown, self.today, self.credit = self._initial
            self._revisions = 0
            self._store(records)

    def _store(self, records: Iterable[Record]) -> None:
        timed: list[tuple[str, Record]] = []
        timeless: list[Record] = []
        for record in records:
            created_at = record.get("created_at")
            if isinstance(created_at, str) and _TIME.match(created_at):
                timed.append((created_at.replace(" ", "T"), record))
            else:
                timeless.append(record)
        timed.sort(key=lambda pair: pair[0])
        self._times = [created_at for created_at, _ in timed]
        self._records = [record for _, record in timed] + timeless
        self.version += 1


def _copy_record(record: Record) -> Record:
    """Copy a record, with an exact price."""
    price = record.get("price")
    return {**record, "price": Decimal(repr(price))} if isinstance(price, float) else dict(record)


@lru_cache(maxsize=256)  # a dataset that grows generates its last day again, and tests make thousands of datasets
def _generate_day(seed: int, day: date, per_day: int, *, settled: bool) -> tuple[Record, ...]:
    random = seeded_random(seed, day)
    count = round(per_day * WEEKDAYS[day.weekday()] * random.uniform(0.85, 1.15))
    records: list[Record] = []
    while len(records) < count:
        records += _generate_charge(random, day, settled=settled)
    return tuple(records)


def _generate_charge(random: Random, day: date, *, settled: bool) -> list[Record]:
    """Generate the charges of an authorisation: usually one, two for a call with a fallback to a text message."""
    operator = random.choices(OPERATORS, [operator.share for operator in OPERATORS])[0]
    hour = random.choices(range(24), HOURS)[0]
    created_at = datetime.combine(day, time(hour, random.randrange(60), random.randrange(60)))
    start = random.choice(FOREIGN) if random.random() < 0.02 else "8" + random.choice(operator.prefixes)
    length = 12 if start.startswith(("3", "9")) else 11
    phone = start + "".join(random.choices("0123456789", k=length - len(start)))
    code = f"{random.randrange(10_000):04d}"
    failed = random.random() < operator.failure_rate

    def charge(price: Decimal, info: str, code_auth: str = code) -> Record:
        values = (created_at.isoformat(), code_auth, int(price > 0), info, phone, price)
        return dict(zip(FIELDS, values, strict=True))

    delivered = charge(FLASH_CALL, random.choice(DELIVERED))
    refused = charge(FREE, random.choice(FAILED))
    text_message = charge(operator.sms_price, "SMS delivered")
    kind = random.choices(
        ("call", "text", "both", "telegram", "call back", "twice", "pending"), (62, 15, 6, 4, 3, 2, 8)
    )
    match kind[0]:
        case "text":
            return [text_message]
        case "both":
            return [refused, text_message]
        case "telegram":
            return [charge(TELEGRAM, "ok")]
        case "call back":
            return [charge(FLASH_CALL, "ok", code_auth="")]
        case "twice":
            return [delivered, dict(delivered)]
        case "pending" if not settled:
            return [charge(FREE, PENDING)]
        case _:
            return [refused if failed else delivered]


def _is_pending(record: Record) -> bool:
    return record.get("status_info") == PENDING


def _is_text_message(record: Record) -> bool:
    return isinstance(price := record.get("price"), Decimal) and price.is_finite() and price > 1


def _settle(random: Random, record: Record) -> Record:
    if random.random() < 0.8:
        return record | {"status": 1, "status_info": "ok", "price": FLASH_CALL}
    return record | {"status_info": random.choice(FAILED)}


def _correct_price(random: Random, record: Record) -> Record:
    return record | {"price": record["price"] + random.choice((Decimal("-0.15"), Decimal("0.15"), Decimal("0.4")))}


def _sample(random: Random, indices: list[int], count: int) -> list[int]:
    return random.sample(indices, min(count, len(indices)))
