"""How an https host is reached: the proxy to connect through, and the certificate authorities to trust."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that opens a tunnel to the host (CONNECT), so that it sees neither path nor body of a request.

    Attributes:
        url: With user and password, if it has them.
        source: The variable that names it.
    """

    url: str = field(repr=False)
    source: str

    def __str__(self) -> str:
        """The URL without user and password, and the variable."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} ({self.source})"

    def credentials(self) -> str | None:
        """User and password as `user:password`, decoded; None without a user."""
        parts = urlsplit(self.url)
        if parts.username is None:
            return None
        return f"{unquote(parts.username)}:{unquote(parts.password or '')}"


@dataclass(frozen=True, slots=True)
class Route:
    """The route to one host.

    Attributes:
        proxy: None for a direct connection.
        direct_because: Why a configured proxy is not used; empty without one.
        ca_path: File or folder of certificate authorities, instead of the certifi package's.
        ca_source: The variable that names it.
        encrypted: Whether the URL is https; otherwise neither proxy nor certificates are used.
    """

    proxy: Proxy | None = None
    direct_because: str = ""
    ca_path: Path | None = None
    ca_source: str = ""
    encrypted: bool = True

    def __str__(self) -> str:
        """Proxy and certificates in use, without passwords."""
        if not self.encrypted:
            return "http, without proxy and certificates"
        because = f" ({self.direct_because})" if self.direct_because else ""
        proxy = f"no proxy{because}" if self.proxy is None else f"through the proxy {self.proxy}"
        return f"{proxy}; trusted are the certificates {self.authorities()}"

    def authorities(self) -> str:
        """The certificate authorities, for a message."""
        return "of the certifi package" if self.ca_path is None else f"in {self.ca_path} ({self.ca_source})"
