"""Real parts: a database of each kind, made for one test and removed after it, and the sandbox over HTTP.

PostgreSQL is looked for at TEST_POSTGRES_URL and MariaDB at TEST_MARIADB_URL (see the defaults below). Where one cannot
be reached, its tests are skipped and say so; with REQUIRE_DATABASES=1 they fail instead.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import URL, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from support.secret_leaks import leaks
from support.tunnels import Authority, new_authority

from etl.config.database_url import parse_url
from etl.log import NOTICE_LOGGER
from etl.sandbox import Dataset, Sandbox

# A build is red for a reason that the next one finds again; on a desk each run looks elsewhere.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

SERVERS = {
    "postgresql": os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mariadb": os.environ.get("TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/mysql"),
}
TODAY = date(2026, 3, 11)
NOW = datetime.combine(TODAY, time(9, 30))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """What a test hears of libraries is no business of the next one: their statements may hold its passwords."""
    loggers = [logging.getLogger(name) for name in (None, "sqlalchemy", "alembic", "urllib3", NOTICE_LOGGER)]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """No test may print or log a secret unseen."""
    report = yield
    if report.passed and (found := leaks("\n".join(text for _, text in report.sections))):
        report.outcome = "failed"
        report.longrepr = f"a secret stands in what this test printed or logged: {found}"
    return report


@contextmanager
def fresh_database(backend: str, folder: Path) -> Iterator[URL]:
    """An empty database of its own, removed at the end."""
    if backend == "sqlite":
        yield parse_url(f"sqlite:///{folder / 'billing.db'}")
        return
    server = parse_url(SERVERS[backend])
    name = f"billing_test_{uuid.uuid4().hex[:12]}"
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except SQLAlchemyError as error:
        reason = f"no {backend} server at {server.render_as_string()} ({type(error).__name__})"
        if os.environ.get("REQUIRE_DATABASES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        yield server.set(database=name)
    finally:
        with engine.connect() as connection:
            force = " WITH (FORCE)" if backend == "postgresql" else ""
            connection.execute(text(f"DROP DATABASE {name}{force}"))


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """An empty database, on each of the three in turn."""
    with fresh_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> URL:
    """An empty SQLite database: for what does not depend on the database."""
    return parse_url(f"sqlite:///{tmp_path / 'billing.db'}")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The vendor on the morning of TODAY, with a fortnight of seeded records."""
    dataset = Dataset(seed=1, today=TODAY, days=14, per_day=12, until=NOW.time())
    with Sandbox(port=0, dataset=dataset, now=NOW) as vendor:
        yield vendor


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority with a certificate for servers on the loopback."""
    return new_authority(tmp_path_factory.mktemp("authority"))
