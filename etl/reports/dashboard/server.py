"""The dashboard's socket and HTTP server."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from etl.errors import ConfigError

if TYPE_CHECKING:
    from etl.reports.dashboard.app import Application


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: Host name or address.
        port: TCP port; 0 for any free port.

    Raises:
        ConfigError: The port is taken, or the address is not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        # Without the parenthesis, which repeats the address.
        reason = (error.strerror or type(error).__name__).partition(" (")[0]
        raise ConfigError(f"--host {host} --port {port}: {reason}") from None


def url_of(sock: socket.socket) -> str:
    """URL of the dashboard."""
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(application: Application, sock: socket.socket) -> None:
    """Serve until a signal, which uvicorn then raises again for the previous handler."""
    import uvicorn

    config = uvicorn.Config(
        application,
        log_config=None,
        log_level="critical",  # lower levels log tracebacks of responses that the signal interrupts
        access_log=False,
        timeout_graceful_shutdown=0,
    )
    uvicorn.Server(config).run(sockets=[sock])
