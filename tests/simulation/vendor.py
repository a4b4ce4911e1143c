"""The simulated vendor: a fake transport."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from itertools import groupby
from typing import IO, Any, TypeVar

from etl.errors import AuthenticationError, NoRecordsError, RequestRejected, RetryableError
from simulation.freedoms import FREEDOMS
from simulation.scenario import Scenario
from simulation.spelling import Spelling, csv_file, csv_line, json_object
from simulation.world import DAY, LARGEST_ROW, Charge, Row, World, make_world

T = TypeVar("T")

CALLS = {
    "post_billing_data": "json",
    "get_billing_csv": "csv",
    "get_billing_record": "newest",
    "get_balance": "balance",
}

LONGEST_NIGHT = timedelta(hours=12)
"""Time in which records arrive during the runs of a night: less than from one night to the next."""
OLDER_DAYS = 6
"""Days before the first synced day that have records as well."""


@dataclass(frozen=True, slots=True)
class Item:
    """A charge in its current state; `day` is its day in the time zone of the vendor's date filter."""

    charge: Charge
    row: Row
    day: date


def _kept(rows: Sequence[T], limit: Mapping[str, Any]) -> Sequence[T]:
    """The rows that a limit keeps at one end."""
    return rows[: limit["size"]] if limit["keeps"] == "oldest" else rows[-limit["size"] :]


class Vendor:
    """The vendor, night by night.

    Attributes:
        items: All records that it has now, whatever a single answer shows.
        lists: `items` at each moment of the night.
        lagging: The records that a source with a lag had at each moment of the night.
        calls: Number of requests of this night, by call.
        used: Number of requests of all nights, by call.
        faults: Number of failed requests of this night, by call.
        has_unreadable: Whether a source may have unreadable records this night.
        lacks: The fields that the CSV does not have.
        redact, clock_skew: As in `Transport`.
    """

    clock_skew: float | None = None

    def __init__(self, scenario: Scenario, world: World) -> None:
        self.scenario = scenario
        self.world = world
        self.calls: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.redact = str
        self.night = -1
        self.items: list[Item] = []
        self.lists: list[list[Item]] = []
        self.lagging: dict[str, list[list[Item]]] = {}
        self._texts: dict[tuple[str, int], dict[tuple[int, str | None], tuple[Row, str]]] = {}
        self._hit: dict[tuple[str, str], bool] = {}
        self._tonight: dict[str, Any] = {}
        self._plain: Spelling = {}
        self._forms = {source: self._form(source) for source in ("json", "csv")}
        self._healthy_forms = {source: self._form(source, healthy=True) for source in ("json", "csv")}

        self.used: Counter[str] = Counter()
        self.lacks = scenario.traits.get("csv_lacks", ())
        self.known_rows = {self.project(row) for charge in world.charges for row in charge.versions()}

    @classmethod
    def of(cls, scenario: Scenario) -> Vendor:
        """Create the vendor of a scenario, with charges from some days before the first sync to the last night."""
        first, last = scenario.start - OLDER_DAYS * DAY, scenario.today(scenario.nights - 1)
        world = make_world(scenario.traits, scenario.draw, first, last, scenario.zone)
        if scenario.records is not None:
            left = set(scenario.records)
            world.charges = [charge for charge in world.charges if charge.number in left]
        return cls(scenario, world)

    def project(self, row: Row) -> Row:
        """Clear the fields of a row that one source lacks: they may be stored or not."""
        if not self.lacks:
            return row
        return row._replace(
            status=None if "status" in self.lacks else row.status, info="" if "status_info" in self.lacks else row.info
        )

    def moments(self) -> dict[Row, set[str]]:
        """The possible UTC times of each row whose local time is ambiguous: two if a used source gives no offset."""
        forms = [self._forms[source] for source in ("json", "csv") if self.used[source]]
        exact = "respells" not in self.scenario.traits and all(
            form.get("time") in {"offset", "utc"} and "mixed" not in form for form in forms
        )
        moments: dict[Row, set[str]] = {}
        for charge, first in self._ambiguous:
            for row in map(self.project, charge.versions()):
                some = moments.setdefault(row, set())
                some.add(f"{datetime.fromtimestamp(charge.moment, UTC):%Y-%m-%d %H:%M:%S}")
                if not exact:
                    some.add(f"{first.astimezone(UTC):%Y-%m-%d %H:%M:%S}")
        return moments

    @cached_property
    def _ambiguous(self) -> list[tuple[Charge, datetime]]:
        """The charges of a repeated hour, with the first of their possible times."""
        timed = [(charge, charge.wall.replace(tzinfo=self.scenario.zone)) for charge in self.world.charges]
        return [(charge, time) for charge, time in timed if time.utcoffset() != time.replace(fold=1).utcoffset()]

    # The transport.

    def connect(self, *_: Any, **__: Any) -> Vendor:
        """Replaces the constructor of `Transport`."""
        return self

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def request(self, method: str, action: str, sink: IO[bytes], *, body: dict[str, str] | None = None) -> None:
        """Answer a request, as `Transport.request`."""
        name, _, parameter = action.partition("/")
        call = CALLS.get(name)
        if call is None or (method == "POST") != (call == "json"):
            raise RequestRejected("HTTP 404, without a reason")
        self.calls[call] += 1
        self.used[call] += 1
        answer = self._fault(call)
        if answer is None:
            if call == "json":
                assert body is not None
                answer = self._json(date.fromisoformat(body["start_date"]), date.fromisoformat(body["end_date"]))
            elif call == "csv":
                answer = self._csv(date.fromisoformat(parameter))
            elif call == "newest":
                answer = self._newest(int(parameter))
            else:
                spent = sum((item.row.price for item in self.items), Decimal(0))
                answer = f'{{"success": true, "error": "", "data": {{"balance": {10**7 - spent}}}}}'.encode()
        sink.write(answer)
        if "arrivals" in self.scenario.traits:
            moment = self.moment + timedelta(seconds=self.scenario.traits["arrivals"])
            self._list_records(min(moment, self.scenario.clock(self.night) + LONGEST_NIGHT))

    # The night.

    def begin(self, night: int) -> None:
        """Begin a night."""
        moment = self.scenario.clock(night)
        if night == self.night:
            moment = max(moment, self.moment)  # the next run of a night: what has arrived stays
        self.night = night
        self.calls.clear()
        self.faults.clear()
        self.lists = []
        self.lagging = {"json": [], "csv": []}
        self._tonight.clear()
        self.has_unreadable = {source: self._has_unreadable(source) for source in ("json", "csv")}
        self._list_records(moment)

    def _list_records(self, moment: datetime) -> None:
        """Set the listed records to those of a moment."""
        self.moment = moment
        self.offset = timedelta(hours=self.scenario.traits.get("cut_zone", 0))
        self.today = (moment.astimezone(self.scenario.zone).replace(tzinfo=None) + self.offset).date()
        earliest = self.earliest
        emptied = self.trait("emptied_days")
        self.items = [
            item
            for charge, row in self.world.listed(moment)
            if (item := Item(charge, row, (charge.wall + self.offset).date())).day >= earliest
            and not (emptied and self._hits("emptied_days", emptied, charge.day.isoformat()))
        ]
        self.lists.append(self.items)
        for source, lagging in self.lagging.items():
            if self.trait(f"{source}_lags") is not None:
                lagging.append(self.known_to(source, self.items))
        self.by_day: defaultdict[date, list[Item]] = defaultdict(list)
        for item in self.items:
            self.by_day[item.day].append(item)

    @property
    def healthy(self) -> bool:
        """Whether it has recovered: it has no passing freedoms any more."""
        return self.night >= self.scenario.heals_at

    @property
    def refuses_past(self) -> bool:
        """Whether it rejects a request that begins before the contract."""
        return bool(self.scenario.traits.keys() & {"contract", "later_contract"})

    @property
    def earliest(self) -> date:
        """The first day that it serves."""
        days = [date.min]
        if self.refuses_past:
            start = self.scenario.start + self.scenario.traits.get("later_contract", 0) * DAY
            days.append((datetime.combine(start, datetime.min.time()) + self.offset).date())
        if "retention" in self.scenario.traits:
            days.append(self.today - self.scenario.traits["retention"] * DAY)
        return max(days)

    def trait(self, name: str) -> Any:
        """The value of a freedom; None if the vendor does not have it this night."""
        if name not in self._tonight:
            self._tonight[name] = self._trait(name)
        return self._tonight[name]

    def _trait(self, name: str) -> Any:
        value = self.scenario.traits.get(name)
        if value is None or (FREEDOMS[name].passing and self.healthy):
            return None
        if isinstance(value, dict) and "nights" in value and not value["nights"][0] <= self.night < value["nights"][1]:
            return None
        return value

    def _hits(self, name: str, value: dict[str, Any], thing: str) -> bool:
        key = (name, thing)
        if key not in self._hit:
            self._hit[key] = bool(self.scenario.draw(f"{name} {thing}").random() < value["share"])
        return self._hit[key]

    # Missing and unreadable records.

    def hides(self, source: str, day: date) -> bool:
        """Whether a source hides all records of a day."""
        value = self.trait(f"{source}_hides")
        return value is not None and self._hits(f"{source}_hides", value, day.isoformat())

    def unreadable_field(self, source: str, item: Item) -> str | None:
        """The unreadable field of a record in a source; None if all are readable."""
        if not self.has_unreadable[source]:
            return None
        value = self.trait(f"{source}_unreadable")
        if value is not None:
            scope = {"records": str(item.charge.number), "days": item.charge.day.isoformat(), "all": None}[
                value["scope"]
            ]
            if scope is None or self._hits(f"{source}_unreadable", value, scope):
                return str(value["field"])
        if source == "json":
            value = self.trait("json_doubled")
            if value is not None and self._hits("json_doubled", value, str(item.charge.number)):
                return "doubled"
        if self.form(source).get("price") == "thousands" and abs(item.row.price) >= 1000:
            return "thousands"
        if self.is_too_long(source, item.row):
            return "too_long"
        return None

    def is_too_long(self, source: str, row: Row) -> bool:
        """Whether a record of a source is too long for the database."""
        if "huge_texts" not in self.scenario.traits or "status_info" in self.form(source).get("lacks", ()):
            return False
        return len(row.info) > LARGEST_ROW

    def _has_unreadable(self, source: str) -> bool:
        doubled = source == "json" and self.trait("json_doubled") is not None
        return (
            "huge_texts" in self.scenario.traits
            or doubled
            or self.trait(f"{source}_unreadable") is not None
            or self.form(source).get("price") == "thousands"
        )

    def may_be_refused(self, source: str) -> bool:
        """Whether the program may refuse the whole source this night because of its formats."""
        form = self.form(source)
        # Letters of cp1251 may look like UTF-8 that lost a few bytes.
        return "unsure" in form or form.get("header") == "none" or form.get("encoding") == "cp1251"

    def limit(self, source: str) -> int | None:
        """Maximum number of records of an answer; None without a limit."""
        value = self.trait(f"{source}_limit")
        return None if value is None else int(value["size"])

    def days_limit(self, source: str) -> Mapping[str, Any] | None:
        """The limit on the days of an answer, and which of them it keeps; None without a limit.

        Not together with days that are cut in another zone: nothing shows that a part of the last day is missing.
        """
        cut = {"cut_zone", f"{source}_cut_zone"} & self.scenario.traits.keys()
        value: Mapping[str, Any] | None = None if cut else self.trait(f"{source}_days")
        return value

    def has_limit(self, source: str) -> bool:
        """Whether answers have a limit, of records or of days, or larger requests are rejected."""
        others = (self.trait(f"{source}_{kind}") for kind in ("refuses", "fails", "daily"))
        limits = (self.limit(source), self.days_limit(source), *others)
        return any(limit is not None for limit in limits)

    def _refuse_large(self, source: str, first: date, last: date, listed: int) -> None:
        def is_too_large(most: Mapping[str, int] | None) -> bool:
            most = most or {}
            return (last - first).days >= most.get("days", date.max.toordinal()) or listed > most.get("records", listed)

        if is_too_large(self.trait(f"{source}_refuses")):
            raise RequestRejected('HTTP 400, "too much is requested"')
        if is_too_large(self.trait(f"{source}_fails")):
            self.faults[source] += 1
            raise RetryableError("HTTP 504")

    # Answers.

    def form(self, source: str) -> Spelling:
        """The spelling of a source this night."""
        value = self.trait("respells")
        if value is not None:
            return self._plain
        return (self._healthy_forms if self.healthy else self._forms)[source]

    def _form(self, source: str, *, healthy: bool = False) -> Spelling:
        traits = self.scenario.traits
        form: Spelling = {}
        for name, value in traits.items():
            prefix, _, field = name.partition("_")
            if prefix == source and not isinstance(value, dict) and not (healthy and FREEDOMS[name].passing):
                form[field] = value
        if "comma_float" in (form.get("phone"), form.get("code")):
            form["unsure"] = True
        if scientific := form.pop("scientific", None):
            form |= {"phone": scientific, "unsure": True}
        if form.pop("minutes", None):
            form |= {"time": "minutes", "unsure": True}
        if form.pop("thousands", None):
            form["price"] = "thousands"
        if "unsure" in form:
            form.pop("mixed", None)  # with a readable half, only single records would be unreadable
        if form.get("price") == "comma" and form.get("delimiter") == ",":
            form["quotes"] = "all"
        return form

    def _fault(self, call: str) -> bytes | None:
        if self.trait("token_refused"):
            self.faults[call] += 1
            raise AuthenticationError("the vendor refused the token (HTTP 401)")
        value = self.trait(f"{call}_outage" if call in {"json", "csv"} else f"{call}_down")
        if (
            value is None
            or self.scenario.draw(f"fault {call} {self.night} {self.calls[call]}").random() >= value["share"]
        ):
            return None
        self.faults[call] += 1
        match value["kind"]:
            case "503":
                raise RetryableError("HTTP 503")
            case "timeout":
                raise RetryableError("no byte within BILLING_TIMEOUT")
            case "400":
                raise RequestRejected('HTTP 400, "not now"')
            case "broken":
                return b'{"success": true, "error": "", "data": [{"created_at": "2026-'
            case "html":
                return b"<html><body>Bad Gateway</body></html>"
            case "empty":
                return b""
            case "null":
                return b'{"success": true, "error": "", "data": null}'
        return b'{"success": false, "error": "try again later", "data": {}}'

    def _json(self, first: date, last: date) -> bytes:
        if first < self.earliest and self.refuses_past:
            raise RequestRejected('HTTP 400, "start_date is too early"')
        if last > self.today and "refuses_future" in self.scenario.traits:
            raise RequestRejected('HTTP 400, "end_date is in the future"')
        requested_last = last
        if "end_excluded" in self.scenario.traits:
            last -= DAY
        items = self.shown("json", *self._served("json", first, last))
        self._refuse_large("json", first, requested_last, len(items))
        if not items and (form := self._deny("json")) is not None:
            return form
        return self._json_list("json", items)

    def _csv(self, first: date) -> bytes:
        if first < self.earliest and self.refuses_past:
            raise RequestRejected('HTTP 400, "start_date is too early"')
        form = self.form("csv")
        items = self.shown_export(first)
        self._refuse_large("csv", first, self.today, len(items))
        if not items:
            self._deny("csv")
        return csv_file(self._text_of("csv", items, form), form)

    def _deny(self, source: str) -> bytes | None:
        """Say that there are no records by an error, or by an object in place of a list; None for an empty list."""
        value = self.trait(f"{source}_denies")
        if value == "object":
            return b'{"success": true, "error": "", "data": {}}'
        if value is not None:
            raise NoRecordsError(f'HTTP {value}, "records not found"')
        return None

    def shown_export(self, first: date) -> list[Item]:
        """The records of an export, in the vendor's order."""
        return self.shown("csv", *self._served("csv", first, self.today))

    def _served(self, source: str, first: date, last: date) -> tuple[date, date]:
        """The days of a request that its answer covers."""
        value = self.days_limit(source)
        if value is None:
            return first, last if source == "json" else date.max
        more = (value["days"] - 1) * DAY
        return (first, min(last, first + more)) if value["keeps"] == "first" else (max(first, last - more), last)

    def _newest(self, number: int) -> bytes:
        if not 1 <= number <= 100:
            raise RequestRejected('HTTP 400, "n"')
        return self._json_list("json", self._in_order("newest", self.newest(number)))

    def newest(self, number: int) -> list[Item]:
        """The newest records, by their time or by their arrival."""
        arrival = "newest_arrived" in self.scenario.traits
        return sorted(self.items, key=lambda item: item.charge.states[0][0] if arrival else item.charge.moment)[
            -number:
        ]

    def shown(self, source: str, first: date, last: date) -> list[Item]:
        """The records of an answer, in the vendor's order."""
        hidden: dict[date, bool] = {}
        items: list[Item] = []
        for day, some in self.by_day.items():
            if first <= day <= last:
                items += some
        if source == "csv" and "csv_cut_zone" in self.scenario.traits:
            offset = timedelta(hours=self.scenario.traits["csv_cut_zone"])
            items = [item for item in self.items if first <= (item.charge.wall + offset).date() <= last]
        items = self.known_to(source, items)
        if self.trait(f"{source}_hides") is not None:
            days = {item.charge.day for item in items}
            hidden = {day: self.hides(source, day) for day in days}
            items = [item for item in items if not hidden[item.charge.day]]
        items.sort(key=lambda item: item.charge.moment)
        daily, limit = self.trait(f"{source}_daily"), self.trait(f"{source}_limit")
        if daily is not None:
            by_day = groupby(items, key=lambda item: item.charge.day)
            items = [item for _, some in by_day for item in _kept(list(some), daily)]
        rows = self._with_unlisted(source, items)
        if limit is not None and len(rows) > limit["size"]:
            numbers = self.scenario.draw(f"{source} {first} {last}")
            if f"{source}_sampled" in self.scenario.traits:
                places = sorted(numbers.sample(range(len(rows)), limit["size"]))
                items = list(filter(None, map(rows.__getitem__, places)))
            elif limit["keeps"] == "any":
                return list(filter(None, numbers.sample(rows, limit["size"])))
            else:
                items = list(filter(None, _kept(rows, limit)))
        return self._in_order(source, items)

    def _with_unlisted(self, source: str, items: list[Item]) -> list[Item | None]:
        """The rows that a limit counts: the records, and those that are not listed."""
        every = self.trait(f"{source}_unlisted")
        if every is None:
            return list(items)
        return [row for item in items for row in ([item, None] if item.charge.number % every == 0 else [item])]

    def known_to(self, source: str, items: list[Item]) -> list[Item]:
        """The records as a source knows them: with a lag, in an earlier state."""
        seconds = self.trait(f"{source}_lags")
        if seconds is None:
            return items
        known = int(self.moment.timestamp()) - seconds
        states = ((item, item.charge.at(known)) for item in items if item.charge.moment <= known)
        return [Item(item.charge, row, item.day) for item, row in states if row is not None]

    def _in_order(self, source: str, items: list[Item]) -> list[Item]:
        order = self.scenario.traits.get(f"{source}_order", "ascending")
        if order == "descending":
            return items[::-1]
        if order == "shuffled":
            return self.scenario.draw(f"order {source} {len(items)}").sample(items, len(items))
        return items

    def _json_list(self, source: str, items: Iterable[Item]) -> bytes:
        form = self.form(source)
        text = ", ".join(self._text_of(source, items, form))
        mark = "\ufeff" if form.get("layout") == "bom" else ""
        return f'{mark}{{"success": true, "error": "", "data": [{text}]}}'.encode()

    def _text_of(self, source: str, items: Iterable[Item], form: Spelling) -> list[str]:
        """Format each record, or reuse its text."""
        texts = self._texts.setdefault((source, id(form)), {})
        write = json_object if source == "json" else csv_line
        written = []
        for item in items:
            broken = self.unreadable_field(source, item) if self.has_unreadable[source] else None
            key = (id(item.row), broken)  # quicker than a comparison of rows
            if key not in texts:
                texts[key] = item.row, write(item.charge, item.row, form, self.scenario.zone, broken)
            written.append(texts[key][1])
        return written
