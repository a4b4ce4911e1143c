"""Fixtures with real components: a database of each kind, new for each test, and the sandbox over HTTP.

PostgreSQL is expected at TEST_POSTGRES_URL and MariaDB at TEST_MARIADB_URL (see the defaults below). Tests of a server
that cannot be reached are skipped; with REQUIRE_DATABASES=1 they fail.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
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
from support.engines import close_engines
from support.secret_leaks import leaks
from support.tunnels import Authority, new_authority

from etl import signals
from etl.config.database_url import parse_url
from etl.log import NOTICE_LOGGER
from etl.sandbox import Dataset, Sandbox

# In CI, examples are the same in each build; on a developer's machine each run tries others. There is no time limit.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

share_compiled_statements()
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= 1 << 30 and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
    # Temporary folders on a RAM disk: SQLite waits for a disk at the end of almost every connection.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
SERVERS = {
    "postgresql": os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    # Without ssl_disabled, PyMySQL reads the system's CA certificates for each connection: 20 ms of CPU.
    "mariadb": os.environ.get("TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/mysql?ssl_disabled=true"),
}
DATABASES: dict[str, Server | SQLiteFiles] = {}
"""Providers of databases, by backend."""
TODAY = date(2026, 3, 11)
NOW = datetime.combine(TODAY, time(9, 30))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Restore the loggers: a level set by one test would make libraries log the statements of the next ones."""
    loggers = [logging.getLogger(name) for name in (None, "sqlalchemy", "alembic", "urllib3", NOTICE_LOGGER)]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(autouse=True)
def _engines_closed() -> Iterator[None]:
    yield
    close_engines()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail tests that print or log a secret."""
    report = yield
    if report.passed and (found := leaks("\n".join(text for _, text in report.sections))):
        report.outcome = "failed"
        report.longrepr = f"this test printed or logged a secret: {found}"
    return report


@contextmanager
def fresh_database(backend: str, folder: Path, *, empty: bool = True) -> Iterator[URL]:
    """Provide a database, empty or with the current schema and no row."""
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


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Two processes a core: tests wait for servers, disks and other processes."""
    cores = yield
    return 2 * cores


def pytest_collection_finish() -> None:
    """Spare the garbage collector the modules and the thousands of tests, which stay until the end."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Drop the databases of this process."""
    for databases in DATABASES.values():
        databases.close()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """A database on each of the three backends in turn: with the current schema, or empty if the test is marked so."""
    empty = request.node.get_closest_marker("empty_database") is not None
    with fresh_database(request.param, tmp_path, empty=empty) as url:
        yield url


@pytest.fixture
def handlers() -> Iterator[None]:
    """Install the program's signal handlers in this process for the test."""
    before = {signum: signal.getsignal(signum) for signum in signals.SIGNALS}
    signals.install_handlers(grace_seconds=3600)  # no test lasts so long
    yield
    signals.forget_signal()
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> URL:
    """An empty SQLite database, for tests that do not depend on the database."""
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
