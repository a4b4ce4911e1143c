"""The users of etl/db/grants: the owner migrates, the writer runs syncs, the reader reads only views."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from support.database_users import GRANTS, database_with_users
from support.run_helpers import NO_PROGRESS, settings_of

from etl.checks.privileges import require_privileges
from etl.checks.runner import check_database
from etl.db.engine import new_engine
from etl.db.migrate import migrate
from etl.db.partitions import create_partitions
from etl.db.tables import metadata
from etl.db.views import VIEWS
from etl.errors import CheckFailedError
from etl.services.erase import erase_number
from etl.services.migrate import partition_database
from etl.services.numbering import import_plan
from etl.services.run import RunRequest
from etl.services.sync import run_sync

DATA = Path(__file__).parents[1] / "data" / "numbering"
NOW = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
DENIED = "permission denied|must be owner|denied to user|command denied|cannot delete from view"


@pytest.fixture(params=["postgresql", "mariadb"])
def users(request, tmp_path):
    with database_with_users(request.param, tmp_path) as made:
        yield made


def denied(engine, statement):
    with engine.connect() as connection, pytest.raises(DBAPIError, match=f"(?i){DENIED}"):
        connection.execute(text(statement))


@pytest.fixture
def synced(users, sandbox):
    settings = settings_of(users.url_of("writer"), sandbox, date(2026, 3, 1))
    report = run_sync(settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=lambda: NOW)
    assert report.error is None
    assert report.counts.new > 50
    return settings


def test_the_writer_can_run_every_command(users, synced):
    assert import_plan(synced, [DATA / "DEF-9xx.csv"], clock=lambda: NOW).rows == 7
    assert import_plan(synced, [DATA / "DEF-9xx.csv"], clock=lambda: NOW).replaced == 7
    assert erase_number(synced, "+79000000000", wait=0, clock=lambda: NOW).rows is not None


def test_the_writer_may_not_change_the_schema(users, synced):
    engine = users.engine_of("writer")
    for statement in (
        "DROP TABLE billing_records",
        "DROP VIEW billing",
        "CREATE TABLE another (number INTEGER)",
        "CREATE VIEW another AS SELECT 1 AS one",
        "ALTER TABLE billing_records ADD COLUMN another INTEGER",
        "TRUNCATE TABLE restatements",
        "CREATE INDEX another ON billing_records (phone)",
    ):
        denied(engine, statement)


def test_the_reader_can_read_every_view(users, synced):
    import_plan(synced, [DATA / "DEF-9xx.csv"], clock=lambda: NOW)
    with users.engine_of("reader").connect() as connection:
        counts = {view: connection.scalar(text(f"SELECT COUNT(*) FROM {view}")) for view in VIEWS}
        connection.execute(text("SELECT operator, region FROM billing")).all()
    assert counts["billing"] > 50
    assert counts["delivery_by_operator"] > 5
    assert counts["freshness"] == 1


def test_the_reader_can_neither_read_tables_nor_change_anything(users, synced):
    engine = users.engine_of("reader")
    for table in [*metadata.tables, "alembic_version"]:
        denied(engine, f"SELECT COUNT(*) FROM {table}")
    for view in VIEWS:
        denied(engine, f"DELETE FROM {view}")
    denied(engine, "CREATE TABLE another (number INTEGER)")


def test_the_reader_can_read_views_that_a_migration_recreated(users, synced):
    with users.engine_of("owner").begin() as connection:
        connection.execute(text("DROP VIEW freshness"))
    migrate(users.engine_of("owner"))
    with users.engine_of("reader").connect() as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM billing")) > 50


OWNERS_AND_GRANTS = """
SELECT relname, pg_get_userbyid(relowner), CAST(reloptions AS text), obj_description(oid, 'pg_class')
FROM pg_class WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'p', 'v') AND NOT relispartition
UNION ALL SELECT proname, pg_get_userbyid(proowner), NULL, NULL FROM pg_proc WHERE proname = 'billing_asof'
UNION ALL SELECT relname, pg_get_userbyid(grantee), privilege_type, CAST(is_grantable AS text)
FROM pg_class CROSS JOIN aclexplode(relacl)
WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'p', 'v') AND NOT relispartition
UNION ALL SELECT attname, pg_get_userbyid(grantee), privilege_type, CAST(is_grantable AS text)
FROM pg_attribute CROSS JOIN aclexplode(attacl) WHERE attrelid > 16384
ORDER BY 1, 2, 3, 4
"""


@pytest.mark.parametrize("users", ["postgresql"], indirect=True)
def test_a_migration_and_partitions_by_a_superuser_keep_owners_grants_and_options(users, synced):
    reader, owner = f"{users.prefix}_reader", f"{users.prefix}_owner"

    def read(query):
        with users.admin.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    with users.admin.connect() as connection:
        for statement in (
            f"REVOKE SELECT ON billing FROM {reader}",
            f"GRANT SELECT (day, amount), UPDATE (amount) ON billing TO {reader}",
            f"GRANT SELECT ON daily_spend TO {reader} WITH GRANT OPTION",
            f"GRANT SELECT (price) ON billing_records TO {reader} WITH GRANT OPTION",
            "GRANT SELECT ON calendar TO PUBLIC",
            "ALTER VIEW monthly_spend SET (security_barrier = true)",
            "COMMENT ON VIEW freshness IS 'how 100%% of the days are'",
        ):
            connection.exec_driver_sql(statement)
    before = read(OWNERS_AND_GRANTS)
    migrate(new_engine(users.url))
    assert read(OWNERS_AND_GRANTS) == before
    partition_database(users.url, clock=lambda: NOW)
    with new_engine(users.url).begin() as connection:
        create_partitions(connection, date(2026, 5, 1), date(2026, 5, 1))
    assert read(OWNERS_AND_GRANTS) == before
    partitions = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relispartition AND relkind = 'r'"
    assert read(partitions) == [(owner,)]


@pytest.mark.parametrize("users", ["postgresql"], indirect=True)
def test_tables_and_views_of_a_new_revision_belong_to_the_owner_when_a_superuser_migrates(users, synced):
    with users.admin.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0009'")
        connection.exec_driver_sql("DROP TABLE purged_corrections CASCADE")
    migrate(new_engine(users.url))
    with users.engine_of("owner").begin() as connection:
        assert set(VIEWS) <= set(inspect(connection).get_view_names())
        connection.execute(text("DROP VIEW focus_charges"))
        connection.execute(text("DROP TABLE purged_corrections"))


@pytest.mark.parametrize("users", ["postgresql"], indirect=True)
def test_only_the_reader_can_read_records_as_of_a_time(users, synced):
    reader = users.engine_of("reader")
    at_once = text("SELECT count(*), sum(amount) FROM billing_asof(now())")
    with reader.connect() as connection:
        closed = text("SELECT count(*), sum(amount) FROM billing WHERE day_state IN ('closed', 'settling')")
        assert connection.execute(at_once).one() == connection.execute(closed).one()
        days = "SELECT DISTINCT day FROM billing_asof(now(), '2026-03-03', '2026-03-04') ORDER BY day"
        assert connection.scalars(text(days)).all() == [date(2026, 3, 3), date(2026, 3, 4)]
    with users.admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {users.prefix}_other LOGIN")
    try:
        denied(users.engine_of("other"), "SELECT count(*) FROM billing_asof(now())")
    finally:
        with users.admin.connect() as connection:
            connection.exec_driver_sql(f"DROP ROLE {users.prefix}_other")


@pytest.mark.parametrize("users", ["postgresql"], indirect=True)
def test_a_table_of_the_callers_own_is_not_read_with_the_owners_rights(users, synced):
    with users.engine_of("reader").connect() as connection:
        expected = connection.scalar(text("SELECT count(*) FROM billing_asof(now())"))
        for table in ("billing_records", "synced_days", "accounts"):
            connection.execute(text(f"CREATE TEMPORARY TABLE {table} (id INTEGER)"))
        connection.execute(text("SET search_path = pg_temp, public"))
        assert connection.scalar(text("SELECT count(*) FROM public.billing_asof(now())")) == expected > 50


@pytest.mark.parametrize("users", ["postgresql"], indirect=True)
def test_a_reader_of_an_older_revision_still_reads_records_as_of_a_time(users, synced):
    with users.admin.connect() as connection:
        connection.exec_driver_sql("DROP FUNCTION billing_asof(timestamptz, date, date)")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0007'")
        connection.exec_driver_sql(
            "ALTER TABLE accounts DROP currency CASCADE, DROP vat_basis_points CASCADE, DROP vat"
        )
        connection.exec_driver_sql("DROP TABLE closed_months CASCADE")
    migrate(users.engine_of("owner"))
    with users.engine_of("reader").connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM billing_asof(now())")) > 50
    denied(users.engine_of("reader"), "SELECT count(*) FROM closed_months")


def privileges_of(users, role, *, auto_migrate):
    with users.engine_of(role).connect() as connection:
        return require_privileges(connection, auto_migrate=auto_migrate)


def test_the_users_have_every_privilege_that_check_tests(users):
    assert "no migrations" in privileges_of(users, "writer", auto_migrate=False)
    assert "and its migrations" in privileges_of(users, "owner", auto_migrate=True)


MISSING = [
    ("writer", False, "DELETE ON restatements", "DELETE on restatements"),
    ("writer", False, "INSERT, UPDATE ON sync_runs", "INSERT, UPDATE on sync_runs"),
    ("writer", False, "SELECT ON freshness", "SELECT on freshness"),
    ("owner", True, {"postgresql": "CREATE ON SCHEMA public", "mariadb": "ALTER, CREATE VIEW ON *"}, "for migrations"),
    ("writer", True, None, "for migrations"),
]


def test_check_names_a_missing_privilege_and_the_grant_statement(users):
    for role, auto_migrate, revoked, lacks in MISSING:
        user = f"{users.prefix}_{role}"
        if revoked:
            users.take(revoked[users.url.get_backend_name()] if isinstance(revoked, dict) else revoked, user)
        with pytest.raises(CheckFailedError) as refused:
            privileges_of(users, role, auto_migrate=auto_migrate)
        words = str(refused.value)
        assert user in words
        assert lacks in words
        assert ("BILLING_AUTO_MIGRATE=false" in words) == auto_migrate
        _, _, remedy = words.removesuffix("; see docs/how-to/permissions.md").rpartition(": ")
        with users.admin.connect() as connection:
            for statement in remedy.split("; "):
                connection.execute(text(statement))
        assert "all that sync" in privileges_of(users, role, auto_migrate=auto_migrate)


READ_ONLY = {
    "postgresql": {"options": "-cdefault_transaction_read_only=on"},
    "mariadb": {"init_command": "SET SESSION TRANSACTION READ ONLY"},
}


def writing_line(url):
    return next(
        line for line in check_database(new_engine(url), auto_migrate=False, mounts="") if line.name == "writing"
    )


def test_check_fails_on_a_read_only_server(users):
    url = users.url_of("writer")
    assert writing_line(url).error is None
    refused = writing_line(url.update_query_dict(READ_ONLY[url.get_backend_name()])).error
    assert isinstance(refused, CheckFailedError)
    assert "is read-only" in str(refused)


@pytest.mark.parametrize("users", ["postgresql"], indirect=True)
def test_check_fails_when_row_security_hides_rows(users):
    with users.admin.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE sync_runs ENABLE ROW LEVEL SECURITY")
    assert "row level security applies to this user on sync_runs" in str(writing_line(users.url_of("writer")).error)
    assert writing_line(users.url).error is None  # whom no such rule binds


def test_missing_privileges_are_named(users):
    with pytest.raises(CheckFailedError, match=r"lacks .*INSERT, UPDATE, DELETE on accounts"):
        privileges_of(users, "reader", auto_migrate=False)


def test_grants_can_be_repeated(users):
    users.grant(2)
    assert set(inspect(users.engine_of("owner")).get_view_names()) == set(VIEWS)


def test_sqlite_needs_no_grants():
    lines = (GRANTS / "sqlite.sql").read_text("utf-8").splitlines()
    assert "SQLite has no users" in lines[0]
    assert all(line.startswith("--") for line in lines)
