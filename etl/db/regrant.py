"""What a relation of PostgreSQL loses when it is dropped and created again: its owner, grants, options and comment."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, text

from etl.db.dialects import dialect_for
from etl.db.tables import billing_records, metadata
from etl.db.view_columns import VIEW_COLUMNS

# A new relation gets the owner of the charges: a superuser that migrates would own it otherwise.
_OWNERS: Final = text("""
SELECT format('ALTER TABLE %I OWNER TO %I', n.name, pg_get_userbyid(COALESCE(c.relowner, t.relowner)))
FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS n (name, place)
JOIN pg_class t ON t.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND t.relname = :main
LEFT JOIN pg_class c ON c.relnamespace = t.relnamespace AND c.relname = n.name
WHERE COALESCE(c.relowner, t.relowner) <> CAST(quote_ident(current_user) AS regrole)
  AND (c.oid IS NULL OR n.name = ANY(CAST(:dropped AS text[])))
ORDER BY n.place
""")
_FUNCTION_OWNER: Final = text("""
SELECT format('ALTER FUNCTION billing_asof(timestamptz, date, date) OWNER TO %I',
  pg_get_userbyid(COALESCE(p.proowner, c.relowner)))
FROM pg_class c
LEFT JOIN pg_proc p ON p.pronamespace = c.relnamespace AND p.proname = 'billing_asof'
WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND c.relname = :main
  AND COALESCE(p.proowner, c.relowner) <> CAST(quote_ident(current_user) AS regrole)
""")
_GRANTEE: Final = """CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
  || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END"""
_NAMED: Final = """c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
  AND c.relname = ANY(CAST(:names AS text[]))"""
_GRANTS: Final = text(f"""
SELECT format('GRANT %s ON %I TO ', a.privilege_type, c.relname) || {_GRANTEE}
FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
WHERE {_NAMED} AND a.grantee <> c.relowner
ORDER BY 1
""")  # noqa: S608 - constants
_COLUMN_GRANTS: Final = text(f"""
SELECT c.relname, k.attname, format('GRANT %s (%I) ON %I TO ', a.privilege_type, k.attname, c.relname) || {_GRANTEE}
FROM pg_class c JOIN pg_attribute k ON k.attrelid = c.oid AND NOT k.attisdropped CROSS JOIN aclexplode(k.attacl) a
WHERE {_NAMED} AND a.grantee <> c.relowner
ORDER BY 3
""")  # noqa: S608 - constants
_VIEW_OPTIONS: Final = text(f"""
SELECT format('ALTER VIEW %I SET (%s)', c.relname, array_to_string(c.reloptions, ', '))
FROM pg_class c WHERE {_NAMED} AND c.relkind = 'v' AND c.reloptions IS NOT NULL
UNION ALL
SELECT format('COMMENT ON VIEW %I IS %L', c.relname, obj_description(c.oid, 'pg_class'))
FROM pg_class c WHERE {_NAMED} AND c.relkind = 'v' AND obj_description(c.oid, 'pg_class') IS NOT NULL
""")  # noqa: S608 - constants
# Users who may read the present rows may read earlier ones: up to revision 0007 all users could call the function.
_FUNCTION_GRANTS: Final = text(f"""
SELECT DISTINCT 'GRANT EXECUTE ON FUNCTION billing_asof(timestamptz, date, date) TO ' || {_GRANTEE}
FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND c.relname = 'billing'
  AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
ORDER BY 1
""")  # noqa: S608 - constants


def regrant_statements(connection: Connection, names: Collection[str]) -> list[str]:
    """Statements that restore owners and grants after tables and views were dropped and created again.

    They also restore options and comments of views. There are none where the database keeps grants by name. Whoever may
    read `billing` may execute `billing_asof`.

    Args:
        connection: Connection to read with, before anything is dropped.
        names: Tables and views that will be dropped; tables that do not exist yet may be created meanwhile.
    """
    if not dialect_for(connection.dialect.name).drops_grants:
        return []
    given = {"names": list(names), "dropped": list(names), "main": billing_records.name}
    statements = [
        *connection.scalars(_OWNERS, given | {"names": list(dict.fromkeys([*metadata.tables, *names]))}),
        *connection.scalars(_FUNCTION_OWNER, given),
        *connection.scalars(_VIEW_OPTIONS, given),
        *connection.scalars(_GRANTS, given),
        *(
            statement
            for name, column, statement in connection.execute(_COLUMN_GRANTS, given)
            if name not in VIEW_COLUMNS or column in {known.name for known in VIEW_COLUMNS[name]}
        ),
        *connection.scalars(_FUNCTION_GRANTS),
    ]
    # The driver reads % as the beginning of a parameter.
    return [statement.replace("%", "%%") for statement in statements]
