"""Random months of nightly runs, with a vendor that changes its records, its behaviour and its availability.

Each sequence has its own account. The oracle keeps the vendor's records of each day at every request: a stored closed
day must equal one of these states, and after a successful run the last one.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import select
from support.reference_model import Stored, canonical, csv_forms, day_of, rows_of_day, spellings, spend_of
from support.run_helpers import NO_PROGRESS, settings_of, token_of

from etl.db.engine import new_engine
from etl.db.run_store import find_account
from etl.db.tables import sync_state
from etl.errors import Interrupted, SourceUnavailable
from etl.extract.spool import RecordSpool
from etl.model import ATTRIBUTES
from etl.sandbox import Behaviour, Dataset, Sandbox
from etl.services.context import RunResources
from etl.services.run import RunRequest
from etl.services.sync import run_sync

FIRST, LATEST = date(2026, 3, 1), date(2026, 4, 5)
BUSY = (date(2026, 3, 5), date(2026, 3, 6))
"""Days of enough records for a share of them to mean something, and for an answer to meet a limit of a hundred."""
DAY = timedelta(days=1)
LOOKBACK = 5
SHORT, LONG = 8, 32
"""Rules a sequence: about a third of them are nights, the days between them go by unseen, and two nights end it."""
PARTS = [("sqlite", part, 15, LONG) for part in range(2)] + [("sqlite", part, 40, SHORT) for part in range(2, 4)]
PARTS += [("postgresql", 6, 20, SHORT), ("mariadb", 7, 20, SHORT)]
"""Far fewer than the nights of `tests/simulation`, which has more freedoms. Only these have kills and servers."""

YEAR = str(365 * 86400)
FAULTS = [
    {"fault": "status", "status": 500},
    {"fault": "status", "status": 404},
    {"fault": "status", "status": 429, "headers": {"Retry-After": YEAR}},
    {"fault": "status", "status": 204, "body": ""},
    *({"fault": name} for name in ("html", "empty_body", "refusal", "null_data", "invalid_json", "json_bom")),
    *({"fault": name} for name in ("cut", "cut_chunked", "cut_text", "truncated_gzip", "reset", "reset_midway")),
    *({"fault": name} for name in ("redirect", "echo_url", "empty_list")),
    {"fault": "gzip_bomb", "megabytes": 2},
    {"fault": "other_days", "days": 365},
]
"""Faults that take no time; slow answers have tests of their own, and a refused token needs an operator."""

numbers = st.integers(0, 1 << 16)
faults = st.fixed_dictionaries(
    {
        "which": st.sampled_from(FAULTS),
        "action": st.sampled_from(["post_billing_data", "get_billing_csv", "*"]),
        "times": st.sampled_from([1, 2, None, None]),
        "skip": st.integers(0, 2),
        "share": st.sampled_from([0.0, 0.3, 0.99]),
    }
)
policies = st.fixed_dictionaries(
    {
        "end_date": st.sampled_from(["inclusive", "exclusive"]),
        "zone_offset_hours": st.sampled_from([0, -3, 3, 9, -12]),
        "order": st.sampled_from(["ascending", "descending", "shuffled"]),
        "refuse_future": st.booleans(),
        "json_limit": st.sampled_from([None, 100]),
        "json": spellings,
        "csv": st.builds(lambda form, spelling: form | spelling, csv_forms, spellings),
    }
)


def made(day, number):
    """One of a few records of a day, which share a second, a key or all fields."""

    def pick(*values):
        nonlocal number
        number, place = divmod(number, len(values))
        return values[place]

    return {
        "created_at": f"{day}T{pick('00:00:00', '10:00:00', '23:59:59')}",
        "code_auth": pick("0007", ""),
        "status": pick(1, 0, None),
        "status_info": pick("ok", "", "нет ответа", 'он "занят"; да,\r\n\\N'),
        "phone": pick("89243555100", "375291234567"),
        "price": pick(*map(Decimal, ["0.2", "0", "-0.3", "999999999999.999999", "0.000001"])),
    }


def many(day):
    """Different records of a busy day."""
    return [made(day, n) | {"created_at": f"{day}T12:00:{n:02}", "code_auth": f"{n:04}"} for n in range(60)]


A_YEAR_AGO = [made(FIRST - timedelta(370) + n * DAY, 0) for n in range(60)]
"""The days of an answer about other days."""


class Killed(BaseException):
    """Stands for a SIGKILL: the program cannot handle it, except in `with` blocks."""


class Month(RuleBasedStateMachine):
    accounts = count()

    def __init__(self, settings, engine, vendor):
        super().__init__()
        self.vendor = vendor
        self.engine = engine
        label = f"account {next(Month.accounts)}"
        self.settings = replace(settings, account=label, api_token=token_of(vendor, label))
        self.listed = []
        self.gone = []
        self.listed_states = defaultdict(list)
        self.policies = Behaviour()
        self.today = FIRST + 2 * DAY
        self.runs = 0
        self.open_spool = RecordSpool
        self.stored = None
        self.watermark = None

    # Actions of the vendor.

    @initialize(some=st.lists(numbers, max_size=8), window=st.integers(2, 9), held=st.sampled_from([1, 1_000]))
    def begin(self, some, window, held):
        self.settings = replace(self.settings, window_days=window)
        # A day on disk, in slices, is a day like any other.
        self.open_spool = partial(RecordSpool, max_in_memory=held, max_slice=held)
        self.listed = [made(FIRST + (n % 3) * DAY, n // 3) for n in some]

    @rule(number=numbers, days_ago=st.integers(0, 12))
    def a_record_appears_late(self, number, days_ago):
        self.listed.append(made(max(FIRST, self.today - days_ago * DAY), number))

    @precondition(lambda self: self.listed)
    @rule(number=numbers, times=st.integers(1, 3))
    def a_record_is_repeated(self, number, times):
        self.listed += [self.listed[number % len(self.listed)]] * times

    @precondition(lambda self: self.listed)
    @rule(number=numbers, other=numbers)
    def a_record_is_corrected(self, number, other):
        old = self.listed[number % len(self.listed)]
        new = made(FIRST, other)
        self.listed[number % len(self.listed)] = old | {name: new[name] for name in ATTRIBUTES}

    @precondition(lambda self: self.listed)
    @rule(number=numbers, few=st.integers(1, 4))
    def records_are_withdrawn(self, number, few):
        for _ in range(min(few, len(self.listed))):
            self.gone.append(self.listed.pop(number % len(self.listed)))

    @precondition(lambda self: self.gone)
    @rule(number=numbers)
    def a_record_returns(self, number):
        self.listed.append(self.gone.pop(number % len(self.gone)))

    @rule(changes=policies)
    def the_vendor_changes_its_ways(self, changes):
        self.policies = Behaviour().changed(changes)

    @precondition(lambda self: self.today < LATEST)
    @rule(nights=st.integers(1, 9), some=st.lists(numbers, max_size=9))
    def nights_are_missed(self, nights, some):
        self.days_pass(nights, some)

    def days_pass(self, days, some):
        for _ in range(days):
            self.today += DAY
            if self.today in BUSY:
                self.listed += many(self.today)
        self.listed += [made(self.today - (n % days) * DAY, n // days) for n in some]

    # Actions of the job.

    @precondition(lambda self: self.today < LATEST)
    @rule(some=st.lists(numbers, max_size=6), ill=st.lists(faults, max_size=3))
    def a_night(self, some, ill):
        self.days_pass(1, some)
        self.run("sync", ill)

    @rule(ill=st.lists(faults, max_size=2))
    def a_second_run_of_the_day(self, ill):
        self.run("sync", ill)

    @precondition(lambda self: self.today < LATEST)
    @rule(ill=st.lists(faults, max_size=1), after=st.integers(1, 3), end=st.sampled_from([Interrupted(15), Killed()]))
    def a_night_cut_short(self, ill, after, end):
        self.days_pass(1, [])
        steps = count(1)

        def step(_window, _tally):
            if next(steps) == after:
                raise end

        self.run("sync", ill, step)

    @rule(days_ago=st.integers(0, 20), ill=st.lists(faults, max_size=1))
    def a_backfill(self, days_ago, ill):
        self.run("backfill", ill, since=max(FIRST, self.today - days_ago * DAY))

    def run(self, command, ill=(), step=NO_PROGRESS.advance, *, since=None, until=None):
        """A whole run against the vendor in its current state, and its checks."""
        self.runs += 1
        now = datetime.combine(self.today, datetime.min.time(), UTC) + timedelta(hours=6, minutes=30 + self.runs)
        self.prepare(now, ill)
        report = None
        try:
            report = run_sync(
                self.settings,
                RunRequest(command, since, until or (self.today if since else None)),
                replace(NO_PROGRESS, advance=step),
                redact=str,
                clock=lambda: now,
                resources=RunResources(open_spool=self.open_spool),
            )
        except (Interrupted, Killed):
            # Its thread may have a request in progress, which must not use up the next run's faults.
            for thread in [thread for thread in threading.enumerate() if thread.name == "fetch"]:
                thread.join()
        self.vendor.faults.clear()
        before, self.stored = self.stored, self.look()
        self.check()
        if report is not None:
            self.check_report(report, before)
        return report

    def prepare(self, now, ill):
        self.vendor.set_now((now + timedelta(hours=3)).replace(tzinfo=None))
        self.vendor.dataset.replace(A_YEAR_AGO + self.listed)
        self.vendor.policies = self.policies.changed({})
        self.vendor.requests.clear()
        if any(one["which"]["fault"] == "empty_list" for one in ill):
            # An empty answer is accepted when the CSV is unavailable; otherwise an idle account would stay open.
            ill = [one for one in ill if one["action"] == "post_billing_data"]
            self.vendor.policies.csv.header = "english"
        for one in ill:
            options = {name: one[name] for name in ("action", "times", "skip", "share")}
            self.vendor.faults.add(**one["which"], **options)
        truth = Counter(map(canonical, self.listed))
        for n in range((self.today - FIRST).days + 1):
            day = FIRST + n * DAY
            self.listed_states[day].append(rows_of_day(truth, day))

    def look(self):
        with self.engine.connect() as connection:
            account_id = find_account(connection, self.settings.account)
            self.state = connection.execute(
                select(sync_state.c.first_day, sync_state.c.last_synced_date).where(
                    sync_state.c.account_id == account_id
                )
            ).one_or_none()
        return Stored(self.engine, account_id, self.settings.account)

    # Invariants.

    def check(self):
        """Checks after every run, whatever its end."""
        stored = self.stored
        assert stored.current == len(stored.rows), "equal records are one row"
        assert {day_of(row) for row in stored.rows} <= stored.ledger.keys(), "a row without its day"
        for day, ledger in stored.ledger.items():
            rows = rows_of_day(stored.rows, day)
            assert (ledger.records, ledger.spend) == (rows.total(), spend_of(rows))
            assert stored.view.get(day, (0, 0)) == (spend_of(rows), rows.total())
            if ledger.first_closed_at is not None:
                assert rows in self.listed_states[day], "a stored day equals one of the vendor's states"
                assert ledger.first_closed_spend + stored.deltas[day] == ledger.spend
        if self.state is None:
            return
        watermark = self.state.last_synced_date
        assert self.watermark is None or (watermark is not None and watermark >= self.watermark), (
            "the watermark moved back"
        )
        self.watermark = watermark
        if watermark is not None:
            assert watermark < self.today
            for n in range((watermark - self.state.first_day).days + 1):
                assert stored.ledger[self.state.first_day + n * DAY].first_closed_at, "a gap before the watermark"

    def check_report(self, report, before):
        """Check that the report of a completed run is true."""
        code = report.exit_code
        assert code in {0, 65} or type(report.error) is SourceUnavailable, report.error
        suspect = set(report.counts.suspect_days)
        assert bool(suspect) == (code == 65) or code == 69
        requested = [day for window in report.windows for day in window.days()]
        for day in requested:
            if day in suspect:
                assert self.stored.ledger[day].suspect_since is not None
                assert rows_of_day(self.stored.rows, day) == rows_of_day(before.rows, day), (
                    "a suspect day keeps its last good state"
                )
            elif day < self.today and code != 69:
                assert self.stored.ledger[day].first_closed_at is not None
                assert rows_of_day(self.stored.rows, day) == self.listed_states[day][-1], (
                    "a successful run stores the vendor's last state"
                )

    # The end of a sequence.

    def teardown(self):
        if sys.exc_info()[0] is None:
            self.end_the_month()

    def end_the_month(self):
        self.policies = Behaviour()
        self.days_pass(1, [])
        quiet = self.run("sync")
        self.accept(quiet.counts.suspect_days)
        for n in range(1, LOOKBACK + 1):
            day = self.today - n * DAY
            if day >= self.state.first_day:  # the lookback does not reach behind it
                assert rows_of_day(self.stored.rows, day) == self.listed_states[day][-1]
        self.accept(self.run("backfill", since=FIRST).counts.suspect_days)
        assert self.stored.rows == Counter(map(canonical, self.listed))
        assert self.watermark == self.today - DAY

    def accept(self, days):
        for day in days:
            assert self.run("accept", since=day, until=day).exit_code == 0


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    dataset = Dataset(seed=1, today=FIRST, days=1)
    dataset.replace([])
    with Sandbox(port=0, dataset=dataset, now=datetime.combine(FIRST, datetime.min.time())) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("database_url", "part", "sequences", "steps"),
    PARTS,
    indirect=["database_url"],
    ids=lambda value: str(value) if isinstance(value, str) else f"{value}",
)
def test_a_random_month_of_runs_stores_what_the_vendor_listed(database_url, vendor, part, sequences, steps):
    engine = new_engine(database_url)
    chosen = settings_of(
        database_url, vendor, FIRST, lookback_days=LOOKBACK, retry_attempts=2, max_response_mb=1, timeout=60.0
    )

    def month():
        return Month(chosen, engine, vendor)

    # Where each build is to see the same sequences, each part still has its own.
    factory = seed(part)(month) if settings().derandomize else month
    logging.disable(logging.WARNING)  # a night of faults says so, a hundred times over
    try:
        with engine.connect():  # SQLite checkpoints whenever the last connection closes, which takes time
            run_state_machine_as_test(
                factory,
                settings=settings(
                    max_examples=sequences,
                    stateful_step_count=steps,
                    deadline=None,
                    # No shrinking: it would take an hour, and the steps of a failure are printed unshrunk.
                    phases=[Phase.explicit, Phase.reuse, Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
    finally:
        logging.disable(logging.NOTSET)
