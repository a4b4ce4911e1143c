"""The objects of a PostgreSQL database that depend on tables or views, by its catalogue."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, text

_OURS: Final = """ours AS (
  SELECT oid, relname, relkind, relrowsecurity OR relforcerowsecurity AS row_security, reloptions FROM pg_class
  WHERE relnamespace = CAST(quote_ident(current_schema()) AS regnamespace) AND relname = ANY(CAST(:names AS text[]))
)"""
# A function may return rows of a view, or arrays of them: it depends on the type.
_DEPENDENTS: Final = text(f"""
WITH {_OURS}, targets AS (
  SELECT CAST('pg_class' AS regclass) AS classid, oid FROM ours
  UNION ALL SELECT 'pg_type', t.oid FROM pg_type t JOIN ours ON t.typrelid = ours.oid
  UNION ALL SELECT 'pg_type', t.typarray FROM pg_type t JOIN ours ON t.typrelid = ours.oid
  UNION ALL SELECT 'pg_proc', oid FROM pg_proc
    WHERE pronamespace = CAST(quote_ident(current_schema()) AS regnamespace)
      AND proname = ANY(CAST(:names AS text[]))
)
SELECT CASE WHEN v.oid IS NULL THEN pg_describe_object(d.classid, d.objid, 0)
    ELSE CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || CAST(CAST(v.oid AS regclass) AS text)
  END AS dependent
FROM pg_depend d JOIN targets ON targets.classid = d.refclassid AND targets.oid = d.refobjid
LEFT JOIN pg_rewrite r ON d.classid = CAST('pg_rewrite' AS regclass) AND r.oid = d.objid AND r.rulename = '_RETURN'
LEFT JOIN pg_class v ON v.oid = r.ev_class
LEFT JOIN pg_class c ON d.classid = CAST('pg_class' AS regclass) AND c.oid = d.objid
LEFT JOIN pg_constraint k ON d.classid = CAST('pg_constraint' AS regclass) AND k.oid = d.objid
LEFT JOIN pg_proc p ON d.classid = CAST('pg_proc' AS regclass) AND p.oid = d.objid
LEFT JOIN pg_attribute a ON d.refclassid = CAST('pg_class' AS regclass) AND a.attrelid = d.refobjid
  AND a.attnum = d.refobjsubid AND a.attnum > 0
WHERE d.deptype IN ('n', 'a') AND d.classid <> CAST('pg_attrdef' AS regclass)
  AND COALESCE(c.relkind, 'r') <> 'S' AND COALESCE(k.contype, 'u') <> 'n'
  AND (
    COALESCE(v.relnamespace, c.relnamespace, k.connamespace, p.pronamespace)
      = CAST(quote_ident(current_schema()) AS regnamespace)
    AND COALESCE(v.relname, c.relname, k.conname, p.proname) = ANY(CAST(:own AS text[]))
  ) IS NOT TRUE
  -- Indexes and constraints of the table itself follow its columns.
  AND (CAST(:columns AS text[]) IS NULL OR a.attname = ANY(CAST(:columns AS text[])) AND c.oid IS NULL
    AND (k.oid IS NULL OR k.conrelid <> d.refobjid))
UNION
SELECT 'row level security of ' || relname FROM ours WHERE row_security AND CAST(:columns AS text[]) IS NULL
UNION
SELECT 'storage parameters of ' || relname FROM ours
WHERE relkind IN ('r', 'p') AND reloptions IS NOT NULL AND CAST(:columns AS text[]) IS NULL
ORDER BY 1
""")  # noqa: S608 - constants


def read_postgresql_dependents(
    connection: Connection, names: Collection[str], own: Collection[str], columns: Collection[str] | None = None
) -> list[str]:
    """Describe the objects that depend on relations and functions with these names.

    Args:
        connection: Connection to read with.
        names: Names of tables, views and functions of the current schema.
        own: Names of our own views, functions, indexes and constraints, which are left out.
        columns: Only what prevents a change of columns with these names; None for everything.
    """
    given = {"names": list(names), "own": list(own), "columns": None if columns is None else list(columns)}
    return list(connection.scalars(_DEPENDENTS, given))
