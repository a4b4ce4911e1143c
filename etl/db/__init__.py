"""Access to the database: engine, schema, tables, views."""
