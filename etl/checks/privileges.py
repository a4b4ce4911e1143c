"""Missing privileges of the database user, for syncs and for automatic migrations."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, inspect, text
from sqlalchemy.exc import DBAPIError

from etl.db.tables import metadata
from etl.db.views import VIEWS
from etl.errors import CheckFailedError

ROWS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""Privileges that a run needs on tables; on views it needs SELECT."""
MARIADB_DDL: Final = ("CREATE", "ALTER", "DROP", "INDEX", "REFERENCES", "CREATE VIEW")
"""Privileges that a migration needs."""
_VERSION_TABLE: Final = "alembic_version"
_FOR_MIGRATIONS: Final = "for migrations"
_DENIED: Final = frozenset({1142, 1143, 1044})
_GRANT: Final = re.compile(r"GRANT (?P<privileges>.+?) ON (?P<object>`(?:[^`]|``)*`\.\*|\*\.\*) TO ")


class MissingPrivilege(NamedTuple):
    """A missing privilege on an object.

    Attributes:
        privilege: A privilege, or the role that owns the tables.
        on: The object in the syntax of GRANT; empty for a role.
        why: The purpose; empty if every run needs it.
    """

    privilege: str
    on: str
    why: str = ""


def require_privileges(connection: Connection, *, auto_migrate: bool) -> str:
    """Require that the connected user has all privileges that it needs.

    Args:
        connection: Connected as the user.
        auto_migrate: Whether the user also creates and migrates the schema.

    Raises:
        CheckFailedError: A privilege is missing. The message names it, with the GRANT statements.
    """
    if connection.dialect.name == "postgresql":
        missing, user = list(_missing_on_postgresql(connection, auto_migrate)), "SELECT quote_ident(current_user)"
    else:
        missing, user = list(_missing_on_mariadb(connection, auto_migrate)), "SELECT CURRENT_USER()"
    if missing:
        raise CheckFailedError(grant_statements(missing, _as_grantee(connection.exec_driver_sql(user).scalar_one())))
    return "all that sync and its migrations need" if auto_migrate else "all that sync needs; no migrations"


def _as_grantee(user: str) -> str:
    """The user in the syntax of GRANT: PostgreSQL's `name` unchanged, MariaDB's `name@host` quoted."""
    name, at, host = user.rpartition("@")
    return f"'{name}'@'{host}'" if at else user


def grant_statements(missing: Iterable[MissingPrivilege], user: str) -> str:
    """Describe missing privileges, with the GRANT statements. Pure."""
    by_object: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for privilege, on, why in missing:
        by_object[on, why].append(privilege)
    missing_names, grants = [], []
    for (on, why), privileges in by_object.items():
        names = ", ".join(privileges)
        missing_names.append((f"{names} on {on}" if on else f"the role {names}") + (why and f" ({why})"))
        grants.append(f"GRANT {names}{on and f' ON {on}'} TO {user}")
    alternative = " (or set BILLING_AUTO_MIGRATE=false)" if any(why for _, why in by_object) else ""
    missing_text, statements = "; ".join(missing_names), "; ".join(grants)
    page = "docs/how-to/permissions.md"
    return f"{user} lacks {missing_text}; the owner gives it{alternative}: {statements}; see {page}"


def _missing_on_postgresql(connection: Connection, auto_migrate: bool) -> Iterator[MissingPrivilege]:  # noqa: FBT001 - a setting handed on
    schema = connection.scalar(text("SELECT quote_ident(current_schema())"))
    if schema is None:
        yield MissingPrivilege("USAGE", "SCHEMA public")
        return
    if auto_migrate and not connection.scalar(text("SELECT has_schema_privilege(current_schema(), 'CREATE')")):
        yield MissingPrivilege("CREATE", f"SCHEMA {schema}", _FOR_MIGRATIONS)
    query = text("""
        SELECT c.relname, p.privilege
        FROM pg_class c CROSS JOIN unnest(CAST(:privileges AS text[])) WITH ORDINALITY AS p (privilege, place)
        WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
          AND c.relname IN :names AND c.relkind IN ('r', 'v')
          AND NOT has_table_privilege(c.oid, p.privilege)
        ORDER BY c.relname, p.place""").bindparams(bindparam("names", expanding=True))
    names = [*metadata.tables, *VIEWS, _VERSION_TABLE]
    for name, privilege in connection.execute(query, {"privileges": list(ROWS), "names": names}):
        if privilege == "SELECT" or name in metadata.tables or (name == _VERSION_TABLE and auto_migrate):
            yield MissingPrivilege(privilege, name)
    sequences = text("""
        SELECT c.relname FROM pg_class c
        WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
          AND c.relkind = 'S' AND c.relname IN :names AND NOT has_sequence_privilege(c.oid, 'USAGE')
        ORDER BY c.relname""").bindparams(bindparam("names", expanding=True))
    for name in connection.scalars(sequences, {"names": [f"{table}_id_seq" for table in metadata.tables]}):
        yield MissingPrivilege("USAGE", f"SEQUENCE {name}")
    if auto_migrate:
        owners = text("""
            SELECT DISTINCT quote_ident(pg_get_userbyid(c.relowner)) FROM pg_class c
            WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
              AND c.relname IN :names AND c.relkind IN ('r', 'v') AND NOT pg_has_role(c.relowner, 'USAGE')
            ORDER BY 1""").bindparams(bindparam("names", expanding=True))
        for owner in connection.scalars(owners, {"names": names}):
            yield MissingPrivilege(owner, "", _FOR_MIGRATIONS)


def _missing_on_mariadb(connection: Connection, auto_migrate: bool) -> Iterator[MissingPrivilege]:  # noqa: FBT001 - a setting handed on
    if auto_migrate:
        grants = list(connection.exec_driver_sql("SHOW GRANTS").scalars())
        # MySQL does not show the privileges of a role.
        if connection.dialect.is_mariadb or all(" ON " in grant for grant in grants):  # type: ignore[attr-defined]  # of this dialect
            database = connection.scalar(text("SELECT DATABASE()"))
            granted = granted_on(grants, database)
            yield from (
                MissingPrivilege(name, f"`{database}`.*", _FOR_MIGRATIONS)
                for name in MARIADB_DDL
                if name not in granted
            )
    inspector = inspect(connection)
    if not {*inspector.get_table_names(), *inspector.get_view_names()} & {*metadata.tables, *VIEWS, _VERSION_TABLE}:
        return  # there is no schema yet, or none of it is visible
    for name, statement, privilege in _probe_statements(auto_migrate):
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            error_code = error.orig.args[0] if error.orig and error.orig.args else None
            if error_code in _DENIED:
                yield MissingPrivilege(privilege, name)


def _probe_statements(auto_migrate: bool) -> Iterator[tuple[str, str, str]]:  # noqa: FBT001 - a setting handed on
    """Yield for each privilege a statement without effect that needs only this privilege."""
    for name in (*metadata.tables, *VIEWS, _VERSION_TABLE):
        yield name, f"SELECT 1 FROM {name} LIMIT 0", "SELECT"
        if name in metadata.tables or (name == _VERSION_TABLE and auto_migrate):
            column = "version_num" if name == _VERSION_TABLE else metadata.tables[name].columns[0].name
            yield name, f"EXPLAIN INSERT INTO {name} ({column}) VALUES (0)", "INSERT"
            yield name, f"EXPLAIN UPDATE {name} SET {column} = 0", "UPDATE"
            yield name, f"EXPLAIN DELETE FROM {name}", "DELETE"


def granted_on(grants: Iterable[str], database: str) -> set[str]:
    """The privileges on a whole database in the lines of SHOW GRANTS. Pure."""
    granted: set[str] = set()
    for grant in grants:
        if (match := _GRANT.match(grant)) and _grant_covers(match["object"], database):
            names = {name.strip() for name in match["privileges"].split(",")}
            granted |= {*names, *(MARIADB_DDL if "ALL PRIVILEGES" in names else ())}
    return granted


def _grant_covers(object_pattern: str, database: str) -> bool:
    """Whether `*.*` or a pattern of database names includes this database."""
    pattern = object_pattern.removesuffix(".*").strip("`").replace("``", "`")
    if pattern == "*":
        return True
    wildcards = {"%": ".*", "_": "."}
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    expression = "".join(
        re.escape(part[1:]) if len(part) > 1 else wildcards.get(part, re.escape(part)) for part in parts
    )
    return re.fullmatch(expression, database, re.DOTALL) is not None
