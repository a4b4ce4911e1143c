"""The assertions after a night: the stored days, the open days and the exit code.

The truth of a night is the multiset of the records that the vendor has of each day at that moment. Where no program
could know it (one source hides a day and the other is unavailable), the best possible conclusion is allowed as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import date
from decimal import Decimal
from functools import cached_property

from simulation.night import SOURCES, Night, days
from simulation.stored import Rows, Violation
from simulation.world import DAY, Row

OK, NEEDS_ATTENTION, UNAVAILABLE, REFUSED = 0, 65, 69, 77


class Oracle(Night):
    """The assertions about one night."""

    def check(self, ignored: Collection[str] = ()) -> None:
        """Check all assertions.

        Args:
            ignored: Kinds of violations that are not raised.

        Raises:
            Violation: The first assertion that is violated.
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
        if self.code not in {OK, NEEDS_ATTENTION, UNAVAILABLE}:
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
        fetched = set(self.fetched)
        for day in self.before.rows.keys() | self.after.rows.keys() | self.after.ledger.keys():
            before, after = self.before.rows.get(day, Counter()), self.after.rows.get(day, Counter())
            if day not in fetched:
                if before != after:
                    raise Violation(
                        "untouched_day", f"{day} was not fetched, and changed: {_difference(before, after)}"
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
                most = [before, *self.truths(day), *(rows for source in SOURCES for rows in self.lagging(source, day))]
                if wrong := [row for row in after if all(after[row] > rows[row] for rows in most)]:
                    raise Violation("open_day_wrong", f"{day} holds {wrong[:3]}, which the vendor does not list so")
            elif before == after and self.before.closed(day) and self.code != OK:
                continue
            elif not self.may_be_stored(day, after):
                raise Violation(
                    "closed_day_wrong" if self.code != OK else "wrong_with_0",
                    f"{day} counts as whole and is not what the vendor lists: {_difference(self.of(day), after)}",
                )

    def _check_kept(self, day: date, before: Rows, after: Rows) -> None:
        """An unreadable record keeps its row, if that can be identified."""
        if after in self.truths(day):
            return
        for source in SOURCES:
            for item in self.unreadable(source, day):
                key = item.row.key
                if not any(key[1:]) and any(self.is_undated(each, item) for each in SOURCES):
                    continue  # nothing of its key is shown: it may be any row
                recognised = self._alike[key[1:]] if self.is_undated(source, item) else self._alike[key]
                listed = sum(item.row.key == key for item in self.items[day])
                kept = [row for row in before if row.key == key]
                if recognised == len(kept) == listed == 1 and not any(row.key == key for row in after):
                    raise Violation("unreadable_withdrawn", f"{kept[0]} is listed, cannot be read, and is gone")

    @cached_property
    def _alike(self) -> Counter[tuple[str, ...]]:
        """The number of rows of each key before the run, and of each phone and code."""
        keys = [row.key for rows in self.before.rows.values() for row in rows]
        return Counter([*keys, *(key[1:] for key in keys)])

    def _check_ledger(self) -> None:
        for day, ledger in self.after.ledger.items():
            rows = self.after.rows.get(day, Counter())
            recorded, actual = (ledger.records, ledger.spend), (rows.total(), _spend(rows))
            if recorded != actual:
                raise Violation("ledger", f"{day}: the ledger has records and spend {recorded}, the rows are {actual}")
            explained = self.after.closed(day) and ledger.first_closed_spend + self.after.deltas[day]
            if explained is not False and explained != ledger.spend:
                raise Violation("journal", f"{day}: first spend and journal are {explained}, the spend is {actual[1]}")
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
        if self.code == NEEDS_ATTENTION:
            rejected = self.report.counts.rejected
            if not rejected and not self.after.suspect:
                raise Violation("look_without_cause", "exit 65, and nothing is rejected or suspect")
            if rejected and not any(map(self.has_unreadable_records, SOURCES)):
                raise Violation("false_rejection", f"{len(rejected)} records are rejected, and all can be read")
        for day in self.after.suspect - self.before.suspect:
            if not self.has_a_cause(day):
                raise Violation("false_suspicion", f"{day}: {self.after.ledger[day].suspect_reason}")
        if self.code == UNAVAILABLE and all(self.clean.values()) and self.must_succeed():
            raise Violation("false_alarm", f"exit 69, and every source is whole: {self.report.error}")

    def _check_success(self) -> None:
        """Exit 0: all requested days are stored."""
        for day in self.expected():
            rows = self.after.rows.get(day, Counter())
            if day not in self.fetched:
                raise Violation("not_asked", f"exit 0, and {day} was not fetched")
            if day < self.today and not self.after.closed(day):
                raise Violation("open_with_0", f"exit 0, and {day} is not whole")
            if day < self.today and not self.may_be_stored(day, rows):
                raise Violation(
                    "wrong_with_0", f"exit 0, and {day} is not what is listed: {_difference(self.of(day), rows)}"
                )
        if self.request.command == "sync":
            first = max(self.begins, self.vendor.earliest)
            holes = [day for day in days(first, self.today - DAY) if not self.after.closed(day)]
            if holes:
                raise Violation("hole_with_0", f"exit 0, and {holes[0]} was never fetched ({len(holes)} days)")
        if self.after.suspect:
            raise Violation("suspect_with_0", f"exit 0, and {sorted(self.after.suspect)} are suspect")
        today = self.after.rows.get(self.today, Counter())
        must_be_stored = (
            self.clean["json"] and "refuses_future" not in self.scenario.traits and self.today in self.fetched
        )
        if must_be_stored and today not in self.truths(self.today):
            raise Violation("today_with_0", f"exit 0, and today {_difference(self.of(self.today), today)}")

    def check_all_is_there(self) -> None:
        """After a backfill of all days of a vendor that has recovered, no record is missing."""
        for day in self.fetched:
            rows = self.after.rows.get(day, Counter())
            if self.code == OK and day < self.today and not self.is_unserved(day) and rows not in self.truths(day):
                raise Violation(
                    "missing_at_last", f"after a backfill of everything {day} {_difference(self.of(day), rows)}"
                )

    def _check_liveness(self) -> None:
        if self.code != OK and self.must_succeed():
            raise Violation(
                f"must_be_0_is_{self.code}",
                f"{self.report.error or self.after.suspect or self.after.rejected}; clean: {self.clean}",
            )

    def _check_cost(self) -> None:
        traits = self.scenario.traits
        usual = all(self.clean.values()) and not self.vendor.faults and self.before.watermark is not None
        if self.request.command != "sync" or self.request.deep or "arrivals" in traits:
            return
        if (
            not usual
            or self.code != OK
            or self.vendor.has_limit("json")
            or self.vendor.refuses_past
            or "retention" in traits
        ):
            return
        empty = sum(day not in self.before.ledger and not self.of(day) for day in self.fetched)
        allowed = len(self.report.windows) + 2 + 2 + 3 * ("refuses_future" in traits) + (1 + empty) * bool(empty)
        if self.before.watermark < self.today - 2 * DAY:  # type: ignore[operator]  # it is there
            return
        if self.vendor.calls.total() > allowed:
            raise Violation(
                "cost", f"{dict(self.vendor.calls)} for {len(self.report.windows)} windows, {allowed} are enough"
            )


def _spend(rows: Rows) -> Decimal:
    return sum((row.price * times for row, times in rows.items()), Decimal(0))


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
