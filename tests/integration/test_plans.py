"""Query plans of the views: which rows each database reads."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import insert, text

from etl.db.engine import new_engine
from etl.db.migrate import ensure_current
from etl.db.tables import (
    accounts,
    billing_records,
    hourly_totals,
    operator_totals,
    sync_state,
    synced_days,
)

FIRST = date(2026, 1, 1)
DAYS = [FIRST + timedelta(number) for number in range(60)]
A_DAY = 100
NOW = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
DAY = DAYS[40]


@pytest.fixture(scope="module")
def filled(request, tmp_path_factory):
    """An engine of a database with two accounts of 60 days and current planner statistics."""
    from conftest import fresh_database

    with fresh_database(request.param, tmp_path_factory.mktemp("plans")) as url:
        engine = new_engine(url)
        ensure_current(engine)
        with engine.begin() as connection:
            for account_id, label in ((1, "default"), (2, "other")):
                fill(connection, account_id, label)
        with engine.connect() as connection:
            analyse = (
                "ANALYZE TABLE billing_records, synced_days, accounts" if request.param == "mariadb" else "ANALYZE"
            )
            connection.exec_driver_sql(analyse)
            connection.commit()
        yield engine
        engine.dispose()


def fill(connection, account_id, label):
    connection.execute(insert(accounts).values(id=account_id, label=label, created_at=NOW))
    connection.execute(insert(sync_state).values(account_id=account_id, fence=1))
    totals = {"records": A_DAY, "delivered": A_DAY, "spend": Decimal(A_DAY)}
    key = [{"account_id": account_id, "day": day} for day in DAYS]
    ledger = {"digest": "", "source": "json", "stored_at": NOW, "first_closed_at": NOW}
    connection.execute(insert(synced_days), [entry | ledger | totals for entry in key])
    connection.execute(insert(hourly_totals), [entry | totals | {"hour": 10} for entry in key])
    connection.execute(insert(operator_totals), [entry | totals | {"operator": ""} for entry in key])
    connection.execute(
        insert(billing_records),
        [
            {
                "account_id": account_id, "created_at": datetime.combine(day, time(10, n // 60, n % 60)),
                "phone": f"+7924{n:07}", "code_auth": "0371", "ordinal": 1, "status": 1, "status_info": "ok",
                "price": Decimal(1), "repeats": 1, "utc_offset": 180, "first_seen_at": NOW,
            }
            for day in DAYS
            for n in range(A_DAY)
        ],
    )  # fmt: skip


def plan_of(engine, query):
    """The plan as text, one line for each step."""
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        return [str(tuple(row)) for row in connection.exec_driver_sql(f"{explain} {query}")]


def steps_on(plan, *names):
    """The steps that read one of these tables, aliases or indexes."""
    return [step for step in plan if any(name in step for name in names)]


databases = pytest.mark.parametrize("filled", ["sqlite", "postgresql", "mariadb"], indirect=True)


@databases
def test_a_day_of_an_account_is_read_by_a_range_of_the_primary_key(filled):
    query = f"SELECT * FROM billing WHERE account = 'default' AND day = '{DAY}'"
    with filled.connect() as connection:
        rows = connection.execute(text(query)).mappings().all()
    assert len(rows) == A_DAY
    assert {str(row["day"]) for row in rows} == {str(DAY)}
    plan = plan_of(filled, query)
    if filled.dialect.name == "sqlite":
        assert steps_on(plan, "SEARCH r USING PRIMARY KEY (account_id=? AND created_at>? AND created_at<?)"), plan
    elif filled.dialect.name == "mariadb":
        (step,) = steps_on(plan, "'r', 'range', 'PRIMARY'")
        assert "'9'" in step, "the account and the time of the key are used"
    else:
        assert steps_on(plan, "created_at >= d.day"), plan
        assert not steps_on(plan, "Seq Scan on billing_records"), plan


@databases
def test_the_newest_charges_of_an_account_are_read_from_the_end_of_an_index(filled):
    query = "SELECT * FROM billing WHERE account = 'default' ORDER BY created_at DESC LIMIT 10"
    with filled.connect() as connection:
        rows = connection.execute(text(query)).mappings().all()
    assert [str(row["created_at"]) for row in rows] == [f"{DAYS[-1]} 10:01:{n}" for n in range(39, 29, -1)]
    plan = plan_of(filled, query)
    assert not steps_on(plan, "filesort", "TEMP B-TREE", "Sort"), plan


@databases
@pytest.mark.parametrize(
    "view", ["daily_spend", "monthly_spend", "hourly_spend", "delivery_by_operator", "freshness", "restated_days"]
)
def test_a_view_of_totals_reads_no_record(filled, view):
    plan = plan_of(filled, f"SELECT * FROM {view}")
    assert plan
    assert not steps_on(plan, "billing_records", " r ", "'r'"), plan
