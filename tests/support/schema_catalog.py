"""The schema as the database's own catalogue describes it, with the rows of all tables."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, inspect, text

_POSTGRESQL = {
    "columns": """
        SELECT c.relname, row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname,
          format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
          a.attgenerated, a.attstorage, pg_get_expr(d.adbin, d.adrelid), col.collname, col_description(c.oid, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        LEFT JOIN pg_collation col ON col.oid = a.attcollation
        WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
          AND c.relkind IN ('r', 'v')""",
    "relations": """
        SELECT relname, relkind, relpersistence, reloptions, relhasrules, relrowsecurity, pg_get_userbyid(relowner),
          relacl::text, obj_description(oid, 'pg_class')
        FROM pg_class WHERE relnamespace = 'public'::regnamespace""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid), condeferrable, convalidated
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
    "sequences": """
        SELECT c.relname, s.seqtypid::regtype::text, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle,
          d.refobjid::regclass::text, d.refobjsubid, d.deptype
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
        LEFT JOIN pg_depend d ON d.objid = c.oid AND d.refobjsubid > 0
        WHERE c.relnamespace = 'public'::regnamespace""",
}


def describe_schema(connection: Connection) -> dict[str, Any]:
    """Describe all objects of a database."""
    describe = {"sqlite": _describe_sqlite, "postgresql": _describe_postgresql}.get(
        connection.dialect.name, _describe_mariadb
    )
    tables = sorted(inspect(connection).get_table_names())
    rows = {table: sorted(map(repr, connection.execute(text(f"SELECT * FROM {table}")))) for table in tables}
    return describe(connection) | {"rows": rows}


def _describe_sqlite(connection: Connection) -> dict[str, Any]:
    description: dict[str, Any] = {}
    for kind, name, table, sql in connection.execute(text("SELECT type, name, tbl_name, sql FROM sqlite_master")):
        # An added column follows the constraints, so the parts are sorted; `table_xinfo` has the order of columns.
        definition = " ".join((sql or "").split()).replace(f'"{table}"', table)  # a renamed table is quoted
        description[f"{kind} {name}"] = table, sorted(_parts(definition)) if kind == "table" else definition
        for pragma in ("table_xinfo", "index_xinfo", "index_list", "foreign_key_list"):
            description[f"{pragma} {name}"] = connection.exec_driver_sql(f"PRAGMA {pragma}('{name}')").all()
    return description


def _parts(create_table: str) -> list[str]:
    """`CREATE TABLE t`, each definition of a column or constraint, and the text after the last bracket."""
    start, end = create_table.index("("), create_table.rindex(")")
    inside = create_table[start + 1 : end]
    parts = re.split(r",(?![^()]*\))", inside)  # not within brackets
    return [create_table[:start].strip(), *map(str.strip, parts), create_table[end:]]


def _describe_postgresql(connection: Connection) -> dict[str, Any]:
    return {topic: sorted(map(repr, connection.execute(text(query)))) for topic, query in _POSTGRESQL.items()}


def _describe_mariadb(connection: Connection) -> dict[str, Any]:
    names = [row[0] for row in connection.exec_driver_sql("SHOW FULL TABLES")]
    return {name: tuple(connection.exec_driver_sql(f"SHOW CREATE TABLE {name}").one()) for name in names}
