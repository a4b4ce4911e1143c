"""A purge changes no figure of a month, and no later run restores its records."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from itertools import count

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, func, insert, select, text, update
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of
from support.sync_account import just_before
from support.totals_of_rows import write_totals_of_rows

from etl.db.engine import new_engine
from etl.db.lock import advisory_lock
from etl.db.purge import purge_batch
from etl.db.run_store import next_fence
from etl.db.tables import (
    accounts,
    billing_records,
    closed_months,
    purged_months,
    rejected_records,
    restatements,
    sync_state,
    synced_days,
)
from etl.errors import ConcurrentRunError, ConfigError
from etl.model import day_bounds
from etl.ops.status_query import read_account_statuses
from etl.reports.columns import EXPORT_VIEWS
from etl.reports.csv_writer import csv_writer
from etl.reports.export import export_records
from etl.reports.query import ExportFilter
from etl.services.purge import RetentionAge, purge_account
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from etl.services.verify import verify_account

MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
FIRST = date(2026, 1, 20)
JANUARY = date(2026, 1, 1)
ALL_OLD = RetentionAge(1, "m")
"""On the morning of these tests: January."""


def charges(day, *, n=4, price="0.2", status=1):
    return [
        {
            "created_at": f"{day}T10:00:{second:02}",
            "code_auth": "0371",
            "status": status if second else 0,
            "status_info": "ok",
            "phone": "89243555100",
            "price": Decimal(price),
        }
        for second in range(n)
    ]


LEDGER = [column for column in synced_days.c if column.name not in {"purged_at", "revision"}]


class Shop:
    """An account with forty stored days, some of them changed after they were closed."""

    def __init__(self, url, vendor):
        self.vendor = vendor
        self.settings = settings_of(url, vendor, FIRST)
        self.engine = open_engine(url)
        self.now = MORNING
        self.records = [
            record
            for number in range(50)
            for record in charges(FIRST + timedelta(days=number), price=f"{number}.00000{number % 7}")
        ]
        self.records += [self.records[3], self.records[3]]
        vendor.dataset.replace(self.records)
        assert self.run().error is None
        late = charges(date(2026, 1, 25), n=9, price="1000000000.5")[4:]
        vendor.dataset.replace([*self.records[2:], *late, {"price": "none"} | dict(late[0], price="none")])
        report = self.run("backfill", FIRST, date(2026, 3, 10))
        assert (report.error, report.counts.new, report.counts.withdrawn) == (None, 5, 2)

    def run(self, command="sync", since=None, until=None, say=NO_PROGRESS.message, *, deep=False):
        self.now += timedelta(minutes=1)
        return run_sync(
            self.settings,
            RunRequest(command, since, until, deep=deep),
            replace(NO_PROGRESS, message=say),
            redact=str,
            clock=lambda: self.now,
        )

    def purge(self, age=ALL_OLD, *, dry_run=False):
        return purge_account(self.settings, age, explicit_account=True, dry_run=dry_run, wait=0, clock=lambda: self.now)

    def read(self, query):
        with self.engine.connect() as connection:
            return connection.execute(text(query) if isinstance(query, str) else query).all()

    def figures(self):
        """All figures that a purge may not change."""
        with self.engine.connect() as connection:
            status = read_account_statuses(connection, [], self.now, with_others=True)
        return {
            "status": [replace(one, last_runs=(), rejected=0) for one in status],
            "ledger": self.read(select(*LEDGER).order_by(synced_days.c.day)),
            **{
                view: sorted(self.read(f"SELECT * FROM {view}"), key=repr)
                for view in ("monthly_spend", "restated_days", "balance_proof")
            },
        }

    def rows(self):
        tables = (billing_records, restatements, rejected_records)
        return tuple(self.read(select(func.count()).select_from(table))[0][0] for table in tables)


@pytest.fixture
def shop(database_url, sandbox):
    return Shop(database_url, sandbox)


@pytest.fixture
def small_shop(sqlite_url, sandbox):
    return Shop(sqlite_url, sandbox)


def test_a_purged_month_keeps_its_figures_and_no_run_restores_its_records(shop):
    before, rows = shop.figures(), shop.rows()
    assert before["monthly_spend"][0].restated != 0
    would = shop.purge(dry_run=True).months
    assert (shop.rows(), shop.figures()) == (rows, before)
    purged = shop.purge()
    assert (purged.months, purged.blocked, purged.still_in_lookback) == (would, {}, [])
    assert list(purged.months) == [JANUARY]
    # Two records of the first day were withdrawn: their rows are deleted too.
    assert tuple(purged.months[JANUARY]) == (12 * 4 + 5, 7, 1)
    assert shop.rows() == tuple(had - went for had, went in zip(rows, purged.months[JANUARY], strict=True))
    assert shop.read("SELECT count(*) FROM billing WHERE created_at < '2026-02-01'") == [(0,)]
    assert shop.figures() == before
    assert shop.purge().months == {}

    messages = []
    deep = shop.run(since=FIRST, say=messages.append)
    assert (deep.error, deep.windows[0].first, deep.counts.new, deep.counts.days) == (None, date(2026, 2, 1), 0, 39)
    assert messages == ["the records of 12 days from 2026-01-20 to 2026-01-31 were purged; they are left out"]
    assert shop.run(deep=True).counts.days == 39
    refused = shop.run("backfill", date(2026, 1, 31), date(2026, 2, 2))
    assert (refused.exit_code, refused.windows) == (78, [])
    assert "1 day from 2026-01-31 to 2026-01-31 were purged" in str(refused.error)
    assert shop.run("accept", FIRST, FIRST).exit_code == 78
    assert shop.figures()["monthly_spend"] == before["monthly_spend"]
    assert shop.rows()[0] == rows[0] - 53


def test_an_export_reports_purged_days_of_the_views_that_lose_them(shop):
    def exported():
        return {
            name: export_records(shop.engine, ExportFilter(view=view), csv_writer(), nullcontext(BytesIO()), zone=UTC)
            for name, view in EXPORT_VIEWS.items()
        }

    before = exported()
    shop.purge()
    after = exported()
    assert {name: result.purged_days for name, result in after.items()} == {
        name: 12 if result.rows < before[name].rows else 0 for name, result in after.items()
    }
    assert {name for name, result in after.items() if result.purged_days} == {
        "billing", "daily_spend", "hourly_spend", "delivery_by_operator", "daily_channels", "restatement_lines",
    }  # fmt: skip


def test_verify_skips_purged_days(small_shop):
    def verified(*sources):
        return verify_account(small_shop.settings, FIRST, date(2026, 3, 10), sources, redact=str)

    found = verified("json")
    assert (found.days, found.differences) == (50, [])
    small_shop.purge()
    found = verified("json", "csv")
    assert (found.days, found.differences) == (38, [])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_run_that_planned_before_the_purge_stores_nothing_of_its_days(shop):
    before = shop.figures()["monthly_spend"]

    def purge_meanwhile():
        # Behind a transaction pooler no lock separates the two.
        old = billing_records.c.created_at < day_bounds(date(2026, 2, 1))[0]
        with new_engine(shop.settings.database_url).begin() as connection:
            connection.execute(
                update(synced_days).where(synced_days.c.day < date(2026, 2, 1)).values(purged_at=MORNING)
            )
            connection.execute(billing_records.delete().where(old))

    with just_before("SELECT synced_days.day, synced_days.digest", purge_meanwhile) as done:
        shop.run("backfill", FIRST, date(2026, 2, 3))
    assert done
    assert shop.read("SELECT count(*) FROM billing WHERE created_at < '2026-02-01'") == [(0,)]
    assert shop.figures()["monthly_spend"][1:] == before[1:]


def test_days_before_the_ledger_can_be_loaded_and_purged_later(small_shop):
    small_shop.purge()
    small_shop.vendor.dataset.replace([*small_shop.records, *charges(date(2026, 1, 10), price="7")])
    assert small_shop.run("backfill", date(2026, 1, 1), date(2026, 1, 19)).error is None
    before = small_shop.figures()
    assert tuple(small_shop.purge().months[JANUARY]) == (4, 0, 0)
    assert small_shop.figures() == before


def test_a_month_with_a_suspect_day_is_not_purged(small_shop):
    with small_shop.engine.begin() as connection:
        connection.execute(
            update(synced_days).where(synced_days.c.day == FIRST).values(suspect_since=MORNING, suspect_reason="x")
        )
    before = small_shop.rows()
    assert small_shop.purge().blocked == {JANUARY: "2026-01-20 is suspect"}
    assert small_shop.rows() == before


def test_a_purge_respects_the_lookback_of_the_settings_and_of_the_last_run(small_shop):
    small_shop.now += timedelta(days=60)
    for lookback, unsettled in ((0, []), (10, []), (11, [date(2026, 2, 1)])):
        small_shop.settings = replace(small_shop.settings, lookback_days=lookback)
        found = small_shop.purge(dry_run=True)
        assert (found.still_in_lookback, found.blocked) == (unsettled, {date(2026, 3, 1): "2026-03-11 is not complete"})


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_purge_is_refused_while_a_run_is_in_progress_or_starts(shop):
    with advisory_lock(shop.engine, "account-default", wait=0), pytest.raises(ConcurrentRunError):
        shop.purge()
    before = shop.rows()

    def overtake():
        with new_engine(shop.settings.database_url).begin() as connection:
            next_fence(connection, 1)

    with just_before("SELECT sync_state.fence", overtake, skip=1) as done, pytest.raises(ConcurrentRunError):
        shop.purge()
    assert done
    assert shop.rows() == before


def test_an_account_that_is_not_there_is_refused(small_shop):
    small_shop.settings = replace(small_shop.settings, account="nobody")
    with pytest.raises(ConfigError, match="no account nobody; it has default"):
        small_shop.purge()


rows = st.lists(
    st.fixed_dictionaries(
        {
            "day": st.integers(1, 31),
            "status": st.sampled_from([1, 0, None]),
            "price": st.sampled_from(["0.1", "-0.000001", "999999999999.999999", "-999999999999.999999", "0"]),
            "repeats": st.sampled_from([1, 3, 1_000_000]),
            "withdrawn": st.booleans(),
            "delta": st.sampled_from([None, "0.3", "-99999999999999999.000001"]),
        }
    ),
    max_size=9,
)
MUCH = {"status": 1, "price": "999999999999.999999", "repeats": 1_000_000, "withdrawn": False, "delta": "0.3"}
EXAMPLES = {"sqlite": 15, "postgresql": 4, "mariadb": 4}


def test_months_and_their_corrections_are_the_same_before_between_and_after_the_steps_of_a_purge(database_url):
    engine = new_engine(database_url)
    labels = count()
    query = text("SELECT * FROM monthly_spend WHERE account = :label").bindparams(bindparam("label"))
    name = engine.dialect.identifier_preparer.quote_identifier("BillingAccountId")
    january_query = text("SELECT COUNT(*) FROM billing WHERE account = :label AND created_at < '2024-02-01'")
    charges_query = text(f"SELECT * FROM focus_charges WHERE {name} = :label").bindparams(bindparam("label"))

    @settings(max_examples=EXAMPLES[database_url.get_backend_name()], deadline=None)
    @given(records=rows, at_most=st.integers(1, 4))
    @example(records=[{"day": day} | MUCH for day in range(1, 8)], at_most=2)
    def check(records, at_most):
        label = f"account {next(labels)}"
        with engine.begin() as connection:
            account_id = fill(connection, label, records)
        with engine.connect() as connection:
            before = connection.execute(query, {"label": label}).all()
            charges_before = sorted(map(repr, connection.execute(charges_query, {"label": label})))
        while True:
            with engine.begin() as connection:
                step = purge_batch(connection, account_id, date(2024, 1, 1), MORNING, at_most=at_most)
                assert connection.execute(query, {"label": label}).all() == before
                assert sorted(map(repr, connection.execute(charges_query, {"label": label}))) == charges_before
                assert connection.scalar(january_query, {"label": label}) == 0, "a part of a month is in no view"
                assert max(step[:2]) <= at_most
            if not any(step):
                break
        with engine.connect() as connection:
            left = connection.scalars(select(func.count()).where(billing_records.c.account_id == account_id)).one()
        assert left == 1
        assert len(before) == 1 + any(not row["withdrawn"] or row["delta"] for row in records)
        corrected = {row["day"] for row in records if row["delta"]}
        assert sum("Correction" in row for row in charges_before) == len(corrected)

    check()
    with engine.connect() as connection:
        assert connection.scalars(select(func.count()).select_from(purged_months)).one() > 0


def fill(connection, label, records):
    """Insert rows of January 2024, which is booked before it changes, and one of the next month."""
    account_id = connection.execute(insert(accounts).values(label=label, created_at=MORNING)).inserted_primary_key[0]
    connection.execute(insert(sync_state).values(account_id=account_id, fence=0))
    connection.execute(
        insert(closed_months).values(
            account_id=account_id, month=date(2024, 1, 1), closing=1, kind="final", closed_at=MORNING, records=0,
            booked=Decimal(0), currency="RUB", vat="included", journal_id=0,
        )
    )  # fmt: skip
    after = {"day": 32, "status": 1, "price": "1", "repeats": 1, "withdrawn": False, "delta": None}
    for number, row in enumerate([*records, after]):
        created_at = day_bounds(date(2024, 1, 1))[0] + timedelta(days=row["day"] - 1, seconds=number)
        key = {"account_id": account_id, "created_at": created_at, "phone": "x", "code_auth": "", "ordinal": 1}
        connection.execute(
            insert(billing_records).values(
                **key, status=row["status"], status_info="", price=Decimal(row["price"]), repeats=row["repeats"],
                utc_offset=180, first_seen_at=MORNING,
                withdrawn_at=MORNING if row["withdrawn"] else None,
            )
        )  # fmt: skip
        if row["delta"]:
            connection.execute(
                insert(restatements).values(
                    **key, run_id=1, day=created_at.date(), restated_at=MORNING, kind="late", repeats_before=0,
                    repeats_after=1, delta=Decimal(row["delta"]),
                )
            )  # fmt: skip
    write_totals_of_rows(connection, account_id)
    return account_id
