"""The scenarios: loads compared with the baseline, and measurements of the program only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from bench.databases import Database
from bench.measure import Comparison, FailedError, Run, Runs, exponent, in_turn, repeated, run
from bench.profile import profile
from bench.records import Load, expected
from bench.subjects import BASELINE, PROGRAM, SUBJECTS, Subject, program_command, program_environment
from bench.vendor import serving
from bench.years import Years, measure_years

DAYS, PER_DAY = 30, 10_000
BIG_PER_DAY = 40_000
FEW_PAIRS = 3  # for long runs
NIGHTLY_PER_DAY = 1_000
ACCOUNTS, FEW_PER_DAY = 50, 20
VOLUMES = ((7, 100_000), (1, 999_999))  # a round number for a single day would be searched in the CSV as well
GROWTH_DAYS, GROWTH_PER_DAY = (10, 20, 40), (5_000, 10_000, 20_000)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load of the newest days.

    Attributes:
        variant: The variant of the vendor, which determines its records.
        preloaded: Whether all days were stored before, in their original state.
    """

    name: str
    days: int
    variant: str = "first"
    preloaded: bool = True


W1 = Scenario("W1", DAYS, preloaded=False)
W2 = Scenario("W2", 3, variant="revised")
NO_OP = Scenario("no-op", 7)
BIG = Scenario("BIG", DAYS, preloaded=False)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measurement of the program without a baseline."""

    what: str
    runs: Runs


@dataclass(frozen=True, slots=True)
class Growth:
    """The growth of a first sync: the exponent by one size while the other is constant."""

    database: str
    by: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    exponent: float


class Bench:
    """Runs the scenarios, one after another.

    Args:
        databases: The available databases.
        folder: For files of the subjects.
        pairs: The number of pairs of runs.
        scale: Share of the records per day; less than 1 only to test the benchmark itself.
        last: The last complete day; the vendor has no later records unless a scenario adds them.
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
        """All subjects in W1, W2 and the no-op, compared with the baseline of the same database."""
        load = self._load(DAYS, PER_DAY)
        with serving(load) as vendor:
            for database in self._databases:
                for subject in SUBJECTS:
                    if database.kind in subject.kinds:
                        yield from self._compare(database, subject, load, vendor, (W1, W2, NO_OP), self._pairs)

    def big(self) -> Iterator[Comparison]:
        """1,200,000 records: the program compared with the baseline."""
        load = self._load(DAYS, BIG_PER_DAY)
        with serving(load) as vendor:
            for database in self._databases:
                yield from self._compare(database, PROGRAM, load, vendor, (BIG,), min(self._pairs, FEW_PAIRS))

    def start(self) -> Iterator[Measurement]:
        """The start of the program, and a night without changes."""
        command = program_command("--help")
        yield Measurement("`billing-etl --help`", repeated(self._pairs, lambda: run(command, {}, self._folder)))
        load = self._load(DAYS, NIGHTLY_PER_DAY, last=self._today)
        with serving(load) as vendor:
            for database in self._databases:
                database.empty(PROGRAM.slug)
                environment = program_environment(
                    f"{vendor}/first", database.url(PROGRAM.slug), BILLING_START_DATE=load.first.isoformat()
                )
                night = Night(environment, self._folder)
                night()  # the first one fills the database
                PROGRAM.check(database, expected(load))
                yield Measurement(f"a night without changes, {database.name}", repeated(self._pairs, night))
                PROGRAM.check(database, expected(load))
                database.drop(PROGRAM.slug)

    def latency(self) -> Iterator[Measurement]:
        """W1 with a vendor that takes 0.1 s for each answer."""
        load = self._load(DAYS, PER_DAY)
        with serving(load) as vendor:
            for database in self._databases:
                for concurrency in ("1", "2"):
                    environment = program_environment(
                        f"{vendor}/slow", database.url(PROGRAM.slug), BILLING_CONCURRENCY=concurrency
                    )
                    runs = repeated(min(self._pairs, FEW_PAIRS), FirstSync(database, load, environment, self._folder))
                    PROGRAM.check(database, expected(load))
                    what = f"W1, 0.1 s before every answer, `BILLING_CONCURRENCY={concurrency}`, {database.name}"
                    yield Measurement(what, runs)
                database.drop(PROGRAM.slug)

    def accounts(self) -> Iterator[Measurement]:
        """A night without changes of many accounts, with a vendor that takes 0.2 s for each answer."""
        load = self._load(DAYS, FEW_PER_DAY, last=self._today)
        with serving(load) as vendor:
            for database in self._databases:
                database.empty(PROGRAM.slug)
                settings = self._folder / "accounts.toml"
                lines = [f'start_date = "{load.newest(7)[0]}"']
                lines += [f'[accounts.a{number}]\napi_token = "token-{number}"' for number in range(ACCOUNTS)]
                settings.write_text("\n".join(lines))
                settings.chmod(0o600)
                environment = program_environment(f"{vendor}/slower", database.url(PROGRAM.slug))
                del environment["BILLING_API_TOKEN"]
                for parallel in (8, 1):
                    command = program_command("-q", "--config", str(settings), "sync", "--parallel", str(parallel))
                    runs = repeated(1, partial(run, command, environment, self._folder))
                    what = f"{ACCOUNTS} accounts, 0.2 s before every answer, `--parallel {parallel}`, {database.name}"
                    yield Measurement(what, runs)
                database.drop(PROGRAM.slug)

    def volume(self) -> Iterator[Measurement]:
        """The runs that need the most memory, once each."""
        for days, per_day in VOLUMES:
            load = self._load(days, per_day)
            with serving(load) as vendor:
                for database in self._databases:
                    yield self._once(f"a first sync of {days} × {per_day:,}", database, load, vendor)
                    database.drop(PROGRAM.slug)

    def exports(self) -> Iterator[Comparison | Measurement]:
        """`export` compared with the database's own client, and `verify` and `backup` of the same records."""
        load = self._load(DAYS, BIG_PER_DAY)
        with serving(load) as vendor:
            for database in self._databases:
                self._once("", database, load, vendor)
                environment = program_environment(f"{vendor}/first", database.url(PROGRAM.slug))
                own = database.own_export(PROGRAM.slug, "billing", "own.csv")
                export = program_command("-q", "export", "--out", "export.csv")
                turns = (
                    partial(self._write_file, "own.csv", own, {}),
                    partial(self._write_file, "export.csv", export, environment),
                )
                baseline, other = in_turn(min(self._pairs, FEW_PAIRS), *turns)
                yield Comparison(database.name, "export", PROGRAM.name, baseline, other)
                commands = {"verify": ("--since", load.first.isoformat(), "--until", load.last.isoformat())}
                if database.kind == "sqlite":  # the only one that `backup` copies
                    commands["backup"] = ("--out", "backup.db")
                for name, arguments in commands.items():
                    used = run(program_command("-q", name, *arguments), environment, self._folder)
                    what = f"`{name}` of {load.days * load.per_day:,} records, {database.name}"
                    yield Measurement(what, Runs((used,)))
                database.drop(PROGRAM.slug)

    def _write_file(self, name: str, command: list[str], environment: dict[str, str]) -> Run:
        (self._folder / name).unlink(missing_ok=True)
        used = run(command, environment, self._folder)
        if not (self._folder / name).stat().st_size:
            raise FailedError(f"{command[0]} wrote nothing")
        return used

    def _once(self, what: str, database: Database, load: Load, vendor: str) -> Measurement:
        environment = program_environment(f"{vendor}/first", database.url(PROGRAM.slug))
        used = FirstSync(database, load, environment, self._folder)()
        PROGRAM.check(database, expected(load))
        return Measurement(f"{what}, {database.name}", Runs((used,)))

    def profile(self) -> str:
        """The profile of W1, as a table."""
        load = self._load(DAYS, PER_DAY)
        with serving(load) as vendor:
            return profile(self._databases, load, vendor, self._folder)

    def years(self) -> Iterator[Years]:
        """The views of a year of 10 million charges."""
        with serving(self._load(1, 1 / self._scale)) as vendor:
            for database in self._databases:
                yield from measure_years(database, vendor, self._folder, self._last, self._scale)

    def growth(self) -> Iterator[Growth]:
        """First syncs of more days, and of more records per day."""
        for database in self._databases:
            least = self._first_sync(database, self._load(1, 1 / self._scale)).wall
            by_days = {days: self._first_sync(database, self._load(days, GROWTH_PER_DAY[0])) for days in GROWTH_DAYS}
            by_records = {per: self._first_sync(database, self._load(GROWTH_DAYS[0], per)) for per in GROWTH_PER_DAY}
            database.drop(PROGRAM.slug)
            for by, measured in (("days", by_days), ("records a day", by_records)):
                seconds = tuple(runs.wall - least for runs in measured.values())
                yield Growth(database.name, by, tuple(measured), seconds, exponent(measured, seconds))

    def _first_sync(self, database: Database, load: Load) -> Runs:
        with serving(load) as vendor:
            environment = program_environment(f"{vendor}/first", database.url(PROGRAM.slug))
            runs = repeated(min(self._pairs, FEW_PAIRS), FirstSync(database, load, environment, self._folder))
            PROGRAM.check(database, expected(load))
            return runs

    def _compare(
        self,
        database: Database,
        subject: Subject,
        load: Load,
        vendor: str,
        scenarios: tuple[Scenario, ...],
        pairs: int,
    ) -> Iterator[Comparison]:
        both = (BASELINE, subject)
        try:
            for scenario in scenarios:
                turns = [Turn(one, database, load, scenario, vendor, self._folder) for one in both]
                if not scenario.preloaded:
                    for turn in turns:  # the first start compiles modules and finds cold caches
                        turn()
                baseline, other = in_turn(pairs, *turns)
                yield Comparison(database.name, scenario.name, subject.name, baseline, other)
                if not scenario.preloaded and len(scenarios) > 1:
                    for one in both:
                        database.keep(one.slug)
        finally:
            for one in both:
                database.drop(one.slug)

    def _load(self, days: int, per_day: float, last: date | None = None) -> Load:
        return Load(days, max(1, round(per_day * self._scale)), last or self._last)


class Turn:
    """One run of a subject in a scenario: prepared, timed, checked."""

    def __init__(
        self, subject: Subject, database: Database, load: Load, scenario: Scenario, vendor: str, folder: Path
    ) -> None:
        self._subject = subject
        self._database = database
        self._vendor = f"{vendor}/{scenario.variant}"
        self._days = load.newest(scenario.days)
        self._preloaded = scenario.preloaded
        self._expected = expected(load, revised=scenario.variant == "revised")
        self._folder = folder

    def __call__(self) -> Run:
        if self._preloaded:
            self._database.restore(self._subject.slug)
        else:
            self._database.empty(self._subject.slug)
            self._subject.forget(self._folder)
        used = self._subject.load(self._database, self._vendor, self._days, self._folder)
        self._subject.check(self._database, self._expected)
        return used


class FirstSync:
    """The program's load of all days into an empty database, with the given settings."""

    def __init__(self, database: Database, load: Load, environment: dict[str, str], folder: Path) -> None:
        self._database = database
        self._command = program_command(
            "-q", "sync", "--since", load.first.isoformat(), "--until", load.last.isoformat()
        )
        self._environment = environment
        self._folder = folder

    def __call__(self) -> Run:
        self._database.empty(PROGRAM.slug)
        return run(self._command, self._environment, self._folder)


class Night:
    """The nightly job as a scheduler starts it."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder

    def __call__(self) -> Run:
        return run(program_command("-q", "sync"), self._environment, self._folder)
