"""Why a connection to a database failed, and the solution.

The drivers report a failed connection without a code (PostgreSQL), in the server's words, or with an exception of the
standard library. The dialects find the cause; the messages are here, the same for every database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from sqlalchemy import URL, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from etl.errors import BillingError, ConfigError
from etl.pii import redact_phones
from etl.suggestions import similar_names

if TYPE_CHECKING:
    from etl.db.dialects.protocol import DatabaseDialect

_MAX_TEXT: Final = 200


class ConnectionFailure(SQLAlchemyError):
    """A connection could not be opened. The message names cause and solution, and contains no secret.

    Attributes:
        is_transient: Whether a later attempt may succeed: the server is down or overloaded.
    """

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class Cause(NamedTuple):
    """A cause and its solution, as a template of `_describe`.

    Attributes:
        message: The template.
        is_transient: Whether a later attempt may succeed.
        is_setting: Whether the URL is wrong whatever the server.
    """

    message: str
    is_transient: bool = False
    is_setting: bool = False


NO_DATABASE: Final = Cause("there is no database {database} on {server}; create it, or correct it in {setting}")
NO_USER: Final = Cause("there is no user {user} on {server}; create it, or correct it in {setting}")
WRONG_PASSWORD: Final = Cause(
    "{server} refused the password of the user {user}; correct it in {setting}, with @ written as %40, / as %2F and % "
    "as %25"
)
WRONG_USER_OR_PASSWORD: Final = Cause(
    "{server} refused the user {user} or its password, or does not allow it from this machine or without TLS; correct "
    "it in {setting}, with @ in a password written as %40, / as %2F and % as %25"
)
NO_PASSWORD: Final = Cause("{server} needs a password for the user {user}; {setting} has none")
NO_LOGIN: Final = Cause("the user {user} may not log in on {server}; an administrator has to permit it")
WRONG_METHOD: Final = Cause(
    "{server} does not accept the way in which the user {user} logs in; see its authentication settings"
)
NOT_ALLOWED: Final = Cause(
    "{server} does not allow the user {user} to connect to the database {database} from this machine, or not without "
    "TLS; allow it in pg_hba.conf, or add ?{tls} to {setting}"
)
HOST_NOT_ALLOWED: Final = Cause("{server} allows no connection from this machine; create a user for this host")
NO_ACCESS: Final = Cause("the user {user} has no permission on the database {database} of {server}; grant it")
NO_TLS: Final = Cause(
    "{server} does not support TLS, and {setting} requires it; turn it on at the server, or change {requirement}"
)
NEEDS_TLS: Final = Cause("{server} requires TLS; add ?{tls} to {setting}")
UNTRUSTED: Final = Cause(
    "the certificate of {server} cannot be trusted; in {setting}, set {authority} to a file with those of the "
    "authority that signed it, and the host to the name in the certificate"
)
NO_CERTIFICATE_FILE: Final = Cause("{setting} names a file of certificates that cannot be read", is_setting=True)
OTHER_SERVER: Final = Cause("{server} is not {product}; correct the port in {setting}")
BUSY: Final = Cause("{server} has too many connections; raise its limit, or close some", is_transient=True)
STARTING: Final = Cause("{server} is starting, stopping or in recovery; try again later", is_transient=True)
CLOSED: Final = Cause("{server} closed the connection; is it {product}, and is it running?", is_transient=True)
DOWN: Final = Cause(
    "{server} cannot be reached: the connection was refused; is it running, and are host and port of {setting} right?",
    is_transient=True,
)
NO_ROUTE: Final = Cause(
    "{server} cannot be reached: there is no route to it; check the network, and the host in {setting}",
    is_transient=True,
)
SILENT: Final = Cause(
    "{server} cannot be reached: it does not answer; is a firewall between, and are host and port of {setting} right?",
    is_transient=True,
)
UNKNOWN_HOST: Final = Cause(
    "{server} cannot be reached: its host name cannot be resolved; correct it in {setting}", is_transient=True
)
NO_SOCKET: Final = Cause(
    "{server} cannot be reached: the socket does not exist; is the server running, and is the path right?",
    is_transient=True,
)
NEEDS_PACKAGE: Final = Cause(
    "{server} uses a password authentication that needs TLS or the package cryptography; add ?{tls} to {setting}, or "
    "run: pip install cryptography"
)
REFUSED: Final = Cause("{server} refused the connection: {words}")
MAYBE_DOWN: Final = Cause("{server} refused the connection: {words}", is_transient=True)
"""For texts that may be in another language: the server may be starting."""


def report_failures(engine: Engine, url: URL, dialect: DatabaseDialect, setting: str) -> None:
    """Open the engine's connections by `dialect.connect`, and translate the exceptions of the driver.

    Args:
        engine: The engine.
        url: The URL as configured.
        dialect: Dialect of the engine.
        setting: Name of the setting with the URL, for messages.
    """
    connect = partial(dialect.connect, url)

    def open_connection(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        failure: BillingError | ConnectionFailure
        try:
            return connect(arguments, options)
        except (BillingError, ConnectionFailure):
            raise
        except Exception as error:
            if dialect.find_cause(error, _one_line(error)) is None and not url.query:
                raise  # only a parameter of the URL explains an error of another kind: this is a bug
            failure = explain(error, url, dialect, setting)
        # Outside the except block: the driver's exception may contain the password.
        raise failure

    event.listen(engine, "do_connect", open_connection)


def explain(error: Exception, url: URL, dialect: DatabaseDialect, setting: str) -> ConnectionFailure | ConfigError:
    """The cause of a failed connection and its solution. Pure.

    Args:
        error: The exception of a driver.
        url: The URL of the database.
        dialect: Dialect of the database.
        setting: Name of the setting with the URL.

    Returns:
        A ConfigError where the URL is wrong whatever the server.
    """
    cause = dialect.find_cause(error, _one_line(error))
    if cause is None:
        return ConfigError(f"{setting} {parameter_problem(error, url, dialect)}")
    message = _describe(cause, error, url, dialect, setting)
    return ConfigError(message) if cause.is_setting else ConnectionFailure(message, is_transient=cause.is_transient)


def parameter_problem(error: Exception, url: URL, dialect: DatabaseDialect) -> str:
    """The problem with a parameter of the URL, without its value; it follows the name of the setting. Pure."""
    text = str(error).rpartition(" failed: ")[2]
    if isinstance(error, OSError):
        return f"names a file that cannot be read ({_tls_parameters(url) or 'no parameter'}: {error.strerror})"
    mentioned = [name for name in url.query if re.search(rf"\b{re.escape(name)}\b", text)]
    # A conversion names the value only.
    by_value = [name for name, value in url.query.items() if repr(value) in text]
    if not (mentioned or by_value) and "port number" in text:
        return "has an invalid port; it is a number up to 65535"
    names = mentioned or by_value or list(url.query)
    if "unexpected keyword argument" in text or "invalid connection option" in text:
        return unknown_parameter(names[0], dialect.parameters())
    return f"has an invalid value of {' or '.join(names)}; correct or remove it"


def unknown_parameter(name: str, known: Sequence[str]) -> str:
    """The problem with a parameter of the URL that the driver does not support; it follows the name of the setting."""
    similar = similar_names(name, known)
    hint = f"; did you mean {similar[0]}?" if similar else "; remove it"
    return f"has an unknown parameter: {name[:40]}{hint}"


def _describe(cause: Cause, error: Exception, url: URL, dialect: DatabaseDialect, setting: str) -> str:
    return cause.message.format(
        server=_server(url, dialect.default_port),
        database=url.database,
        user=url.username or "of this operating system",
        product=dialect.title,
        tls=dialect.tls_option,
        requirement=_tls_parameters(url),
        authority=dialect.authority_option,
        setting=setting,
        words=_words(error, url),
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _words(error: Exception, url: URL) -> str:
    """The server's own words, without the driver's, a password and phone numbers."""
    words = str(error.args[1]) if len(error.args) > 1 else _one_line(error).rpartition(" failed: ")[2]
    words = words.removeprefix("connection is bad: ").removeprefix("FATAL: ").strip()
    for secret in filter(None, [url.password, *(url.query[name] for name in url.query if "pass" in name)]):
        for spelling in (str(secret), quote(str(secret), safe="")):
            words = words.replace(spelling, "***")
    return redact_phones(words)[:_MAX_TEXT]


def _server(url: URL, default_port: str) -> str:
    """Name the server by host and port, as the URL has them."""
    host, port = url.host or url.query.get("host"), url.port or url.query.get("port")
    if socket_path := url.query.get("unix_socket") or (str(host).startswith("/") and host):
        return f"the database server at the socket {socket_path}"
    return f"the database server {host or 'localhost'}:{port or default_port}"


def _tls_parameters(url: URL) -> str:
    return ", ".join(name for name in url.query if name.startswith("ssl"))
