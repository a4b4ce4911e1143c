"""One night from the oracle's view: what each source showed, and what a correct program can conclude from it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cached_property

from etl.services.plan import DEFAULT_HISTORY_DAYS
from etl.services.run import RunRequest, SyncResult
from simulation.stored import Rows, Stored
from simulation.vendor import Item, Vendor
from simulation.world import DAY

MIN_ROWS_FOR_CHECK, LARGEST_SHARE = 20, Decimal("0.2")
"""Limits of the plausibility check, with BILLING_MAX_WITHDRAWN_SHARE at its default."""
SOURCES = ("json", "csv")
NEWEST = 100
"""Maximum number of records of `get_billing_record`."""
MIN_DAYS_OF_A_SIZE = 3
"""Days with the largest number of records, from which on a limit on the records of a day is likely."""
RECENT_DAYS = 7
"""Days that are compared with the newest records on any night."""


class Night:
    """One run of a night: the vendor, the database before and after, and the result.

    Attributes:
        today: In the vendor's wall clock.
        fetched: The days that the run fetched.
        truth: All records that the vendor has of each day.
    """

    def __init__(
        self, vendor: Vendor, request: RunRequest, before: Stored, after: Stored, report: SyncResult, code: int
    ) -> None:
        self.scenario, self.vendor, self.request = vendor.scenario, vendor, request
        self.before, self.after, self.report, self.code = before, after, report, code
        self.today = self.scenario.today(vendor.night)
        self.fetched = sorted({day for window in report.windows for day in window.days()})
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

    # The information of each source.

    def reaches(self, source: str, item: Item) -> bool:
        """Whether any request to the source can show a record."""
        if source != "json" or "refuses_future" not in self.scenario.traits:
            return True
        return item.day < self.vendor.today if "end_excluded" in self.scenario.traits else item.day <= self.vendor.today

    def is_up(self, source: str) -> bool:
        """Whether no request to a source failed."""
        return not self.vendor.faults[source]

    def hides(self, source: str, day: date) -> bool:
        """Whether the source shows a day empty that is not."""
        return bool(self.of(day)) and self.vendor.hides(source, day)

    def unreadable(self, source: str, day: date) -> list[Item]:
        """The records of a day that could not be read from a source, at any moment of the night."""
        if not self.vendor.has_unreadable[source]:
            return []
        return [item for items in self.views(source) for item in self._unreadable_among(source, items.get(day, ()))]

    def has_unreadable_records(self, source: str) -> bool:
        """Whether any record could not be read from a source, at any moment of the night."""
        return any(self._unreadable_among(source, items) for items in self.vendor.lists)

    def views(self, source: str) -> list[Mapping[date, list[Item]]]:
        """The records of each day as the source may have listed them, at each moment of the night."""
        return [self.items, *self.earlier_items, *self.lagging_items[source]]

    def _unreadable_among(self, source: str, items: Iterable[Item]) -> list[Item]:
        return (
            [item for item in items if self.vendor.unreadable_field(source, item)]
            if self.vendor.has_unreadable[source]
            else []
        )

    def has_undated(self, source: str, day: date) -> bool:
        """Whether a day has a record without a readable day: a field that is given twice may be the time."""
        return self.vendor.has_unreadable[source] and any(
            self.is_undated(source, item) or self.vendor.unreadable_field(source, item) == "doubled"
            for item in self.items.get(day, ())
        )

    def is_undated(self, source: str, item: Item) -> bool:
        """Whether a record has no readable time."""
        return self.vendor.unreadable_field(source, item) in {"time", "no_time"}

    def _can_be_proved(self) -> bool:
        """Whether a wider request, or the newest records, can show that no limit truncated the answer for a day."""
        for day in self.fetched:
            if len(self.items.get(day, ())) >= NEWEST:
                around = sum(len(self.items.get(other, ())) for other in days(day - 10 * DAY, day + 10 * DAY))
                if around == len(self.items[day]):
                    return False
        return True

    @cached_property
    def padded(self) -> list[date]:
        """The fetched days and those around them that answers may contain."""
        return days(self.fetched[0] - 4 * DAY, self.fetched[-1] + 4 * DAY) if self.fetched else []

    def is_limited(self, source: str) -> bool:
        """Whether the smallest padded request for some day reaches the limit; others count always."""
        if self.vendor.days_limit(source) is not None:
            return True
        if any(self.vendor.trait(f"{source}_{kind}") is not None for kind in ("refuses", "fails", "daily")):
            return True
        limit = self.vendor.limit(source)
        if limit is None:
            return False
        if source == "csv":
            first = min(self.fetched, default=self.today) - 12 * DAY
            return sum(len(some) for day, some in self.vendor.by_day.items() if day >= first) >= limit
        sizes = {day: len(some) for day, some in self.vendor.by_day.items()}
        return any(sum(sizes.get(day + n * DAY, 0) for n in range(-2, 4)) >= limit for day in self.fetched)

    @cached_property
    def clean(self) -> dict[str, bool]:
        """For each source: whether it shows all records of the fetched days, in a format that the program must read."""
        return {
            source: self.is_up(source)
            and not self.vendor.may_be_refused(source)
            and self.vendor.trait(f"{source}_lags") is None
            and not self.is_limited(source)
            and not any(self.hides(source, day) or self.unreadable(source, day) for day in self.fetched)
            and not any(self.has_undated(source, day) for day in self.padded)
            and all(self.reaches(source, item) for day in self.fetched for item in self.items.get(day, ()))
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
            and not self.vendor.may_be_refused(other)
            and not self.hides(other, day)
            and all(self.lagging(other, day))
            and (other != "csv" or self._export_lists(day))
        )
        # The contract: an empty day is compared with the CSV once; where it cannot be had then, JSON alone decides.
        asked_for = other != "csv" or not self.before.closed(day) or bool(self.before.rows.get(day))
        return (asked_for and shown and not self.all_unreadable(other, self.items[day])) or (
            self.newest_help and any(item in self.newest for item in self.items[day])
        )

    def _export_lists(self, day: date) -> bool:
        """Whether the first export lists a record of a day: a limit may hide the whole day."""
        limit = self.vendor.trait("csv_limit")
        if not self.vendor.has_limit("csv"):
            return True
        is_random = limit is not None and (limit["keeps"] == "any" or "csv_sampled" in self.scenario.traits)
        return not is_random and any(item.charge.day == day for item in self.vendor.shown_export(self.fetched[0] - DAY))

    def all_unreadable(self, source: str, items: Iterable[Item]) -> bool:
        """Whether no record of a day can be read; one whose price can be read in two ways may be, a long one is."""
        return all(self.vendor.unreadable_field(source, item) not in {None, "thousands", "too_long"} for item in items)

    @cached_property
    def newest(self) -> list[Item]:
        """The longest answer of `get_billing_record`."""
        return self.vendor.newest(NEWEST)

    @cached_property
    def newest_help(self) -> bool:
        """Whether the newest records are available and all readable."""
        return (
            self.is_up("newest")
            and not self.vendor.may_be_refused("json")
            and not any(self.vendor.unreadable_field("json", item) for item in self.newest)
        )

    def is_unserved(self, day: date) -> bool:
        """Whether the vendor rejects requests for a day, or for a part of it."""
        return self.vendor.refuses_past and day < self.vendor.earliest + DAY * ("retention" in self.scenario.traits)

    # The results that are correct.

    def may_be_stored(self, day: date, rows: Rows) -> bool:
        """Whether a day with these rows may be stored as complete."""
        if rows in self.truths(day):
            return True
        if self.is_unserved(day) and self.before.closed(day) and rows == self.before.rows.get(day, Counter()):
            return True  # a complete day stays, where the vendor rejects every request for it
        truth = self.of(day)
        if self._is_cut_unseen(day, rows):
            return True
        for source, other in (("json", "csv"), ("csv", "json")):
            for lagging in self.lagging(source, day):
                # The answer is outdated, and nothing shows that it is.
                if rows == lagging and not self.is_shown_to_lag(day, rows):
                    return bool(rows) or not self.is_contradicted(other, day)
                # All records, some of them in an earlier state.
                if rows.keys() <= truth.keys() | lagging.keys() and keys(rows) == keys(truth):
                    return True
            if self.hides(source, day) and not rows and not self.is_contradicted(other, day):
                return True
            if any(self._lacks_only_unreadable(source, day, items, rows) for items in self.views(source)):
                return True
        return False

    def _is_cut_unseen(self, day: date, rows: Rows) -> bool:
        """Whether a limit on the records of a day truncated it, and nothing shows this.

        Several days of the same size do, if they are compared with the CSV.
        """
        daily = self.vendor.trait("json_daily")
        unread = len(self.unreadable("json", day))
        if daily is None or not daily["size"] - unread <= rows.total() <= daily["size"] or rows - self.of(day):
            return False
        truncated = [each for each in self.fetched if each < self.today and len(self.items[each]) >= daily["size"]]
        return len(truncated) < MIN_DAYS_OF_A_SIZE or not self.clean["csv"]

    def _is_odd(self, source: str, items: Sequence[Item]) -> bool:
        """Whether the only record of a day has no readable time: it is rejected, and its day is empty."""
        return len(items) == 1 and self.is_undated(source, items[0])

    def _lacks_only_unreadable(self, source: str, day: date, items: Mapping[date, Sequence[Item]], rows: Rows) -> bool:
        """Whether these are the records of a day except the unreadable ones, which may have any earlier state.

        It is unknown which of several rows with the same key an unreadable record is, and of which day a record without
        a readable time is: rows that agree with it are kept, although they may be withdrawn.

        Args:
            items: The records of each day, as the source lists them.
        """
        of_day, stored = items.get(day, ()), self.before.rows.get(day, Counter())
        unread = self._unreadable_among(source, of_day)
        undated = {
            item.row.key[1:]
            for some in items.values()
            for item in self._unreadable_among(source, some)
            if self.is_undated(source, item)
        }
        held = Counter({row: times for row, times in stored.items() if row.key[1:] in undated})
        if not unread and not held:
            return False
        if unread and self.all_unreadable(source, of_day) and not self._is_odd(source, of_day):
            return False
        required = Counter(
            self.vendor.project(item.row) for item in of_day if not self.vendor.unreadable_field(source, item)
        )
        keys = {item.row.key for item in unread}
        alike = [item.charge for item in of_day if item.row.key in keys]
        kept = {self.vendor.project(version) for charge in alike for version in charge.versions()}
        kept |= {row for row in stored if row.key in keys}
        more = rows - required - held
        return not required - rows and more.keys() <= kept and more.total() <= len(unread)

    def has_a_cause(self, day: date) -> bool:
        """Whether a source shows fewer records of a day than are stored, or one of them more often."""
        before = self.before.rows.get(day, Counter())
        if (
            self.is_unserved(day)
            or before - self.of(day)
            or any(self.of(day)[row] > times for row, times in before.items())
        ):
            return True
        return any(
            self.vendor.faults[source] or self.vendor.has_limit(source) or self.hides(source, day)
            or self.unreadable(source, day) or self.vendor.may_be_refused(source) or self.lagging(source, day)
            for source in SOURCES
        )  # fmt: skip

    @property
    def lookback(self) -> int:
        """Days that are fetched again."""
        return int(self.scenario.traits.get("lookback", 7))

    def must_succeed(self) -> bool:
        """Whether a correct program must end with 0."""
        if any(is_implausible(self.before.rows.get(day, Counter()), self.of(day)) for day in self.fetched):
            return False
        if any(self.before.ledger[day].suspect_since for day in self.before.suspect - set(self.fetched)):
            return False
        if any(self.is_unserved(day) for day in self.fetched):
            return False
        clean = self.clean
        if "refuses_future" in self.scenario.traits and self.vendor.today < self.today and not clean["csv"]:
            return False  # in the vendor's zone today has not begun, and JSON refuses it
        hides_newest = any(self.hides("json", item.charge.day) for item in self.newest)
        if hides_newest and not clean["csv"] and not self.newest_help:
            return False  # JSON is known to hide days, and nothing shows that it hides none of these
        backed = clean["csv"] or self.newest_help
        if (
            self.earlier
            and not all(clean.values())
            and any(self.of(day) != rows for day in self.fetched for rows in self.truths(day))
        ):
            return False  # a record added between two answers makes one look truncated, and there is no third answer
        if clean["json"]:
            return (backed or "refuses_future" not in self.scenario.traits) and (clean["csv"] or self._can_be_proved())
        if self.vendor.refuses_past and self.vendor.earliest in self.padded:
            return False  # in another zone, an export may lack a part of its first day
        if not clean["csv"] or not self.newest_help:
            return False  # an export with the newest records alone looks complete
        if self.vendor.calls["json"] and self.vendor.faults["json"] == self.vendor.calls["json"]:
            return True
        only_hides = (
            not self.vendor.faults["json"]
            and not any(self.unreadable("json", day) for day in self.fetched)
            and not any(self.has_undated("json", day) for day in self.padded)
        )
        return only_hides and not any(self.hides("json", day) and self.before.rows.get(day) for day in self.fetched)

    @property
    def begins(self) -> date:
        """The first day of the history."""
        if "default_start" not in self.scenario.traits:
            return self.scenario.start
        return max(self.before.first_day or self.today - DEFAULT_HISTORY_DAYS * DAY, self.vendor.earliest)

    def expected(self) -> list[date]:
        """The days that the run had to fetch."""
        if self.request.command != "sync":
            assert self.request.since is not None
            assert self.request.until is not None
            return days(self.request.since, min(self.request.until, self.today))
        first = self.begins
        if self.before.watermark is not None:
            first = max(first, self.before.watermark - (self.lookback - 1) * DAY)
            return days(first, self.today)
        # Without a watermark there is no lookback: complete days before a gap are not fetched again.
        return [day for day in days(first, self.today) if not self.before.closed(day)]


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
    """Whether a correct change of a day makes it suspect."""
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
