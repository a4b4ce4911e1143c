"""Causes of failed connections to PostgreSQL: psycopg has no code for them, only the text of libpq or of the server.

Sources: libpq `fe-connect.c` and `fe-secure-openssl.c`; the server's `postinit.c` and `auth.c`, with the Russian
translation of the most frequent texts; PgBouncer's `client.c`.
"""

from __future__ import annotations

import re
from typing import Final

from etl.db import connection_failure as causes
from etl.db.connection_failure import Cause

_CAUSES: Final[tuple[tuple[str, Cause], ...]] = (
    (r'database "[^"]*" does not exist|база данных "[^"]*" не существует|no such database', causes.NO_DATABASE),
    (r'role "[^"]*" does not exist|роль "[^"]*" не существует|no such user', causes.NO_USER),
    (
        r"password authentication failed|SASL authentication failed|не прошёл проверку подлинности",
        causes.WRONG_PASSWORD,
    ),
    (r"no password supplied|password is required", causes.NO_PASSWORD),
    (r"is not permitted to log in", causes.NO_LOGIN),
    (r"authentication failed for user|channel binding|authentication method", causes.WRONG_METHOD),
    (r"pg_hba\.conf", causes.NOT_ALLOWED),
    (r"permission denied for database", causes.NO_ACCESS),
    (r"does not support SSL|SSL was required", causes.NO_TLS),
    (
        r"certificate file .*does not exist|could not (?:read|load|open) .*(?:certificate|key) file",
        causes.NO_CERTIFICATE_FILE,
    ),
    (r"certificate verify failed|does not match host name|could not get server's host name", causes.UNTRUSTED),
    (r"invalid response to SSL negotiation|expected authentication request|unexpected response", causes.OTHER_SERVER),
    (r"too many (?:clients|connections)|connection slots are reserved|max_client_conn", causes.BUSY),
    (r"database system is (?:starting up|shutting down|in recovery|not yet accepting)", causes.STARTING),
    (r"failed to resolve host|could not translate host name", causes.UNKNOWN_HOST),
    (r"[Cc]onnection refused", causes.DOWN),
    (r"on socket .*No such file or directory", causes.NO_SOCKET),
    (r"No route to host|[Nn]etwork is unreachable", causes.NO_ROUTE),
    (r"timeout expired|timed out", causes.SILENT),
    (r"closed the connection unexpectedly|[Cc]onnection reset|EOF detected", causes.CLOSED),
)
"""The first match decides: of several hosts the most telling."""
_PARAMETER: Final = re.compile(
    r"connection option|bad value for|invalid (?:\w+ value|integer value|port number|connection)|"
    r"invalid value for parameter|unrecognized configuration parameter|definition of service"
)


def find_postgresql_cause(error: Exception, text: str) -> Cause | None:
    """As `DatabaseDialect.find_cause`."""
    if not type(error).__module__.startswith("psycopg"):
        return None
    if cause := next((cause for pattern, cause in _CAUSES if re.search(pattern, text)), None):
        return cause
    return None if _PARAMETER.search(text) else causes.MAYBE_DOWN


def postgresql_parameters() -> list[str]:
    """As `DatabaseDialect.parameters`."""
    import psycopg  # an extra

    return [option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()]
