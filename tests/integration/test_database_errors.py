"""Database errors are one line without secrets, with exit code 74."""

from __future__ import annotations

import os
import socket
import uuid
from decimal import Decimal

import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError
from support.forked_cli import run_forked
from support.secret_leaks import PASSWORD

from etl.db.engine import new_engine
from etl.db.errors import describe_error, is_retryable
from etl.db.migrate import migrate

PHONE = "9243555100"


@pytest.fixture
def vendor(sandbox):
    record = {
        "created_at": "2026-03-09T10:00:00",
        "code_auth": "0371",
        "status": 1,
        "status_info": "ok",
        "phone": f"8{PHONE}",
        "price": Decimal("666.000001"),
    }
    sandbox.dataset.replace([record])
    return sandbox


@pytest.fixture
def sync(vendor, tmp_path):
    """Run a sync into a database; returns its exit code and stderr."""

    def sync(url, *options, command="sync", **environment):
        variables = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")} | {
            "BILLING_API_TOKEN": vendor.token,
            "BILLING_API_URL": vendor.url,
            "BILLING_DATABASE_URL": url if isinstance(url, str) else url.render_as_string(hide_password=False),
            "BILLING_START_DATE": "2026-03-08",
            "BILLING_RETRY_ATTEMPTS": "1",
            "BILLING_DATABASE_WAIT": "0",
        }
        # -q: the sandbox's clock stands still, which would be a warning.
        span = ["--until", "2026-03-10"] if command == "sync" else []
        done = run_forked(["-q", *options, command, *span], variables | environment, tmp_path)
        for secret in (PASSWORD, PHONE, vendor.token, "666.000001"):
            assert secret not in done.out + done.errors
        return done.code, done.errors

    return sync


def is_one_line(errors):
    return errors.startswith("billing-etl: ") and errors.count("\n") == 1 and "Traceback" not in errors


def a_closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


servers = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)


@servers
def test_a_database_that_does_not_exist(sync, database_url, vendor):
    code, errors = sync(database_url.set(database="no_such_database"))
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors
    assert "there is no database no_such_database on the database server" in errors


@servers
def test_a_server_that_does_not_answer(sync, database_url, vendor):
    code, errors = sync(database_url.set(port=a_closed_port(), password=PASSWORD))
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors
    assert "cannot be reached" in errors


@servers
def test_a_host_without_an_address(sync, database_url, vendor):
    code, errors = sync(database_url.set(host="database.invalid", password=PASSWORD))
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors
    assert "the database server database.invalid:" in errors
    assert "its host name cannot be resolved" in errors


@servers
def test_a_user_that_is_refused(sync, database_url, vendor):
    code, errors = sync(database_url.set(username="nobody_of_that_name", password=PASSWORD))
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors
    assert ("the user nobody_of_that_name" in errors) or ("there is no user nobody_of_that_name" in errors)


@servers
@pytest.mark.parametrize("options", [["-vv"], ["-vv", "--log-format", "json"]])
def test_the_password_is_neither_in_details_nor_in_json(sync, database_url, options):
    url = database_url.set(username="nobody_of_that_name", password=PASSWORD)
    assert sync(url, *options)[0] == 74


@pytest.fixture
def mariadb_user(database_url):
    """A user with a password and without privileges."""
    name = f"user_{uuid.uuid4().hex[:12]}"
    engine = create_engine(database_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'"))
        connection.execute(text(f"CREATE USER {name}@'localhost' IDENTIFIED BY '{PASSWORD}'"))
    yield name
    with engine.connect() as connection:
        connection.execute(text(f"DROP USER {name}@'%', {name}@'localhost'"))


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_wrong_password(sync, database_url, mariadb_user, vendor):
    code, errors = sync(database_url.set(username=mariadb_user, password=f"{PASSWORD}-but-wrong"))
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors
    assert f"refused the user {mariadb_user} or its password" in errors


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_user_without_permissions(sync, database_url, mariadb_user, vendor):
    code, errors = sync(database_url.set(username=mariadb_user, password=PASSWORD))
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors
    assert "permission" in errors


@servers
@pytest.mark.fault(69)
def test_a_lock_timeout_is_a_retryable_error(database_url):
    engine = new_engine(database_url)
    impatient = {
        "postgresql": "SET LOCAL lock_timeout = '10ms'",
        "mariadb": "SET SESSION innodb_lock_wait_timeout = 1",
    }[database_url.get_backend_name()]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO accounts (label, created_at) VALUES ('a', '2026-03-11 00:00:00')"))
    with engine.begin() as first, engine.connect() as second:
        first.execute(text("UPDATE accounts SET label = 'b'"))
        second.execute(text(impatient))
        with pytest.raises(OperationalError) as caught:
            second.execute(text("UPDATE accounts SET label = 'c'"))
        second.rollback()
    assert is_retryable(caught.value)
    assert "timed out waiting for a lock in the database" in describe_error(caught.value)


def test_a_folder_that_does_not_exist(sync, tmp_path, vendor):
    code, errors = sync(f"sqlite:///{tmp_path}/nowhere/billing.db")
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors
    assert "nowhere" in errors


def test_a_folder_in_place_of_a_file(sync, tmp_path, vendor):
    (tmp_path / "billing.db").mkdir()
    code, errors = sync(f"sqlite:///{tmp_path}/billing.db")
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors


@pytest.mark.fault(86)
def test_a_file_that_is_not_a_database(sync, tmp_path, vendor):
    file = tmp_path / "billing.db"
    file.write_text("what somebody wrote " * 100)
    code, errors = sync(f"sqlite:///{file}")
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors
    assert "not an SQLite database" in errors
    assert file.read_text() == "what somebody wrote " * 100


def test_a_read_only_file(sync, sqlite_url, vendor):
    engine = new_engine(sqlite_url)
    migrate(engine)
    with engine.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA journal_mode = DELETE")
    with open(sqlite_url.database, "r+b") as file:  # noqa: PTH123 - a database's path is a text
        file.seek(18)
        # A format that this SQLite can read but not write: it is read-only for root too, who ignores permissions.
        file.write(b"\x03\x01")
    code, errors = sync(sqlite_url)
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors
    assert "is read-only" in errors


def test_a_newer_schema(sync, sqlite_url, vendor):
    engine = new_engine(sqlite_url)
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for command in ("sync", "status", "verify", "migrate", "check"):
        code, errors = sync(sqlite_url, command=command)
        assert (code, command) == (74, command), errors
    assert {request.action for request in vendor.requests} <= {
        "get_balance",
        "post_billing_data",
        "get_billing_record",
    }, "of check"


@pytest.mark.empty_database
def test_a_schema_that_may_not_be_created(sync, database_url, vendor):
    code, errors = sync(database_url, BILLING_AUTO_MIGRATE="false")
    assert (code, is_one_line(errors), vendor.requests) == (74, True, []), errors
    assert "billing-etl migrate" in errors


@pytest.mark.fault(121, 122)
@pytest.mark.parametrize("options", [[], ["-vv", "--log-format", "json"]])
def test_a_row_that_the_database_refuses_is_not_printed(sync, database_url, options):
    engine = new_engine(database_url)
    with engine.begin() as connection:
        if database_url.get_backend_name() == "sqlite":
            connection.execute(
                text(
                    "CREATE TRIGGER refuse BEFORE INSERT ON billing_records"
                    " BEGIN SELECT RAISE(ABORT, 'refused: constraint \"too_dear\"'); END"
                )
            )
        else:
            # PostgreSQL's own message repeats the whole row.
            connection.execute(text("ALTER TABLE billing_records ADD CONSTRAINT too_dear CHECK (price < 1)"))
    code, errors = sync(database_url, *options)
    assert code == 74
    assert "too_dear" in errors
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM billing_records")) == 0
        assert connection.scalar(text("SELECT count(*) FROM synced_days")) == 0
        outcome, exit_code, error = connection.execute(text("SELECT outcome, exit_code, error FROM sync_runs")).one()
    assert (outcome, exit_code) == ("failed", 74)
    assert PHONE not in error


@pytest.mark.fault(124)
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{PASSWORD}@127.0.0.1:port/billing",
        f"postgresql://user:{PASSWORD}@x@127.0.0.1/billing",
        f"postgresql://user:{PASSWORD}@127.0.0.1",
        f"postgresql+asyncpg://user:{PASSWORD}@127.0.0.1/billing",
        f"oracle://user:{PASSWORD}@127.0.0.1/billing",
        f"user:{PASSWORD}@127.0.0.1/billing",
        "sqlite://",
        "sqlite:///:memory:",
        PASSWORD,
    ],
)
def test_an_invalid_url_is_a_configuration_error_and_is_not_repeated(sync, url, vendor):
    code, errors = sync(url)
    assert (code, is_one_line(errors), vendor.requests) == (78, True, []), errors
    assert "BILLING_DATABASE_URL" in errors
