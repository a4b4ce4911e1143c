"""Recognise a database of billing-etl by its catalogue, before a migration changes it.

MariaDB commits every statement of a migration, so the check comes before the first one. A name alone proves nothing:
other programs use `accounts`, `billing` and revision `0001` as well. A table or view is ours if it has the columns that
all revisions have in common.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from sqlalchemy import Connection, text

from etl.db.dialects import dialect_for
from etl.db.dialects.protocol import Relation
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


def require_ours(connection: Connection) -> None:
    """Require that all objects of the database with our names were created by our migrations.

    Raises:
        ForeignDatabaseError: Another program uses the database; the message names its objects.
    """
    # On MariaDB another run may commit a table between two queries: what is written last has to be read first.
    revisions = read_revisions(connection, read_relations(connection))
    if reason := find_foreign(read_relations(connection), revisions):
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
    names = [*metadata.tables, *VIEWS, VERSION_TABLE]
    functions = dict.fromkeys(FUNCTIONS, "billing")
    return list(dialect_for(connection.dialect.name).read_relations(connection, names, functions))


def read_revisions(connection: Connection, relations: Iterable[Relation]) -> list[str]:
    """Read the rows of `alembic_version`; empty if the table is missing or has other columns."""
    columns = {relation.name: relation.columns for relation in relations}
    if columns.get(VERSION_TABLE) != _VERSION_COLUMNS:
        return []
    return list(connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")))  # noqa: S608 - a constant
