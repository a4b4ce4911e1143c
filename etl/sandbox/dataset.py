"""What the vendor has: charges made from a seed, that grow with time and are revised after the fact."""

from __future__ import annotations

import bisect
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

Record: TypeAlias = dict[str, Any]
"""One charge as the vendor's documentation shows it; `price` is a Decimal."""

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
"""Only so many of the newest days have pending records."""
REVISED_DAYS: Final = 5
"""`revise` touches only so many of the newest complete days."""

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
    """Return a generator of the same numbers for the same parts, on every machine."""
    return Random("/".join(map(str, parts)))  # noqa: S311 - made-up data, not secrets


@dataclass(frozen=True, slots=True)
class Revision:
    """What the vendor changed its mind about: numbers of records, and the days they stand on."""

    late: int
    corrected: int
    withdrawn: int
    days: list[date]


class Dataset:
    """The charges of one account, the oldest first, and its credit.

    Records come in and go out as copies, so that nothing changes but by a method. A record whose `created_at` cannot
    be read as a time belongs to every span.

    Args:
        seed: The same seed, `today`, `days` and `per_day` make the same records; a day does not depend on the others.
        today: The last day, in the vendor's wall clock.
        days: How many days there are, `today` included.
        per_day: Records of an average day.
        until: The moment of `today` after which nothing has happened yet.
    """

    def __init__(self, seed: int, today: date, days: int = 45, per_day: int = 40, until: time = time(14, 30)) -> None:
        self.lock: Final = threading.RLock()
        self.seed: Final = seed
        self.today = today
        self.version = 0
        """Grows with every change."""
        self._per_day = per_day
        self._revisions = 0
        self._records: list[Record] = []
        self._times: list[str] = []
        self._grown: datetime | None = datetime.combine(today - timedelta(days), time.max)
        self.grow(datetime.combine(today, until))
        self.credit = (self.charged // 1000 + 2) * 1000
        """All that was ever paid in. The balance is what the records leave of it."""
        self._first = (self._records, self._grown, today, self.credit)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def records(self) -> list[Record]:
        """Every record, the oldest first, those without a readable time at the end."""
        with self.lock:
            return [dict(record) for record in self._records]

    @property
    def charged(self) -> Decimal:
        """The sum of all prices that are finite numbers."""
        with self.lock:
            prices = [Decimal(p) for p in (r.get("price") for r in self._records) if isinstance(p, int | Decimal)]
            return sum((price for price in prices if price.is_finite()), Decimal(0))

    @property
    def balance(self) -> Decimal:
        """What is left of the credit."""
        return self.credit - self.charged

    def records_between(self, first: datetime, before: datetime) -> list[Record]:
        """Return the records from `first` up to, and without, `before`."""
        with self.lock:
            return [dict(record) for record in self.select(self._records, first, before)]

    def select(self, parallel: Sequence[T], first: datetime, before: datetime) -> list[T]:
        """Choose from a list that runs parallel to `records` the items of those from `first` up to `before`."""
        with self.lock:
            low, high = (bisect.bisect_left(self._times, moment.isoformat()) for moment in (first, before))
            return [*parallel[low:high], *parallel[len(self._times) :]]

    def replace(self, records: Iterable[Record]) -> None:
        """Make these all the records there are. A dataset so filled no longer grows by itself."""
        with self.lock:
            self._grown = None
            self._store(map(_owned, records))

    def add(self, records: Iterable[Record]) -> None:
        """List these records too."""
        with self.lock:
            self._store([*self._records, *map(_owned, records)])

    def remove(self, records: Iterable[Record]) -> None:
        """No longer list these, one for one.

        Raises:
            ValueError: One of them is not listed; nothing is removed.
        """
        with self.lock:
            left = list(self._records)
            for record in map(_owned, records):
                left.remove(record)
            self._store(left)

    def grow(self, until: datetime) -> int:
        """Let time pass: seeded records appear up to `until`.

        Returns:
            How many appeared; none where a test has put records of its own.
        """
        with self.lock:
            if self._grown is None or until <= self._grown:
                return 0
            after, last = self._grown.isoformat(), until.date()
            new: list[Record] = []
            for n in range((last - self._grown.date()).days + 1):
                day = self._grown.date() + timedelta(n)
                settled = (last - day).days >= UNSETTLED_DAYS
                new += _generate_day(seeded_random(self.seed, day), day, self._per_day, settled=settled)
            new = [record for record in new if after < record["created_at"] <= until.isoformat()]
            self._grown, self.today = until, last
            self._store(self._records + new)
            return len(new)

    def revise(self, seed: int | None = None) -> Revision:
        """Change the vendor's mind about the last complete days.

        Pending records are finished, a few prices are corrected, a few records appear late, two are withdrawn.

        Args:
            seed: Instead of the dataset's own; a second call changes other things in either case.
        """
        with self.lock:
            self._revisions += 1
            random = seeded_random(self.seed if seed is None else seed, "revision", self._revisions)
            days = [self.today - timedelta(n) for n in range(1, REVISED_DAYS + 1)]
            since, before = min(days).isoformat(), self.today.isoformat()
            pending: list[int] = []
            priced: list[int] = []
            others: list[int] = []
            for index, (moment, record) in enumerate(zip(self._times, self._records, strict=False)):
                if since <= moment < before:
                    kind = pending if _is_pending(record) else priced if _is_text_message(record) else others
                    kind.append(index)
            changed: dict[int, Record | None] = {i: _finished(random, self._records[i]) for i in pending}
            changed |= {i: _repriced(random, self._records[i]) for i in _sample(random, priced, 3)}
            changed |= dict.fromkeys(_sample(random, others, 2))
            late = [record for _ in range(4) for record in _generate_charge(random, random.choice(days), settled=True)]
            touched = [self._records[i] for i in changed] + late

            kept = (changed.get(i, record) for i, record in enumerate(self._records))
            self._store([record for record in kept if record is not None] + late)
            withdrawn = sum(record is None for record in changed.values())
            return Revision(
                late=len(late),
                corrected=len(changed) - withdrawn,
                withdrawn=withdrawn,
                days=sorted({date.fromisoformat(record["created_at"][:10]) for record in touched}),
            )

    def reset(self) -> None:
        """Back to what the seed made at first."""
        with self.lock:
            records, self._grown, self.today, self.credit = self._first
            self._revisions = 0
            self._store(records)

    def _store(self, records: Iterable[Record]) -> None:
        timed: list[tuple[str, Record]] = []
        timeless: list[Record] = []
        for record in records:
            moment = record.get("created_at")
            if isinstance(moment, str) and _TIME.match(moment):
                timed.append((moment.replace(" ", "T"), record))
            else:
                timeless.append(record)
        timed.sort(key=lambda pair: pair[0])
        self._times = [moment for moment, _ in timed]
        self._records = [record for _, record in timed] + timeless
        self.version += 1


def _owned(record: Record) -> Record:
    """Copy a record, with an exact price."""
    price = record.get("price")
    return {**record, "price": Decimal(repr(price))} if isinstance(price, float) else dict(record)


def _generate_day(random: Random, day: date, per_day: int, *, settled: bool) -> list[Record]:
    count = round(per_day * WEEKDAYS[day.weekday()] * random.uniform(0.85, 1.15))
    records: list[Record] = []
    while len(records) < count:
        records += _generate_charge(random, day, settled=settled)
    return records


def _generate_charge(random: Random, day: date, *, settled: bool) -> list[Record]:
    """Charge for one authorisation: a record mostly, two for a call that falls back to a text message."""
    operator = random.choices(OPERATORS, [operator.share for operator in OPERATORS])[0]
    hour = random.choices(range(24), HOURS)[0]
    moment = datetime.combine(day, time(hour, random.randrange(60), random.randrange(60)))
    start = random.choice(FOREIGN) if random.random() < 0.02 else "8" + random.choice(operator.prefixes)
    length = 12 if start.startswith(("3", "9")) else 11
    phone = start + "".join(random.choices("0123456789", k=length - len(start)))
    code = f"{random.randrange(10_000):04d}"
    failed = random.random() < operator.failure_rate

    def charge(price: Decimal, info: str, code_auth: str = code) -> Record:
        values = (moment.isoformat(), code_auth, int(price > 0), info, phone, price)
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


def _finished(random: Random, record: Record) -> Record:
    if random.random() < 0.8:
        return record | {"status": 1, "status_info": "ok", "price": FLASH_CALL}
    return record | {"status_info": random.choice(FAILED)}


def _repriced(random: Random, record: Record) -> Record:
    return record | {"price": record["price"] + random.choice((Decimal("-0.15"), Decimal("0.15"), Decimal("0.4")))}


def _sample(random: Random, indices: list[int], count: int) -> list[int]:
    return random.sample(indices, min(count, len(indices)))
