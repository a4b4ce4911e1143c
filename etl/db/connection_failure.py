"""Why a connection to a database server failed, and the solution.

The drivers report a failed connection without a code (PostgreSQL), in the server's words, or with an exception of the
standard library. Sources: libpq `fe-connect.c` and `fe-secure-openssl.c`, the server's `postinit.c` and `auth.c`, and
the error numbers of MariaDB and MySQL.
"""

from __future__ import annotations

import re
import socket
import sqlite3
import ssl
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from sqlalchemy import URL, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from etl.errors import BillingError, ConfigError
from etl.pii import redact_phones

_MAX_TEXT: Final = 200
_CORRECT: Final = "correct it in BILLING_DATABASE_URL"


class ConnectionFailure(SQLAlchemyError):
    """A connection could not be opened. The message names cause and solution, and contains no secret.

    Attributes:
        is_transient: Whether a later attempt may succeed: the server is down or overloaded.
    """

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class _Cause(NamedTuple):
    """A cause with its solution, as templates of `_describe`."""

    message: str
    is_transient: bool = False
    is_setting: bool = False


_NO_DATABASE: Final = _Cause(f"there is no database {{database}} on {{server}}; create it, or {_CORRECT}")
_NO_USER: Final = _Cause(f"there is no user {{user}} on {{server}}; create it, or {_CORRECT}")
_WRONG_PASSWORD: Final = _Cause(
    f"{{server}} refused the password of the user {{user}}; {_CORRECT}, with @ written as %40, / as %2F and % as %25"
)
_WRONG_USER_OR_PASSWORD: Final = _Cause(
    f"{{server}} refused the user {{user}} or its password, or does not allow it from this machine or without TLS; "
    f"{_CORRECT}, with @ in a password written as %40, / as %2F and % as %25"
)
_NO_PASSWORD: Final = _Cause("{server} needs a password for the user {user}; BILLING_DATABASE_URL has none")
_NO_LOGIN: Final = _Cause("the user {user} may not log in on {server}; an administrator has to permit it")
_WRONG_METHOD: Final = _Cause(
    "{server} does not accept the way in which the user {user} logs in; see its authentication settings"
)
_NOT_ALLOWED: Final = _Cause(
    "{server} does not allow the user {user} to connect to the database {database} from this machine, or not without "
    "TLS; allow it in pg_hba.conf, or add ?sslmode=require to BILLING_DATABASE_URL"
)
_HOST_NOT_ALLOWED: Final = _Cause("{server} allows no connection from this machine; create a user for this host")
_NO_ACCESS: Final = _Cause("the user {user} has no permission on the database {database} of {server}; grant it")
_NO_TLS: Final = _Cause(
    "{server} does not support TLS, and BILLING_DATABASE_URL requires it; turn it on at the server, or change "
    "{requirement}"
)
_NEEDS_TLS: Final = _Cause("{server} requires TLS; add ?{tls} to BILLING_DATABASE_URL")
_UNTRUSTED: Final = _Cause(
    "the certificate of {server} cannot be trusted; in BILLING_DATABASE_URL, set {authority} to a file with those of "
    "the authority that signed it, and the host to the name in the certificate"
)
_NO_CERTIFICATE_FILE: Final = _Cause(
    "a file of certificates in BILLING_DATABASE_URL cannot be read; correct its path", is_setting=True
)
_OTHER_SERVER: Final = _Cause("{server} is not {product}; correct the port in BILLING_DATABASE_URL")
_BUSY: Final = _Cause("{server} has too many connections; raise its limit, or close some", is_transient=True)
_STARTING: Final = _Cause("{server} is starting, stopping or in recovery; try again later", is_transient=True)
_CLOSED: Final = _Cause("{server} closed the connection; is it {product}, and is it running?", is_transient=True)
_DOWN: Final = _Cause(
    "{server} cannot be reached: the connection was refused; is it running, and are host and port of "
    "BILLING_DATABASE_URL right?",
    is_transient=True,
)
_NO_ROUTE: Final = _Cause(
    "{server} cannot be reached: there is no route to it; check the network, and the host in BILLING_DATABASE_URL",
    is_transient=True,
)
_SILENT: Final = _Cause(
    "{server} cannot be reached: it does not answer; is a firewall between, and are host and port of "
    "BILLING_DATABASE_URL right?",
    is_transient=True,
)
_UNKNOWN_HOST: Final = _Cause(
    f"{{server}} cannot be reached: its host name cannot be resolved; {_CORRECT}", is_transient=True
)
_NO_SOCKET: Final = _Cause(
    "{server} cannot be reached: there is no such socket; is the server running, and is the path right?",
    is_transient=True,
)
_NEEDS_PACKAGE: Final = _Cause(
    "{server} wants a password in a form that needs TLS or another package; add ?ssl_ca=FILE to BILLING_DATABASE_URL, "
    "or run: pip install cryptography"
)

_POSTGRESQL: Final[tuple[tuple[str, _Cause], ...]] = (
    (r'database "[^"]*" does not exist|база данных "[^"]*" не существует|no such database', _NO_DATABASE),
    (r'role "[^"]*" does not exist|роль "[^"]*" не существует|no such user', _NO_USER),
    (r"password authentication failed|SASL authentication failed|не прошёл проверку подлинности", _WRONG_PASSWORD),
    (r"no password supplied|password is required", _NO_PASSWORD),
    (r"is not permitted to log in", _NO_LOGIN),
    (r"authentication failed for user|channel binding|authentication method", _WRONG_METHOD),
    (r"pg_hba\.conf", _NOT_ALLOWED),
    (r"permission denied for database", _NO_ACCESS),
    (r"does not support SSL|SSL was required", _NO_TLS),
    (
        r"certificate file .*does not exist|could not (?:read|load|open) .*(?:certificate|key) file",
        _NO_CERTIFICATE_FILE,
    ),
    (r"certificate verify failed|does not match host name|could not get server's host name", _UNTRUSTED),
    (r"invalid response to SSL negotiation|expected authentication request|unexpected response", _OTHER_SERVER),
    (r"too many (?:clients|connections)|connection slots are reserved|max_client_conn", _BUSY),
    (r"database system is (?:starting up|shutting down|in recovery|not yet accepting)", _STARTING),
    (r"failed to resolve host|could not translate host name", _UNKNOWN_HOST),
    (r"[Cc]onnection refused", _DOWN),
    (r"on socket .*No such file or directory", _NO_SOCKET),
    (r"No route to host|[Nn]etwork is unreachable", _NO_ROUTE),
    (r"timeout expired|timed out", _SILENT),
    (r"closed the connection unexpectedly|[Cc]onnection reset|EOF detected", _CLOSED),
)
"""Causes by the texts of libpq, and of a server in English, partly in Russian; the first match decides."""

_MARIADB: Final[dict[int, _Cause]] = {
    **dict.fromkeys((1049,), _NO_DATABASE),
    **dict.fromkeys((1045,), _WRONG_USER_OR_PASSWORD),
    **dict.fromkeys((1698, 1251, 1524, 1820, 1862, 2059), _WRONG_METHOD),
    **dict.fromkeys((3118, 4151), _NO_LOGIN),
    **dict.fromkeys((1044,), _NO_ACCESS),
    **dict.fromkeys((1129, 1130), _HOST_NOT_ALLOWED),
    **dict.fromkeys((3159, 4166), _NEEDS_TLS),
    **dict.fromkeys((1040, 1203, 1226), _BUSY),
    **dict.fromkeys((1053, 1927), _STARTING),
    **dict.fromkeys((2006, 2013), _CLOSED),
}
"""Causes by the error numbers of MariaDB and MySQL."""

_OPTION_PROBLEM: Final = re.compile(
    r"connection option|bad value for|invalid (?:\w+ value|integer value|port number|connection)|"
    r"invalid value for parameter|unrecognized configuration parameter|definition of service|"
    r"unexpected keyword argument"
)
_PRODUCTS: Final = {"postgresql": "PostgreSQL", "mysql": "MariaDB or MySQL", "mariadb": "MariaDB or MySQL"}
_PORTS: Final = {"postgresql": "5432", "mysql": "3306", "mariadb": "3306"}


def report_failures(engine: Engine, url: URL, connect: Callable[[list[Any], dict[str, Any]], Any]) -> None:
    """Open the engine's connections with a function, and translate its exceptions.

    Args:
        engine: The engine.
        url: The URL as configured.
        connect: Opens a connection with the arguments of the driver's own function; it may also raise errors of this
            program.
    """

    def open_connection(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        failure: BillingError | ConnectionFailure
        try:
            return connect(arguments, options)
        except (BillingError, ConnectionFailure):
            raise
        except Exception as error:
            # For a wrong parameter the drivers raise errors of any kind; without parameters, another one is a bug.
            if not (_is_of_driver(error) or url.query or _needs_package(error)) or isinstance(error, sqlite3.Error):
                raise
            failure = explain(error, url)
        # Outside the except block: the driver's exception may contain the password.
        raise failure

    event.listen(engine, "do_connect", open_connection)


def explain(error: Exception, url: URL) -> ConnectionFailure | ConfigError:
    """The cause of a failed connection and its solution. Pure.

    Args:
        error: The exception of a driver.
        url: The URL of the database.

    Returns:
        A ConfigError where the URL is wrong whatever the server.
    """
    text = " ".join(str(error).split())
    cause = _find_cause(error, text)
    if cause is None and (not _is_of_driver(error) or _OPTION_PROBLEM.search(text)):
        return parameter_error(error, url)
    if cause is None:
        # The server's own words. PostgreSQL's may be in any language, and it may be starting; MariaDB has numbers.
        words = str(error.args[1]) if len(error.args) > 1 else text.rpartition(" failed: ")[2]
        words = words.removeprefix("connection is bad: ").removeprefix("FATAL: ")
        words = redact_phones(_without_password(words, url))[:_MAX_TEXT]
        is_transient = url.get_backend_name() == "postgresql"
        return ConnectionFailure(f"{_server(url)} refused the connection: {words}", is_transient=is_transient)
    message = _describe(cause, url)
    return ConfigError(message) if cause.is_setting else ConnectionFailure(message, is_transient=cause.is_transient)


def parameter_error(error: Exception, url: URL) -> ConfigError:
    """The error for an invalid parameter of the URL, without its value. Pure."""
    text = str(error).rpartition(" failed: ")[2]
    if isinstance(error, OSError):
        files = [name for name in url.query if name.startswith("ssl")]
        return ConfigError(
            f"a file of BILLING_DATABASE_URL cannot be read ({', '.join(files) or 'no parameter'}: {error.strerror})"
        )
    mentioned = [name for name in url.query if re.search(rf"\b{re.escape(name)}\b", text)]
    # A conversion names the value only.
    by_value = [name for name, value in url.query.items() if repr(value) in text]
    if not (mentioned or by_value) and "port number" in text:
        return ConfigError("BILLING_DATABASE_URL has an invalid port; it is a number up to 65535")
    names = mentioned or by_value or list(url.query)
    if "unexpected keyword argument" in text or "invalid connection option" in text:
        return unknown_parameter(names[0], _known_parameters(url))
    return ConfigError(f"BILLING_DATABASE_URL has an invalid value of {' or '.join(names)}; correct or remove it")


def unknown_parameter(name: str, known: list[str]) -> ConfigError:
    """The error for a parameter of the URL that the driver does not know."""
    from difflib import get_close_matches  # needed for a misspelled parameter only

    similar = get_close_matches(name, known, n=1)
    hint = f"; did you mean {similar[0]}?" if similar else "; remove it"
    return ConfigError(f"BILLING_DATABASE_URL has a parameter that is not known: {name[:40]}{hint}")


def _find_cause(error: Exception, text: str) -> _Cause | None:
    if _needs_package(error):
        return _NEEDS_PACKAGE
    if type(error).__module__.startswith("psycopg"):
        return next((cause for pattern, cause in _POSTGRESQL if re.search(pattern, text)), None)
    if not type(error).__module__.startswith("pymysql"):
        return None
    number = error.args[0] if error.args else None
    original = getattr(error, "original_exception", None)
    if number == 1045 and "using password: NO" in text:
        return _NO_PASSWORD
    if number == 2026 or isinstance(original, ssl.SSLError):
        return _NO_TLS if "doesn't support" in text or "WRONG_VERSION" in text else _UNTRUSTED
    if "timed out" in text or isinstance(original, TimeoutError):
        return _SILENT
    if number == 2003:
        causes = {
            socket.gaierror: _UNKNOWN_HOST, ConnectionRefusedError: _DOWN, FileNotFoundError: _NO_SOCKET,
            OSError: _NO_ROUTE,
        }  # fmt: skip
        return next((cause for kind, cause in causes.items() if isinstance(original, kind)), None)
    if "Packet sequence number wrong" in text:
        return _OTHER_SERVER
    return _MARIADB.get(number) if isinstance(number, int) else None


def _describe(cause: _Cause, url: URL) -> str:
    is_postgresql = url.get_backend_name() == "postgresql"
    return cause.message.format(
        server=_server(url),
        database=url.database,
        user=url.username or "of this operating system",
        product=_PRODUCTS[url.get_backend_name()],
        tls="sslmode=require" if is_postgresql else "ssl_ca=FILE",
        requirement=", ".join(name for name in url.query if name.startswith("ssl")),
        authority="sslrootcert" if is_postgresql else "ssl_ca",
    )


def _server(url: URL) -> str:
    """Name the server by host and port, as the URL has them."""
    host, port = url.host or url.query.get("host"), url.port or url.query.get("port")
    if socket_path := url.query.get("unix_socket") or (str(host).startswith("/") and host):
        return f"the database server at the socket {socket_path}"
    return f"the database server {host or 'localhost'}:{port or _PORTS[url.get_backend_name()]}"


def _without_password(text: str, url: URL) -> str:
    for secret in filter(None, [url.password, *(url.query[name] for name in url.query if "pass" in name)]):
        for spelling in (str(secret), quote(str(secret), safe="")):
            text = text.replace(spelling, "***")
    return text


def _needs_package(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and "cryptography" in str(error)


def _is_of_driver(error: Exception) -> bool:
    return type(error).__module__.startswith(("psycopg", "pymysql"))


def _known_parameters(url: URL) -> list[str]:
    """Names of the driver's connection parameters."""
    if url.get_backend_name() == "postgresql":
        import psycopg

        return [option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()]
    import inspect

    import pymysql.connections

    return list(inspect.signature(pymysql.connections.Connection.__init__).parameters)
