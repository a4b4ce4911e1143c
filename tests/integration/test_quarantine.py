"""A listed record that has become unreadable is quarantined and its row kept unchanged, on each database."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
from sqlalchemy import text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of

from etl.date_ranges import DateRange
from etl.extract.spool import RecordSpool
from etl.services.context import RunResources, build_load_policy, open_client, open_source
from etl.services.erase import erase_number, normalise_number
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from etl.services.verify import verify_windows

TODAY = date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
EIGHTH, NINTH, TENTH = (date(2026, 3, day) for day in (8, 9, 10))
PERSON, STRANGER = "89243555100", "89990001122"
KEY = bytes(range(32))
FORMS = {
    "plain": {},
    "masked": {"phones": "masked"},
    "keyed": {"phones": "keyed", "phones_key_file": KEY},
    "no codes": {"codes": "drop"},
    "masked, no codes": {"phones": "masked", "codes": "drop"},
}


def charge(moment, phone=STRANGER, code="4971", info="ok", price="0.2"):
    return {
        "created_at": moment,
        "code_auth": code,
        "status": 1,
        "status_info": info,
        "phone": phone,
        "price": Decimal(price),
    }


TARGET = charge("2026-03-09T11:00:00", PERSON, "0042", price="3.25")
OTHERS = [
    charge("2026-03-08T10:00:00"),
    charge("2026-03-09T10:00:00"),
    charge("2026-03-09T11:00:00", code="1111"),
    *[charge("2026-03-09T12:00:00")] * 2,
    charge("2026-03-10T10:00:00"),
    charge("2026-03-10T10:00:00", PERSON),
]
IN_JSON = {
    "other currency": {"price": "$3.25"},
    "no price": {"price": None},
    "seventh decimal": {"price": Decimal("3.2500001")},
    "price in an object": {"price": {"amount": 3.25}},
    "status in words": {"status": "delivered"},
    "text in a list": {"status_info": ["ok"]},
    "no time of day": {"created_at": "2026-03-09"},
    "time of 25 hours": {"created_at": "2026-03-09T25:00:00"},
    "Russian time of 25 hours": {"created_at": "09.03.2026 25:00:00"},
    "no time": {"created_at": None},
    "time as a number": {"created_at": 1773043200},
    "long phone": {"phone": "8" * 300},
    "phone in a list": {"phone": [PERSON]},
    "long code": {"code_auth": "4" * 300},
    "code as a boolean": {"code_auth": True},
    "no code and no price": {"code_auth": None, "price": "x"},
    "only phone and code": {"created_at": "soon", "price": "x", "status": "x"},
    "only the second": {"phone": [PERSON], "code_auth": [42]},
}
IN_CSV = [
    "other currency",
    "status in words",
    "no time of day",
    "time of 25 hours",
    "long phone",
    "only phone and code",
]


class Account:
    """An account; each run is a minute later than the previous one."""

    def __init__(self, url, vendor, **form):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, EIGHTH, **form)
        self.engine = open_engine(url)
        self.now = MORNING
        self.open_spool = RecordSpool

    def run(self, command="sync", since=None, until=None, **changes):
        """Run; returns the exit code and the numbers of new, changed, withdrawn and rejected records."""
        self.now += timedelta(minutes=1)
        report = run_sync(
            replace(self.settings, **changes),
            RunRequest(command, since, until),
            NO_PROGRESS,
            redact=str,
            clock=lambda: self.now,
            resources=RunResources(open_spool=self.open_spool),
        )
        tally = report.counts
        return report.exit_code, (tally.new, tally.changed, tally.withdrawn), len(tally.rejected)

    def lists(self, *records):
        self.vendor.dataset.replace(records)

    def verify(self, source):
        with open_client(self.settings, str) as client:
            vendor = open_source(self.settings, client, today=TODAY, last=TODAY)
            fetch = vendor.fetch_json if source == "json" else vendor.fetch_csv
            rules = build_load_policy(self.settings, TODAY, full_compare=True)
            return next(verify_windows(self.engine, 1, [DateRange(EIGHTH, TODAY)], fetch, rules))

    def query(self, statement):
        with self.engine.connect() as connection:
            return sorted(map(tuple, connection.execute(text(statement))), key=repr)

    def figures(self):
        """Rows, journal, ledger and views, which must stay unchanged."""
        tables = ("billing_records", "restatements", "synced_days", "billing", "daily_spend", "restated_days")
        return {name: self.query(f"SELECT * FROM {name}") for name in tables}

    def reasons(self):
        return [reason for (reason,) in self.query("SELECT reason FROM rejected_records")]


@pytest.fixture
def account(database_url, sandbox):
    account = Account(database_url, sandbox)
    account.lists(TARGET, *OTHERS)
    assert account.run() == (0, (7, 0, 0), 0)
    return account


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def csv_alone(vendor):
    vendor.faults.add("status", action="post_billing_data", status=503, times=None)


@on_sqlite
@pytest.mark.fault(51)
@pytest.mark.parametrize("bad", IN_JSON.values(), ids=IN_JSON)
def test_the_row_of_an_unreadable_record_is_kept_unchanged(account, bad):
    before = account.figures()
    account.lists(TARGET | bad, *OTHERS)
    for _ in range(2):
        assert account.run() == (65, (0, 0, 0), 1)
        assert account.figures() == before
    assert account.run("backfill", EIGHTH, TENTH) == (65, (0, 0, 0), 1)
    assert account.verify("json") == []
    assert account.figures() == before
    assert len(account.reasons()) == 1


@on_sqlite
def test_an_unreadable_record_with_a_duplicate_field_is_recognised(account, sandbox):
    before = account.figures()
    fields = [json.dumps(record, default=float) for record in (*OTHERS, TARGET)]
    body = f'{{"success": true, "error": "", "data": [{", ".join(fields)[:-1]}, "price": 3.26}}]}}'
    for action in ("post_billing_data", "get_billing_record"):
        sandbox.faults.add("status", action=action, status=200, body=body, times=None)
    assert account.run() == (65, (0, 0, 0), 1)
    assert account.reasons() == ["a field is given twice"]
    assert account.figures() == before
    assert account.run("backfill", TENTH, TENTH) == (0, (0, 0, 0), 0)  # it is of another day


@on_sqlite
@pytest.mark.parametrize("bad", [IN_JSON[name] for name in IN_CSV], ids=IN_CSV)
def test_the_row_of_an_unreadable_csv_record_is_kept_unchanged(account, sandbox, bad):
    before = account.figures()
    account.lists(TARGET | bad, *OTHERS)
    csv_alone(sandbox)
    for _ in range(2):
        assert account.run() == (65, (0, 0, 0), 1)
        assert account.figures() == before
    assert account.run("backfill", EIGHTH, TENTH) == (65, (0, 0, 0), 1)
    assert account.verify("csv") == []
    assert account.figures() == before


@pytest.mark.parametrize("bad", [{"price": "x"}, {"created_at": "2026-03-09T25:00:00"}, {"created_at": None}])
def test_a_record_that_is_readable_again_is_released_and_compared(account, bad):
    before = account.figures()
    account.lists(TARGET | bad, *OTHERS)
    assert account.run() == (65, (0, 0, 0), 1)
    account.lists(TARGET, *OTHERS)
    assert account.run() == (0, (0, 0, 0), 0)
    assert (account.figures(), account.reasons()) == (before, [])

    account.lists(TARGET | bad, *OTHERS)
    assert account.run() == (65, (0, 0, 0), 1)
    account.lists(TARGET | {"price": Decimal("4.5")}, *OTHERS)
    assert account.run() == (0, (0, 1, 0), 0)
    assert account.reasons() == []
    [(kind, delta)] = account.query("SELECT kind, delta FROM restatements")
    assert (kind, Decimal(str(delta))) == ("corrected", Decimal("1.25"))


def test_an_unreadable_record_that_is_no_longer_listed_is_withdrawn(account):
    account.lists(TARGET | {"price": "x"}, *OTHERS)
    account.run()
    account.lists(*OTHERS)
    assert account.run() == (0, (0, 0, 1), 0)
    assert account.reasons() == []


def test_other_changes_of_the_day_are_stored_and_the_row_is_kept(account):
    account.lists(TARGET | {"price": "x"}, OTHERS[1] | {"price": Decimal(1)}, *OTHERS[3:], OTHERS[0])
    assert account.run() == (65, (0, 1, 1), 1)
    assert account.query("SELECT kind FROM restatements") == [("corrected",), ("withdrawn",)]
    before = account.figures()
    [(records, spend)] = account.query("SELECT records, spend FROM daily_spend WHERE day = '2026-03-09'")
    assert (records, Decimal(str(spend))) == (4, Decimal("4.65"))
    assert account.run() == (65, (0, 0, 0), 1)
    assert account.verify("json") == []
    assert account.figures() == before


def test_a_day_with_many_unreadable_records_is_not_suspect(account):
    many = [charge(f"2026-03-10T12:00:{second:02}", code=f"{second:04}") for second in range(30)]
    account.lists(TARGET, *OTHERS, *many)
    account.run()
    before = account.figures()
    account.lists(TARGET, *OTHERS, *many[:5], *(record | {"price": "x"} for record in many[5:]))
    assert account.run() == (65, (0, 0, 0), 25)
    assert account.figures() == before


def test_a_row_keeps_its_repeats_while_one_of_them_is_unreadable(account):
    account.lists(TARGET, *OTHERS[:4], OTHERS[4] | {"price": "x"}, *OTHERS[5:])
    before = account.figures()
    assert account.run() == (65, (0, 0, 0), 1)
    assert account.figures() == before


def test_any_of_several_records_of_one_key_can_be_unreadable(account):
    sms = TARGET | {"price": Decimal(5), "status_info": "SMS"}
    account.lists(TARGET, sms, *OTHERS)
    account.run()
    before = account.figures()
    for readable, bad in ((TARGET, sms), (sms, TARGET)):
        account.lists(readable, bad | {"price": "x"}, *OTHERS)
        assert account.run() == (65, (0, 0, 0), 1)
        assert account.figures() == before
    account.lists(TARGET | {"price": "x"}, sms | {"price": "x"}, *OTHERS)
    assert account.run() == (65, (0, 0, 0), 2)
    assert account.figures() == before


@on_sqlite
def test_the_row_of_a_rejected_record_is_kept_on_a_day_in_slices(account):
    account.open_spool = partial(RecordSpool, max_in_memory=1, max_slice=1)
    before = account.figures()
    for bad in ({"price": "x"}, {"created_at": "2026-03-09T25:00:00"}, {"created_at": None}):
        account.lists(TARGET | bad, *OTHERS)
        assert account.run() == (65, (0, 0, 0), 1)
        assert account.run("backfill", EIGHTH, TENTH) == (65, (0, 0, 0), 1)
        assert account.figures() == before


@on_sqlite
def test_the_row_is_kept_when_the_csv_lacks_a_column(account, sandbox):
    before = account.figures()
    account.lists(TARGET | {"price": "x"}, *OTHERS)
    csv_alone(sandbox)
    sandbox.policies.csv = replace(sandbox.policies.csv, columns=("created_at", "phone", "code_auth", "price"))
    assert account.run() == (65, (0, 0, 0), 1)
    assert account.run("backfill", EIGHTH, TENTH) == (65, (0, 0, 0), 1)
    assert account.figures() == before


@on_sqlite
def test_the_row_is_kept_on_an_open_day(account):
    other = charge("2026-03-11T09:00:00")
    account.lists(TARGET, *OTHERS, other, charge("2026-03-11T08:00:00"))
    account.run()
    before = account.figures()
    account.lists(TARGET, *OTHERS, other, charge("2026-03-11T08:00:00") | {"price": "x"})
    assert account.run() == (65, (0, 0, 0), 1)
    assert account.figures() == before


@on_sqlite
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("bad", [{"price": "x"}, {"created_at": "2026-03-09T25:00:00"}, {"created_at": None}])
def test_the_row_is_recognised_in_every_format_of_phones_and_codes(database_url, sandbox, form, bad):
    account = Account(database_url, sandbox, **form)
    account.lists(TARGET, *OTHERS)
    account.run()
    before = account.figures()
    account.lists(TARGET | bad, *OTHERS)
    assert account.run() == (65, (0, 0, 0), 1)
    assert account.verify("json") == []
    assert account.figures() == before


@pytest.mark.parametrize("bad", [{"price": "x"}, {"created_at": "2026-03-09T25:00:00"}, {"created_at": None}])
def test_the_row_of_an_erased_person_is_kept_and_restores_no_number(account, bad):
    erase_number(account.settings, normalise_number(PERSON), wait=0, clock=lambda: account.now)
    before = account.figures()
    account.lists(TARGET | bad, *OTHERS)
    for _ in range(2):
        assert account.run() == (65, (0, 0, 0), 1)
        assert account.figures() == before
    account.lists(TARGET, *OTHERS)
    assert account.run() == (0, (0, 0, 0), 0)
    assert account.figures() == before
