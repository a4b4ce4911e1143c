"""Grants that a relation loses when it is dropped and created again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, bindparam, text

from etl.db.dialects import dialect_for

_GRANTS: Final = text("""
SELECT 'GRANT ' || privilege_type || ' ON ' || quote_ident(table_name) || ' TO '
  || CASE WHEN grantee = 'PUBLIC' THEN 'PUBLIC' ELSE quote_ident(grantee) END
FROM information_schema.role_table_grants
WHERE table_schema = current_schema() AND table_name IN :names AND grantee <> grantor
""").bindparams(bindparam("names", expanding=True))
# Users who may read the present rows may read earlier ones: up to revision 0007 all users could call the function.
_FUNCTION_GRANTS: Final = text("""
SELECT DISTINCT 'GRANT EXECUTE ON FUNCTION billing_asof(timestamptz, date, date) TO '
  || CASE WHEN grantee = 'PUBLIC' THEN 'PUBLIC' ELSE quote_ident(grantee) END
FROM information_schema.role_table_grants
WHERE table_schema = current_schema() AND table_name = 'billing' AND privilege_type = 'SELECT' AND grantee <> grantor
""")


def regrant_statements(connection: Connection, names: Collection[str]) -> list[str]:
    """Statements that restore the grants on tables and views; none where the database keeps them by name.

    Whoever may read `billing` may execute `billing_asof`.
    """
    if not dialect_for(connection.dialect.name).drops_grants:
        return []
    relations = connection.scalars(_GRANTS, {"names": list(names)}).all()
    return [*relations, *connection.scalars(_FUNCTION_GRANTS)]
