"""Records as of a time: what the view showed then for the days that were closed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain, combinations, count
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from etl.channels import DEFAULT_RULES
from etl.date_ranges import DateRange
from etl.db.channels import load_channels
from etl.db.engine import new_engine, read_connection
from etl.db.erase import ErasureSubject, erase_person
from etl.db.run_store import begin_run
from etl.db.store import Store
from etl.db.tables import restatements, synced_days
from etl.load.policy import LoadPolicy
from etl.model import Record, WindowData, single_slice_day
from etl.pii import ERASED, PhoneNumber
from etl.pipeline import fetch_and_transform
from etl.reports.columns import COLUMNS
from etl.reports.query import ExportFilter, count_incomplete_days, iter_batches
from etl.services.run_writer import RunWriter

ZONE = ZoneInfo("Europe/Moscow")
DAYS = [date(2026, 3, day) for day in range(8, 12)]
MORNING = datetime(2026, 3, 10, 6, 30, tzinfo=UTC)
PERSON, STRANGER = "+79243555100", "+79990001122"
EXAMPLES = {"sqlite": 60, "postgresql": 8, "mariadb": 8}
UNLIKE_THEN = {"day_state", "updated_at", "channel"}
"""Columns whose earlier values are not known."""

# Few values, so that records share a second, a key or all fields.
records = st.builds(
    Record,
    st.sampled_from([f"{day} {time}" for day in DAYS for time in ("00:00:00", "23:59:59")]),
    st.sampled_from([PERSON, STRANGER]),
    st.sampled_from(["0007", ""]),
    st.sampled_from([0, 1, None]),
    st.sampled_from(["ok", "", 'он "занят"; да,\nвсё']),
    st.sampled_from([Decimal(f"{price}.{rest}") for price, rest in [(0, "1" + "0" * 5), (-3, "000001"), (2, "5" * 6)]]),
)
nights = st.fixed_dictionaries(
    {
        "listed": st.lists(records, max_size=10),
        "first": st.sampled_from(DAYS),
        "day_passes": st.booleans(),
        "forgets": st.sampled_from([False] * 9 + [True]),
    }
)


class Known(NamedTuple):
    """The rows of the view for closed days, just after a time."""

    moment: datetime
    days: frozenset
    rows: list


class Answers:
    """A vendor that lists only these records."""

    def __init__(self, listed):
        self.listed = listed

    def fetch(self, window):
        of_day = {
            day: [record for record in self.listed if record.created_at[:10] == str(day)] for day in window.days()
        }
        days = {day: single_slice_day(day, records) for day, records in of_day.items()}
        return WindowData(window, DateRange(window.first - timedelta(1), window.last + timedelta(2)), days)


class Account:
    """An account, with the rows of the view after each night."""

    numbers = count()

    def __init__(self, engine):
        self.engine = engine
        self.label = f"account {next(Account.numbers)}"
        self.now = MORNING
        self.known = []

    def night(self, listed, first=DAYS[0], *, day_passes=False, forgets=False):
        self.now += timedelta(days=day_passes, minutes=1)
        window = DateRange(first, DAYS[-1])
        with self.engine.begin() as connection:
            run = begin_run(connection, label=self.label, command="sync", version="0", windows=[window], now=self.now)
            channels = load_channels(connection, DEFAULT_RULES)
        self.account_id = run.account_id
        rules = LoadPolicy(self.now.astimezone(ZONE).date(), ZONE, 2, Decimal(1), accepted_days=frozenset(DAYS))
        writer = RunWriter(Store(self.engine), run, channels, lambda: self.now)
        writer.load(*fetch_and_transform(Answers(listed), window), rules)
        closed = self.closed_days()
        self.known.append(Known(self.now, closed, [row for row in self.read() if row[3] in closed]))
        if forgets:
            self.forget()

    def forget(self):
        """Erase the person, also from the rows known before."""
        with self.engine.begin() as connection:
            erase_person(connection, self.account_id, ErasureSubject(PhoneNumber(PERSON), {PERSON}), self.now)
        self.known = [known._replace(rows=list(map(without_person, known.rows))) for known in self.known]

    def closed_days(self):
        day = synced_days.c
        query = select(day.day).where(day.account_id == self.account_id, day.first_closed_at.is_not(None))
        with read_connection(self.engine) as connection:
            return frozenset(connection.scalars(query))

    def read(self, as_of=None):
        with read_connection(self.engine) as connection:
            batches = iter_batches(connection, ExportFilter((self.label,), as_of=as_of))
            return [typed(row) for row in chain.from_iterable(batches)]

    def journal(self):
        line = restatements.c
        query = select(line.restated_at, line.day, line.delta).where(line.account_id == self.account_id)
        with read_connection(self.engine) as connection:
            return connection.execute(query).all()

    def unknown_days(self, moment, **selection):
        with read_connection(self.engine) as connection:
            chosen = ExportFilter((self.label,), as_of=moment, **selection)
            return count_incomplete_days(connection, chosen, moment.astimezone(ZONE).date())


def typed(row):
    """A row with its day as a date, and its amount as a decimal."""
    values = dict(zip(COLUMNS, row, strict=True))
    values |= {"day": date.fromisoformat(values["day"]), "amount": Decimal(values["amount"])}
    return tuple(values.values())


def as_the_driver_returns_it(row):
    """A row as psycopg returns it."""
    values = dict(zip(COLUMNS, row, strict=True))
    for name in ("created_at", "created_at_utc", "first_seen_at", "updated_at"):
        values[name] = values[name] and datetime.fromisoformat(values[name]).replace(tzinfo=None)
    values |= {name: values[name] and int(values[name]) for name in ("status", "repeats")}
    values |= {"price": Decimal(values["price"]), "delivered": values["delivered"] == "true"}
    return tuple(values.values())


def without_person(row):
    values = dict(zip(COLUMNS, row, strict=True))
    if values["phone"] == PERSON:
        values |= {"phone": ERASED, "code_auth": "", "status_info": ""}
    return tuple(values.values())


def comparable(rows):
    """Sorted rows without the columns whose earlier values are not known."""
    return sorted([repr([v for k, v in zip(COLUMNS, row, strict=True) if k not in UNLIKE_THEN]) for row in rows])


def total(rows, days):
    amount = list(COLUMNS).index("amount")
    return sum((row[amount] for row in rows if row[3] in days), Decimal(0))


def test_any_past_night_is_reproduced_and_the_journal_adds_up(database_url):
    engine = new_engine(database_url)
    examples = EXAMPLES[database_url.get_backend_name()]

    @settings(max_examples=examples, deadline=None)
    @given(st.lists(nights, min_size=2, max_size=7))
    def property_(some):
        account = Account(engine)
        for night in some:
            account.night(**night)
        then = {known.moment: account.read(known.moment) for known in account.known}
        for known in account.known:
            assert comparable(then[known.moment]) == comparable(known.rows)
        journal = account.journal()
        for one, other in combinations(account.known, 2):
            lines = [line for line in journal if one.moment < line.restated_at <= other.moment]
            changed = sum((line.delta for line in lines if line.day in one.days), Decimal(0))
            assert total(then[other.moment], one.days) - total(then[one.moment], one.days) == changed

    property_()


@pytest.fixture
def account(database_url):
    return Account(new_engine(database_url))


def record(moment, phone=PERSON, code="0007", status=1, info="ok", price="0.200000"):
    return Record(moment, phone, code, status, info, Decimal(price))


CALL, MESSAGE = record("2026-03-08 10:00:00"), record("2026-03-08 10:00:00", info="SMS", price="3.000000")
OTHER_CODE = record("2026-03-08 10:00:00", code="0008")
LATE = record("2026-03-08 11:00:00", STRANGER)


def summaries(rows):
    names = ("created_at", "phone", "code_auth", "status", "status_info", "price", "repeats")
    return [tuple(str(dict(zip(COLUMNS, row, strict=True))[name]) for name in names) for row in rows]


def test_late_corrected_withdrawn_and_returned_records_are_shown_as_of_each_night(account):
    corrected = CALL._replace(status=0, price=Decimal("0.700000"))
    listings = [[CALL, CALL, MESSAGE], [CALL, LATE], [corrected, MESSAGE, LATE, LATE], [corrected]]
    for listed in listings:
        account.night(listed)

    def row(record, repeats="1"):
        return (*(str(part) for part in record), repeats)

    moments = [known.moment for known in account.known]
    assert [summaries(account.read(moment)) for moment in moments] == [
        [row(MESSAGE), row(CALL, "2")],
        [row(CALL), row(LATE)],
        [row(corrected), row(MESSAGE), row(LATE, "2")],
        [row(corrected)],
    ]
    just_before = [moment - timedelta(microseconds=1) for moment in moments]
    assert [summaries(account.read(moment)) for moment in just_before[1:]] == [
        summaries(account.read(moment)) for moment in moments[:-1]
    ]
    assert account.read(just_before[0]) == []


def test_as_of_now_equals_the_view_of_closed_days_in_every_column(account):
    account.night([CALL, MESSAGE, record("2026-03-10 01:00:00")])
    account.night([MESSAGE, LATE, record("2026-03-10 01:00:00"), record("2026-03-10 02:00:00")])
    closed = account.closed_days()
    assert closed == {date(2026, 3, 8), date(2026, 3, 9)}
    assert account.read(account.now) == [row for row in account.read() if row[3] in closed] != account.read()


def test_a_day_that_was_open_is_left_out_and_counted(account):
    account.night([CALL, record("2026-03-10 01:00:00")])
    (first,) = (known.moment for known in account.known)
    account.night([CALL, record("2026-03-10 01:00:00")], day_passes=True)
    assert {row[3] for row in account.read(first)} == {date(2026, 3, 8)}
    assert {row[3] for row in account.read(account.now)} == {date(2026, 3, 8), date(2026, 3, 10)}
    assert (account.unknown_days(first), account.unknown_days(account.now)) == (1, 1)
    assert account.unknown_days(first, until=date(2026, 3, 9)) == 0
    assert account.unknown_days(first, since=date(2026, 3, 11)) == 0
    assert account.unknown_days(first - timedelta(minutes=1)) == 3


def test_an_erased_person_is_erased_as_of_every_time(account):
    account.night([CALL, MESSAGE, OTHER_CODE, record("2026-03-08 10:00:00", STRANGER)])
    account.night([CALL._replace(price=Decimal(1)), OTHER_CODE._replace(price=Decimal(2))])
    account.night([OTHER_CODE, LATE], forgets=True)
    for known in account.known:
        assert comparable(account.read(known.moment)) == comparable(known.rows)
    assert not any(PERSON in row for row in account.read(account.known[0].moment))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_postgresql_function_agrees_with_the_export(account):
    account.night([CALL, MESSAGE])
    account.night([MESSAGE._replace(status=0), LATE], forgets=True)
    names = ", ".join(COLUMNS)
    for known in account.known:
        query = text(f"SELECT {names} FROM billing_asof(:moment) WHERE account = :label")
        with read_connection(account.engine) as connection:
            rows = connection.execute(query, {"moment": known.moment, "label": account.label}).all()
        exported = list(map(as_the_driver_returns_it, account.read(known.moment)))
        assert sorted(map(repr, rows)) == sorted(map(repr, exported)) != []
