"""The route to an https host: the program's own settings, then the variables that other tools read as well.

Sources: curl(1), "ENVIRONMENT", and the reference of requests, "Proxies": lower-case names precede upper-case ones,
`ALL_PROXY` is used where there is no `HTTPS_PROXY`, and a proxy without a scheme is an http proxy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from etl.errors import ConfigError
from etl.network import Proxy, Route

_PROXY_VARIABLES: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_NO_PROXY_VARIABLES: Final = ("no_proxy", "NO_PROXY")
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_PROXY_EXAMPLE: Final = "the URL of an HTTP proxy like http://proxy.example:3128"
_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f]")


def network_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of the environment that `find_route` reads; an empty one counts as unset."""
    names = (*_PROXY_VARIABLES, *_NO_PROXY_VARIABLES, *_CA_VARIABLES)
    return {name: text for name in names if (text := environment.get(name, "").strip())}


def find_route(url: str, proxy: str | None, ca_path: Path | None, variables: Mapping[str, str]) -> Route:
    """The route to the host of a URL; a direct one unless the URL is https: a proxy would see the whole request.

    Args:
        url: The URL.
        proxy: The value of BILLING_PROXY; NO_PROXY does not apply to it.
        ca_path: The value of BILLING_CA_FILE.
        variables: Result of `network_variables`.

    Raises:
        ConfigError: The variable that applies is invalid.
    """
    if urlsplit(url).scheme != "https":
        return Route(encrypted=False)
    ca_source = "BILLING_CA_FILE"
    if ca_path is None and (ca_source := _first(_CA_VARIABLES, variables)):
        try:
            ca_path = parse_ca_path(variables[ca_source])
        except ValueError as error:
            raise ConfigError(f"{ca_source} is {variables[ca_source][:80]!r}, and must be {error}") from None
    if proxy is not None:
        return Route(Proxy(proxy, "BILLING_PROXY"), "", ca_path, ca_source)
    source = _first(_PROXY_VARIABLES, variables)
    if not source:
        return Route(None, "", ca_path, ca_source)
    no_proxy = _first(_NO_PROXY_VARIABLES, variables)
    if no_proxy and _is_excluded(url, variables[no_proxy]):
        return Route(None, f"{no_proxy} excludes the host from {source}", ca_path, ca_source)
    try:
        return Route(Proxy(parse_proxy(variables[source]), source), "", ca_path, ca_source)
    except ValueError as error:
        problem = str(error)
    # Raised outside the except block: the chained error may contain a piece of the URL.
    raise ConfigError(f"{source} must be {problem}; BILLING_PROXY takes precedence over it")


def parse_proxy(text: str) -> str:
    """The URL of a proxy; http, where it has no scheme."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme.startswith("socks"):
        raise ValueError(f"{_PROXY_EXAMPLE}: SOCKS is not supported")
    is_plain = parts.path in {"", "/"} and not parts.query and not parts.fragment and not _BLANK.search(url)
    if parts.scheme not in {"http", "https"} or not host or not is_plain:
        raise ValueError(f"{_PROXY_EXAMPLE}; percent-encode special characters in its password, @ as %40")
    return url.rstrip("/")


def parse_ca_path(text: str) -> Path:
    """The path of a file of certificates in PEM format, or of a folder of them as `openssl rehash` prepares it."""
    import ssl  # few installations need it

    path = Path(text)
    try:
        if path.is_dir():
            return path
        path.open("rb").close()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise ValueError("a file of certificates in PEM format") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "invalid file name"
        raise ValueError(f"a file of certificates that can be read ({reason})") from None
    return path


def proxy_secrets(proxy: str | None, variables: Mapping[str, str]) -> list[str]:
    """The passwords of all proxies to redact, as written, decoded, and together with the user as they are sent."""
    secrets = []
    for text in filter(None, (proxy, *(variables.get(name) for name in _PROXY_VARIABLES))):
        # Also those of an invalid URL, in which the host may be anywhere.
        userinfo = text.partition("://")[2].rpartition("@")[0] or text.rpartition("@")[0]
        user, _, password = userinfo.partition(":")
        if password:
            secrets += [password, unquote(password), f"{unquote(user)}:{unquote(password)}"]
    return secrets


def _first(names: tuple[str, ...], variables: Mapping[str, str]) -> str:
    """The first of these variables that is set; empty for none."""
    return next((name for name in names if name in variables), "")


def _is_excluded(url: str, no_proxy: str) -> bool:
    from requests.utils import should_bypass_proxies  # few installations need it

    return should_bypass_proxies(url, no_proxy=no_proxy)
