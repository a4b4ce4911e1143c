"""Migrations with data: rows and views of each released revision are unchanged after an upgrade."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest
from alembic import command
from conftest import fresh_database
from sqlalchemy import Engine, event, inspect

from etl.db.dialects.expressions import expressions_for
from etl.db.engine import new_engine
from etl.db.migrate import alembic_config, ensure_current, has_current_schema
from etl.db.tables import SCHEMA_REVISION, metadata
from etl.db.views import VIEWS

pytestmark = pytest.mark.empty_database

OLD = [f"{number:04}" for number in range(1, int(SCHEMA_REVISION))]
ROWS = Path(__file__).parents[1] / "data" / "revisions"
"""Rows that are possible in a revision and in none before it."""
NOW = {"hours_behind"}
"""Columns that depend on the current time."""


LAST_LAYOUT_OF_ROWS = "0006"
"""The rows of the first revisions fit each revision up to this one."""


def fill(connection, revision, *, since=OLD[0]):
    """Insert the rows of a revision and of all before it."""
    for each in OLD[OLD.index(since) : OLD.index(revision) + 1]:
        for statement in (ROWS / f"{each}.sql").read_text("utf-8").split(";\n")[:-1]:
            connection.exec_driver_sql(statement)


def make(engine, revision):
    """Create a database of a revision with the rows of all revisions up to it."""
    first = min(revision, LAST_LAYOUT_OF_ROWS)
    upgrade(engine, first)
    with engine.begin() as connection:
        fill(connection, first)
    if revision > first:
        upgrade(engine, revision)
        with engine.begin() as connection:
            fill(connection, revision, since="0007")


def upgrade(engine, revision):
    with engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def columns_of(connection, names):
    inspector = inspect(connection)
    return {name: [each["name"] for each in inspector.get_columns(name) if each["name"] not in NOW] for name in names}


def content(connection, columns):
    """All rows of some tables or views, unordered; a replaced column is computed from its successor."""
    now = columns_of(connection, columns)
    sql, quote = expressions_for(connection.dialect.name), connection.dialect.identifier_preparer.quote
    replaced = {
        "id": "NULL",
        "created_at_utc": sql.to_utc.format(time="created_at", offset="utc_offset"),
        "updated_at": "COALESCE(updated_at, first_seen_at)",
    }

    def expression(table, name):
        if table != "billing_records" or "utc_offset" not in now[table]:
            return "NULL" if (table, name) == ("billing_records", "id") else quote(name)
        return replaced.get(name, name)

    queries = {
        table: f"SELECT {', '.join(expression(table, name) for name in names)} FROM {table}"
        for table, names in columns.items()
    }
    return {name: sorted(map(repr, connection.exec_driver_sql(query).all())) for name, query in queries.items()}


@pytest.mark.parametrize("revision", OLD)
def test_a_database_of_each_older_revision_keeps_its_rows_and_figures(database_url, revision, tmp_path):
    engine = new_engine(database_url)
    make(engine, revision)
    with engine.begin() as connection:
        tables = columns_of(connection, set(metadata.tables) & set(inspect(connection).get_table_names()))
        before = content(connection, tables)
    ensure_current(engine)
    with engine.connect() as connection:
        assert has_current_schema(connection)
        assert content(connection, tables) == before
        assert all(before.values())
        views = columns_of(connection, VIEWS)
        rows = {table: connection.execute(table.select()).mappings().all() for table in metadata.sorted_tables}
        figures = content(connection, views)
    (tmp_path / "new").mkdir()
    with fresh_database(engine.dialect.name, tmp_path / "new") as url:
        ensure_current(new := new_engine(url))
        with new.begin() as connection:
            for table, of_table in rows.items():
                if of_table:
                    connection.execute(table.insert(), [dict(row) for row in of_table])
            assert figures == content(connection, views)
    assert all(figures[view] for view in set(VIEWS) - {"freshness", "daily_channels"})
    # The next run classifies the records of an older revision by channel.
    assert bool(figures["daily_channels"]) == (revision >= "0009")


@contextmanager
def failing_at(number: int):
    """Fail before the n-th statement that changes the database, from 1; yields the executed statements."""
    ran = []

    def fail(_connection, _cursor, statement, _parameters, _context, _executemany):
        if statement.split()[0] in {"CREATE", "ALTER", "DROP", "RENAME", "INSERT", "UPDATE", "DELETE"}:
            if len(ran) + 1 == number:
                raise ConnectionError(statement)
            ran.append(statement)

    event.listen(Engine, "before_cursor_execute", fail)
    try:
        yield ran
    finally:
        event.remove(Engine, "before_cursor_execute", fail)


def state(engine, tables):
    with engine.connect() as connection:
        views = columns_of(connection, VIEWS)
        return content(connection, tables), content(connection, views)


def test_a_migration_interrupted_at_any_statement_is_completed_by_the_next(database_url, tmp_path):
    backend = database_url.get_backend_name()
    step = 1 if backend == "mariadb" else 10  # the others roll back as a whole
    for number in count(1, step):
        (tmp_path / str(number)).mkdir()
        with fresh_database(backend, tmp_path / str(number)) as url:
            engine = new_engine(url)
            upgrade(engine, "0006")
            with engine.begin() as connection:
                fill(connection, "0006")
                tables = columns_of(connection, set(metadata.tables) & set(inspect(connection).get_table_names()))
            if number == 1:
                with engine.connect() as connection:
                    before = content(connection, tables)
                ensure_current(engine)
                expected = before, state(engine, tables)[1]
                continue
            with failing_at(number - 1) as ran:
                try:
                    ensure_current(engine)
                except ConnectionError:
                    interrupted = True
                else:
                    interrupted = False
            ensure_current(engine)
            assert state(engine, tables) == expected, ran[-1:]
            with engine.connect() as connection:
                assert {
                    name for name in inspect(connection).get_table_names() if name.startswith("billing_records")
                } == {"billing_records"}
            if not interrupted:
                break
    assert number > 20


def test_a_migration_that_lost_a_row_is_refused(database_url):
    engine = new_engine(database_url)
    upgrade(engine, "0006")
    with engine.begin() as connection:
        fill(connection, "0006")

    def lose(_connection, cursor, statement, _parameters, _context, _executemany):
        if "ALTER TABLE billing_records\n" in statement or statement.startswith(
            "INSERT INTO billing_records_0007_copy"
        ):
            cursor.execute(
                "DELETE FROM billing_records_0007_copy" if "copy" in statement else "DELETE FROM billing_records"
            )

    event.listen(Engine, "after_cursor_execute", lose)
    try:
        with pytest.raises(RuntimeError, match="rows, current rows, records, spend"):
            ensure_current(engine)
    finally:
        event.remove(Engine, "after_cursor_execute", lose)
    ensure_current(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM billing_records").scalar() == 4


def test_a_downgrade_restores_the_older_revision_with_its_rows(database_url):
    engine = new_engine(database_url)
    upgrade(engine, "0006")
    with engine.begin() as connection:
        fill(connection, "0006")
        tables = columns_of(connection, ["billing_records", "synced_days", "sync_state", "restatements"])
        before = content(connection, tables)
    ensure_current(engine)
    with engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
    with engine.connect() as connection:
        columns = columns_of(connection, tables)
        assert {table: sorted(names) for table, names in columns.items()} == {
            table: sorted(names) for table, names in tables.items()
        }
        assert content(connection, tables) == before


def test_a_purge_interrupted_before_the_migration_is_completed_by_it(database_url):
    engine = new_engine(database_url)
    upgrade(engine, "0006")
    with engine.begin() as connection:
        fill(connection, "0006")
        for number, (status, withdrawn) in enumerate([(1, "NULL"), (0, "NULL"), (1, "'2026-02-02 05:00:00'")], 20):
            connection.exec_driver_sql(
                "INSERT INTO billing_records (id, account_id, created_at, phone, code_auth, ordinal, status,"
                f" status_info, price, repeats, created_at_utc, first_seen_at, updated_at, withdrawn_at)"
                f" VALUES ({number}, 2, '2026-02-01 10:00:00', '+79243555100', '0371', {number}, {status}, 'ok',"
                f" '0.350000', 2, '2026-02-01 00:00:00', '2026-02-02 05:00:00', '2026-02-02 05:00:00', {withdrawn})"
            )
    ensure_current(engine)
    with engine.connect() as connection:
        query = "SELECT records, delivered, spend FROM monthly_spend WHERE account = 'bank'"
        records, delivered, spend = connection.exec_driver_sql(query).one()
        assert (records, delivered, Decimal(str(spend))) == (5, 2, Decimal("2.9")), "1.5 were purged before"
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM billing_records WHERE account_id = 2").scalar() == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_ids_continue_after_those_that_other_tables_name(database_url):
    engine = new_engine(database_url)
    make(engine, "0010")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sync_state SET fence = 90 WHERE account_id = 2")
    ensure_current(engine)
    with engine.connect() as connection:
        last = dict(connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence").all())
        stored = {table: connection.exec_driver_sql(f"SELECT MAX(id) FROM {table}").scalar() for table in last}
    assert last == stored | {"sync_runs": 90, "restatements": 70}
    assert len(last) == 5
