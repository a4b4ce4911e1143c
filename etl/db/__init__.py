"""Database access: engine, schema, tables, views, locks, one module per family of tables."""
