"""A database of an older version: check, status and sync before and after its migration."""

from __future__ import annotations

import json

import pytest
from alembic import command

from etl.config.database_url import parse_url
from etl.db.engine import new_engine
from etl.db.migrate import alembic_config
from etl.db.tables import SCHEMA_REVISION

OLD = "0006"


@pytest.fixture
def old(billing):
    """`billing-etl` with a database of an older revision that has seven records."""
    engine = new_engine(parse_url(f"sqlite:///{billing.folder / 'billing.db'}"))
    with engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, OLD)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO accounts (id, label, created_at) VALUES (1, 'default', '2025-01-01')")
        connection.exec_driver_sql("INSERT INTO sync_state (account_id, fence) VALUES (1, 0)")
        connection.exec_driver_sql(
            "INSERT INTO synced_days (account_id, day, digest, records, spend, source, stored_at) "
            "VALUES (1, '2025-02-01', '', 7, '1.4', 'json', '2025-02-02')"
        )
    engine.dispose()
    (billing.folder / "billing.db").chmod(0o600)
    return billing


def test_check_names_the_migrations_that_the_next_sync_runs(old):
    done = old("check")
    (line,) = [line for line in done.out.splitlines() if line.startswith("! schema:")]
    assert done.code == 0
    for words in (f"revision {OLD}", "7 records", "0007 (Rows by their natural key", "next sync", "backup"):
        assert words in line
    checks = json.loads(old("check", "--json", BILLING_AUTO_MIGRATE="false").out)
    (schema,) = [check for check in checks["accounts"][0]["checks"] if check["name"] == "schema"]
    assert (checks["exit_code"], schema["ok"]) == (74, False)
    assert "billing-etl migrate" in schema["message"]


def test_status_names_the_migration_command_and_sync_reports_the_migration(old):
    done = old("status")
    assert (done.code, "run: billing-etl migrate" in done.errors) == (74, True)
    done = old("sync", "--until", "2025-03-10")
    assert f"default: migrating the database from revision {OLD} to {SCHEMA_REVISION}\n" in done.errors
    assert f"default: the database is migrated to revision {SCHEMA_REVISION}\n" in done.errors
    assert done.code == 0, done
    assert old("status").code == 0
