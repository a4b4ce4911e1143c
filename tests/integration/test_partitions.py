"""The table of charges, partitioned by month on PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import UniqueConstraint, text
from sqlalchemy.exc import DBAPIError
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of, token_of
from support.sync_account import just_before, vendor_record

from etl.db.partitions import create_partitions, drop_month, is_partitioned
from etl.db.tables import metadata
from etl.db.views import VIEWS
from etl.errors import CheckFailedError, DatabaseError
from etl.services.migrate import partition_database
from etl.services.purge import RetentionAge, purge_account
from etl.services.run import RunRequest
from etl.services.sync import run_sync

FIRST, TODAY = date(2026, 1, 28), date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
DISTRIBUTABLE = {"billing_records", "synced_days", "hourly_totals", "operator_totals", "sync_state", "purged_months"}
"""Tables that grow with accounts and days, and that a cluster can distribute by account."""

only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


LISTED = [
    vendor_record(f"2026-0{month}-{day:02}T10:00:00", f"{month}.{day}")
    for month in (1, 2, 3)
    for day in (29, 9, 28)
    if (month, day) not in {(2, 29), (3, 28), (3, 29), (1, 9), (1, 28)}
]


class Shop:
    """An account with charges in three months."""

    def __init__(self, url, vendor):
        vendor.dataset.replace(LISTED)
        self.url = url
        self.settings = settings_of(url, vendor, FIRST, lookback_days=3)
        self.engine = open_engine(url)
        self.now = MORNING

    def run(self, **changes):
        report = run_sync(
            replace(self.settings, **changes),
            RunRequest("sync"),
            NO_PROGRESS,
            redact=str,
            clock=lambda: self.now,
        )
        assert report.error is None

    def read(self, query):
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def execute(self, *statements):
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def content(self):
        views = [view for view in VIEWS if view not in {"freshness", "balance_proof"}]
        rows = {view: sorted(map(repr, self.read(f"SELECT * FROM {view}"))) for view in views}
        return rows | {"rows": sorted(map(repr, self.read("SELECT * FROM billing_records")))}

    def partitions(self):
        query = (
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'billing_records'::regclass ORDER BY 1"
        )
        return [name.removeprefix("billing_records_") for (name,) in self.read(query)]

    def partition(self):
        return partition_database(self.url, clock=lambda: self.now)


@pytest.fixture
def shop(database_url, sandbox):
    shop = Shop(database_url, sandbox)
    shop.run()
    return shop


@only_postgresql
def test_partitioning_keeps_rows_views_and_grants(shop):
    role = f"reader_{shop.url.database}"
    shop.execute(f"CREATE ROLE {role}", f"GRANT SELECT ON billing, billing_records TO {role}")
    try:
        before = shop.content()
        assert shop.partition() == 5
        assert shop.partitions() == ["2026_01", "2026_02", "2026_03", "2026_04", "default"]
        assert shop.content() == before
        grants = "SELECT table_name FROM information_schema.role_table_grants WHERE grantee = '{}' ORDER BY 1"
        assert shop.read(grants.format(role)) == [("billing",), ("billing_records",)]
        assert shop.partition() == 5, "a second time changes nothing"
        assert shop.content() == before
    finally:
        shop.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@only_postgresql
def test_a_run_creates_the_partition_of_the_next_month_in_advance(shop, sandbox):
    shop.partition()
    shop.now = datetime(2026, 4, 30, 6, 30, tzinfo=UTC)
    sandbox.set_now(datetime.fromisoformat("2026-04-30 09:30"))
    sandbox.dataset.add([vendor_record("2026-04-15T10:00:00")])
    shop.run(window_days=60)
    assert shop.partitions() == ["2026_01", "2026_02", "2026_03", "2026_04", "2026_05", "default"]
    assert shop.read("SELECT COUNT(*) FROM billing_records_2026_04") == [(1,)]
    assert shop.read("SELECT COUNT(*) FROM billing_records_default") == [(0,)]


@only_postgresql
def test_a_month_without_a_partition_is_stored_in_the_default_partition(shop):
    shop.partition()
    before = shop.content()
    shop.execute(
        "CREATE TABLE kept AS SELECT * FROM billing_records_2026_02",
        "DROP TABLE billing_records_2026_02",
        "INSERT INTO billing_records SELECT * FROM kept",
        "DROP TABLE kept",
    )
    assert shop.content() == before
    shop.run()
    assert "2026_02" not in shop.partitions(), "a run does not move rows"
    assert shop.partition() == 5
    assert shop.content() == before
    assert shop.read("SELECT COUNT(*) FROM billing_records_2026_02") == [(2,)]


KEY = "account_id, created_at, phone, code_auth, ordinal"
LOST = {
    "row level security of billing_records": (
        "ALTER TABLE billing_records ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE billing_records DISABLE ROW LEVEL SECURITY",
    ),
    "policy own on table billing_records": (
        "CREATE POLICY own ON billing_records USING (true)",
        "DROP POLICY own ON billing_records",
    ),
    "trigger own on table billing_records": (
        "CREATE TRIGGER own BEFORE UPDATE ON billing_records EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "DROP TRIGGER own ON billing_records",
    ),
    "index own": ("CREATE INDEX own ON billing_records (phone)", "DROP INDEX own"),
    "storage parameters of billing_records": (
        "ALTER TABLE billing_records SET (autovacuum_vacuum_scale_factor = 0.01)",
        "ALTER TABLE billing_records RESET (autovacuum_vacuum_scale_factor)",
    ),
    "publication own": ("CREATE PUBLICATION own FOR TABLE billing_records", "DROP PUBLICATION own"),
    "constraint own on table billing_records": (
        "ALTER TABLE billing_records ADD CONSTRAINT own CHECK (repeats > 0)",
        "ALTER TABLE billing_records DROP CONSTRAINT own",
    ),
    "constraint own on table other": (
        f"CREATE TABLE other (LIKE billing_records, CONSTRAINT own FOREIGN KEY ({KEY}) REFERENCES billing_records)",
        "DROP TABLE other",
    ),
    "view own": ("CREATE VIEW own AS SELECT day, spend FROM daily_spend", "DROP VIEW own"),
    "materialized view own": (
        "CREATE MATERIALIZED VIEW own AS SELECT phone, price FROM billing_records",
        "DROP MATERIALIZED VIEW own",
    ),
    "function own()": (
        "CREATE FUNCTION own() RETURNS SETOF freshness LANGUAGE sql AS 'SELECT * FROM freshness'",
        "DROP FUNCTION own",
    ),
    "rule own on view billing": (
        "CREATE RULE own AS ON DELETE TO billing DO INSTEAD NOTHING",
        "DROP RULE own ON billing",
    ),
}
"""What the new table or view would not have, with the statements that create and drop it."""


@only_postgresql
def test_partitioning_refuses_to_lose_what_others_added_and_names_it(shop):
    before = shop.content()
    for name, (create, drop) in LOST.items():
        shop.execute(create)
        with pytest.raises(DatabaseError, match=rf"added to them: [^;,]*{re.escape(name)}[^;,]*; nothing was changed"):
            shop.partition()
        assert shop.partitions() == []
        shop.execute(drop)
    assert shop.content() == before
    assert shop.partition() == 5


@only_postgresql
def test_moving_a_month_to_its_own_partition_keeps_what_another_run_commits_meanwhile(shop):
    shop.partition()
    shop.execute(
        "CREATE TABLE kept AS SELECT * FROM billing_records_2026_02",
        "DROP TABLE billing_records_2026_02",
        "INSERT INTO billing_records SELECT * FROM kept",
    )
    committed = []

    def write():
        try:
            shop.execute(
                "LOCK TABLE billing_records IN ROW EXCLUSIVE MODE NOWAIT",
                "UPDATE kept SET ordinal = 2",
                "INSERT INTO billing_records SELECT * FROM kept",
            )
        except DBAPIError:
            return  # the run waits until the month is moved
        committed.append(2)

    with just_before("DELETE FROM billing_records_default", write) as done:
        assert shop.partition() == 5
    assert done
    assert shop.read("SELECT COUNT(*) FROM billing_records_2026_02") == [(2 + sum(committed),)]


@only_postgresql
def test_a_purge_drops_a_partition_without_rows_of_other_accounts(shop, sandbox):
    shop.run(account="other", api_token=token_of(sandbox, "other"))
    shop.partition()
    months = shop.read("SELECT * FROM monthly_spend ORDER BY 1, 2")
    later = ["2026_02", "2026_03", "2026_04"]
    for account, left in (("default", ["2026_01", *later]), ("other", later)):
        purged = purge_account(
            replace(shop.settings, account=account), RetentionAge(30, "d"), explicit_account=True, dry_run=False,
            wait=0, clock=lambda: shop.now,
        )  # fmt: skip
        assert [counts.billing_records for counts in purged.months.values()] == [1]
        assert shop.partitions() == [*left, "default"]
        assert shop.read("SELECT * FROM monthly_spend ORDER BY 1, 2") == months


@only_postgresql
def test_a_purge_keeps_rows_that_another_account_commits_while_it_waits_for_the_partition(shop):
    shop.partition()
    partitions = shop.partitions()

    def insert():
        shop.execute(
            "INSERT INTO accounts (id, label, created_at) VALUES (2, 'other', now())",
            "INSERT INTO billing_records SELECT 2, created_at, phone, code_auth, ordinal, status, status_info, price,"
            " repeats, utc_offset, first_seen_at FROM billing_records WHERE created_at < '2026-02-01'",
        )

    with just_before("ALTER TABLE billing_records DETACH", insert) as done:
        purged = purge_account(
            shop.settings, RetentionAge(30, "d"), explicit_account=False, dry_run=False, wait=0, clock=lambda: shop.now,
        )  # fmt: skip
    assert done
    assert [counts.billing_records for counts in purged.months.values()] == [1]
    assert shop.partitions() == partitions
    assert shop.read("SELECT account_id, COUNT(*) FROM billing_records_2026_01 GROUP BY 1") == [(2, 1)]


@only_postgresql
def test_two_concurrent_runs_create_a_partition_once(shop):
    shop.partition()
    may = date(2026, 5, 1)

    def create():
        with shop.engine.begin() as connection:
            create_partitions(connection, may, may)

    with just_before("LOCK TABLE billing_records", create) as done:
        create()
    assert done
    assert shop.partitions() == ["2026_01", "2026_02", "2026_03", "2026_04", "2026_05", "2026_06", "default"]


@only_postgresql
def test_a_reader_does_not_block_a_run(shop):
    shop.partition()
    before = shop.partitions()
    with shop.engine.connect() as reader:
        reader.execute(text("SELECT COUNT(*) FROM billing"))
        with shop.engine.begin() as connection:
            create_partitions(connection, date(2026, 5, 1), date(2026, 5, 1), wait=0.05)
            assert drop_month(connection, 1, date(2026, 1, 1), wait=0.05) is None
    assert shop.partitions() == before


@pytest.mark.parametrize("database_url", ["sqlite", "mariadb"], indirect=True)
def test_partitioning_refuses_other_databases_and_changes_nothing(shop):
    before = shop.content()
    with pytest.raises(CheckFailedError, match="only PostgreSQL"):
        shop.partition()
    with shop.engine.connect() as connection:
        assert not is_partitioned(connection)
    assert shop.content() == before


@pytest.mark.parametrize("name", sorted(DISTRIBUTABLE))
def test_every_unique_constraint_of_a_growing_table_includes_the_account(name):
    table = metadata.tables[name]
    unique = [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    for constraint in (table.primary_key, *unique):
        assert next(iter(constraint.columns)).name == "account_id"
