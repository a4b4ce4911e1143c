"""Schema revision: check it, create the schema in an empty database, migrate an older one."""

from __future__ import annotations

import io
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    StaticPool,
    String,
    Table,
    create_engine,
    insert,
    inspect,
    literal,
    select,
    text,
)
from sqlalchemy.exc import NoSuchTableError

import etl
from etl.db.dialects import dialect_for
from etl.db.ownership import VERSION_TABLE, read_relations, require_ours
from etl.db.tables import SCHEMA_REVISION, metadata
from etl.db.views import VIEWS, create_view_statements
from etl.errors import ForeignDatabaseError, SchemaMismatchError

if TYPE_CHECKING:
    from alembic.config import Config

_VERSION: Final = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""The revision table, as Alembic creates it."""
OLDER_REVISIONS: Final = frozenset(f"{revision:04}" for revision in range(1, int(SCHEMA_REVISION)))
"""Revisions that can be migrated to the newest one."""

_ALEMBIC: Final = threading.Lock()
"""Alembic has one environment per process: threads migrate one after another, each its own database."""


def schema_revision(connection: Connection) -> str | None:
    """Return the revision of the database; None if it has no schema or another program's."""
    try:
        columns = {column["name"] for column in inspect(connection).get_columns(VERSION_TABLE)}
    except NoSuchTableError:
        return None
    if "version_num" not in columns:
        return None
    revisions = connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all()  # noqa: S608 - a constant
    return revisions[0] if len(revisions) == 1 else None


def has_current_schema(connection: Connection) -> bool:
    """Whether the database has the current schema, including all views.

    On MariaDB, which commits each statement, an interrupted migration may leave the revision without all views.
    """
    if schema_revision(connection) != SCHEMA_REVISION:
        return False
    return set(VIEWS) <= set(inspect(connection).get_view_names())


def require_schema(connection: Connection) -> None:
    """Require the current schema.

    Raises:
        SchemaMismatchError: The schema is older, newer, incomplete, another program's or missing.
    """
    if has_current_schema(connection):
        return
    require_ours(connection)
    revision = schema_revision(connection)
    if revision == SCHEMA_REVISION:
        raise SchemaMismatchError("the database lacks some of its views; run: billing-etl migrate")
    if revision is None:
        raise SchemaMismatchError("the database has no schema yet; run: billing-etl migrate")
    require_known_revision(revision)
    raise SchemaMismatchError(
        f"the database's schema ({revision}) is older than {SCHEMA_REVISION}; run: billing-etl migrate"
    )


def require_known_revision(revision: str | None) -> None:
    """Require a revision that is current or can be migrated; None stands for a database without a schema.

    Raises:
        SchemaMismatchError: A newer version of the program created the revision.
        ForeignDatabaseError: Another program created it.
    """
    if revision is None or revision == SCHEMA_REVISION or revision in OLDER_REVISIONS:
        return
    if re.fullmatch(r"\d{4}", revision, re.ASCII) and revision > SCHEMA_REVISION:
        raise SchemaMismatchError(
            f"the database's schema ({revision}) is newer than that of this version ({SCHEMA_REVISION}); "
            "install the version of billing-etl that created it"
        )
    raise ForeignDatabaseError(
        f"the database's schema ({revision!r}) is none of billing-etl's: does another program use the database? "
        "use a separate database for each"
    )


def require_migratable(connection: Connection) -> None:
    """Require a database that may be migrated, from its catalogue alone: MariaDB cannot roll back DDL.

    Raises:
        SchemaMismatchError: Another program or a newer version uses the database, or its encoding is not UTF-8.
    """
    require_ours(connection)
    revision = schema_revision(connection)
    require_known_revision(revision)
    if revision is None:
        dialect_for(connection.dialect.name).require_utf8(connection)


def has_schema(connection: Connection) -> bool:
    """Whether the database has the current schema; False if it is empty.

    Raises:
        SchemaMismatchError: It has another schema.
    """
    if has_current_schema(connection):  # cheaper than reading the columns of all tables
        return True
    if is_empty(connection):
        return False
    require_schema(connection)
    return True


class PendingMigrations(NamedTuple):
    """The migrations that an older schema needs.

    Attributes:
        revision: The revision of the database.
        names: Revision and title of each migration, in order.
        records: Number of stored records, as the vendor lists them: what a migration may have to rewrite.
    """

    revision: str
    names: tuple[str, ...]
    records: int


def pending_migrations(connection: Connection) -> PendingMigrations | None:
    """The migrations to the current schema; None for a database that needs none, or that is not an older one."""
    revision = schema_revision(connection)
    if revision not in OLDER_REVISIONS:
        return None
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(alembic_config()).iterate_revisions("head", revision)
    names = tuple(f"{script.revision} ({script.doc.rstrip('.')})" for script in scripts)
    records = connection.scalar(text("SELECT SUM(records) FROM synced_days"))
    return PendingMigrations(revision, names[::-1], int(records or 0))


def ensure_current(engine: Engine) -> None:
    """Bring the database to the current schema; an empty one is created without running the migrations.

    Raises:
        SchemaMismatchError: The schema is unknown to this version.
    """
    with engine.begin() as connection:
        if is_empty(connection):
            dialect_for(connection.dialect.name).require_utf8(connection)
            create_schema(connection)
            return
    migrate(engine)


def is_empty(connection: Connection) -> bool:
    """Whether no table or view has one of our names, not even one left by an interrupted migration on MariaDB."""
    return not read_relations(connection)


def create_schema(connection: Connection) -> None:
    """Create the current schema in an empty database; a test compares it with the result of the migrations.

    The revision is written before the views: on MariaDB, which commits each statement, a later run then creates the
    missing views. If the process is killed before that, `drop_unfinished` removes the tables.
    """
    backend = connection.dialect.name
    _tables_for(backend).create_all(connection, checkfirst=False)
    _VERSION.create(connection)
    connection.execute(insert(_VERSION).values(version_num=SCHEMA_REVISION))
    for statement in create_view_statements(backend):
        connection.exec_driver_sql(statement)


def drop_unfinished(connection: Connection) -> None:
    """Drop the empty tables that an interrupted first creation left on MariaDB, without a revision."""
    if schema_revision(connection) is not None:
        return
    left = [table for table in reversed(metadata.sorted_tables) if inspect(connection).has_table(table.name)]
    if not any(_has_rows(connection, table) for table in left):
        for table in left:
            table.drop(connection)


def _has_rows(connection: Connection, table: Table) -> bool:
    return connection.execute(select(literal(1)).select_from(table).limit(1)).first() is not None


def _tables_for(backend: str) -> MetaData:
    """Declared tables; copies with the options of a database that has any, so that no other one loads its dialect."""
    table_options = dialect_for(backend).table_options
    if not table_options:
        return metadata
    copies = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.tables.values():
        copy = table.to_metadata(copies)
        copy.kwargs.update({f"{backend}_{name}": value for name, value in table_options.items()})
        # A copied index has lost the condition of its creation.
        foreign = {index.name for index in table.indexes if index.info.get("dialect", backend) != backend}
        copy.indexes = {index for index in copy.indexes if index.name not in foreign}
    return copies


def migrate(engine: Engine) -> None:
    """Migrate the database to the current schema and recreate its views.

    Raises:
        SchemaMismatchError: The schema is unknown to this version, or another program's.
    """
    with engine.begin() as connection:
        require_migratable(connection)
        drop_unfinished(connection)
    # Importing Alembic takes a tenth of a second, which runs without a migration save.
    from alembic import command

    with _ALEMBIC, engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def in_memory_database() -> Engine:
    """Create an in-memory database with the current schema, for a dry run before the real one exists."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    return engine


def migration_sql(engine: Engine) -> str:
    """Return the SQL of all migrations, for an administrator to run on an empty database."""
    from alembic import command

    script = io.StringIO()
    config = alembic_config(output=script)
    config.attributes["engine"] = engine
    with _ALEMBIC:
        command.upgrade(config, "head", sql=True)
    return script.getvalue()


def alembic_config(output: io.StringIO | None = None) -> Config:
    """Return Alembic's configuration, for a checkout or an installed package."""
    from alembic.config import Config

    package = Path(etl.__file__).parent
    installed = package / "migrations"
    config = Config(output_buffer=output)
    location = installed if installed.is_dir() else package.parent / "migrations"
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    return config
