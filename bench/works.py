"""What is measured: loads beside the floor, and what only the program itself has to show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from bench.contenders import CONTENDERS, FLOOR, OURS, Contender, our_command, our_environment
from bench.databases import Database
from bench.measure import Comparison, Run, Runs, exponent, in_turn, repeated, run
from bench.profile import profile
from bench.records import Load, expected
from bench.vendor import serving
from bench.years import Years, measure_years

DAYS, PER_DAY = 30, 10_000
BIG_PER_DAY = 40_000
FEW = 3  # pairs of what takes long
NIGHTLY_PER_DAY = 1_000
ACCOUNTS, FEW_PER_DAY = 50, 20
VOLUMES = ((7, 100_000), (1, 999_999))  # a round number of a single day would be looked for in the CSV as well
GROWTH_DAYS, GROWTH_PER_DAY = (10, 20, 40), (5_000, 10_000, 20_000)


@dataclass(frozen=True, slots=True)
class Work:
    """A load of the newest days.

    Attributes:
        mood: Of the vendor, which says what its records are by now.
        filled: Whether all days were there before, as they were at first.
    """

    name: str
    days: int
    mood: str = "first"
    filled: bool = True


W1 = Work("W1", DAYS, filled=False)
W2 = Work("W2", 3, mood="revised")
NO_OP = Work("no-op", 7)
BIG = Work("BIG", DAYS, filled=False)


@dataclass(frozen=True, slots=True)
class Alone:
    """Something that has no floor."""

    what: str
    runs: Runs


@dataclass(frozen=True, slots=True)
class Growth:
    """How the time of a first sync grows: the exponent by one size while the other stands still."""

    database: str
    by: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    exponent: float


class Bench:
    """Does the works, one after another.

    Args:
        databases: Those that there are.
        folder: For what contenders leave beside their databases.
        pairs: How many of each.
        scale: What part of the records a day; less than 1 only to try the benchmark itself.
        last: The last complete day; the vendor has nothing later unless a work says so.
        today: The day after it.
    """

    def __init__(
        self, databases: list[Database], folder: Path, *, pairs: int, scale: float, last: date, today: date
    ) -> None:
        self._databases = databases
        self._folder = folder
        self._pairs = pairs
        self._scale = scale
        self._last = last
        self._today = today

    def comparisons(self) -> Iterator[Comparison]:
        """Everybody at W1, W2 and the no-op, beside the floor of the same database."""
        load = self._load(DAYS, PER_DAY)
        with serving(load) as vendor:
            for database in self._databases:
                for contender in CONTENDERS:
                    if database.kind in contender.kinds:
                        yield from self._compare(database, contender, load, vendor, (W1, W2, NO_OP), self._pairs)

    def big(self) -> Iterator[Comparison]:
        """1,200,000 records, the program beside the floor."""
        load = self._load(DAYS, BIG_PER_DAY)
        with serving(load) as vendor:
            for database in self._databases:
                yield from self._compare(database, OURS, load, vendor, (BIG,), min(self._pairs, FEW))

    def start(self) -> Iterator[Alone]:
        """What it costs to start, and a night in which nothing happened."""
        command = our_command("--help")
        yield Alone("`billing-etl --help`", repeated(self._pairs, lambda: run(command, {}, self._folder)))
        load = self._load(DAYS, NIGHTLY_PER_DAY, last=self._today)
        with serving(load) as vendor:
            for database in self._databases:
                database.empty(OURS.place)
                environment = our_environment(
                    f"{vendor}/first", database.url(OURS.place), BILLING_START_DATE=load.first.isoformat()
                )
                night = Night(environment, self._folder)
                night()  # the first one fills the database
                OURS.check(database, expected(load))
                yield Alone(f"a night without news, {database.name}", repeated(self._pairs, night))
                OURS.check(database, expected(load))
                database.drop(OURS.place)

    def latency(self) -> Iterator[Alone]:
        """W1 from a vendor who thinks for 0.1 s before every answer."""
        load = self._load(DAYS, PER_DAY)
        with serving(load) as vendor:
            for database in self._databases:
                for concurrency in ("1", "2"):
                    environment = our_environment(
                        f"{vendor}/slow", database.url(OURS.place), BILLING_CONCURRENCY=concurrency
                    )
                    runs = repeated(min(self._pairs, FEW), FirstSync(database, load, environment, self._folder))
                    OURS.check(database, expected(load))
                    what = f"W1, 0.1 s before every answer, `BILLING_CONCURRENCY={concurrency}`, {database.name}"
                    yield Alone(what, runs)
                database.drop(OURS.place)

    def accounts(self) -> Iterator[Alone]:
        """A night without news of many accounts, of a vendor who thinks for 0.2 s before every answer."""
        load = self._load(DAYS, FEW_PER_DAY, last=self._today)
        with serving(load) as vendor:
            for database in self._databases:
                database.empty(OURS.place)
                settings = self._folder / "accounts.toml"
                lines = [f'start_date = "{load.newest(7)[0]}"']
                lines += [f'[accounts.a{number}]\napi_token = "token-{number}"' for number in range(ACCOUNTS)]
                settings.write_text("\n".join(lines))
                settings.chmod(0o600)
                environment = our_environment(f"{vendor}/slower", database.url(OURS.place))
                del environment["BILLING_API_TOKEN"]
                for at_once in (8, 1):
                    command = our_command("-q", "--config", str(settings), "sync", "--parallel", str(at_once))
                    runs = repeated(1, partial(run, command, environment, self._folder))
                    what = f"{ACCOUNTS} accounts, 0.2 s before every answer, `--parallel {at_once}`, {database.name}"
                    yield Alone(what, runs)
                database.drop(OURS.place)

    def volume(self) -> Iterator[Alone]:
        """What takes the most memory, once each."""
        for days, per_day in VOLUMES:
            load = self._load(days, per_day)
            with serving(load) as vendor:
                for database in self._databases:
                    yield self._once(f"a first sync of {days} × {per_day:,}", database, load, vendor)
                    database.drop(OURS.place)
        load = self._load(DAYS, BIG_PER_DAY)
        wanted = ("--since", load.first.isoformat(), "--until", load.last.isoformat())
        with serving(load) as vendor:
            for database in self._databases:
                self._once("", database, load, vendor)
                environment = our_environment(f"{vendor}/first", database.url(OURS.place))
                for command in (("verify",), ("export", "--out", "export.csv")):
                    what = f"`{' '.join(command)}` of 1,200,000, {database.name}"
                    used = run(our_command("-q", *command, *wanted), environment, self._folder)
                    yield Alone(what, Runs((used,)))
                database.drop(OURS.place)

    def _once(self, what: str, database: Database, load: Load, vendor: str) -> Alone:
        environment = our_environment(f"{vendor}/first", database.url(OURS.place))
        used = FirstSync(database, load, environment, self._folder)()
        OURS.check(database, expected(load))
        return Alone(f"{what}, {database.name}", Runs((used,)))

    def profile(self) -> str:
        """Where the time of W1 goes, as a table."""
        load = self._load(DAYS, PER_DAY)
        with serving(load) as vendor:
            return profile(self._databases, load, vendor, self._folder)

    def years(self) -> Iterator[Years]:
        """The views of a year of 10 million charges."""
        with serving(self._load(1, 1 / self._scale)) as vendor:
            for database in self._databases:
                yield from measure_years(database, vendor, self._folder, self._last, self._scale)

    def growth(self) -> Iterator[Growth]:
        """A first sync of more days, and of more records a day."""
        for database in self._databases:
            least = self._first_sync(database, self._load(1, 1 / self._scale)).wall
            by_days = {days: self._first_sync(database, self._load(days, GROWTH_PER_DAY[0])) for days in GROWTH_DAYS}
            by_records = {per: self._first_sync(database, self._load(GROWTH_DAYS[0], per)) for per in GROWTH_PER_DAY}
            database.drop(OURS.place)
            for by, measured in (("days", by_days), ("records a day", by_records)):
                seconds = tuple(runs.wall - least for runs in measured.values())
                yield Growth(database.name, by, tuple(measured), seconds, exponent(measured, seconds))

    def _first_sync(self, database: Database, load: Load) -> Runs:
        with serving(load) as vendor:
            environment = our_environment(f"{vendor}/first", database.url(OURS.place))
            runs = repeated(min(self._pairs, FEW), FirstSync(database, load, environment, self._folder))
            OURS.check(database, expected(load))
            return runs

    def _compare(
        self,
        database: Database,
        contender: Contender,
        load: Load,
        vendor: str,
        works: tuple[Work, ...],
        pairs: int,
    ) -> Iterator[Comparison]:
        both = (FLOOR, contender)
        try:
            for work in works:
                turns = [Turn(one, database, load, work, vendor, self._folder) for one in both]
                if not work.filled:
                    for turn in turns:  # what is started for the first time compiles itself, and finds cold caches
                        turn()
                floor, other = in_turn(pairs, *turns)
                yield Comparison(database.name, work.name, contender.name, floor, other)
                if not work.filled and len(works) > 1:
                    for one in both:
                        database.keep(one.place)
        finally:
            for one in both:
                database.drop(one.place)

    def _load(self, days: int, per_day: float, last: date | None = None) -> Load:
        return Load(days, max(1, round(per_day * self._scale)), last or self._last)


class Turn:
    """One contender at one work: prepared, timed, checked."""

    def __init__(
        self, contender: Contender, database: Database, load: Load, work: Work, vendor: str, folder: Path
    ) -> None:
        self._contender = contender
        self._database = database
        self._vendor = f"{vendor}/{work.mood}"
        self._days = load.newest(work.days)
        self._filled = work.filled
        self._expected = expected(load, revised=work.mood == "revised")
        self._folder = folder

    def __call__(self) -> Run:
        if self._filled:
            self._database.restore(self._contender.place)
        else:
            self._database.empty(self._contender.place)
            self._contender.forget(self._folder)
        used = self._contender.load(self._database, self._vendor, self._days, self._folder)
        self._contender.check(self._database, self._expected)
        return used


class FirstSync:
    """The program's own load of everything into an empty database, under settings of its own."""

    def __init__(self, database: Database, load: Load, environment: dict[str, str], folder: Path) -> None:
        self._database = database
        self._command = our_command("-q", "sync", "--since", load.first.isoformat(), "--until", load.last.isoformat())
        self._environment = environment
        self._folder = folder

    def __call__(self) -> Run:
        self._database.empty(OURS.place)
        return run(self._command, self._environment, self._folder)


class Night:
    """The job as the scheduler starts it."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder

    def __call__(self) -> Run:
        return run(our_command("-q", "sync"), self._environment, self._folder)
