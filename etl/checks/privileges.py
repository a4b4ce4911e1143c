"""Missing privileges of the database user, for syncs and for automatic migrations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection

from etl.db.dialects import dialect_for
from etl.db.dialects.health import MissingPrivilege, SchemaAccess
from etl.db.ownership import VERSION_TABLE
from etl.db.tables import metadata
from etl.db.views import VIEWS
from etl.errors import CheckFailedError


def require_privileges(connection: Connection, *, auto_migrate: bool) -> str:
    """Require that the connected user has all privileges that it needs.

    Args:
        connection: Connected as the user.
        auto_migrate: Whether the user also creates and migrates the schema.

    Raises:
        CheckFailedError: A privilege is missing. The message names it, with the GRANT statements.
    """
    dialect = dialect_for(connection.dialect.name)
    tables = {name: table.columns[0].name for name, table in metadata.tables.items()}
    schema = SchemaAccess(tables, VIEWS, VERSION_TABLE, migrates=auto_migrate)
    if missing := list(dialect.missing_privileges(connection, schema)):
        raise CheckFailedError(grant_statements(missing, dialect.grantee(connection)))
    return "all that sync and its migrations need" if auto_migrate else "all that sync needs; no migrations"


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
