"""Migrations with data: rows and views are afterwards what they were in each revision that was ever released."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from conftest import fresh_database
from sqlalchemy import inspect

from etl.db.engine import new_engine
from etl.db.migrate import alembic_config, ensure_current, has_current_schema
from etl.db.tables import SCHEMA_REVISION, metadata
from etl.db.views import VIEWS

pytestmark = pytest.mark.empty_database

OLD = [f"{number:04}" for number in range(1, int(SCHEMA_REVISION))]
ROWS = Path(__file__).parents[1] / "data" / "revisions"
"""What a database of each revision may hold beside what one of the older revisions does."""
NOW = {"hours_behind"}
"""Columns that change while one looks."""


def upgrade(engine, revision):
    with engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def columns_of(connection, names):
    inspector = inspect(connection)
    return {name: [each["name"] for each in inspector.get_columns(name) if each["name"] not in NOW] for name in names}


def content(connection, columns):
    """Every row of some tables or views, in no order."""
    queries = {name: f"SELECT {', '.join(of_name)} FROM {name}" for name, of_name in columns.items()}
    return {name: sorted(map(repr, connection.exec_driver_sql(query).all())) for name, query in queries.items()}


@pytest.mark.parametrize("revision", OLD)
def test_a_database_of_each_older_revision_keeps_its_rows_and_figures(database_url, revision, tmp_path):
    engine = new_engine(database_url)
    upgrade(engine, revision)
    with engine.begin() as connection:
        for each in OLD[: OLD.index(revision) + 1]:
            for statement in (ROWS / f"{each}.sql").read_text("utf-8").split(";\n")[:-1]:
                connection.exec_driver_sql(statement)
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
    assert all(figures[view] for view in set(VIEWS) - {"freshness"})
