"""Formats of stored phones, and erasure, on each database, while the vendor still lists the records."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import inspect, select, text
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of

from etl.date_ranges import DateRange
from etl.db.lock import advisory_lock
from etl.db.run_store import RunHandle, find_account, verify_fence
from etl.db.tables import billing_records, rejected_records
from etl.errors import ConcurrentRunError, ConfigError, DatabaseError
from etl.pii import ERASED
from etl.services.context import build_load_policy, build_phone_policy, open_client, open_source
from etl.services.erase import erase_number, normalise_number
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from etl.services.verify import verify_windows

TODAY = date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
EIGHTH, NINTH, TENTH = (date(2026, 3, day) for day in (8, 9, 10))
KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
PERSON, STRANGER, ABROAD = "89243555100", "89990001122", "375291234567"
FORMS = {
    "plain": {},
    "masked": {"phones": "masked"},
    "keyed": {"phones": "keyed", "phones_key_file": KEY},
    "masked, no codes": {"phones": "masked", "codes": "drop"},
    "keyed, no codes": {"phones": "keyed", "phones_key_file": KEY, "codes": "drop"},
}
DIGITS = ("9243555100", "9990001122", "291234567", "924 355", "(924)")


def charge(moment, phone=PERSON, code="4971", status=1, info="ok", price="0.2"):
    return {
        "created_at": moment,
        "code_auth": code,
        "status": status,
        "status_info": info,
        "phone": phone,
        "price": Decimal(price) if isinstance(price, str) and price[0].isdigit() else price,
    }


LISTED = [
    charge("2026-03-08T10:00:00"),
    charge("2026-03-08T10:00:00", info="SMS; 8 (924) 355-51-00", price="3.25"),
    charge("2026-03-08T10:00:00", code="4972"),
    charge("2026-03-08T10:00:00", STRANGER, price="3.25"),
    *[charge("2026-03-08T11:00:00", "+7 924 355-51-00", None, None, None, "0")] * 2,
    charge("2026-03-09T10:00:00", ABROAD, status=0, price="0.000001"),
    charge("2026-03-09T10:00:00", STRANGER, info="passed on to 89243555100"),
    charge("2026-03-09T12:00:00", price="x"),
    charge("2026-03-09T13:00:00", STRANGER, price="x"),
    charge("2026-03-10T10:00:00", ""),
    charge("2026-03-11T08:00:00"),
]


class Account:
    """An account with one format of phones; each run is a minute later than the previous one."""

    def __init__(self, url, vendor, **form):
        self.settings = settings_of(url, vendor, EIGHTH, **form)
        self.engine = open_engine(url)
        self.now = MORNING

    def run(self, command="sync", since=None, until=None, *, dry_run=False, **changes):
        self.now += timedelta(minutes=1)
        return run_sync(
            replace(self.settings, **changes),
            RunRequest(command, since, until, dry_run),
            NO_PROGRESS,
            redact=str,
            clock=lambda: self.now,
        )

    def forget(self, number=PERSON, **changes):
        self.now += timedelta(minutes=1)
        settings = replace(self.settings, **changes)
        return erase_number(settings, normalise_number(number), wait=0, clock=lambda: self.now)

    def verify(self, source):
        with open_client(self.settings, str) as client:
            vendor = open_source(self.settings, client, today=TODAY, last=TODAY)
            fetch = vendor.fetch_json if source == "json" else vendor.fetch_csv
            rules = build_load_policy(self.settings, TODAY, full_compare=True)
            return next(verify_windows(self.engine, 1, [DateRange(EIGHTH, TODAY)], fetch, rules))

    def query(self, statement):
        with self.engine.connect() as connection:
            return sorted(map(tuple, connection.execute(text(statement))), key=repr)

    def rows(self, table, *columns):
        with self.engine.connect() as connection:
            return connection.execute(select(*(table.c[name] for name in columns)).order_by(*table.primary_key)).all()

    def cells(self):
        """All values of all tables and views, as one text."""
        with self.engine.connect() as connection:
            names = [*inspect(connection).get_table_names(), *inspect(connection).get_view_names()]
            return "\n".join(str(row) for name in names for row in connection.execute(text(f"SELECT * FROM {name}")))


def form_names(*names):
    return pytest.mark.parametrize("form", [FORMS[name] for name in names], ids=names)


@pytest.fixture
def vendor(sandbox):
    sandbox.dataset.replace(LISTED)
    return sandbox


@pytest.fixture
def account(database_url, vendor, form):
    account = Account(database_url, vendor, **form)
    assert account.run().error is None
    return account


# Formats of phones ----------------------------------------------------------------------------------------------------


@form_names("masked", "keyed, no codes")
def test_no_phone_reaches_the_database_and_syncs_work_as_usual(account, vendor, form):
    for digits in DIGITS:
        assert digits not in account.cells()
    if "codes" in form:
        assert "497" not in account.cells()
    assert (account.verify("json"), account.verify("csv")) == ([], [])
    vendor.dataset.replace([*LISTED[1:], charge("2026-03-08T12:00:00", price="9")])
    vendor.faults.add("status", action="post_billing_data", times=None)
    assert account.run().error is None
    for digits in DIGITS:
        assert digits not in account.cells()
    assert account.verify("csv") == []
    before = account.query("SELECT * FROM billing_records"), account.query("SELECT * FROM restatements")
    vendor.faults.clear()
    report = account.run()
    assert (report.counts.new, report.counts.changed, report.counts.withdrawn) == (0, 0, 0)
    assert (account.query("SELECT * FROM billing_records"), account.query("SELECT * FROM restatements")) == before


@form_names("keyed")
@pytest.mark.fault(127)
def test_all_formats_of_a_number_have_one_keyed_phone(account):
    keyed = build_phone_policy(account.settings).phone("+79243555100")
    phones = [row.phone for row in account.rows(billing_records, "phone")]
    assert phones.count(keyed) == 5
    payloads = [json.loads(row.payload)["phone"] for row in account.rows(rejected_records, "payload")]
    assert sorted(payloads) == sorted([keyed, build_phone_policy(account.settings).phone("+79990001122")])


def test_amounts_are_the_same_in_each_format_of_phones(sqlite_url, vendor):
    spent = set()
    for name, form in FORMS.items():
        account = Account(sqlite_url, vendor, account=name, **form)
        assert account.run().error is None
        query = f"SELECT day, records, delivered, spend FROM daily_spend WHERE account = '{name}'"
        spent.add(tuple(account.query(query)))
    assert len(spent) == 1


CHANGES = [
    ("plain", {"phones": "masked"}, "BILLING_PHONES=plain"),
    ("plain", {"codes": "drop"}, "BILLING_CODES=keep"),
    ("keyed", {"phones_key_file": OTHER_KEY}, "BILLING_PHONES_KEY_FILE"),
    ("keyed", {"phones": "masked"}, "BILLING_PHONES=keyed"),
    ("masked, no codes", {"codes": "keep"}, "BILLING_CODES=drop"),
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "change", "remedy"), CHANGES, ids=[f"{name}, then {change}" for name, change, _ in CHANGES]
)
def test_a_changed_format_of_phones_is_refused_with_the_remedy_before_any_request(
    database_url, vendor, name, change, remedy
):
    account = Account(database_url, vendor, **FORMS[name])
    account.run()
    before, requests = account.cells(), len(vendor.requests)
    for command, dry_run in (("sync", False), ("sync", True), ("backfill", False), ("accept", False)):
        error = account.run(command, NINTH, NINTH, dry_run=dry_run, **change).error
        assert isinstance(error, ConfigError)
        assert remedy in str(error)
    with pytest.raises(ConfigError, match=remedy):
        account.forget(**change)
    assert (account.cells(), len(vendor.requests)) == (before, requests)
    assert account.run().error is None


# Erasure --------------------------------------------------------------------------------------------------------------

MONEY = (
    "SELECT created_at, status, price, repeats, first_seen_at, withdrawn_at, utc_offset FROM billing_records",
    "SELECT * FROM daily_spend",
    "SELECT * FROM restated_days",
    "SELECT day, digest, records, spend, source, stored_at, first_closed_at, first_closed_spend FROM synced_days",
    "SELECT last_synced_date, settled_through FROM sync_state",
)
FORGETTABLE = form_names("plain", "masked", "keyed")


@FORGETTABLE
def test_an_erased_person_is_in_no_table_and_amounts_are_unchanged(account, vendor, form):
    vendor.dataset.replace([*LISTED[1:], charge("2026-03-09T23:00:00", info="late; 89243555100")])
    account.run()  # the journal has lines now
    keyed = build_phone_policy(account.settings).phone("+79243555100")
    assert keyed in account.cells()
    before = [account.query(statement) for statement in MONEY]
    found = account.forget()
    mentions = int(account.settings.phones == "plain")
    assert found.rows == {
        "billing_records": 6 + mentions, "restatements": 2, "rejected_records": 1, "sync_runs": 0, "synced_days": 0,
    }  # fmt: skip
    assert found.masked == (account.settings.phones == "masked")
    assert keyed not in account.cells()
    assert "9243555100" not in account.cells()
    assert "(924) 355" not in account.cells()
    assert [account.query(statement) for statement in MONEY] == before
    assert not any(account.forget().rows.values())


@FORGETTABLE
def test_a_listed_erased_person_causes_no_writes_and_no_difference(account, form):
    account.forget()
    before = account.query("SELECT * FROM billing_records"), account.query("SELECT * FROM rejected_records")
    days = account.query("SELECT * FROM synced_days")
    report = account.run()
    assert (report.counts.new, report.counts.changed, report.counts.withdrawn) == (0, 0, 0)
    report = account.run("backfill", EIGHTH, TODAY)
    assert (report.error, report.counts.new, report.counts.changed, report.counts.withdrawn) == (None, 0, 0, 0)
    assert (account.verify("json"), account.verify("csv")) == ([], [])
    assert before == (account.query("SELECT * FROM billing_records"), account.query("SELECT * FROM rejected_records"))
    assert days == account.query("SELECT * FROM synced_days")
    assert build_phone_policy(account.settings).phone("+79243555100") not in account.cells()


@form_names("plain", "keyed")
def test_changes_on_the_day_of_an_erased_person_restore_no_number(account, vendor):
    account.forget()
    corrected = LISTED[0] | {"price": Decimal("0.7"), "status": 0}
    late = charge("2026-03-08T10:00:00", STRANGER, price="5")
    vendor.dataset.replace([corrected, *LISTED[2:], late])
    report = account.run()
    # Two of the erased charges are not listed any more: both records of the second replace them.
    assert (report.counts.new, report.counts.changed, report.counts.withdrawn) == (0, 2, 0)
    assert build_phone_policy(account.settings).phone("+79243555100") not in account.cells()
    assert (account.verify("json"), account.verify("csv")) == ([], [])
    (spend,) = account.query("SELECT spend FROM daily_spend WHERE day = '2026-03-08'")
    assert Decimal(str(spend[0])) == Decimal("0.7") + Decimal("0.2") + Decimal("3.25") + 5


@FORGETTABLE
def test_corrections_of_single_charges_of_an_erased_second_restore_no_number(account, vendor, form):
    account.forget()
    other_code, one_of_two = LISTED[2] | {"price": Decimal("0.7")}, LISTED[4] | {"price": Decimal("7.5"), "status": 1}
    vendor.dataset.replace([*LISTED[:2], other_code, LISTED[3], one_of_two, *LISTED[5:]])
    report = account.run("backfill", EIGHTH, TENTH)
    assert (report.error, report.counts.new, report.counts.changed, report.counts.withdrawn) == (None, 1, 2, 0)
    rows, days = account.query("SELECT * FROM billing_records"), account.query("SELECT * FROM synced_days")
    operators = account.query("SELECT * FROM operator_totals")
    for _ in range(2):
        assert build_phone_policy(account.settings).phone("+79243555100") not in account.cells()
        assert (account.verify("json"), account.verify("csv")) == ([], [])
        report = account.run("backfill", EIGHTH, TENTH)
        assert (report.error, report.counts.new, report.counts.changed, report.counts.withdrawn) == (None, 0, 0, 0)
    assert (account.query("SELECT * FROM billing_records"), account.query("SELECT * FROM synced_days")) == (rows, days)
    assert account.query("SELECT * FROM operator_totals") == operators


@form_names("plain", "keyed")
def test_a_later_charge_in_an_erased_second_leaves_the_erased_charges_erased(account, vendor):
    account.forget()
    later = LISTED[4] | {"price": Decimal("3.25"), "status": 1, "status_info": "SMS"}
    vendor.dataset.replace([*LISTED, later])
    for new in (1, 0):
        report = account.run("backfill", EIGHTH, TENTH)
        assert (report.error, report.counts.new, report.counts.changed, report.counts.withdrawn) == (None, new, 0, 0)
        assert (account.verify("json"), account.verify("csv")) == ([], [])
    in_clear = build_phone_policy(account.settings).phone("+79243555100")
    stored = account.rows(billing_records, "phone", "status_info")
    assert [row.status_info for row in stored if row.phone == in_clear] == ["SMS"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@form_names("plain")
def test_an_export_that_lacks_a_column_leaves_the_day_of_an_erased_person_unchanged(account, vendor):
    account.forget()
    days, rows = account.query("SELECT * FROM synced_days"), account.query("SELECT * FROM billing_records")
    vendor.faults.add("status", action="post_billing_data", times=None)
    vendor.policies.csv = replace(vendor.policies.csv, columns=("created_at", "phone", "code_auth", "price"))
    report = account.run("backfill", EIGHTH, TENTH)
    assert (report.error, report.sources) == (None, {"csv"})
    assert account.query("SELECT * FROM billing_records") == rows
    assert account.query("SELECT * FROM synced_days") == days


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@form_names("plain")
@pytest.mark.parametrize("spelling", ["+375 (29) 123-45-67", "00375291234567", "375-29-1234567"])
def test_a_foreign_number_is_found_by_its_digits(account, spelling):
    spelled = account.forget(spelling).rows["billing_records"]
    assert spelled == (0 if spelling.startswith("00") else 1)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@form_names("masked")
def test_masked_phones_are_erased_by_their_mask(account):
    found = account.forget("89240000000")
    assert (found.masked, found.rows["billing_records"]) == (True, 5)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@form_names("plain")
def test_an_unknown_number_changes_nothing(account):
    before = account.query("SELECT * FROM billing_records")
    assert not any(account.forget("89001234567").rows.values())
    assert account.query("SELECT * FROM billing_records") == before


@form_names("plain")
def test_a_run_in_progress_may_not_restore_an_erased_number(account):
    run = RunHandle(account_id=1, fence=1, id=1)
    with account.engine.begin() as connection:
        verify_fence(connection, run)
    account.forget()
    with account.engine.begin() as connection, pytest.raises(ConcurrentRunError):
        verify_fence(connection, run)


@form_names("plain")
def test_an_erasure_waits_for_the_lock(account):
    with advisory_lock(account.engine, "account-default", wait=0), pytest.raises(ConcurrentRunError):
        account.forget()
    assert any(account.forget().rows.values())


@form_names("plain")
def test_an_erasure_is_rolled_back_when_the_database_refuses_a_row(account):
    with account.engine.begin() as connection:
        connection.execute(text("DROP TABLE rejected_records"))
    before = account.query("SELECT * FROM billing_records")
    with pytest.raises(DatabaseError):
        account.forget()
    assert account.query("SELECT * FROM billing_records") == before


def test_another_account_with_the_number_is_left_unchanged_and_named(sqlite_url, vendor):
    one, other = Account(sqlite_url, vendor), Account(sqlite_url, vendor, account="other")
    one.run()
    other.run()
    assert one.forget().unchecked_accounts == ("other",)
    with other.engine.connect() as connection:
        number = find_account(connection, "other")
    kept = other.query(f"SELECT phone FROM billing_records WHERE account_id = {number}")
    assert ("+79243555100",) in kept
    assert (ERASED,) not in kept


def test_an_erasure_requires_a_database(sqlite_url, vendor):
    with pytest.raises(DatabaseError):
        Account(sqlite_url, vendor).forget()


@pytest.mark.parametrize("text_", ["", "12", "abc", "1234567890123456", "+7 924 355 51 00 ext. 5", "9" * 300])
def test_an_invalid_number_is_refused_and_not_repeated(text_):
    with pytest.raises(ValueError, match="a phone number of 3 to 15 digits") as refused:
        normalise_number(text_)
    assert len(text_) < 3 or text_ not in str(refused.value)
