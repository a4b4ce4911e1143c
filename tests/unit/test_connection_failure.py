"""The cause of a failed connection, from the exceptions of the drivers; and how long a server is retried."""

from __future__ import annotations

import errno
import socket
import ssl

import psycopg
import pymysql
import pytest
from sqlalchemy import make_url
from support.secret_leaks import PASSWORD, leaks

from etl.db.connection_failure import ConnectionFailure, explain
from etl.db.dialects import dialect_for
from etl.db.retry import MAX_ATTEMPTS, MAX_ELAPSED_SECONDS, retry_transaction
from etl.errors import ConfigError

POSTGRESQL = f"postgresql+psycopg://loader:{PASSWORD}@db.example/billing"
MARIADB = f"mariadb+pymysql://loader:{PASSWORD}@db.example/billing"
AT = 'connection failed: connection to server at "10.0.0.5", port 5432 failed: '
FATAL = AT + "FATAL:  "
HERE = "the database server db.example:5432"
THERE = "the database server db.example:3306"


def explained(error, address):
    """The message for an error, as users of the setting see it."""
    url = make_url(address)
    return explain(error, url, dialect_for(url.get_backend_name()), "BILLING_DATABASE_URL")


TEXTS = {
    FATAL + 'database "billing" does not exist': (f"there is no database billing on {HERE}; create it", False),
    FATAL + 'role "loader" does not exist': (f"there is no user loader on {HERE}; create it", False),
    FATAL + 'password authentication failed for user "loader"': (
        f"{HERE} refused the password of the user loader; correct it in BILLING_DATABASE_URL, with @ written as %40",
        False,
    ),
    FATAL + 'role "loader" is not permitted to log in': ("the user loader may not log in on", False),
    FATAL + 'Peer authentication failed for user "loader"': (f"{HERE} does not accept the way in which", False),
    FATAL + 'no pg_hba.conf entry for host "10.0.0.9", user "loader", database "billing", no encryption': (
        f"{HERE} does not allow the user loader to connect to the database billing from this machine",
        False,
    ),
    FATAL + 'permission denied for database "billing"\nDETAIL:  User does not have CONNECT privilege.': (
        "the user loader has no permission on the database billing",
        False,
    ),
    FATAL + "sorry, too many clients already": (f"{HERE} has too many connections", True),
    FATAL + "remaining connection slots are reserved for non-replication superuser connections": (
        f"{HERE} has too many connections",
        True,
    ),
    FATAL + "the database system is starting up": (f"{HERE} is starting, stopping or in recovery", True),
    FATAL + "the database system is shutting down": (f"{HERE} is starting, stopping or in recovery", True),
    FATAL + "no such database: billing": ("there is no database billing", False),  # PgBouncer
    AT + "fe_sendauth: no password supplied": (f"{HERE} needs a password for the user loader", False),
    AT + "server does not support SSL, but SSL was required": (f"{HERE} does not support TLS", False),
    AT + "SSL error: certificate verify failed": (f"the certificate of {HERE} cannot be trusted", False),
    AT + 'server certificate for "other" does not match host name "db.example"': ("the certificate of", False),
    AT + "received invalid response to SSL negotiation: H": (f"{HERE} is not PostgreSQL; correct the port", False),
    AT + "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?": (
        f"{HERE} cannot be reached: the connection was refused; is it running",
        True,
    ),
    AT + "No route to host\n\tIs the server running on that host?": (f"{HERE} cannot be reached: there is no", True),
    AT + "server closed the connection unexpectedly\n\tThis probably means": (f"{HERE} closed the connection", True),
    "connection timeout expired": (f"{HERE} cannot be reached: it does not answer", True),
    "failed to resolve host 'db.example': [Errno -2] Name or service not known": (
        f"{HERE} cannot be reached: its host name cannot be resolved",
        True,
    ),
    AT.replace("FATAL", "ВАЖНО") + 'ВАЖНО:  база данных "billing" не существует': ("there is no database", False),
    AT + 'ВАЖНО:  роль "loader" не существует': ("there is no user loader", False),
    AT + 'ВАЖНО:  пользователь "loader" не прошёл проверку подлинности (по паролю)': (
        f"{HERE} refused the password of the user loader",
        False,
    ),
    AT + "FATAL:  la base de données « billing » n’existe pas": (
        f"{HERE} refused the connection: la base de données « billing » n’existe pas",
        True,
    ),
    AT + f"FATAL:  what holds {PASSWORD} and 89243555100": (f"{HERE} refused the connection: what holds *** and", True),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items(), ids=[text[len(AT) :][:40] for text in TEXTS])
def test_messages_of_postgresql_have_a_cause_and_a_remedy(text, expected):
    words, is_transient = expected
    failure = explained(psycopg.OperationalError(text), POSTGRESQL)
    assert isinstance(failure, ConnectionFailure)
    assert str(failure).startswith(words)
    assert failure.is_transient is is_transient
    assert leaks(str(failure)) == []
    assert "89243555100" not in str(failure)
    assert "\n" not in str(failure)


SETTINGS = {
    'invalid connection option "sslmod"\n': ("?sslmod=require", "unknown parameter: sslmod; did you mean sslmode?"),
    'connection is bad: invalid sslmode value: "on"': ("?sslmode=on", "an invalid value of sslmode;"),
    "bad value for connect_timeout: 'x'": ("?connect_timeout=x", "an invalid value of connect_timeout;"),
    FATAL + 'unrecognized configuration parameter "a"': ("?options=-c%20a%3D1", "an invalid value of options;"),
    'connection is bad: invalid port number: "99999"': ("", "an invalid port;"),
    AT + 'root certificate file "/no/such" does not exist\nEither provide the file or change sslmode': (
        "?sslrootcert=/no/such",
        "names a file of certificates that cannot be read",
    ),
}


@pytest.mark.parametrize(("text", "expected"), SETTINGS.items(), ids=[words for _, words in SETTINGS.values()])
def test_errors_independent_of_the_server_are_errors_of_the_setting(text, expected):
    query, words = expected
    failure = explained(psycopg.OperationalError(text), POSTGRESQL + query)
    assert isinstance(failure, ConfigError)
    assert words in str(failure)


def number(code, text, original=None):
    error = pymysql.err.OperationalError(code, text)
    if original is not None:
        error.original_exception = original
    return error


NUMBERS = {
    "1045 with": (
        number(1045, "Access denied for user 'loader'@'10.0.0.9' (using password: YES)"),
        f"{THERE} refused the user loader or its password, or does not allow it from this machine or without TLS",
        False,
    ),
    "1045 without": (number(1045, "Access denied for user 'l'@'h' (using password: NO)"), f"{THERE} needs a", False),
    "1049": (number(1049, "Unknown database 'billing'"), f"there is no database billing on {THERE}", False),
    "1044": (number(1044, "Access denied for user 'l'@'%' to database 'billing'"), "the user loader has no", False),
    "1130": (number(1130, "Host '10.0.0.9' is not allowed to connect"), f"{THERE} allows no", False),
    "1040": (number(1040, "Too many connections"), f"{THERE} has too many connections", True),
    "3159": (number(3159, "insecure transport"), f"{THERE} requires TLS; add ?ssl_c", False),
    "2026": (number(2026, "SSL is required but the server doesn't support it"), f"{THERE} does not support TLS", False),
    "2003 refused": (
        number(2003, "Can't connect", ConnectionRefusedError(errno.ECONNREFUSED, "refused")),
        f"{THERE} cannot be reached: the connection was refused",
        True,
    ),
    "2003 no name": (number(2003, "Can't connect", socket.gaierror(-2, "x")), f"{THERE} cannot be reached: its", True),
    "2003 no route": (
        number(2003, "Can't", OSError(errno.EHOSTUNREACH, "")),
        f"{THERE} cannot be reached: there",
        True,
    ),
    "2003 slow": (number(2003, "Can't connect (timed out)", TimeoutError()), f"{THERE} cannot be reached: it", True),
    "2003 certificate": (
        number(2003, "Can't connect", ssl.SSLCertVerificationError("self-signed certificate")),
        f"the certificate of {THERE} cannot be trusted; in BILLING_DATABASE_URL, set ssl_ca to a file",
        False,
    ),
    "2013": (number(2013, "Lost connection to MySQL server during query"), f"{THERE} closed the connection", True),
    "another": (number(1064, f"near '{PASSWORD}'"), f"{THERE} refused the connection: near '***'", False),
    "cryptography": (
        RuntimeError("'cryptography' package is required for sha256_password or caching_sha2_password auth methods"),
        f"{THERE} uses a password authentication that needs TLS or the package cryptography; add ?ssl_ca=FILE",
        False,
    ),
}


@pytest.mark.parametrize(("error", "words", "is_transient"), NUMBERS.values(), ids=NUMBERS)
def test_error_numbers_of_mariadb_have_a_cause_and_a_remedy(error, words, is_transient):
    failure = explained(error, MARIADB)
    assert isinstance(failure, ConnectionFailure)
    assert str(failure).startswith(words)
    assert failure.is_transient is is_transient
    assert leaks(str(failure)) == []


@pytest.mark.parametrize(
    ("error", "query", "words"),
    [
        (TypeError("Connection.__init__() got an unexpected keyword argument 'ssl_caa'"), "?ssl_caa=x", "mean ssl_ca?"),
        (ValueError("invalid literal for int() with base 10: 'abc'"), "?read_timeout=abc&x=1", "of read_timeout;"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "?ssl_ca=/x", "(ssl_ca: No such file"),
    ],
)
def test_a_wrong_parameter_of_mariadb_is_named(error, query, words):
    failure = explained(error, MARIADB + query)
    assert isinstance(failure, ConfigError)
    assert words in str(failure)


# Waiting -------------------------------------------------------------------------------------------------------------


def down(times: int, *, is_transient: bool = True):
    """A transaction that fails a number of times before it succeeds."""
    attempts = []

    def transaction() -> int:
        attempts.append(1)
        if len(attempts) <= times:
            raise ConnectionFailure("the server is down", is_transient=is_transient)
        return len(attempts)

    return transaction


def test_a_server_that_is_down_is_retried_for_a_minute(caplog):
    waits: list[float] = []
    with pytest.raises(ConnectionFailure):
        retry_transaction(down(1000), sleep=waits.append)
    assert MAX_ELAPSED_SECONDS <= sum(waits) < MAX_ELAPSED_SECONDS + 6
    assert max(waits) <= 5.5
    assert caplog.messages[0].startswith("the server is down (retrying in ")
    assert retry_transaction(down(2 * MAX_ATTEMPTS), sleep=lambda _seconds: None) == 2 * MAX_ATTEMPTS + 1


def test_a_permanent_cause_is_not_retried():
    waits: list[float] = []
    with pytest.raises(ConnectionFailure):
        retry_transaction(down(1, is_transient=False), sleep=waits.append)
    assert waits == []


def test_a_transaction_that_reaches_the_server_has_limited_attempts():
    waits: list[float] = []
    with pytest.raises(KeyError):
        retry_transaction(lambda: {}["missing"], also_on=(KeyError,), sleep=waits.append)
    assert len(waits) == MAX_ATTEMPTS - 1
