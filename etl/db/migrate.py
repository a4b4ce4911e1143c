"""The schema's version: whether the database has it, and how it gets it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
    text,
)
from sqlalchemy.exc import NoSuchTableError

import etl
from etl.db.ownership import VERSION_TABLE, read_relations, require_ours
from etl.db.tables import SCHEMA_REVISION, metadata
from etl.db.views import VIEWS, create_view_statements
from etl.errors import ForeignDatabaseError, SchemaMismatchError

if TYPE_CHECKING:
    from alembic.config import Config

MYSQL_TABLE_OPTIONS: Final = {"charset": "utf8mb4", "collate": "utf8mb4_bin", "engine": "InnoDB"}
"""What a table has on MariaDB beside what is declared."""
_VERSION: Final = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""As Alembic itself makes it."""
OLDER_REVISIONS: Final = frozenset(f"{number:04}" for number in range(1, int(SCHEMA_REVISION)))
"""The revisions that migrations lead on from."""


def schema_revision(connection: Connection) -> str | None:
    """The revision the database is at; None where there is no schema yet, or another program's."""
    try:
        columns = {column["name"] for column in inspect(connection).get_columns(VERSION_TABLE)}
    except NoSuchTableError:
        return None
    if "version_num" not in columns:
        return None
    revisions = connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all()  # noqa: S608 - a constant
    return revisions[0] if len(revisions) == 1 else None


def has_current_schema(connection: Connection) -> bool:
    """Whether the database has the schema this version works on, its views included.

    MariaDB keeps what a migration did before it was killed: all tables and the revision, and a part of the views.
    """
    if schema_revision(connection) != SCHEMA_REVISION:
        return False
    return set(VIEWS) <= set(inspect(connection).get_view_names())


def require_schema(connection: Connection) -> None:
    """Make sure that the database has the schema this version works on.

    Raises:
        SchemaMismatchError: It has an older one, a newer one, a part of one, another program's, or none.
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
    """Make sure that a database of this revision can be migrated to the newest one, or is there already.

    Raises:
        SchemaMismatchError: A newer version of the program made it, or none did.
    """
    if revision is None or revision == SCHEMA_REVISION or revision in OLDER_REVISIONS:
        return
    if re.fullmatch(r"\d{4}", revision, re.ASCII) and revision > SCHEMA_REVISION:
        raise SchemaMismatchError(
            f"the database's schema ({revision}) is newer than this version knows ({SCHEMA_REVISION}); "
            "install the version of billing-etl that made it"
        )
    raise ForeignDatabaseError(
        f"the database's schema ({revision!r}) is none of billing-etl's: does another program keep its own there? "
        "take a database of its own for each"
    )


def require_migratable(connection: Connection) -> None:
    """Make sure that a migration may change the database. A look at the catalogue only: MariaDB takes nothing back.

    Raises:
        SchemaMismatchError: Another program uses it, or a newer version of this one, or it cannot keep every letter.
    """
    require_ours(connection)
    revision = schema_revision(connection)
    require_known_revision(revision)
    if revision is None:
        require_utf8(connection)


def require_utf8(connection: Connection) -> None:
    """Make sure that the database can keep every letter. MariaDB is told with each table, SQLite knows nothing else.

    Raises:
        SchemaMismatchError: It is one of PostgreSQL's in another encoding.
    """
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.scalar(text("SELECT current_setting('server_encoding')"))
    if encoding != "UTF8":
        raise SchemaMismatchError(
            f"the database's encoding is {encoding}; make one with: createdb --encoding UTF8 NAME"
        )


def ensure_current(engine: Engine) -> None:
    """Bring the database to the newest schema, by the shortest way: an empty one needs no migrations.

    Raises:
        SchemaMismatchError: The database has a schema that this version does not know.
    """
    with engine.begin() as connection:
        if is_empty(connection):
            require_utf8(connection)
            create_schema(connection)
            return
    migrate(engine)


def is_empty(connection: Connection) -> bool:
    """Whether no table or view has a name of ours, not even one that a killed run left behind on MariaDB."""
    return not read_relations(connection)


def create_schema(connection: Connection) -> None:
    """Make in an empty database what the migrations would come to; a test holds the two together.

    The revision stands there before the views: where each statement is a transaction of its own, a run that is killed
    in between is followed by one that makes them. One that is killed before leaves its tables to the migrations.
    """
    backend = connection.dialect.name
    _tables_for(backend).create_all(connection, checkfirst=False)
    _VERSION.create(connection)
    connection.execute(insert(_VERSION).values(version_num=SCHEMA_REVISION))
    for statement in create_view_statements(backend):
        connection.exec_driver_sql(statement)


def _tables_for(backend: str) -> MetaData:
    """The declared tables. Options of MariaDB are given to copies, so that nobody else loads its dialect."""
    if backend not in {"mysql", "mariadb"}:
        return metadata
    copies = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.tables.values():
        options = table.to_metadata(copies).kwargs
        options.update({f"{backend}_{name}": value for name, value in MYSQL_TABLE_OPTIONS.items()})
    return copies


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema by the migrations, and its views with it.

    Raises:
        SchemaMismatchError: The database has a schema that this version does not know, or is another program's.
    """
    with engine.connect() as connection:
        require_migratable(connection)
    # A tenth of a second that a nightly run has no use for.
    from alembic import command

    with engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def in_memory_database() -> Engine:
    """A database in memory with the present schema: what a dry run compares with before there is a real one."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    return engine


def migration_sql(engine: Engine) -> str:
    """The SQL of all migrations from an empty database on, for a database administrator to run."""
    from alembic import command

    script = io.StringIO()
    config = alembic_config(output=script)
    config.attributes["engine"] = engine
    command.upgrade(config, "head", sql=True)
    return script.getvalue()


def alembic_config(output: io.StringIO | None = None) -> Config:
    """Alembic's settings, in a checkout and in an installed package alike."""
    from alembic.config import Config

    package = Path(etl.__file__).parent
    installed = package / "migrations"
    config = Config(output_buffer=output)
    location = installed if installed.is_dir() else package.parent / "migrations"
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    return config
