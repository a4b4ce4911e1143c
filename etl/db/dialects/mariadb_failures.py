"""Causes of failed connections to MariaDB and MySQL, by their error numbers and by the exceptions behind them.

Sources: the error references of MariaDB and MySQL; PyMySQL `connections.py`, which wraps errors of sockets in 2003.
"""

from __future__ import annotations

import inspect
import socket
import ssl
from typing import Final

from etl.db import connection_failure as causes
from etl.db.connection_failure import Cause

_ACCESS_DENIED: Final = 1045
_CANNOT_CONNECT: Final = 2003
_TLS_FAILED: Final = 2026
_CAUSES: Final[dict[int, Cause]] = {
    1049: causes.NO_DATABASE,
    _ACCESS_DENIED: causes.WRONG_USER_OR_PASSWORD,
    **dict.fromkeys((1698, 1251, 1524, 1820, 1862, 2059), causes.WRONG_METHOD),
    **dict.fromkeys((3118, 4151), causes.NO_LOGIN),
    1044: causes.NO_ACCESS,
    **dict.fromkeys((1129, 1130), causes.HOST_NOT_ALLOWED),
    **dict.fromkeys((3159, 4166), causes.NEEDS_TLS),
    **dict.fromkeys((1040, 1203, 1226), causes.BUSY),
    **dict.fromkeys((1053, 1927), causes.STARTING),
    **dict.fromkeys((2006, 2013), causes.CLOSED),
}
_SOCKET_CAUSES: Final[tuple[tuple[type[OSError], Cause], ...]] = (
    (socket.gaierror, causes.UNKNOWN_HOST),
    (ConnectionRefusedError, causes.DOWN),
    (FileNotFoundError, causes.NO_SOCKET),
    (OSError, causes.NO_ROUTE),
)
"""The first matching class decides."""


def find_mariadb_cause(error: Exception, text: str) -> Cause | None:
    """As `DatabaseDialect.find_cause`."""
    if isinstance(error, RuntimeError) and "cryptography" in text:
        return causes.NEEDS_PACKAGE
    if not type(error).__module__.startswith("pymysql"):
        return None
    number = error.args[0] if error.args else None
    original = getattr(error, "original_exception", None)
    if number == _ACCESS_DENIED and "using password: NO" in text:
        return causes.NO_PASSWORD
    if number == _TLS_FAILED or isinstance(original, ssl.SSLError):
        return causes.NO_TLS if "doesn't support" in text or "WRONG_VERSION" in text else causes.UNTRUSTED
    if "timed out" in text or isinstance(original, TimeoutError):
        return causes.SILENT
    if number == _CANNOT_CONNECT:
        return next((cause for kind, cause in _SOCKET_CAUSES if isinstance(original, kind)), causes.DOWN)
    if "Packet sequence number wrong" in text:
        return causes.OTHER_SERVER
    return _CAUSES.get(number, causes.REFUSED) if isinstance(number, int) else causes.REFUSED


def mariadb_parameters() -> list[str]:
    """As `DatabaseDialect.parameters`."""
    import pymysql.connections  # an extra

    return list(inspect.signature(pymysql.connections.Connection.__init__).parameters)
