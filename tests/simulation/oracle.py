"""What may be stored after a night, what must stay open, and which exit code is honest.

The truth of a night is what the vendor lists of a day at that moment, as a multiset. Where the documentation leaves no
way to know it (a day that one source hides while the other cannot be had), what can be known is allowed too: the
oracle asks for nothing that an honest program could not do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, select

from etl.load.tables import billing_records, rejected_records, restatements, sync_state, synced_days
from etl.runs import Order, Report
from simulation.vendor import Item, Vendor
from simulation.world import DAY, Row

GUARDED_FROM, LARGEST_SHARE = 20, Decimal("0.2")
"""The guard of the contract: BILLING_MAX_WITHDRAWN_SHARE at its default."""
OK, LOOK, UNAVAILABLE, REFUSED = 0, 65, 69, 77
SOURCES = ("json", "csv")

Rows = Counter[Row]


class Violation(AssertionError):
    """Something that must not be.

    Attributes:
        kind: One word for it: a shrunk scenario must fail in the same way.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@dataclass(slots=True)
class Stored:
    """What the database has.

    Attributes:
        rows: The current rows of each day.
        utc: `created_at_utc` of each current row.
        ledger: The rows of `synced_days`.
        deltas: What the journal adds to the spend of each day, and
        changes: in how many lines.
        every: All rows of the table, withdrawn ones too.
    """

    rows: defaultdict[date, Rows] = field(default_factory=lambda: defaultdict(Counter))
    utc: dict[Row, str] = field(default_factory=dict)
    ledger: dict[date, Any] = field(default_factory=dict)
    deltas: Counter[date] = field(default_factory=Counter)
    changes: Counter[date] = field(default_factory=Counter)
    every: set[Row] = field(default_factory=set)
    first_day: date | None = None
    watermark: date | None = None
    rejected: int = 0

    @property
    def suspect(self) -> set[date]:
        """The days whose answer is not believed."""
        return {day for day, row in self.ledger.items() if row.suspect_since is not None}

    def closed(self, day: date) -> bool:
        """Whether a day counts as whole."""
        return day in self.ledger and self.ledger[day].first_closed_at is not None


_ROWS = select(
    billing_records.c.created_at, billing_records.c.phone, billing_records.c.code_auth, billing_records.c.status,
    billing_records.c.status_info, billing_records.c.price, billing_records.c.repeats,
    billing_records.c.withdrawn_at.is_not(None), billing_records.c.created_at_utc,
)  # fmt: skip
_DAYS = select(synced_days)
_DELTAS = select(restatements.c.day, restatements.c.delta)
_STATE = select(sync_state.c.first_day, sync_state.c.last_synced_date)
_REJECTED = select(rejected_records.c.id)


def read_stored(connection: Connection, project: Callable[[Row], Row]) -> Stored:
    """Everything of the only account.

    Args:
        connection: To its database.
        project: Leaves out of a row what is not compared.
    """
    stored = Stored()
    whole: set[tuple[Any, ...]] = set()
    for time, *fields, repeats, withdrawn, utc in connection.execute(_ROWS):
        raw = Row(str(time), *fields)
        row = project(raw)
        stored.every.add(row)
        if withdrawn:
            continue
        if raw in whole:
            raise Violation("doubled", f"{raw} stands in two rows")
        whole.add(raw)
        stored.rows[time.date()][row] += repeats
        stored.utc[row] = str(utc)
    stored.ledger = {row.day: row for row in connection.execute(_DAYS)}
    for day, delta in connection.execute(_DELTAS):
        stored.deltas[day] += delta
        stored.changes[day] += 1
    state = connection.execute(_STATE).one_or_none()
    if state is not None:
        stored.first_day, stored.watermark = state
    stored.rejected = len(connection.execute(_REJECTED).all())
    return stored


class Night:
    """One night as the oracle sees it: the vendor as it was, what was stored before and after, and how the run ended.

    Attributes:
        today: In the vendor's wall clock.
        asked: The days that the run fetched.
        truth: What the vendor lists of each day.
    """

    def __init__(self, vendor: Vendor, order: Order, before: Stored, after: Stored, report: Report, code: int) -> None:
        self.scenario, self.vendor, self.order = vendor.scenario, vendor, order
        self.before, self.after, self.report, self.code = before, after, report, code
        self.today = self.scenario.today(vendor.night)
        self.asked = sorted({day for window in report.windows for day in window.days()})
        self.items = _by_day(vendor.items)
        self.truth = self._count(self.items)
        self.earlier = [self._count(_by_day(items)) for items in vendor.lists[:-1]]

    def _count(self, items: Mapping[date, Iterable[Item]]) -> dict[date, Rows]:
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
        """The records of a day that cannot be read from a source."""
        return [item for item in self.items.get(day, ()) if self.vendor.breaks(source, item)]

    def timeless(self, source: str, day: date) -> bool:
        """Whether a record of a day shows in no way which day it is of."""
        return any(self.timeless_record(source, item) for item in self.items.get(day, ()))

    def timeless_record(self, source: str, item: Item) -> bool:
        """Whether it is this record."""
        return self.vendor.breaks(source, item) in {"time", "no_time"}

    @cached_property
    def _padded(self) -> list[date]:
        """The days asked for, and those around them that answers may hold."""
        return _days(self.asked[0] - 4 * DAY, self.asked[-1] + 4 * DAY) if self.asked else []

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
            and not any(self.timeless(source, day) for day in self._padded)
            and all(self.reaches(source, item) for day in self.asked for item in self.items.get(day, ()))
            for source in SOURCES
        }

    # Rules.

    def check(self, ignored: Collection[str] = ()) -> None:
        """All that must be true after the night.

        Args:
            ignored: Kinds of violations that are open, and looked past.

        Raises:
            Violation: The first thing that is not.
        """
        rules = [
            self._check_exit_code_is_known, self._check_nothing_is_invented, self._check_days, self._check_ledger,
            self._check_watermark, self._check_code, self._check_liveness, self._check_cost,
        ]  # fmt: skip
        for rule in [self._check_refused_token] if self.vendor.trait("token_refused") else rules:
            try:
                rule()
            except Violation as violation:
                if violation.kind not in ignored:
                    raise

    def _check_refused_token(self) -> None:
        if self.code != REFUSED:
            raise Violation("refused_token", f"the token is refused, and the exit code is {self.code}")
        if self.before.rows != self.after.rows:
            raise Violation("refused_token", "the token is refused, and rows changed")

    def _check_exit_code_is_known(self) -> None:
        if self.code not in {OK, LOOK, UNAVAILABLE}:
            raise Violation("bug" if self.code == 70 else f"exit_{self.code}", f"{self.report.error!r}")

    def _check_nothing_is_invented(self) -> None:
        known = self.vendor.known_rows
        for row in self.after.every - self.before.every:
            if row not in known:
                raise Violation("invented", f"{row} was never listed by the vendor")
        ambiguous = self.vendor.moments()
        for row, utc in self.after.utc.items():
            if utc not in ambiguous.get(row, (utc,)):
                raise Violation("utc", f"{row} is at {utc} UTC, and the vendor said {ambiguous[row]}")

    def _check_days(self) -> None:
        asked = set(self.asked)
        for day in self.before.rows.keys() | self.after.rows.keys() | self.after.ledger.keys():
            before, after = self.before.rows.get(day, Counter()), self.after.rows.get(day, Counter())
            if day not in asked:
                if before != after:
                    raise Violation(
                        "untouched_day", f"{day} was not asked for, and changed: {_difference(before, after)}"
                    )
                continue
            if day in self.after.suspect:
                if before != after:
                    raise Violation("suspect_changed", f"{day} is suspect, and changed: {_difference(before, after)}")
                continue
            self._check_kept(day, before, after)
            noise = before == after and self.after.changes[day] != self.before.changes[day]
            if noise and "csv_lacks" not in self.scenario.traits:
                raise Violation("journal_noise", f"{day} is as it was, and the journal has lines about it")
            if not self.after.closed(day):
                most = [before, *self.truths(day), *(self._lagging(source, day) for source in SOURCES)]
                if wrong := [row for row in after if all(after[row] > rows[row] for rows in most)]:
                    raise Violation("open_day_wrong", f"{day} holds {wrong[:3]}, which the vendor does not list so")
            elif before == after and self.before.closed(day) and self.code != OK:
                continue
            elif not self.may_hold(day, after):
                raise Violation(
                    "closed_day_wrong" if self.code != OK else "wrong_with_0",
                    f"{day} counts as whole and is not what the vendor lists: {_difference(self.of(day), after)}",
                )

    def may_hold(self, day: date, rows: Rows) -> bool:
        """Whether a day may be stored as whole like this."""
        if rows in self.truths(day):
            return True
        truth = self.of(day)
        for lagging in (self._lagging(source, day) for source in SOURCES):
            if rows == lagging and not self.is_up("newest"):
                return True
            # All records, some of them as they were a while ago.
            if rows.keys() <= truth.keys() | lagging.keys() and _keys(rows) == _keys(truth):
                return True
        for source, other in (("json", "csv"), ("csv", "json")):
            if self.hides(source, day) and not rows and not self._is_contradicted(other, day):
                return True
            unread = self.unread(source, day)
            if not unread or self._is_unreadable(source, day):
                continue
            required = truth - Counter(self.vendor.project(item.row) for item in unread)
            kept = {self.vendor.project(version) for item in unread for version in item.charge.versions()}
            more = rows - required
            if not required - rows and more.keys() <= kept and more.total() <= len(unread):
                return True
        return False

    def _lagging(self, source: str, day: date) -> Rows:
        """A day as a source that lags behind knows it: only the newest records show that it does."""
        return Counter(self.vendor.project(item.row) for item in self.vendor.told(source, self.items.get(day, [])))

    def _is_contradicted(self, other: str, day: date) -> bool:
        """Whether anything shows that a day is not empty which one source shows so."""
        shown = self.is_up(other) and not self.vendor.is_unsure(other) and not self.hides(other, day)
        return (shown and not self._is_unreadable(other, day)) or (
            self.newest_help and any(item in self._newest for item in self.items[day])
        )

    def _is_unreadable(self, source: str, day: date) -> bool:
        """Whether no record of a day can be read; one whose price can be read in two ways may be."""
        return all(self.vendor.breaks(source, item) not in {None, "thousands"} for item in self.items[day])

    @cached_property
    def _newest(self) -> list[Item]:
        """What `get_billing_record` shows at the most."""
        return self.vendor.newest(100)

    @cached_property
    def newest_help(self) -> bool:
        """Whether the newest records can be had, and all be read."""
        return (
            self.is_up("newest")
            and not self.vendor.is_unsure("json")
            and not any(self.vendor.breaks("json", item) for item in self._newest)
        )

    def _check_kept(self, day: date, before: Rows, after: Rows) -> None:
        """A record that is listed and cannot be read keeps its row, where there is no doubt which it is."""
        if after in self.truths(day):
            return
        for source in SOURCES:
            for item in self.unread(source, day):
                key = item.row.key
                recognised = self._alike[key[1:]] if self.timeless_record(source, item) else self._alike[key]
                listed = sum(one.row.key == key for one in self.items[day])
                kept = [row for row in before if row.key == key]
                if recognised == len(kept) == listed == 1 and not any(row.key == key for row in after):
                    raise Violation("unreadable_withdrawn", f"{kept[0]} is listed, cannot be read, and is gone")

    @cached_property
    def _alike(self) -> Counter[tuple[str, ...]]:
        """How many rows there were of a key, and of its phone and code alone."""
        keys = [row.key for rows in self.before.rows.values() for row in rows]
        return Counter([*keys, *(key[1:] for key in keys)])

    def _check_ledger(self) -> None:
        for day, ledger in self.after.ledger.items():
            rows = self.after.rows.get(day, Counter())
            said, there = (ledger.records, ledger.spend), (rows.total(), _spend(rows))
            if said != there:
                raise Violation("ledger", f"{day}: the ledger has records and spend {said}, the rows are {there}")
            explained = self.after.closed(day) and ledger.first_closed_spend + self.after.deltas[day]
            if explained is not False and explained != ledger.spend:
                raise Violation("journal", f"{day}: first spend and journal are {explained}, the spend is {there[1]}")
        if orphans := {day for day, rows in self.after.rows.items() if rows} - self.after.ledger.keys():
            raise Violation("ledger", f"rows of days that the ledger does not know: {sorted(orphans)[:3]}")

    def _check_watermark(self) -> None:
        first, watermark = self.after.first_day, self.after.watermark
        if self.before.watermark is not None and (watermark is None or watermark < self.before.watermark):
            raise Violation("watermark", f"it went back from {self.before.watermark} to {watermark}")
        if watermark is None:
            return
        assert first is not None
        if watermark >= self.today:
            raise Violation("watermark", f"{watermark} is not over yet")
        for number in range((watermark - first).days + 1):
            if not self.after.closed(first + number * DAY):
                raise Violation("watermark", f"it stands at {watermark}, and {first + number * DAY} is not whole")

    def _check_code(self) -> None:
        if self.code == OK:
            self._check_success()
        if self.code == LOOK:
            rejected = self.report.tally.rejected
            if not rejected and not self.after.suspect:
                raise Violation("look_without_cause", "exit 65, and nothing is rejected or suspect")
            if rejected and not any(self.unread(source, day) for source in SOURCES for day in self.items):
                raise Violation("false_rejection", f"{len(rejected)} records are rejected, and all can be read")
        for day in self.after.suspect - self.before.suspect:
            if not self._has_a_cause(day):
                raise Violation("false_suspicion", f"{day}: {self.after.ledger[day].suspect_reason}")
        if self.code == UNAVAILABLE and all(self.clean.values()) and self.must_succeed():
            raise Violation("false_alarm", f"exit 69, and every source is whole: {self.report.error}")

    def _check_success(self) -> None:
        """Exit 0: all that was to be fetched is there."""
        for day in self._expected():
            rows = self.after.rows.get(day, Counter())
            if day not in self.asked:
                raise Violation("not_asked", f"exit 0, and {day} was not fetched")
            if day < self.today and not self.after.closed(day):
                raise Violation("open_with_0", f"exit 0, and {day} is not whole")
            if day < self.today and not self.may_hold(day, rows):
                raise Violation(
                    "wrong_with_0", f"exit 0, and {day} is not what is listed: {_difference(self.of(day), rows)}"
                )
        if self.order.command == "sync":
            first = max(self.scenario.start, self.vendor.earliest)
            holes = [day for day in _days(first, self.today - DAY) if not self.after.closed(day)]
            if holes:
                raise Violation("hole_with_0", f"exit 0, and {holes[0]} was never fetched ({len(holes)} days)")
        if self.after.suspect:
            raise Violation("suspect_with_0", f"exit 0, and {sorted(self.after.suspect)} are suspect")
        today = self.after.rows.get(self.today, Counter())
        told = self.clean["json"] and "refuses_future" not in self.scenario.traits and self.today in self.asked
        if told and today not in self.truths(self.today):
            raise Violation("today_with_0", f"exit 0, and today {_difference(self.of(self.today), today)}")

    def _expected(self) -> list[date]:
        """The days that the run had to fetch."""
        if self.order.command != "sync":
            assert self.order.since is not None
            assert self.order.until is not None
            return _days(self.order.since, min(self.order.until, self.today))
        first = self.scenario.start
        if self.before.watermark is not None:
            first = max(first, self.before.watermark - (self.lookback - 1) * DAY)
        return _days(first, self.today)

    def check_all_is_there(self) -> None:
        """What a backfill of all days of a vendor that keeps its word leaves."""
        for day in self.asked:
            rows = self.after.rows.get(day, Counter())
            if self.code == OK and day < self.today and rows not in self.truths(day):
                raise Violation(
                    "missing_at_last", f"after a backfill of everything {day} {_difference(self.of(day), rows)}"
                )

    def _has_a_cause(self, day: date) -> bool:
        """Whether some source shows less of a day than is stored, or something more often."""
        before = self.before.rows.get(day, Counter())
        if before - self.of(day) or any(self.of(day)[row] > times for row, times in before.items()):
            return True
        return any(
            self.vendor.faults[source] or self.vendor.limit(source) is not None or self.hides(source, day)
            or self.unread(source, day) or self.vendor.is_unsure(source)
            for source in SOURCES
        )  # fmt: skip

    # What a vendor that keeps its word may expect.

    @property
    def lookback(self) -> int:
        """Days that are fetched again."""
        return int(self.scenario.traits.get("lookback", 7))

    def must_succeed(self) -> bool:
        """Whether an honest program has no reason to end with anything but 0."""
        if any(_is_implausible(self.before.rows.get(day, Counter()), self.of(day)) for day in self.asked):
            return False
        if any(self.before.ledger[day].suspect_since for day in self.before.suspect - set(self.asked)):
            return False
        unserved = self.vendor.earliest + DAY * ("retention" in self.scenario.traits)
        if self.vendor.refuses_past and any(day < unserved for day in self.asked):
            return False
        clean = self.clean
        backed = clean["csv"] or self.newest_help
        if clean["json"]:
            return backed or "refuses_future" not in self.scenario.traits
        if not clean["csv"] or not self.newest_help:
            return False  # an export of the newest records alone looks whole
        if self.vendor.calls["json"] and self.vendor.faults["json"] == self.vendor.calls["json"]:
            return True
        only_hides = (
            not self.vendor.faults["json"]
            and not any(self.unread("json", day) for day in self.asked)
            and not any(self.timeless("json", day) for day in self._padded)
        )
        return only_hides and not any(self.hides("json", day) and self.before.rows.get(day) for day in self.asked)

    def _check_liveness(self) -> None:
        if self.code != OK and self.must_succeed():
            raise Violation(
                f"must_be_0_is_{self.code}",
                f"{self.report.error or self.after.suspect or self.after.rejected}; clean: {self.clean}",
            )

    def _check_cost(self) -> None:
        traits = self.scenario.traits
        usual = all(self.clean.values()) and not self.vendor.faults and self.before.watermark is not None
        if self.order.command != "sync" or self.order.deep or "arrivals" in traits:
            return
        if (
            not usual
            or self.code != OK
            or self.vendor.limit("json")
            or self.vendor.refuses_past
            or "retention" in traits
        ):
            return
        empty = sum(day not in self.before.ledger and not self.of(day) for day in self.asked)
        allowed = len(self.report.windows) + 2 + 2 + 3 * ("refuses_future" in traits) + (1 + empty) * bool(empty)
        if self.before.watermark < self.today - 2 * DAY:  # type: ignore[operator]  # it is there
            return
        if self.vendor.calls.total() > allowed:
            raise Violation(
                "cost", f"{dict(self.vendor.calls)} for {len(self.report.windows)} windows, {allowed} are enough"
            )


def _by_day(items: Iterable[Item]) -> defaultdict[date, list[Item]]:
    days: defaultdict[date, list[Item]] = defaultdict(list)
    for item in items:
        days[item.charge.day].append(item)
    return days


def _days(first: date, last: date) -> list[date]:
    return [first + number * DAY for number in range((last - first).days + 1)]


def _keys(rows: Rows) -> Counter[tuple[str, str, str]]:
    keys: Counter[tuple[str, str, str]] = Counter()
    for row, times in rows.items():
        keys[row.key] += times
    return keys


def _spend(rows: Rows) -> Decimal:
    return sum((row.price * times for row, times in rows.items()), Decimal(0))


def _is_implausible(before: Rows, truth: Rows) -> bool:
    """Whether the guard of the contract may doubt a change that is true."""
    keys, listed = Counter(row.key for row in before), Counter(row.key for row in truth)
    gone = (keys - listed).total()
    more = sum(truth[row] > times for row, times in before.items())
    current = len(before)
    if not current:
        return False
    if not truth:
        return True
    if current < GUARDED_FROM:
        return gone == current
    return gone > LARGEST_SHARE * current or more > current / 2


def _difference(expected: Rows, found: Rows) -> str:
    missing, more = expected - found, found - expected
    parts = [
        f"{what} {rows.total()} ({', '.join(map(_shown, list(rows)[:2]))})"
        for what, rows in (("lacks", missing), ("has besides", more))
        if rows
    ]
    return f"{'; '.join(parts)} of {expected.total()}"


def _shown(row: Row) -> str:
    return f"{row.time} {row.phone!r} {row.code!r} {row.status} {row.info[:20]!r} {row.price}"
