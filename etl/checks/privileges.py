"""What the database user may not do, and must: for the nightly job, and for migrations where it makes them itself."""

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
"""What a run does with tables; views are read."""
MARIADB_DDL: Final = ("CREATE", "ALTER", "DROP", "INDEX", "REFERENCES", "CREATE VIEW")
"""What a migration does."""
_VERSION: Final = "alembic_version"
_FOR_MIGRATIONS: Final = "for migrations"
_DENIED: Final = frozenset({1142, 1143, 1044})
_GRANT: Final = re.compile(r"GRANT (?P<what>.+?) ON (?P<where>`(?:[^`]|``)*`\.\*|\*\.\*) TO ")


class MissingPrivilege(NamedTuple):
    """A privilege that is missing on one object.

    Attributes:
        on: As GRANT writes it; empty where the privilege is a role, the tables' owner.
        why: Empty where a run needs it.
    """

    privilege: str
    on: str
    why: str = ""


def require_privileges(connection: Connection, *, auto_migrate: bool) -> str:
    """Make sure that a server's user may do what is asked of it.

    Args:
        connection: As that user.
        auto_migrate: It makes and changes the tables too.

    Raises:
        CheckFailedError: It may not. The text says what is missing, and the statements that give it.
    """
    if connection.dialect.name == "postgresql":
        missing, user = list(_missing_on_postgresql(connection, auto_migrate)), "SELECT quote_ident(current_user)"
    else:
        missing, user = list(_missing_on_mariadb(connection, auto_migrate)), "SELECT CURRENT_USER()"
    if missing:
        raise CheckFailedError(grant_statements(missing, _as_grantee(connection.exec_driver_sql(user).scalar_one())))
    return "all that sync and its migrations need" if auto_migrate else "all that sync needs; no migrations"


def _as_grantee(user: str) -> str:
    """`name` of PostgreSQL as it is, `name@host` of MariaDB with quotes."""
    name, at, host = user.rpartition("@")
    return f"'{name}'@'{host}'" if at else user


def grant_statements(missing: Iterable[MissingPrivilege], user: str) -> str:
    """What is missing, and the statements that give it. Pure."""
    by_object: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for privilege, on, why in missing:
        by_object[on, why].append(privilege)
    lacks, gives = [], []
    for (on, why), privileges in by_object.items():
        names = ", ".join(privileges)
        lacks.append((f"{names} on {on}" if on else f"the role {names}") + (why and f" ({why})"))
        gives.append(f"GRANT {names}{on and f' ON {on}'} TO {user}")
    without = " (or set BILLING_AUTO_MIGRATE=false)" if any(why for _, why in by_object) else ""
    page = "docs/how-to/permissions.md"
    return f"{user} lacks {'; '.join(lacks)}; the owner gives it{without}: {'; '.join(gives)}; see {page}"


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
    names = [*metadata.tables, *VIEWS, _VERSION]
    for name, privilege in connection.execute(query, {"privileges": list(ROWS), "names": names}):
        if privilege == "SELECT" or name in metadata.tables or (name == _VERSION and auto_migrate):
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
        # MySQL does not show what a role may.
        if connection.dialect.is_mariadb or all(" ON " in grant for grant in grants):  # type: ignore[attr-defined]  # of this dialect
            database = connection.scalar(text("SELECT DATABASE()"))
            granted = granted_on(grants, database)
            yield from (
                MissingPrivilege(name, f"`{database}`.*", _FOR_MIGRATIONS)
                for name in MARIADB_DDL
                if name not in granted
            )
    inspector = inspect(connection)
    if not {*inspector.get_table_names(), *inspector.get_view_names()} & {*metadata.tables, *VIEWS, _VERSION}:
        return  # there is no schema yet, or nothing of it may even be seen
    for name, statement, privilege in _probe_statements(auto_migrate):
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            number = error.orig.args[0] if error.orig and error.orig.args else None
            if number in _DENIED:
                yield MissingPrivilege(privilege, name)


def _probe_statements(auto_migrate: bool) -> Iterator[tuple[str, str, str]]:  # noqa: FBT001 - a setting handed on
    """A statement for each privilege that needs just this one; none of them does anything."""
    for name in (*metadata.tables, *VIEWS, _VERSION):
        yield name, f"SELECT 1 FROM {name} LIMIT 0", "SELECT"
        if name in metadata.tables or (name == _VERSION and auto_migrate):
            column = "version_num" if name == _VERSION else metadata.tables[name].columns[0].name
            yield name, f"EXPLAIN INSERT INTO {name} ({column}) VALUES (0)", "INSERT"
            yield name, f"EXPLAIN UPDATE {name} SET {column} = 0", "UPDATE"
            yield name, f"EXPLAIN DELETE FROM {name}", "DELETE"


def granted_on(grants: Iterable[str], database: str) -> set[str]:
    """What the lines of SHOW GRANTS allow in all of a database. Pure."""
    granted: set[str] = set()
    for grant in grants:
        if (match := _GRANT.match(grant)) and _grant_covers(match["where"], database):
            names = {name.strip() for name in match["what"].split(",")}
            granted |= {*names, *(MARIADB_DDL if "ALL PRIVILEGES" in names else ())}
    return granted


def _grant_covers(where: str, database: str) -> bool:
    """Whether `*.*`, or a pattern of a database's name, is about this one."""
    pattern = where.removesuffix(".*").strip("`").replace("``", "`")
    if pattern == "*":
        return True
    wildcards = {"%": ".*", "_": "."}
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    expression = "".join(
        re.escape(part[1:]) if len(part) > 1 else wildcards.get(part, re.escape(part)) for part in parts
    )
    return re.fullmatch(expression, database, re.DOTALL) is not None
