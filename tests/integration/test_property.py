"""After any sequence of edits and fetches, the database equals the vendor's multiset of records.

Every example is an account of its own in one database. Spend is compared to the last digit, ids must stay.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from itertools import count
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from support.json_answers import read_answer
from support.reference_model import Stored, canonical, csv_forms, day_of, spellings, spend_of

from etl.channels import DEFAULT_RULES
from etl.date_ranges import DateRange
from etl.db.channels import load_channels
from etl.db.engine import new_engine
from etl.db.run_store import begin_run
from etl.db.store import Store
from etl.errors import InvalidResponse
from etl.extract.csv_parser import parse_csv
from etl.extract.spool import RecordSpool
from etl.load.policy import LoadPolicy
from etl.model import ATTRIBUTES, WindowData
from etl.pipeline import fetch_and_transform
from etl.sandbox.behaviour import Behaviour
from etl.sandbox.formats import csv_header, csv_lines, json_fragments
from etl.services.run_writer import RunWriter
from etl.transform.reader import read_feed

ZONE = ZoneInfo("Europe/Moscow")
DAYS = [date(2026, 3, day) for day in range(8, 12)]
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
EXAMPLES = {"sqlite": 40, "postgresql": 6, "mariadb": 6}

# Few values, so that records share a second, a key or all fields.
records = st.fixed_dictionaries(
    {
        "created_at": st.sampled_from(
            [f"{day}T{time}" for day in DAYS for time in ("00:00:00", "10:00:00", "23:59:59")]
        ),
        "code_auth": st.sampled_from(["0007", ""]),
        "status": st.sampled_from([0, 1, None]),
        "status_info": st.sampled_from(["ok", "", "нет ответа", 'он "занят"; да,\nвсё']),
        "phone": st.sampled_from(["89243555100", "375291234567"]),
        "price": st.sampled_from(list(map(Decimal, ["0", "0.1", "0.2", "-0.3", "999999999999.999999", "0.000001"]))),
    }
)
attributes = records.map(lambda record: {name: record[name] for name in ATTRIBUTES})
windows = st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS)).map(lambda days: DateRange(min(days), max(days)))
numbers = st.integers(0, 1 << 16)
held = st.sampled_from([1, 1_000])


class Nights(RuleBasedStateMachine):
    """A vendor that edits its records, and loads of windows from JSON or CSV."""

    accounts = count()

    def __init__(self, engine):
        super().__init__()
        self.engine = engine
        self.label = f"account {next(Nights.accounts)}"
        self.listed = []
        self.gone = []
        self.expected = {}
        self.most_of_key = Counter()
        self.ordinals = {}
        self.now = MORNING
        self.account_id = None

    # Actions of the vendor.

    @initialize(some=st.lists(records, max_size=12))
    def begin(self, some):
        self.listed = some

    @rule(record=records)
    def list_another(self, record):
        self.listed.append(record)

    @precondition(lambda self: self.listed)
    @rule(number=numbers, times=st.integers(1, 3))
    def list_again(self, number, times):
        self.listed += [self.listed[number % len(self.listed)]] * times

    @precondition(lambda self: self.listed)
    @rule(number=numbers)
    def withdraw(self, number):
        self.gone.append(self.listed.pop(number % len(self.listed)))

    @precondition(lambda self: self.listed)
    @rule(number=numbers, changed=attributes)
    def correct(self, number, changed):
        self.listed[number % len(self.listed)] = self.listed[number % len(self.listed)] | changed

    @precondition(lambda self: self.gone)
    @rule(number=numbers)
    def return_one(self, number):
        self.listed.append(self.gone.pop(number % len(self.gone)))

    @rule()
    def a_day_passes(self):
        self.now += timedelta(days=1)

    # Actions of the job.

    @rule(
        window=windows, size=st.integers(1, 4), random=st.randoms(use_true_random=False), spelling=spellings,
        held=held,
    )  # fmt: skip
    def ask_for_json(self, window, size, random, spelling, held):
        form = Behaviour().changed({"json": spelling}).json
        order = random.sample(self.listed, len(self.listed))
        body = '{"success": true, "error": "", "data": [' + ", ".join(json_fragments(order, form)) + "]}"
        self.load(window, size, "json", lambda: read_answer(body.encode()), held)

    @rule(
        window=windows, size=st.integers(1, 4), random=st.randoms(use_true_random=False), spelling=spellings,
        form=csv_forms, held=held,
    )  # fmt: skip
    def ask_for_csv(self, window, size, random, spelling, form, held):
        form = Behaviour().changed({"csv": {**spelling, **form}}).csv
        order = random.sample(self.listed, len(self.listed))
        file = BytesIO("".join(csv_header(form) + csv_lines(order, form)).encode(form.encoding))
        try:
            parse_csv(file)
        except InvalidResponse:
            return  # an ambiguous CSV is refused and requested differently
        self.load(window, size, "csv", lambda: parse_csv(file), held)

    def load(self, window, size, source, open_feed, held):
        cut = [DateRange(day, min(window.last, day + timedelta(size - 1))) for day in window.days()[::size]]
        self.now += timedelta(minutes=1)
        with self.engine.begin() as connection:
            run = begin_run(connection, label=self.label, command="sync", version="0", windows=cut, now=self.now)
            channels = load_channels(connection, DEFAULT_RULES)
        self.account_id = run.account_id
        rules = LoadPolicy(
            today=self.now.astimezone(ZONE).date(),
            zone=ZONE,
            lookback=2,
            max_withdrawn_share=Decimal(1),
            accepted_days=frozenset(DAYS),
        )
        answers = Answers(source, open_feed, held)
        writer = RunWriter(Store(self.engine), run, channels, lambda: self.now)
        for part in cut:
            writer.load(*fetch_and_transform(answers, part), rules)
        assert writer.sources == {source}
        for day in window.days():
            self.expected[day] = Counter(row for row in map(canonical, self.listed) if day_of(row) == day)
        self.compare()

    def compare(self):
        stored = Stored(self.engine, self.account_id, self.label)
        expected = sum(self.expected.values(), Counter())
        assert stored.rows == expected
        assert stored.current == len(expected), "equal records are one row"
        for day, rows in self.expected.items():
            ledger = stored.ledger[day]
            assert (ledger.records, ledger.spend) == (rows.total(), spend_of(rows))
            assert stored.view.get(day, (0, 0)) == (spend_of(rows), rows.total())
            if ledger.first_closed_at is None:
                assert (ledger.restated_at, stored.deltas[day]) == (None, 0)
            else:
                assert ledger.first_closed_spend + stored.deltas[day] == ledger.spend
        for row in self.ordinals.keys() & stored.ordinals.keys():
            assert self.ordinals[row] == stored.ordinals[row], "an unchanged record keeps its key"
        self.ordinals = stored.ordinals
        for key, needed in Counter(row[:3] for row in expected).items():
            self.most_of_key[key] = max(self.most_of_key[key], needed)
        assert stored.rows_of_key == self.most_of_key, "a free row is reused before a new one is inserted"


class Answers:
    """A source whose answers are always complete."""

    def __init__(self, name, open_feed, held):
        self.name, self.open_feed, self.held = name, open_feed, held

    def fetch(self, window):
        feed = self.open_feed()
        # A day on disk, in slices, is a day like any other.
        spool = RecordSpool(max_in_memory=self.held, max_slice=self.held)
        survey = read_feed(feed, window, ZONE, spool.add)
        days = {
            day: replace(records, source=self.name, missing_fields=ATTRIBUTES - feed.fields)
            for day, records in spool.days(window).items()
        }
        requested = DateRange(window.first - timedelta(days=1), window.last + timedelta(days=2))
        return WindowData(window, requested, days, survey.rejected)


def test_any_sequence_of_edits_and_fetches_stores_the_vendors_multiset(database_url):
    engine = new_engine(database_url)
    examples = EXAMPLES[database_url.get_backend_name()]
    run_state_machine_as_test(
        lambda: Nights(engine),
        settings=settings(max_examples=examples, stateful_step_count=20, deadline=None),
    )
