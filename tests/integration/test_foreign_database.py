"""Another program's database is recognised by every command that writes, and left unchanged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from conftest import fresh_database
from sqlalchemy import event, text
from support.run_helpers import NO_PROGRESS, settings_of
from support.schema_catalog import describe_schema

from etl.checks.runner import check_database
from etl.db.engine import new_engine
from etl.db.migrate import ensure_current, has_current_schema, migrate
from etl.db.ownership import require_ours
from etl.db.tables import SCHEMA_REVISION, metadata
from etl.db.views import VIEWS
from etl.errors import CheckFailedError, SchemaMismatchError
from etl.services.context import ensure_schema
from etl.services.run import RunRequest
from etl.services.sync import run_sync

pytestmark = pytest.mark.empty_database

NOW = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
VERSION = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
FOREIGN = {
    "one of our revisions without our tables": [VERSION, "INSERT INTO alembic_version VALUES ('0001')"],
    "the newest revision": [VERSION, f"INSERT INTO alembic_version VALUES ('{SCHEMA_REVISION}')"],
    "a newer revision": [VERSION, "INSERT INTO alembic_version VALUES ('0099')"],
    "a revision of Alembic's own making": [VERSION, "INSERT INTO alembic_version VALUES ('a1b2c3d4e5f6')"],
    "two revisions": [VERSION, "INSERT INTO alembic_version VALUES ('0001'), ('0002')"],
    "a table of versions that is not Alembic's": ["CREATE TABLE alembic_version (number INTEGER)"],
    "a revision and a view": [
        VERSION, "INSERT INTO alembic_version VALUES ('0001')",
        "CREATE TABLE invoices (id INTEGER)", "CREATE VIEW billing AS SELECT id FROM invoices",
    ],
    "a table with the first columns of our table": [
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, label VARCHAR(255), created_at TIMESTAMP NULL)",
        "INSERT INTO accounts VALUES (1, 'cash', NULL)",
    ],
    "a view for a table": [
        "CREATE VIEW accounts AS SELECT 1 AS id, 'a' AS label, NULL AS created_at",
    ],
}  # fmt: skip


@pytest.fixture
def engine(database_url):
    return new_engine(database_url)


def execute(engine, *statements):
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def everything(engine):
    """The whole catalogue and all rows; for SQLite, the file itself."""
    if engine.dialect.name == "sqlite":
        return Path(engine.url.database).read_bytes()
    with engine.connect() as connection:
        description = describe_schema(connection)
        if engine.dialect.name == "postgresql":
            functions = "SELECT oid, proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            description["functions"] = connection.execute(text(functions)).all()
        return description


def refuses(engine, settings):
    """Check that no command that would write does so; returns the message."""
    before = everything(engine)
    for write in (migrate, ensure_current):
        with pytest.raises(SchemaMismatchError, match=r"use a separate database for each") as refused:
            write(engine)
    for dry_run in (False, True):
        with pytest.raises(SchemaMismatchError, match=r"use a separate database for each"):
            ensure_schema(engine, settings, dry_run=dry_run)
    assert everything(engine) == before
    return str(refused.value)


@pytest.fixture
def settings(database_url, sandbox):
    return settings_of(database_url, sandbox, date(2026, 3, 10))


@pytest.mark.fault(87)
@pytest.mark.parametrize("foreign", FOREIGN)
def test_another_programs_database_is_recognised_and_left_unchanged(engine, settings, sandbox, foreign):
    execute(engine, *FOREIGN[foreign])
    refuses(engine, settings)
    before = everything(engine)
    for command in ("sync", "backfill"):
        order = RunRequest(command, *((date(2026, 3, 10),) * 2 if command == "backfill" else ()))
        report = run_sync(settings, order, NO_PROGRESS, redact=str, clock=lambda: NOW)
        assert isinstance(report.error, SchemaMismatchError)
    assert sandbox.requests == []
    checks = {line.name: line for line in check_database(engine, auto_migrate=True, mounts="")}
    assert isinstance(checks["schema"].error, CheckFailedError)
    assert not checks.keys() & {"mode", "writing", "privileges", "journal", "time limits"}  # they may advise changes
    assert everything(engine) == before


@pytest.mark.fault(87)
def test_a_foreign_table_or_view_with_any_of_the_programs_names_is_recognised(engine, settings):
    for name in (*metadata.tables, *VIEWS):
        for kind, statement in (
            ("table", f"CREATE TABLE {name} (number INTEGER)"),
            ("view", f"CREATE VIEW {name} AS SELECT 1 AS number"),
        ):
            execute(engine, statement)
            assert f"{kind} {name}" in refuses(engine, settings)
            execute(engine, f"DROP {kind} {name}")


@pytest.mark.parametrize("database_url", ["sqlite", "mariadb"], indirect=True)
def test_a_name_in_other_case_is_recognised_where_names_ignore_case(engine, settings):
    execute(engine, "CREATE TABLE Accounts (number INTEGER)")
    assert "table Accounts" in refuses(engine, settings)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE MATERIALIZED VIEW billing AS SELECT 1 AS account", "materialized view billing"),
        ("CREATE SEQUENCE accounts", "sequence accounts"),
        ("CREATE FUNCTION billing_asof(moment timestamptz) RETURNS int LANGUAGE sql AS 'SELECT 1'", "billing_asof"),
        ("CREATE FUNCTION billing_asof(day text) RETURNS int LANGUAGE sql AS 'SELECT 1'", "billing_asof"),
    ],
)
def test_objects_that_only_postgresql_has_are_recognised(engine, settings, statement, named):
    execute(engine, statement)
    with pytest.raises(SchemaMismatchError, match=named):
        ensure_current(engine)
    assert named in refuses(engine, settings)


@pytest.mark.fault(87)
def test_a_users_view_with_one_of_the_programs_names_is_not_dropped(engine, settings):
    ensure_current(engine)
    # As after the update to a version whose views have a name more.
    execute(engine, "DROP VIEW freshness", "CREATE VIEW freshness AS SELECT day, spend FROM synced_days")
    execute(engine, "UPDATE alembic_version SET version_num = '0003'")
    assert "view freshness" in refuses(engine, settings)
    execute(engine, "DROP VIEW freshness", "CREATE VIEW others AS SELECT day, spend FROM synced_days")
    execute(engine, f"UPDATE alembic_version SET version_num = '{SCHEMA_REVISION}'")
    migrate(engine)
    with engine.connect() as connection:
        assert has_current_schema(connection)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_migration_only_changes_the_schema_it_writes_into(database_url, tmp_path):
    with fresh_database("postgresql", tmp_path) as url:
        execute(new_engine(url), "CREATE VIEW freshness AS SELECT 1 AS number", "CREATE SCHEMA mine")
        engine = new_engine(url.update_query_dict({"options": "-csearch_path=mine,public"}))
        ensure_current(engine)
        execute(engine, "DROP VIEW mine.freshness")
        migrate(engine)
        with engine.connect() as connection:
            assert has_current_schema(connection)
            assert connection.scalar(text("SELECT number FROM public.freshness")) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_of_another_program_keeps_its_journal(engine):
    with closing(sqlite3.connect(engine.url.database)) as database:
        database.execute("CREATE TABLE theirs (number INTEGER)")
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "delete"
    ensure_current(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"


@pytest.mark.parametrize("query", range(1, 7))
@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_a_schema_that_another_run_creates_during_the_check_is_not_foreign(backend, query, tmp_path):
    with fresh_database(backend, tmp_path) as url:
        queries = []

        def create_schema(*_):
            queries.append(1)
            if len(queries) == query:
                ensure_current(new_engine(url))

        engine = new_engine(url)
        with engine.connect() as connection:
            event.listen(engine, "before_cursor_execute", create_schema)
            require_ours(connection)
