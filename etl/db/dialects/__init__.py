"""Code that differs between SQLite, PostgreSQL and MariaDB."""
