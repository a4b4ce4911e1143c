"""Records of the vendor, and a client whose answers are functions of the request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from typing import BinaryIO, cast
from zoneinfo import ZoneInfo

from etl.date_ranges import DateRange
from etl.errors import RequestRejected, VendorError
from etl.extract.client import Client
from etl.extract.run_evidence import RunEvidence
from etl.extract.source import Source
from etl.model import Feed, Record, WindowData, raw_record
from etl.transform.reader import read_feed

TODAY = date(2026, 3, 11)
NOW = datetime.combine(TODAY, time(9, 30))
MOSCOW = ZoneInfo("Europe/Moscow")
FIELDS = ("created_at", "code_auth", "status", "status_info", "phone", "price")

Days = dict[date, Counter[Record]]


def day(number: int) -> date:
    """A day of March 2026; 0 is the last day of February."""
    return date(2026, 2, 28) + timedelta(number)


def days(first: int, last: int) -> DateRange:
    return DateRange(day(first), day(last))


def read(feed: Feed, window: DateRange, keep: Callable[[list[Record]], object]):
    return read_feed(feed, window, MOSCOW, keep)


def vendor_record(moment: str, **values: object) -> dict[str, object]:
    documented = (moment, "2371", 1, "ok", "89243555100", Decimal("0.2"))
    return dict(zip(FIELDS, documented, strict=True)) | values


def records_per_day(first: int, last: int, each: int) -> list[dict[str, object]]:
    """`each` records on each of these days, spread over its hours."""
    return [
        vendor_record(f"{day(number)}T{n * 24 // each:02}:{n % 60:02}:00", code_auth=f"{n:04}")
        for number in range(first, last + 1)
        for n in range(each)
    ]


def records_of(batch: WindowData, one: date) -> list[Record]:
    return [record for part in batch.days[one].slices for record in part.read()]


def origin(batch: WindowData) -> str:
    return " and ".join(sorted(batch.sources))


def records_by_day(batch: WindowData) -> Days:
    return {day: Counter(records_of(batch, day)) for day in batch.days}


def expected_days(records: list[dict[str, object]], window: DateRange) -> Days:
    result: Days = {day: Counter() for day in window.days()}
    kept: list[Record] = []
    read(Feed(raw_record(**record) for record in records), window, kept.extend)
    for record in kept:
        result[date.fromisoformat(record.created_at[:10])].update([record])
    return result


class FakeClient:
    """A client whose answers are computed by two functions of the request."""

    clock_skew: float | None = None

    def __init__(
        self,
        listed: Callable[[DateRange], list[dict[str, object]]],
        exported: Callable[[date], list[dict[str, object]]] | None = None,
        newest: list[dict[str, object]] | None = None,
        *,
        claims: Callable[[DateRange, int], set[str]] = lambda _requested, _listed: set(),
    ) -> None:
        self.listed, self.exported, self.newest, self.claims = listed, exported, newest, claims
        self.requested: list[DateRange] = []
        self.exports: list[date] = []

    def get_records(self, requested: DateRange, read: Callable[[Feed], object], *, retry: bool = True) -> object:
        self.requested.append(requested)
        listed = self.listed(requested)
        size = sum(len(str(record)) for record in listed)
        claims = frozenset(self.claims(requested, len(listed)))
        return read(Feed([raw_record(**record) for record in listed], size=size, claims=claims))

    def get_export(self, start: date, read: Callable[[BinaryIO], object], *, retry: bool = True) -> object:
        self.exports.append(start)
        if self.exported is None:
            raise RequestRejected("no export")
        rows = [";".join(map(str, record.values())) for record in self.exported(start)]
        return read(BytesIO("\n".join([";".join(FIELDS), *rows, ""]).encode()))

    def get_newest_records(self, count: int, read: Callable[[Feed], object]) -> object:
        if self.newest is None:
            raise RequestRejected("no such call")
        return read(Feed([raw_record(**record) for record in self.newest[-count:]]))

    def open_source(self, complete: Mapping[date, int] | None = None) -> Source:
        client = cast("Client", self)  # it has all that a source uses
        return Source(client, read, RunEvidence.begin(client, read, TODAY, complete), last=TODAY)

    def fetch(self, *windows: DateRange, complete: Mapping[date, int] | None = None) -> list[WindowData]:
        source = self.open_source(complete)
        return [source.fetch(window) for window in windows]


def within(records: list[dict[str, object]], requested: DateRange) -> list[dict[str, object]]:
    return [record for record in records if date.fromisoformat(str(record["created_at"])[:10]) in requested]


def raising(error: VendorError) -> Callable[..., list[dict[str, object]]]:
    def answer(_request: object) -> list[dict[str, object]]:
        raise error

    return answer
