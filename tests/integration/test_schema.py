"""The schema: migrations create what the program declares, on each database, from any state."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable
from support.schema_catalog import describe_schema

from etl.db.engine import new_engine
from etl.db.migrate import alembic_config, ensure_current, has_current_schema, migrate, migration_sql, schema_revision
from etl.db.tables import SCHEMA_REVISION, accounts, billing_records, metadata
from etl.db.views import VIEWS
from etl.errors import SchemaMismatchError

pytestmark = pytest.mark.empty_database

CHECKOUT = Path(__file__).parents[2]
CONTRACT_VIEWS = {
    "billing",
    "daily_spend",
    "monthly_spend",
    "delivery_by_operator",
    "hourly_spend",
    "restated_days",
    "balance_proof",
    "monthly_close",
    "restatement_lines",
    "calendar",
    "focus_charges",
    "freshness",
}
CONTRACT_TABLES = {
    "accounts",
    "billing_records",
    "restatements",
    "synced_days",
    "sync_state",
    "sync_runs",
    "rejected_records",
    "balance_snapshots",
    "balance_top_ups",
    "channels",
    "channel_totals",
    "hourly_totals",
    "numbering_ranges",
    "operator_totals",
    "purged_corrections",
    "purged_months",
    "closed_months",
}

CHANGES = {
    "all": [
        "ALTER TABLE accounts ADD COLUMN more INTEGER",
        "ALTER TABLE accounts RENAME COLUMN codes TO code",
        "CREATE INDEX more ON billing_records (phone)",
        "DROP VIEW freshness",
        "INSERT INTO accounts (label, created_at) VALUES ('a', '2026-03-11 00:00:00')",
    ],
    "sqlite": [],
    "postgresql": [
        "COMMENT ON COLUMN accounts.label IS 'other'",
        "COMMENT ON TABLE accounts IS 'other'",
        "ALTER TABLE accounts ALTER COLUMN phones DROP DEFAULT",
        "ALTER TABLE sync_runs RENAME CONSTRAINT fk_sync_runs_account_id TO other",
        "ALTER TABLE sync_runs ALTER COLUMN exit_code TYPE INTEGER",
        "ALTER TABLE sync_runs ALTER COLUMN days DROP NOT NULL",
        "ALTER SEQUENCE sync_runs_id_seq AS INTEGER",
    ],
    "mariadb": [
        "ALTER TABLE accounts COMMENT 'other'",
        "ALTER TABLE accounts ALTER COLUMN phones DROP DEFAULT",
        "ALTER TABLE sync_runs MODIFY exit_code INTEGER",
        "ALTER TABLE sync_runs MODIFY days INTEGER",
        "ALTER TABLE billing_records CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "ALTER TABLE billing_records ENGINE = Aria",
    ],
}


@pytest.fixture
def engine(database_url):
    return new_engine(database_url)


def differences(engine):
    """The operations by which Alembic would make the database equal to the declared schema."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": True, "include_object": partial(belongs_to, engine)},
        )
        return compare_metadata(context, metadata)


def belongs_to(engine, item, *_):
    """Whether an object exists on this kind of database; some are only for one kind."""
    return item.info.get("dialect", engine.dialect.name) == engine.dialect.name


def names(engine):
    with engine.connect() as connection:
        inspector = inspect(connection)
        return set(inspector.get_table_names()), set(inspector.get_view_names())


def described(engine):
    """All columns of all tables and views, from the database's catalogue."""
    with engine.connect() as connection:
        inspector = inspect(connection)
        return {
            name: [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(name)]
            for name in [*inspector.get_table_names(), *inspector.get_view_names()]
        }


def revision(engine):
    with engine.connect() as connection:
        return schema_revision(connection)


def run_alembic(engine, verb, target):
    with engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        getattr(command, verb)(config, target)


def set_revision(engine, number):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :number"), {"number": number})


def test_the_migrated_schema_equals_the_declared_one(engine):
    migrate(engine)
    assert differences(engine) == []


def test_a_difference_between_migrated_and_declared_schema_is_detected(engine):
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE rejected_records"))
    assert [(kind, table.name) for kind, table in differences(engine)[:1]] == [("add_table", "rejected_records")]


def test_the_tables_and_views_of_the_contract_exist(engine):
    migrate(engine)
    tables, views = names(engine)
    assert tables == CONTRACT_TABLES | {"alembic_version"}
    assert views >= CONTRACT_VIEWS
    assert views == set(VIEWS)


ROWS = {
    "sync_runs": (
        "(account_id, command, program_version, started_at, outcome, sources, days, new, changed, withdrawn, unchanged,"
        " rejected, suspect_days)"
        " VALUES (1, 'sync', '0', '2026-03-11 00:00:00', 'done', 'json', 1, 0, 0, 0, 0, 0, 0)"
    ),
    "restatements": (
        "(account_id, run_id, day, restated_at, kind, created_at, phone, code_auth, ordinal, repeats_before,"
        " repeats_after, delta) VALUES (1, 1, '2026-03-10', '2026-03-11 00:00:00', 'late', '2026-03-10 10:00:00', '',"
        " '', 1, 0, 1, '0.350000')"
    ),
    "rejected_records": (
        "(account_id, asked_first, asked_last, reason, payload, payload_digest, first_seen_at)"
        " VALUES (1, '2026-03-10', '2026-03-10', 'time', '{}', 'digest', '2026-03-11 00:00:00')"
    ),
    "balance_snapshots": (
        "(account_id, taken_at, balance, recorded_spend) VALUES (1, '2026-03-11 00:00:00', '1.000000', '0.000000')"
    ),
    "balance_top_ups": (
        "(account_id, at, amount, noted_at) VALUES (1, '2026-03-11 00:00:00', '1.000000', '2026-03-11 00:00:00')"
    ),
}
"""A row of each table with ids."""


@pytest.mark.parametrize("create", [migrate, ensure_current])
def test_the_id_of_a_deleted_row_is_not_used_again(engine, create):
    create(engine)
    assert {name for name, table in metadata.tables.items() if "id" in table.c} == {
        *ROWS, "accounts", "channels",
    }  # fmt: skip
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO accounts (label, created_at) VALUES ('a', '2026-03-11 00:00:00')"))
        for table, row in ROWS.items():
            ids = []
            for _ in range(2):
                connection.execute(text(f"INSERT INTO {table} {row}"))
                ids.append(connection.scalar(text(f"SELECT MAX(id) FROM {table}")))
                connection.execute(text(f"DELETE FROM {table}"))
            assert ids[0] < ids[1], table


def describe(engine):
    with engine.connect() as connection:
        return describe_schema(connection)


def test_the_schema_created_in_one_step_equals_the_migrated_one(engine):
    migrate(engine)
    migrated = describe(engine)
    run_alembic(engine, "downgrade", "base")
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    ensure_current(engine)
    assert describe(engine) == migrated
    assert (names(engine)[0], revision(engine)) == (CONTRACT_TABLES | {"alembic_version"}, SCHEMA_REVISION)


def test_the_description_of_a_schema_shows_every_difference(engine):
    ensure_current(engine)
    before = describe(engine)
    for change in (*CHANGES["all"], *CHANGES[engine.dialect.name]):
        with engine.begin() as connection:
            connection.execute(text(change))
        after = describe(engine)
        assert after != before, change
        before = after


@pytest.mark.parametrize("there", ["alembic_version", "accounts"])
def test_a_database_with_any_object_of_the_program_is_migrated(engine, there):
    with engine.begin() as connection:
        if there == "accounts":
            accounts.create(connection)
        else:
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    ensure_current(engine)
    assert (revision(engine), differences(engine)) == (SCHEMA_REVISION, [])
    assert names(engine)[1] == set(VIEWS)


def test_objects_of_others_do_not_prevent_creating_the_schema(engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (number INTEGER)"))
    ensure_current(engine)
    with engine.begin() as connection:
        assert has_current_schema(connection)
        connection.execute(text("DROP TABLE theirs"))
    assert differences(engine) == []


def test_upgrade_downgrade_upgrade_equals_one_upgrade(engine):
    migrate(engine)
    once = described(engine)
    run_alembic(engine, "downgrade", "base")
    assert names(engine) == ({"alembic_version"}, set())
    assert revision(engine) is None
    migrate(engine)
    assert described(engine) == once
    assert differences(engine) == []


def test_migrating_twice_changes_nothing_and_loses_nothing(engine):
    migrate(engine)
    before = described(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO accounts (label, created_at) VALUES ('a', '2026-03-11 00:00:00')"))
    migrate(engine)
    assert described(engine) == before
    with engine.connect() as connection:
        assert connection.execute(text("SELECT label FROM accounts")).all() == [("a",)]
        assert connection.execute(text("SELECT version_num FROM alembic_version")).all() == [(SCHEMA_REVISION,)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_programs_revision_is_the_newest(engine):
    script = ScriptDirectory.from_config(alembic_config())
    assert script.get_heads() == [SCHEMA_REVISION]


def test_plain_alembic_migrates_in_a_checkout(engine, database_url):
    environment = os.environ | {"BILLING_DATABASE_URL": database_url.render_as_string(hide_password=False)}
    program = [sys.executable, "-m", "alembic"]
    subprocess.run([*program, "upgrade", "head"], cwd=CHECKOUT, env=environment, check=True, timeout=120)
    assert (revision(engine), differences(engine)) == (SCHEMA_REVISION, [])
    assert names(engine)[1] == set(VIEWS)
    subprocess.run([*program, "downgrade", "base"], cwd=CHECKOUT, env=environment, check=True, timeout=120)
    assert names(engine) == ({"alembic_version"}, set())


def test_the_printed_sql_has_every_table_and_view_and_connects_to_no_database(engine, database_url, tmp_path):
    script = migration_sql(engine)
    for table in CONTRACT_TABLES | {"alembic_version"}:
        assert f"CREATE TABLE {table} " in script.replace("IF NOT EXISTS ", ""), table
    for view in VIEWS:
        assert f"CREATE VIEW {view} " in script, view
    if database_url.get_backend_name() == "sqlite":
        assert list(tmp_path.iterdir()) == []
    else:
        assert names(engine) == (set(), set())


def test_the_printed_sql_creates_the_declared_schema(engine, database_url):
    script = migration_sql(engine)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        if database_url.get_backend_name() == "sqlite":
            driver.executescript(script)
        elif database_url.get_backend_name() == "postgresql":
            driver.execute(script)
            driver.commit()
        else:
            with driver.cursor() as cursor:
                for statement in filter(str.strip, script.split(";\n")):
                    cursor.execute(statement)
            driver.commit()
    assert (revision(engine), differences(engine)) == (SCHEMA_REVISION, [])
    tables_and_views = names(engine)
    described_by_script = described(engine)
    run_alembic(engine, "downgrade", "base")
    migrate(engine)
    assert names(engine) == tables_and_views
    assert described(engine) == described_by_script


@pytest.mark.fault(87)
def test_a_newer_schema_is_refused_and_left_unchanged(engine):
    migrate(engine)
    set_revision(engine, "9999")
    before = names(engine)
    with pytest.raises(SchemaMismatchError, match="newer than that of this version"):
        migrate(engine)
    assert (revision(engine), names(engine)) == ("9999", before)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("number", ["0000", "0001b", "a1b2c3d4e5f6"])
def test_an_unknown_revision_is_refused_and_left_unchanged(engine, number):
    migrate(engine)
    set_revision(engine, number)
    before = names(engine)
    with pytest.raises(SchemaMismatchError):
        migrate(engine)
    assert (revision(engine), names(engine)) == (number, before)


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
@pytest.mark.fault(87)
def test_a_killed_migration_completes_when_it_is_run_again(engine):
    with engine.begin() as connection:
        # MariaDB commits each table: the killed migration left these tables and no version row.
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(CreateTable(accounts))
        connection.execute(CreateTable(billing_records))
    assert revision(engine) is None
    migrate(engine)
    assert (revision(engine), differences(engine)) == (SCHEMA_REVISION, [])
    assert names(engine)[1] == set(VIEWS)


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_revision_killed_between_its_columns_completes_when_it_is_run_again(engine):
    run_alembic(engine, "upgrade", "0004")
    with engine.begin() as connection:
        comment = accounts.c.token_fingerprint.comment
        connection.execute(text(f"ALTER TABLE accounts ADD COLUMN token_fingerprint VARCHAR(64) COMMENT '{comment}'"))
    ensure_current(engine)
    assert (revision(engine), differences(engine)) == (SCHEMA_REVISION, [])


@pytest.mark.parametrize("database_url", ["postgresql", "sqlite"], indirect=True)
@pytest.mark.fault(80, 87)
@pytest.mark.parametrize("make", [migrate, ensure_current])
def test_a_failed_migration_is_rolled_back(engine, make):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE in_the_way (number INTEGER)"))
        connection.execute(text("CREATE INDEX ix_restatements_account_id ON in_the_way (number)"))
    before = names(engine)
    with pytest.raises(DBAPIError, match="ix_restatements_account_id"):  # the name of an index to be
        make(engine)
    assert names(engine) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_migrate_recreates_lost_views(engine):
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW freshness"))
    migrate(engine)
    assert names(engine)[1] == set(VIEWS)
