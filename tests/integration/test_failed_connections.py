"""Every failed connection to a real server is reported with cause and remedy; a server that is down is waited for."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import NullPool, create_engine, text
from support.run_helpers import NO_PROGRESS, settings_of
from support.secret_leaks import PASSWORD, error_text, leaks
from support.sync_account import START

from etl.config.database_url import parse_url
from etl.db.connection_failure import ConnectionFailure
from etl.db.engine import new_engine
from etl.db.errors import translate_errors
from etl.db.retry import wait_for_server
from etl.errors import ConfigError, DatabaseError
from etl.services.database import open_engine
from etl.services.run import RunRequest
from etl.services.sync import run_sync

servers = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
mariadb = pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)


def failure(url, kind=DatabaseError) -> str:
    """The message of a failed connection to this database, as a user sees it."""
    with pytest.raises(kind) as failed, translate_errors():
        open_engine(url).connect()
    assert leaks(error_text(failed.value)) == []
    assert "\n" not in str(failed.value)
    return str(failed.value)


def name_of(url) -> str:
    """The server as messages name it."""
    return f"the database server {url.host}:{url.port or {'postgresql': 5432}.get(url.get_backend_name(), 3306)}"


@pytest.fixture
def administrator(database_url):
    """Runs statements as the tests' own user."""
    engine = create_engine(database_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def run(*statements: str) -> None:
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))

    return run


@pytest.fixture
def user(database_url, administrator) -> Iterator[str]:
    """A user with a password, who may log in."""
    name = f"user_{uuid.uuid4().hex[:12]}"
    if database_url.get_backend_name() == "postgresql":
        administrator(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        yield name
        administrator(f"DROP ROLE {name}")
    else:
        administrator(f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'")
        yield name
        administrator(f"DROP USER {name}@'%'")


@servers
def test_a_database_that_does_not_exist(database_url):
    message = failure(database_url.set(database="no_such_database", password=None))
    assert message.startswith(
        f"there is no database no_such_database on {name_of(database_url)}; create it, or correct"
    )


@postgresql
def test_a_role_that_does_not_exist(database_url):
    message = failure(database_url.set(username="nobody_here", password=PASSWORD))
    assert message.startswith(f"there is no user nobody_here on {name_of(database_url)}")


@postgresql
def test_a_role_that_may_not_log_in(database_url, administrator, user):
    administrator(f"ALTER ROLE {user} NOLOGIN")
    assert failure(database_url.set(username=user)).startswith(f"the user {user} may not log in on")


@postgresql
def test_a_role_with_too_many_connections(database_url, administrator, user):
    administrator(f"ALTER ROLE {user} CONNECTION LIMIT 0")
    assert "has too many connections" in failure(database_url.set(username=user))


@postgresql
def test_a_role_without_access_to_the_database(database_url, administrator, user):
    administrator(f"REVOKE CONNECT ON DATABASE {database_url.database} FROM PUBLIC")
    message = failure(database_url.set(username=user))
    assert message.startswith(f"the user {user} has no permission on the database {database_url.database}")


@postgresql
@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_a_server_without_tls_when_the_url_requires_it(database_url, mode):
    message = failure(database_url.update_query_dict({"sslmode": mode}))
    assert message == (
        f"{name_of(database_url)} does not support TLS, and BILLING_DATABASE_URL requires it; turn it on at the "
        "server, or change sslmode"
    )


def with_tls(url):
    """The URL without the parameter that turns TLS off for faster tests."""
    return url.difference_update_query(["ssl_disabled"])


@mariadb
def test_a_mariadb_server_without_tls_when_the_url_requires_it(database_url, authority):
    message = failure(with_tls(database_url).update_query_dict({"ssl_ca": str(authority.ca_file)}))
    assert message.endswith("turn it on at the server, or change ssl_ca")


@mariadb
@pytest.mark.parametrize(
    ("password", "words"), [(None, "needs a password for the user"), (f"{PASSWORD}?", "or its password")]
)
def test_a_wrong_password(database_url, user, password, words):
    message = failure(database_url.set(username=user, password=password))
    assert words in message
    assert user in message


@mariadb
def test_a_user_without_access_to_the_database(database_url, user):
    message = failure(database_url.set(username=user, password=PASSWORD))
    assert message.startswith(f"the user {user} has no permission on the database {database_url.database}")


@servers
def test_the_port_of_another_server(database_url):
    other = {"postgresql": 3306, "mariadb": 5432}[database_url.get_backend_name()]
    url = database_url.set(port=other).update_query_dict({"connect_timeout": "2"})
    message = failure(url)
    if database_url.get_backend_name() == "postgresql":
        assert "is not PostgreSQL; correct the port" in message
    else:  # a PostgreSQL server waits for the client to speak first, as MariaDB's client does for the server
        assert "cannot be reached: it does not answer" in message
    assert name_of(url) in message


@servers
def test_a_server_that_does_not_answer_and_a_host_without_an_address(database_url):
    message = failure(database_url.set(port=1, password=PASSWORD))
    assert message.startswith(
        f"the database server {database_url.host}:1 cannot be reached: the connection was refused"
    )
    message = failure(database_url.set(host="database.invalid", password=PASSWORD))
    assert "database.invalid" in message
    assert "its host name cannot be resolved" in message


@pytest.mark.parametrize(
    ("database_url", "query", "words"),
    [
        ("postgresql", {"sslmod": "require"}, "unknown parameter: sslmod; did you mean sslmode?"),
        ("postgresql", {"sslmode": "on"}, "an invalid value of sslmode"),
        ("postgresql", {"connect_timeout": "soon"}, "an invalid value of connect_timeout"),
        ("postgresql", {"options": "-c no_such_setting=1"}, "an invalid value of options"),
        ("postgresql", {"read_timeout": "soon"}, "a read_timeout that is not a number"),
        ("mariadb", {"ssl_caa": "x"}, "unknown parameter: ssl_caa; did you mean ssl_ca?"),
        ("mariadb", {"read_timeout": "soon"}, "an invalid value of read_timeout"),
        ("mariadb", {"ssl_ca": "/no/such/file"}, "cannot be read (ssl_ca: No such file or directory)"),
        ("sqlite", {"timeot": "3"}, "unknown parameter: timeot; did you mean timeout?"),
        ("sqlite", {"timeout": "soon"}, "an invalid value of timeout"),
        ("sqlite", {"sslmode": "require"}, "unknown parameter: sslmode; remove it"),
    ],
    indirect=["database_url"],
)
def test_a_wrong_parameter_of_the_url(database_url, query, words):
    message = failure(with_tls(database_url).update_query_dict(query), ConfigError)
    assert "BILLING_DATABASE_URL" in message
    assert words in message


def test_every_command_reports_the_reason(tmp_path, sandbox):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")} | {
        "BILLING_API_TOKEN": sandbox.token,
        "BILLING_API_URL": sandbox.url,
        "BILLING_DATABASE_WAIT": "0",
        "BILLING_DATABASE_URL": f"postgresql://loader:{PASSWORD}@127.0.0.1:1/billing",
    }
    verbs = [
        *("sync", "status", "check", "verify", "balance", "recent", "migrate"),
        *(
            "backfill --since 2026-03-08 --until 2026-03-09",
            "accept 2026-03-08",
            "account list",
            "purge --older-than 36m",
        ),
        *("export --out x.csv", "report --out x.html", "forget --phone 89243555100", "backup --out x.db"),
    ]
    running = [
        (verb, subprocess.Popen(
            [sys.executable, "-m", "etl", *verb.split()], cwd=tmp_path, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ))
        for verb in verbs
    ]  # fmt: skip
    for verb, process in running:
        words, _ = process.communicate(timeout=300)
        assert leaks(words) == []
        if verb.startswith("backup"):
            assert process.returncode == 78, "it copies SQLite databases only"
        else:
            assert process.returncode == 74, (verb, words)
            assert "the database server 127.0.0.1:1 cannot be reached: the connection was refused" in words, verb


@pytest.mark.parametrize("command", ["check", "sync"])
def test_a_wrong_parameter_ends_with_78_and_names_the_setting(tmp_path, sandbox, command):
    done = subprocess.run(
        [sys.executable, "-m", "etl", command],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
        | {
            "BILLING_API_TOKEN": sandbox.token,
            "BILLING_API_URL": sandbox.url,
            "BILLING_DATABASE_URL": f"mysql://u:{PASSWORD}@127.0.0.1:1/b?read_timeout=soon",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    words = done.stdout + done.stderr
    assert done.returncode == 78, words
    assert "BILLING_DATABASE_URL has an invalid value of read_timeout; correct or remove it" in words
    assert leaks(words) == []
    assert sandbox.requests == []


# SQLite --------------------------------------------------------------------------------------------------------------


def test_a_folder_that_does_not_exist(tmp_path):
    message = failure(parse_url(f"sqlite:///{tmp_path}/nowhere/billing.db"))
    assert message == f"the folder {tmp_path}/nowhere does not exist; create it, or correct the path of the database"


def test_a_folder_in_place_of_a_file(tmp_path):
    assert failure(parse_url(f"sqlite:///{tmp_path}")).startswith(f"{tmp_path} is a folder")


@pytest.mark.parametrize(("umask", "mode"), [(0o000, 0o600), (0o022, 0o600), (0o277, 0o400)])
def test_a_new_database_file_is_private_to_its_owner(tmp_path, umask, mode):
    url = parse_url(f"sqlite:///{tmp_path / 'billing.db'}")
    before = os.umask(umask)
    try:
        with new_engine(url).begin() as connection:
            connection.execute(text("CREATE TABLE t (x)"))
            files = sorted(tmp_path.iterdir())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("billing.db", "billing.db-shm", "billing.db-wal"), mode)


# A server that is down ------------------------------------------------------------------------------------------------


@servers
def test_a_server_that_starts_later_is_waited_for(database_url, caplog):
    host, port = database_url.host, database_url.port or {"postgresql": 5432}.get(database_url.get_backend_name(), 3306)
    with socket.socket() as bound, contextlib.ExitStack() as opened:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = database_url.set(host="127.0.0.1", port=bound.getsockname()[1])
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                bound.close()
                server = opened.enter_context(line(url.port, (host, port)))
                assert server

        wait_for_server(new_engine(url), 60, sleep=sleep)
    assert len(waits) == 3
    assert len(caplog.messages) == 3
    assert "cannot be reached: the connection was refused" in caplog.messages[0]


@contextlib.contextmanager
def line(port: int, server: tuple[str, int]) -> Iterator[bool]:
    """A TCP proxy to a server."""
    from socketserver import StreamRequestHandler

    from support.tunnels import join, serving

    class Line(StreamRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(server) as connection:
                join(self.connection, connection)

    with serving(Line, port):
        yield True


@servers
def test_waiting_for_a_server_ends_after_the_configured_time(database_url):
    waits: list[float] = []
    with pytest.raises(ConnectionFailure):
        wait_for_server(new_engine(database_url.set(port=1)), 20, sleep=waits.append)
    assert 20 <= sum(waits) < 26
    waits.clear()
    with pytest.raises(ConnectionFailure):
        wait_for_server(new_engine(database_url.set(port=1)), 0, sleep=waits.append)
    with pytest.raises(ConnectionFailure):
        wait_for_server(new_engine(database_url.set(database="no_such_database")), 60, sleep=waits.append)
    assert waits == []


@servers
def test_a_run_without_a_server_exits_74_before_any_request(database_url, sandbox):
    settings = settings_of(database_url.set(port=1), sandbox, START)
    result = run_sync(settings, RunRequest("sync"), NO_PROGRESS, redact=str)
    assert result.exit_code == 74
    assert "cannot be reached" in str(result.error)
    assert sandbox.requests == []
