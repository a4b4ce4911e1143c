"""One night as the oracle sees it: what each source could tell, and what may be expected of an honest program."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cached_property

from etl.services.plan import DEFAULT_HISTORY_DAYS
from etl.services.run import RunRequest, RunResult
from simulation.stored import Rows, Stored
from simulation.vendor import Item, Vendor
from simulation.world import DAY

MIN_ROWS_FOR_CHECK, LARGEST_SHARE = 20, Decimal("0.2")
"""The guard of the contract: BILLING_MAX_WITHDRAWN_SHARE at its default."""
SOURCES = ("json", "csv")
NEWEST = 100
"""Records that `get_billing_record` shows at the most."""
RECENT_DAYS = 7
"""Days that are compared with the newest records on any night."""


class Night:
    """One night as the oracle sees it: the vendor as it was, what was stored before and after, and how the run ended.

    Attributes:
        today: In the vendor's wall clock.
        asked: The days that the run fetched.
        truth: What the vendor lists of each day.
    """

    def __init__(
        self, vendor: Vendor, order: RunRequest, before: Stored, after: Stored, report: RunResult, code: int
    ) -> None:
        self.scenario, self.vendor, self.order = vendor.scenario, vendor, order
        self.before, self.after, self.report, self.code = before, after, report, code
        self.today = self.scenario.today(vendor.night)
        self.asked = sorted({day for window in report.windows for day in window.days()})
        self.items = by_day(vendor.items)
        self.earlier_items = [by_day(items) for items in vendor.lists[:-1]]
        self.truth = self._count(self.items)
        self.earlier = [self._count(items) for items in self.earlier_items]
        self.lagging_items = {source: list(map(by_day, lists)) for source, lists in vendor.lagging.items()}

    def _count(self, items: Mapping[date, Iterable[Item]]) -> dict[date, Rows]:
        if not self.vendor.lacks:
            return {day: Counter([item.row for item in some]) for day, some in items.items()}
        return {day: Counter(self.vendor.project(item.row) for item in some) for day, some in items.items()}

    def of(self, day: date) -> Rows:
        """The truth of a day."""
        return self.truth.get(day, Counter())

    def truths(self, day: date) -> list[Rows]:
        """The truth of a day at each moment of the night: records come in while a run is under way."""
        return [self.of(day), *(truth.get(day, Counter()) for truth in self.earlier)]

    # What each source could tell.

    def reaches(self, source: str, item: Item) -> bool:
        """Whether any question to the source can show a record."""
        if source != "json" or "refuses_future" not in self.scenario.traits:
            return True
        return item.day < self.vendor.today if "end_excluded" in self.scenario.traits else item.day <= self.vendor.today

    def is_up(self, source: str) -> bool:
        """Whether nothing of a source failed."""
        return not self.vendor.faults[source]

    def hides(self, source: str, day: date) -> bool:
        """Whether the source shows a day empty that is not."""
        return bool(self.of(day)) and self.vendor.hides(source, day)

    def unread(self, source: str, day: date) -> list[Item]:
        """The records of a day that could not be read from a source, at any moment of the night."""
        if not self.vendor.is_broken[source]:
            return []
        return [item for items in self.views(source) for item in self._unread_among(source, items.get(day, ()))]

    def has_unread(self, source: str) -> bool:
        """Whether any record could not be read from a source, at any moment of the night."""
        return any(self._unread_among(source, items) for items in self.vendor.lists)

    def views(self, source: str) -> list[Mapping[date, list[Item]]]:
        """The records of each day as the source may have listed them, at each moment of the night."""
        return [self.items, *self.earlier_items, *self.lagging_items[source]]

    def _unread_among(self, source: str, items: Iterable[Item]) -> list[Item]:
        return [item for item in items if self.vendor.breaks(source, item)] if self.vendor.is_broken[source] else []

    def timeless(self, source: str, day: date) -> bool:
        """Whether a record of a day shows in no way which day it is of: the field given twice may be the time."""
        return self.vendor.is_broken[source] and any(
            self.timeless_record(source, item) or self.vendor.breaks(source, item) == "doubled"
            for item in self.items.get(day, ())
        )

    def timeless_record(self, source: str, item: Item) -> bool:
        """Whether it is this record."""
        return self.vendor.breaks(source, item) in {"time", "no_time"}

    def _can_be_proved(self) -> bool:
        """Whether a wider question, or the newest records, can show that no day was cut at its own size."""
        for day in self.asked:
            if len(self.items.get(day, ())) >= NEWEST:
                around = sum(len(self.items.get(other, ())) for other in days(day - 10 * DAY, day + 10 * DAY))
                if around == len(self.items[day]):
                    return False
        return True

    @cached_property
    def padded(self) -> list[date]:
        """The days asked for, and those around them that answers may hold."""
        return days(self.asked[0] - 4 * DAY, self.asked[-1] + 4 * DAY) if self.asked else []

    def is_limited(self, source: str) -> bool:
        """Whether the smallest padded question of some day reaches the limit."""
        limit = self.vendor.limit(source)
        if limit is None:
            return False
        if source == "csv":
            first = min(self.asked, default=self.today) - 12 * DAY
            return sum(len(some) for day, some in self.vendor.by_day.items() if day >= first) >= limit
        sizes = {day: len(some) for day, some in self.vendor.by_day.items()}
        return any(sum(sizes.get(day + n * DAY, 0) for n in range(-2, 4)) >= limit for day in self.asked)

    @cached_property
    def clean(self) -> dict[str, bool]:
        """For each source: whether it tells all of the truth of the days asked for, in a way that must be read."""
        return {
            source: self.is_up(source)
            and not self.vendor.is_unsure(source)
            and self.vendor.trait(f"{source}_lags") is None
            and not self.is_limited(source)
            and not any(self.hides(source, day) or self.unread(source, day) for day in self.asked)
            and not any(self.timeless(source, day) for day in self.padded)
            and all(self.reaches(source, item) for day in self.asked for item in self.items.get(day, ()))
            for source in SOURCES
        }

    def lagging(self, source: str, day: date) -> list[Rows]:
        """A day as a source that lags behind knew it at each moment of the night."""
        return [
            Counter(self.vendor.project(item.row) for item in items.get(day, ()))
            for items in self.lagging_items[source]
        ]

    def is_shown_to_lag(self, day: date, rows: Rows) -> bool:
        """Whether the newest records show that these are not all records of a day.

        Those of the last week are compared with them; older ones are whole where the answer has records around them.
        """
        if day < self.today - RECENT_DAYS * DAY:
            return False
        shown = Counter(item.row.key for item in self.newest if item.charge.day == day)
        return self.newest_help and not shown <= keys(rows)

    def is_contradicted(self, other: str, day: date) -> bool:
        """Whether anything shows that a day is not empty which one source shows so."""
        shown = (
            self.is_up(other)
            and not self.vendor.is_unsure(other)
            and not self.hides(other, day)
            and all(self.lagging(other, day))
        )
        # The contract: an empty day is compared with the CSV once; where it cannot be had then, JSON alone decides.
        asked_for = other != "csv" or not self.before.closed(day) or bool(self.before.rows.get(day))
        return (asked_for and shown and not self.is_unreadable(other, self.items[day])) or (
            self.newest_help and any(item in self.newest for item in self.items[day])
        )

    def is_unreadable(self, source: str, items: Iterable[Item]) -> bool:
        """Whether no record of a day can be read; one whose price can be read in two ways may be, a long one is."""
        return all(self.vendor.breaks(source, item) not in {None, "thousands", "too_long"} for item in items)

    @cached_property
    def newest(self) -> list[Item]:
        """What `get_billing_record` shows at the most."""
        return self.vendor.newest(NEWEST)

    @cached_property
    def newest_help(self) -> bool:
        """Whether the newest records can be had, and all be read."""
        return (
            self.is_up("newest")
            and not self.vendor.is_unsure("json")
            and not any(self.vendor.breaks("json", item) for item in self.newest)
        )

    def is_unserved(self, day: date) -> bool:
        """Whether the vendor refuses to answer for all of a day."""
        return self.vendor.refuses_past and day < self.vendor.earliest + DAY * ("retention" in self.scenario.traits)

    # What a vendor that keeps its word may expect.

    def may_hold(self, day: date, rows: Rows) -> bool:
        """Whether a day may be stored as whole like this."""
        if rows in self.truths(day):
            return True
        if self.is_unserved(day) and self.before.closed(day) and rows == self.before.rows.get(day, Counter()):
            return True  # what was whole once stays, where the vendor refuses every question about it
        truth = self.of(day)
        for source, other in (("json", "csv"), ("csv", "json")):
            for lagging in self.lagging(source, day):
                # What the vendor said of the day is of a while ago, and nothing shows that it is.
                if rows == lagging and not self.is_shown_to_lag(day, rows):
                    return bool(rows) or not self.is_contradicted(other, day)
                # All records, some of them as they were a while ago.
                if rows.keys() <= truth.keys() | lagging.keys() and keys(rows) == keys(truth):
                    return True
            if self.hides(source, day) and not rows and not self.is_contradicted(other, day):
                return True
            if any(self._lacks_the_unread(source, items.get(day, []), rows) for items in self.views(source)):
                return True
        return False

    def _is_odd(self, source: str, items: Sequence[Item]) -> bool:
        """Whether the only record of a day shows no time: it is of no day then, and rejected alone."""
        return len(items) == 1 and self.timeless_record(source, items[0])

    def _lacks_the_unread(self, source: str, items: Sequence[Item], rows: Rows) -> bool:
        """Whether these are the records of a day but for those that cannot be read, which may be as they once were.

        Which of the rows of one key a record is that cannot be read, nobody knows.
        """
        unread = self._unread_among(source, items)
        if not unread or (self.is_unreadable(source, items) and not self._is_odd(source, items)):
            return False
        required = Counter(self.vendor.project(item.row) for item in items if not self.vendor.breaks(source, item))
        keys = {item.row.key for item in unread}
        alike = [item.charge for item in items if item.row.key in keys]
        kept = {self.vendor.project(version) for charge in alike for version in charge.versions()}
        more = rows - required
        return not required - rows and more.keys() <= kept and more.total() <= len(unread)

    def has_a_cause(self, day: date) -> bool:
        """Whether some source shows less of a day than is stored, or something more often."""
        before = self.before.rows.get(day, Counter())
        if (
            self.is_unserved(day)
            or before - self.of(day)
            or any(self.of(day)[row] > times for row, times in before.items())
        ):
            return True
        return any(
            self.vendor.faults[source] or self.vendor.limit(source) is not None or self.hides(source, day)
            or self.unread(source, day) or self.vendor.is_unsure(source) or self.lagging(source, day)
            for source in SOURCES
        )  # fmt: skip

    @property
    def lookback(self) -> int:
        """Days that are fetched again."""
        return int(self.scenario.traits.get("lookback", 7))

    def must_succeed(self) -> bool:
        """Whether an honest program has no reason to end with anything but 0."""
        if any(is_implausible(self.before.rows.get(day, Counter()), self.of(day)) for day in self.asked):
            return False
        if any(self.before.ledger[day].suspect_since for day in self.before.suspect - set(self.asked)):
            return False
        if any(self.is_unserved(day) for day in self.asked):
            return False
        clean = self.clean
        backed = clean["csv"] or self.newest_help
        if (
            self.earlier
            and not all(clean.values())
            and any(self.of(day) != rows for day in self.asked for rows in self.truths(day))
        ):
            return False  # what comes in between two answers makes one look cut, and there is no third to decide
        if clean["json"]:
            return (backed or "refuses_future" not in self.scenario.traits) and (clean["csv"] or self._can_be_proved())
        if self.vendor.refuses_past and self.vendor.earliest in self.padded:
            return False  # what another zone has of the first day of an export, nobody knows
        if not clean["csv"] or not self.newest_help:
            return False  # an export of the newest records alone looks whole
        if self.vendor.calls["json"] and self.vendor.faults["json"] == self.vendor.calls["json"]:
            return True
        only_hides = (
            not self.vendor.faults["json"]
            and not any(self.unread("json", day) for day in self.asked)
            and not any(self.timeless("json", day) for day in self.padded)
        )
        return only_hides and not any(self.hides("json", day) and self.before.rows.get(day) for day in self.asked)

    @property
    def begins(self) -> date:
        """The first day of the history."""
        if "default_start" not in self.scenario.traits:
            return self.scenario.start
        return max(self.before.first_day or self.today - DEFAULT_HISTORY_DAYS * DAY, self.vendor.earliest)

    def expected(self) -> list[date]:
        """The days that the run had to fetch."""
        if self.order.command != "sync":
            assert self.order.since is not None
            assert self.order.until is not None
            return days(self.order.since, min(self.order.until, self.today))
        first = self.begins
        if self.before.watermark is not None:
            first = max(first, self.before.watermark - (self.lookback - 1) * DAY)
        return days(first, self.today)


def by_day(items: Iterable[Item]) -> defaultdict[date, list[Item]]:
    days: defaultdict[date, list[Item]] = defaultdict(list)
    for item in items:
        days[item.charge.day].append(item)
    return days


def days(first: date, last: date) -> list[date]:
    return [first + number * DAY for number in range((last - first).days + 1)]


def keys(rows: Rows) -> Counter[tuple[str, str, str]]:
    keys: Counter[tuple[str, str, str]] = Counter()
    for row, times in rows.items():
        keys[row.key] += times
    return keys


def is_implausible(before: Rows, truth: Rows) -> bool:
    """Whether the guard of the contract may doubt a change that is true."""
    keys, listed = Counter(row.key for row in before), Counter(row.key for row in truth)
    gone = (keys - listed).total()
    more = sum(truth[row] > times for row, times in before.items())
    current = len(before)
    if not current:
        return False
    if not truth:
        return True
    if current < MIN_ROWS_FOR_CHECK:
        return gone == current
    return gone > LARGEST_SHARE * current or more > current / 2
