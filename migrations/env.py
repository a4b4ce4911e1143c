"""How Alembic reaches the database, and when the views are made anew."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, Engine, bindparam, text

from etl.db.engine import new_engine
from etl.db.ownership import require_ours
from etl.db.tables import SCHEMA_REVISION, metadata
from etl.db.views import VIEWS, create_view_statements, drop_view_statements

# MariaDB keeps what was granted on a view by its name; PostgreSQL forgets it with the view.
GRANTED = """
SELECT 'GRANT ' || privilege_type || ' ON ' || quote_ident(table_name) || ' TO '
  || CASE WHEN grantee = 'PUBLIC' THEN 'PUBLIC' ELSE quote_ident(grantee) END
FROM information_schema.role_table_grants
WHERE table_schema = current_schema() AND table_name IN :views AND grantee <> grantor
"""


def grants_on_views(connection: Connection) -> list[str]:
    """The statements that give others again what they were given on the views."""
    if connection.dialect.name != "postgresql":
        return []
    query = text(GRANTED).bindparams(bindparam("views", expanding=True))
    return list(connection.scalars(query, {"views": VIEWS}))


def stay_in_schema(connection: Connection) -> None:
    """Restrict the search path to the schema that is written into: DROP VIEW would find a view of another one."""
    if connection.dialect.name == "postgresql" and connection.scalar(text("SELECT current_schema()")):
        connection.execute(text("SELECT set_config('search_path', quote_ident(current_schema()), true)"))


def run_online(connection: Connection) -> None:
    """Migrate over a connection, in one transaction where the database has such for DDL."""
    with connection.begin():
        require_ours(connection)
        stay_in_schema(connection)
        context.configure(connection=connection, target_metadata=metadata)
        grants = grants_on_views(connection)
        # No database lets a table go, or change, that a view still stands on.
        for statement in drop_view_statements(connection.dialect.name):
            connection.execute(text(statement))
        context.run_migrations()
        if context.get_context().get_current_revision() == SCHEMA_REVISION:
            for statement in create_view_statements(connection.dialect.name) + grants:
                connection.exec_driver_sql(statement)


def run_offline(engine: Engine) -> None:
    """Write the SQL of the migrations instead of running it."""
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


def engine_of_settings() -> Engine:
    """The engine of BILLING_DATABASE_URL: for Alembic's own command line in a checkout."""
    from etl.config.loader import load_settings

    return new_engine(load_settings().database_url)


given = context.config.attributes
if context.is_offline_mode():
    run_offline(given.get("engine") or engine_of_settings())
elif "connection" in given:
    run_online(given["connection"])
else:
    with engine_of_settings().connect() as own_connection:
        run_online(own_connection)
