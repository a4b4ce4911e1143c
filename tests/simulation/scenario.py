"""One vendor: a seed, a number of nights and its freedoms."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from etl.services.plan import DEFAULT_HISTORY_DAYS
from etl.services.run import RunRequest
from simulation.freedoms import FREEDOMS
from simulation.world import DAY

FIRST_NIGHTS = (date(2026, 3, 10), date(2026, 3, 27), date(2026, 10, 22), date(2026, 12, 28), date(2026, 6, 29))
"""Among them the days before a change to or from summer time, and the ends of months and of a year."""
SHARES = (0.0, 0.03, 0.08, 0.15, 0.3)
"""Shares of all freedoms that a vendor has."""
AUTUMN = date(2026, 10, 22)
"""The first night of vendors with the freedom `autumn`, before the end of summer time in Europe and America."""
HEALTHY_NIGHTS = 3
"""The last nights of each vendor, without faults."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """The input of the simulation of one vendor; equal scenarios have equal results.

    Attributes:
        nights: Number of nights. In the last three the vendor has recovered: it has no passing freedoms.
        traits: The value of each freedom.
        records: The numbers of the charges that the shrinker has kept; None for all.
    """

    seed: int
    nights: int
    traits: dict[str, Any] = field(default_factory=dict)
    records: tuple[int, ...] | None = None

    @classmethod
    def from_json(cls, text: str) -> Scenario:
        """Read the output of `to_json`."""
        data = json.loads(text)
        records = data.get("records")
        return cls(data["seed"], data["nights"], data["traits"], None if records is None else tuple(records))

    def to_json(self) -> str:
        """Write the scenario as one line."""
        data = {"seed": self.seed, "nights": self.nights, "traits": self.traits}
        return json.dumps(data | ({} if self.records is None else {"records": list(self.records)}), ensure_ascii=False)

    def draw(self, name: str) -> Random:
        """The random numbers of a freedom."""
        return Random(f"{self.seed} {name}")

    def __str__(self) -> str:
        days = f"{self.start} to {self.today(self.nights - 1)}"
        lines = [f"seed {self.seed}, {self.nights} nights, days from {days}"]
        return "\n".join(lines + [f"  {name}: {value!r}" for name, value in sorted(self.traits.items())])

    # Derived values.

    @property
    def zone(self) -> ZoneInfo:
        """The account's zone."""
        return ZoneInfo(self.traits.get("zone", "Europe/Moscow"))

    @property
    def heals_at(self) -> int:
        """The night from which on the vendor has recovered."""
        return max(1, self.nights - HEALTHY_NIGHTS)

    def clock(self, night: int) -> datetime:
        """When a night's run begins."""
        numbers = self.draw("clock")
        day = AUTUMN if "autumn" in self.traits else numbers.choice(FIRST_NIGHTS)
        hour = self.traits.get("hour", 4)
        moment = datetime.combine(day, time(hour, 17), self.zone)
        missed = self.draw("missed nights")
        for _ in range(night):
            moment += DAY
            if "missed_nights" in self.traits:
                moment += timedelta(days=missed.choice((0, 0, 0, 1, 4)), hours=missed.choice((0, 0, -11)))
        return moment.astimezone(UTC)

    def today(self, night: int) -> date:
        """The day of the vendor's wall clock in which a night's run begins."""
        return self.clock(night).astimezone(self.zone).date()

    def requests(self, night: int) -> list[RunRequest]:
        """The runs of a night, in order."""
        numbers = self.draw(f"orders of night {night}")
        today = self.today(night)
        requests = [RunRequest("sync", deep=night > 0 and numbers.random() < self.traits.get("deep", 0))]
        if night == 0 and "backfill_first" in self.traits and self.start < today:
            requests.insert(0, RunRequest("backfill", max(self.start, today - 2 * DAY), today - DAY))
        if numbers.random() < self.traits.get("backfills", 0):
            first = self.start + numbers.randrange((today - self.start).days + 1) * DAY
            requests.append(RunRequest("backfill", first, first + numbers.randrange(12) * DAY))
        return requests

    @property
    def start(self) -> date:
        """Where the first sync begins."""
        history = DEFAULT_HISTORY_DAYS if "default_start" in self.traits else self.traits.get("history", 5)
        return self.today(0) - history * DAY


@dataclass(frozen=True, slots=True)
class Choice:
    """The freedoms that may be drawn.

    Attributes:
        without: Freedoms that no vendor has, by name or prefix.
        only: The only freedoms; all if empty.
        always: Freedoms that every vendor has.
    """

    without: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    always: tuple[str, ...] = ()

    def takes(self, name: str, *, drawn: bool) -> bool:
        """Whether a vendor has a freedom, given the result of the random draw."""
        if name in self.always:
            return True
        return drawn and not name.startswith(self.without) and (not self.only or name in self.only)


ALL = Choice()


def draw_scenario(seed: int, choice: Choice = ALL) -> Scenario:
    """Draw the scenario of a seed."""
    numbers = Random(f"vendor {seed}")
    share, nights = numbers.choice(SHARES), numbers.randrange(5, 13)
    traits: dict[str, Any] = {}
    for name, freedom in FREEDOMS.items():
        if choice.takes(name, drawn=numbers.random() < max(share, freedom.at_least)):
            traits[name] = freedom.draw(Random(f"{seed} draw {name}"))
    return Scenario(seed, nights, traits)
