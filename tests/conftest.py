"""Real parts: a database of each kind, empty for each test, and the sandbox over HTTP.

PostgreSQL is looked for at TEST_POSTGRES_URL and MariaDB at TEST_MARIADB_URL (see the defaults below). Where one cannot
be reached, its tests are skipped and say so; with REQUIRE_DATABASES=1 they fail instead.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, time
from pathlib import Path

import psycopg
import pymysql
import pytest
from hypothesis import settings
from sqlalchemy import URL
from support.compiled_statements import share_compiled_statements
from support.databases import Server, SQLiteFiles, databases_of
from support.secret_leaks import leaks
from support.tunnels import Authority, new_authority

from etl import signals
from etl.config.database_url import parse_url
from etl.log import NOTICE_LOGGER
from etl.sandbox import Dataset, Sandbox

# A build is red for a reason that the next one finds again; on a desk each run looks elsewhere. No speed counts.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

share_compiled_statements()
SERVERS = {
    "postgresql": os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    # Without ssl_disabled, PyMySQL reads the system's CA certificates for each connection: 20 ms of CPU.
    "mariadb": os.environ.get("TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/mysql?ssl_disabled=true"),
}
DATABASES: dict[str, Server | SQLiteFiles] = {}
"""What provides the databases of this process."""
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
def fresh_database(backend: str, folder: Path, *, empty: bool = True) -> Iterator[URL]:
    """A database of its own, empty or with the current schema and no row."""
    if backend not in DATABASES:
        DATABASES[backend] = SQLiteFiles() if backend == "sqlite" else databases_of(parse_url(SERVERS[backend]))
    with ExitStack() as stack:
        try:
            url = stack.enter_context(DATABASES[backend].database(folder, empty=empty))
        except (psycopg.Error, pymysql.Error) as error:
            server = parse_url(SERVERS[backend]).render_as_string()
            reason = f"no {backend} server at {server} ({type(error).__name__})"
            if os.environ.get("REQUIRE_DATABASES") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        yield url


def pytest_unconfigure() -> None:
    """Leave nothing on the servers."""
    for databases in DATABASES.values():
        databases.close()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """A database on each of the three in turn: with the current schema, or empty if the test is marked so."""
    empty = request.node.get_closest_marker("empty_database") is not None
    with fresh_database(request.param, tmp_path, empty=empty) as url:
        yield url


@pytest.fixture
def handlers() -> Iterator[None]:
    """The program's signal handlers, in this process; nothing is left of a signal after the test."""
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    signals.install_handlers(grace_seconds=3600)  # no test lasts so long
    yield
    signals.forget_signal()
    for number, handler in before.items():
        signal.signal(number, handler)


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
