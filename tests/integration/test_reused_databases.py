"""A reused test database equals a new one; otherwise it is not reused."""

from __future__ import annotations

import pytest
from conftest import SERVERS, TODAY, fresh_database
from sqlalchemy import NullPool, create_engine, text
from support.databases import databases_of

from etl.config.database_url import parse_url

ACCOUNT = f"INSERT INTO accounts (label, created_at) VALUES ('shop', '{TODAY}')"


@pytest.fixture(params=["postgresql", "mariadb"])
def databases(request, tmp_path):
    with fresh_database(request.param, tmp_path):  # skips where there is no server
        server = databases_of(parse_url(SERVERS[request.param]))
    yield server
    server.close()


def use(databases, folder, *statements):
    """Execute statements in the database that the next test would get; returns its name and its accounts."""
    with databases.database(folder, empty=False) as url:
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
            return url.database, connection.execute(text("SELECT id, label FROM accounts")).all()


def test_the_next_test_finds_no_rows_and_reset_sequences(databases, tmp_path):
    first, rows = use(databases, tmp_path, ACCOUNT)
    assert rows == [(1, "shop")]
    assert use(databases, tmp_path) == (first, [])
    assert use(databases, tmp_path, ACCOUNT) == (first, [(1, "shop")])


def test_the_revision_of_the_schema_is_restored(databases, tmp_path):
    first, _ = use(databases, tmp_path, "UPDATE alembic_version SET version_num = 'other'")
    with databases.database(tmp_path, empty=False) as url, create_engine(url, poolclass=NullPool).connect() as found:
        assert url.database == first
        assert found.scalar(text("SELECT version_num FROM alembic_version")) != "other"


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE other (id INT)",
        "ALTER TABLE accounts ADD COLUMN other INT",
        "DROP VIEW freshness",
        "CREATE INDEX other ON accounts (created_at)",
    ],
)
def test_a_database_with_another_schema_is_not_used_again(databases, tmp_path, statement):
    first, _ = use(databases, tmp_path, statement)
    assert use(databases, tmp_path)[0] != first
