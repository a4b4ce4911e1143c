"""The users of etl/db/grants, in a database of their own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import SERVERS, fresh_database
from sqlalchemy import NullPool, create_engine

import etl.db
from etl.config.database_url import parse_url
from etl.db.engine import new_engine
from etl.db.migrate import migrate
from etl.db.tables import metadata
from etl.db.views import VIEWS

GRANTS = Path(etl.db.__file__).parent / "grants"
ROLES = ("owner", "writer", "reader")


class Users:
    """The users of one database, with unique names, because the server is shared."""

    def __init__(self, backend, url):
        self.url = url
        self.prefix = f"test_{uuid.uuid4().hex[:12]}"
        self.parts = (
            (GRANTS / f"{backend}.sql").read_text("utf-8").replace("billing_", f"{self.prefix}_").split("\n-- 2. ")
        )
        for name in ("records", "asof"):
            self.parts = [part.replace(f"{self.prefix}_{name}", f"billing_{name}") for part in self.parts]
        self.admin = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def grant(self, part):
        lines = [line for line in f"-- {self.parts[part - 1]}".splitlines() if not line.startswith("--")]
        with self.admin.connect() as connection:
            for statement in filter(str.strip, "\n".join(lines).split(";\n")):
                connection.exec_driver_sql(statement)
            if part == 1 and self.url.get_backend_name() == "mariadb":
                for role in ROLES:
                    connection.exec_driver_sql(f"ALTER USER {self.prefix}_{role} ACCOUNT UNLOCK")

    def take(self, what, user):
        """Revoke a privilege; on MariaDB, a grant on the whole database is first replaced by grants per table."""
        with self.admin.connect() as connection:
            if self.url.get_backend_name() == "mariadb" and not what.endswith("*"):
                connection.exec_driver_sql(f"REVOKE SELECT, INSERT, UPDATE, DELETE ON * FROM {user}")
                for name in (*metadata.tables, *VIEWS, "alembic_version"):
                    connection.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {user}")
            connection.exec_driver_sql(f"REVOKE {what} FROM {user}")

    def url_of(self, role):
        return self.url.set(username=f"{self.prefix}_{role}", password=None)

    def engine_of(self, role):
        return new_engine(self.url_of(role))


@contextmanager
def database_with_users(backend: str, folder: Path) -> Iterator[Users]:
    """A database with the current schema and its users, dropped at the end."""
    with fresh_database(backend, folder) as url:
        made = Users(backend, url)
        made.grant(1)
        migrate(made.engine_of("owner"))
        made.grant(2)
        yield made
    server = create_engine(parse_url(SERVERS[backend]), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        for role in ROLES:
            what = "ROLE" if backend == "postgresql" else "USER"
            connection.exec_driver_sql(f"DROP {what} {made.prefix}_{role}")
