"""Alembic environment: connects to the database, runs the migrations and recreates the views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Connection, Engine, text

from etl.db.dependents import require_no_dependents
from etl.db.engine import new_engine
from etl.db.ownership import require_ours
from etl.db.regrant import regrant_statements
from etl.db.tables import SCHEMA_REVISION, metadata
from etl.db.views import VIEWS, create_view_statements, drop_view_statements

REPLACED = {
    "sqlite": {
        "0007": ["billing_records"],
        "0011": ["sync_runs", "restatements", "rejected_records", "balance_snapshots", "balance_top_ups"],
    },
    "mariadb": {"0007": ["billing_records"]},
    "mysql": {"0007": ["billing_records"]},
}
"""Tables that a revision drops and creates again, by database and revision."""
ALTERED = {
    "postgresql": {
        "0007": {
            "billing_records": ["id", "phone", "code_auth", "created_at_utc", "updated_at"],
            "numbering_ranges": ["block", "first_phone", "last_phone"],
        }
    }
}
"""Columns that a revision drops, or whose type it changes, by database, revision and table."""


def stay_in_schema(connection: Connection) -> None:
    """Restrict the search path to the current schema, so that DROP VIEW cannot find a view of another one."""
    if connection.dialect.name == "postgresql" and connection.scalar(text("SELECT current_schema()")):
        connection.execute(text("SELECT set_config('search_path', quote_ident(current_schema()), true)"))


def require_upgradable(connection: Connection) -> None:
    """Require that the pending revisions lose nothing that others added to the tables and views.

    Raises:
        DatabaseError: The message names it.
    """
    backend, current = connection.dialect.name, context.get_context().get_current_revision() or ""
    replaced = [
        table for revision, tables in REPLACED.get(backend, {}).items() if revision > current for table in tables
    ]
    altered = {
        table: columns
        for revision, tables in ALTERED.get(backend, {}).items()
        if revision > current
        for table, columns in tables.items()
    }
    require_no_dependents(connection, replaced, altered)


@contextmanager
def renames_without_views(connection: Connection) -> Iterator[None]:
    """On SQLite, rename a table though views of others refer to our views, which are missing until the end."""
    if connection.dialect.name != "sqlite":
        yield
        return
    connection.exec_driver_sql("PRAGMA legacy_alter_table = ON")
    try:
        yield
    finally:
        connection.exec_driver_sql("PRAGMA legacy_alter_table = OFF")


def run_online(connection: Connection) -> None:
    """Run the migrations in one transaction; MariaDB commits each statement of DDL."""
    with connection.begin():
        require_ours(connection)
        stay_in_schema(connection)
        context.configure(connection=connection, target_metadata=metadata)
        require_upgradable(connection)
        grants = regrant_statements(connection, VIEWS)
        # Tables cannot be altered or dropped while views depend on them.
        for statement in drop_view_statements(connection.dialect.name):
            connection.execute(text(statement))
        with renames_without_views(connection):
            context.run_migrations()
        if context.get_context().get_current_revision() == SCHEMA_REVISION:
            for statement in create_view_statements(connection.dialect.name) + grants:
                connection.exec_driver_sql(statement)


def run_offline(engine: Engine) -> None:
    """Emit the SQL of the migrations instead of running it."""
    context.configure(
        dialect_name=engine.dialect.name,
        dialect_opts={"paramstyle": "named"},
        target_metadata=metadata,
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()
        for statement in create_view_statements(engine.dialect.name):
            context.get_context().impl.static_output(f"{statement};\n")


def configured_engine() -> Engine:
    """Create the engine of BILLING_DATABASE_URL, for the `alembic` command in a checkout."""
    from etl.config.loader import load_account
    from etl.config.sources import read_configuration

    return new_engine(load_account(read_configuration(None), None).database_url)


attributes = context.config.attributes
if context.is_offline_mode():
    run_offline(attributes.get("engine") or configured_engine())
elif "connection" in attributes:
    run_online(attributes["connection"])
else:
    with configured_engine().connect() as opened_connection:
        run_online(opened_connection)
