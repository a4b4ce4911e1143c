"""Recognise a database of billing-etl by its catalogue, before a migration changes it.

MariaDB commits every statement of a migration, so the check comes before the first one. A name alone proves nothing:
other programs use `accounts`, `billing` and revision `0001` as well. A table or view is ours if it has the columns that
all revisions have in common.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, inspect, text
from sqlalchemy.exc import DBAPIError

from etl.db.tables import metadata
from etl.db.view_columns import VIEW_COLUMNS
from etl.db.views import FUNCTIONS, VIEWS
from etl.errors import ForeignDatabaseError

VERSION_TABLE: Final = "alembic_version"
_VERSION_COLUMNS: Final = frozenset({"version_num"})

COLUMNS: Final[dict[str, frozenset[str]]] = {
    name: frozenset(columns.split())
    for name, columns in {
        "accounts": "id label created_at",
        "billing_records": "account_id created_at phone code_auth ordinal status status_info price repeats",
        "sync_runs": "id account_id command program_version started_at finished_at outcome exit_code",
        "sync_state": "account_id first_day last_synced_date fence",
        "synced_days": "account_id day digest records spend first_closed_at",
        "restatements": "account_id run_id day restated_at kind delta",
        "rejected_records": "account_id day reason payload payload_digest",
        "balance_snapshots": "account_id taken_at balance recorded_spend",
        "billing": "account created_at day phone code_auth status status_info price repeats amount delivered",
        "freshness": "account last_synced_date last_success_at hours_behind open_days suspect_days",
    }.items()
}
"""Columns that a table or view has in every revision; an unlisted one has never changed."""
FIRST_TABLES: Final = frozenset(COLUMNS) & frozenset(metadata.tables)
"""Tables of the first revision, which every database with one of our revisions has."""


class Relation(NamedTuple):
    """A table, view or other object of the database with one of our names.

    Attributes:
        name: Name in the database's spelling.
        kind: `table`, `view` or another type of the database.
        columns: Names of its columns.
        marked: It has the mark of our migrations: a comment, or on SQLite the name of the primary key.
    """

    name: str
    kind: str
    columns: frozenset[str] = frozenset()
    marked: bool = False


def require_ours(connection: Connection) -> None:
    """Require that all objects of the database with our names were created by our migrations.

    Raises:
        ForeignDatabaseError: Another program uses the database; the message names its objects.
    """
    relations = read_relations(connection)
    if reason := find_foreign(relations, read_revisions(connection, relations)):
        raise ForeignDatabaseError(f"{reason}; nothing was changed; use a separate database for each")


def find_foreign(relations: Collection[Relation], revisions: Sequence[str]) -> str | None:
    """Return why a database belongs to another program, or None if it may be ours.

    Args:
        relations: All objects with our names.
        revisions: Rows of `alembic_version`; empty if the first migration was interrupted or never started.
    """
    unversioned = not revisions
    foreign = [
        f"{relation.kind} {relation.name}" for relation in relations if not _is_ours(relation, unversioned=unversioned)
    ]
    tables = {relation.name for relation in relations if relation.kind == "table"}
    if not tables >= {"accounts", "billing_records"}:  # our migrations create them before the views
        foreign += [f"view {relation.name}" for relation in relations if relation.kind == "view"]
    if foreign:
        listed = ", ".join(sorted(set(foreign)))
        return f"the database belongs to another program: it holds {listed}, none of billing-etl's"
    if revisions and (missing := FIRST_TABLES - tables):
        listed = ", ".join(map(repr, revisions))
        return (
            f"the database's alembic_version ({listed}) is none of billing-etl's, or tables are missing: "
            f"{', '.join(sorted(missing))}"
        )
    if len(revisions) > 1:
        return f"the database's alembic_version has {len(revisions)} rows and is none of billing-etl's"
    return None


def _is_ours(relation: Relation, *, unversioned: bool) -> bool:
    name = relation.name
    if name == VERSION_TABLE:
        return relation.kind == "table" and relation.columns == _VERSION_COLUMNS
    if name in metadata.tables:
        # Without a revision the columns of a small table are not sufficient evidence.
        known = COLUMNS.get(name, frozenset(metadata.tables[name].columns.keys()))
        return relation.kind == "table" and known <= relation.columns and (relation.marked or not unversioned)
    if name in VIEW_COLUMNS:
        known = COLUMNS.get(name, frozenset(column.name for column in VIEW_COLUMNS[name]))
        return relation.kind == "view" and known <= relation.columns
    return name in FUNCTIONS and relation.marked


def read_relations(connection: Connection) -> list[Relation]:
    """Read all objects with our names from the current schema, on PostgreSQL the first one of the search path.

    SQLite, and MariaDB on some systems, ignore the case of names: there `Accounts` matches `accounts`.
    """
    read = {"sqlite": _read_sqlite, "postgresql": _read_postgresql}.get(connection.dialect.name, _read_mariadb)
    return list(read(connection, [*metadata.tables, *VIEWS, VERSION_TABLE]))


def read_revisions(connection: Connection, relations: Iterable[Relation]) -> list[str]:
    """Read the rows of `alembic_version`; empty if the table is missing or has other columns."""
    columns = {relation.name: relation.columns for relation in relations}
    if columns.get(VERSION_TABLE) != _VERSION_COLUMNS:
        return []
    return list(connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")))  # noqa: S608 - a constant


def _read_sqlite(connection: Connection, names: list[str]) -> Iterable[Relation]:
    query = text("SELECT name, type, sql FROM sqlite_master WHERE type <> 'trigger' AND lower(name) IN :names")
    inspector = inspect(connection)
    for name, kind, sql in connection.execute(_expanding(query), {"names": names}).all():
        columns: set[str] = set()
        if kind != "index":
            try:
                columns = {column["name"] for column in inspector.get_columns(name)}
            except DBAPIError:  # a view of a dropped table
                columns = set()
        yield Relation(name, kind, frozenset(columns), f"pk_{name}" in sql if sql else False)


def _read_postgresql(connection: Connection, names: list[str]) -> Iterable[Relation]:
    kinds = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table"}
    kinds |= {"S": "sequence", "i": "index", "I": "index", "c": "type"}
    relations = text("""
        SELECT c.relname, CAST(c.relkind AS text), obj_description(c.oid, 'pg_class') IS NOT NULL,
          ARRAY(SELECT CAST(a.attname AS text) FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
        FROM pg_class c
        WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND c.relname IN :names
        ORDER BY c.relname""")
    for name, kind, marked, columns in connection.execute(_expanding(relations), {"names": names}):
        yield Relation(name, kinds.get(kind, "relation"), frozenset(columns), marked)
    # Our function returns rows of our view, which another program's cannot.
    functions = text("""
        SELECT p.proname, COALESCE(c.relname = 'billing' AND c.relnamespace = p.pronamespace, FALSE)
        FROM pg_proc p JOIN pg_type t ON t.oid = p.prorettype LEFT JOIN pg_class c ON c.oid = t.typrelid
        WHERE p.pronamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND p.proname IN :names
        ORDER BY p.proname""")
    for name, returns_billing in connection.execute(_expanding(functions), {"names": list(FUNCTIONS)}):
        yield Relation(name, "function", marked=returns_billing)


def _read_mariadb(connection: Connection, names: list[str]) -> Iterable[Relation]:
    tables = text("""
        SELECT table_name, table_type, table_comment <> '' FROM information_schema.tables
        WHERE table_schema = DATABASE() AND LOWER(table_name) IN :names ORDER BY table_name""")
    columns = text("""
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = DATABASE() AND LOWER(table_name) IN :names""")
    columns_by_table: dict[str, set[str]] = {}
    for table, column in connection.execute(_expanding(columns), {"names": names}):
        columns_by_table.setdefault(table, set()).add(column)
    kinds = {"BASE TABLE": "table", "SYSTEM VERSIONED": "table", "VIEW": "view"}
    for name, kind, marked in connection.execute(_expanding(tables), {"names": names}).all():
        yield Relation(name, kinds.get(kind, kind.lower()), frozenset(columns_by_table.get(name, ())), bool(marked))


def _expanding(query: Any) -> Any:
    return query.bindparams(bindparam("names", expanding=True))
