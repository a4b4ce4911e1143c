"""Errors of a connection to the vendor with messages without the URL, which those of requests and urllib3 contain."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import requests
import urllib3

from etl.errors import RequestRejected, RetryableError, VendorError
from etl.extract.deadline import DeadlineExceeded, TooManyInterimResponses
from etl.network import Proxy, Route

RETRY_STATUSES: Final = frozenset({408, 425, 429})
"""Client errors that may be temporary; all 5xx and 3xx are retried as well."""
_TUNNEL_REFUSAL: Final = re.compile(r"Tunnel connection failed: (\d{3})\b")
"""Source: http.client, `HTTPConnection._tunnel`."""
_CLOCK_ERRORS: Final = frozenset({9, 10})
_WRONG_HOST_ERRORS: Final = frozenset({62, 64})
"""OpenSSL: not yet valid and expired; another host name and another IP address. Source: x509_vfy.h, `X509_V_ERR_…`."""


@dataclass(frozen=True, slots=True)
class SettingNames:
    """Names of settings for error messages, by field; the command line calls them by their environment variables."""

    api_url: str = "api_url"
    timeout: str = "timeout"
    request_deadline: str = "request_deadline"
    max_response_mb: str = "max_response_mb"
    ca_file: str = "ca_file"


def to_vendor_error(error: Exception, route: Route, host: str, names: SettingNames) -> VendorError:
    """Create an error without a URL from one with a URL. The message does not repeat texts of other programs.

    Args:
        error: The error of a library.
        route: The route of the request; the message names its proxy.
        host: The host of the API.
        names: Names of the settings.
    """
    causes = list(exception_chain(error))
    proxy = route.proxy
    at_proxy = proxy is not None and any(isinstance(cause, urllib3.exceptions.ProxyError) for cause in causes)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted_certificate(cause, f"the proxy {proxy}" if at_proxy else host, route, names)
        if proxy is not None and (refusal := _TUNNEL_REFUSAL.search(str(cause))):
            return _refused_tunnel(int(refusal[1]), proxy, host)
    problem = _connection_problem(error, causes, names)
    if proxy is not None and at_proxy:
        is_plain = proxy.url.startswith("https:") and any(isinstance(cause, ssl.SSLError) for cause in causes)
        hint = "; is its URL http:// instead?" if is_plain else ""
        return RetryableError(f"the proxy {proxy} cannot be reached: {problem}{hint}")
    return RetryableError(problem if proxy is None else f"{problem}, through the proxy {proxy}")


def _connection_problem(error: Exception, causes: list[BaseException], names: SettingNames) -> str:
    """The cause of a failed connection, by the types of the errors."""

    def caused_by(*types: type[BaseException]) -> bool:
        return any(isinstance(cause, types) for cause in causes)

    if caused_by(DeadlineExceeded):
        return f"no complete answer within {names.request_deadline}"
    if caused_by(TooManyInterimResponses):
        return "interim answers without end"
    hint = "" if caused_by(urllib3.exceptions.ProxyError) else f" (see {names.api_url})"
    # Before the timeouts: in urllib3, these two are subclasses of a timeout.
    if caused_by(urllib3.exceptions.NameResolutionError):
        return f"the host name cannot be resolved{hint}"
    if caused_by(ConnectionRefusedError):
        return f"the connection was refused{hint}"
    if caused_by(TimeoutError, urllib3.exceptions.TimeoutError):
        return f"no byte within {names.timeout}"
    if caused_by(ssl.SSLError):
        return f"the TLS connection failed{hint}"
    if caused_by(urllib3.exceptions.IncompleteRead, http.client.IncompleteRead):
        return "an answer cut short"
    return f"the connection failed ({type(error).__name__})"


def _untrusted_certificate(
    error: ssl.SSLCertVerificationError, owner: str, route: Route, names: SettingNames
) -> RequestRejected:
    """The error for a certificate that fails to verify: what is wrong with it, and the solution."""
    problem = f"the certificate of {owner} cannot be trusted ({error.verify_message.rstrip('.')})"
    if error.verify_code in _CLOCK_ERRORS:
        return RequestRejected(f"{problem}; is this machine's clock right?")
    if error.verify_code in _WRONG_HOST_ERRORS:
        return RequestRejected(f"{problem}; correct the host")
    return RequestRejected(
        f"{problem}; trusted are the certificates {route.authorities()}; set {names.ca_file} to a file with those of "
        "the authority that signed it"
    )


def _refused_tunnel(status: int, proxy: Proxy, host: str) -> VendorError:
    """The error for a proxy that answers CONNECT with another status than 200."""
    if status == requests.codes.proxy_authentication_required:
        problem = "needs a user and a password" if proxy.credentials() is None else "refused the user and password"
        return RequestRejected(
            f"the proxy {proxy} {problem} (HTTP {status}); set {proxy.source} to http://USER:PASSWORD@HOST:PORT"
        )
    if 400 <= status < 500 and status not in RETRY_STATUSES:
        return RequestRejected(
            f"the proxy {proxy} refused to connect to {host} (HTTP {status}); allow the host at the proxy"
        )
    return RetryableError(f"the proxy {proxy} could not connect to {host} (HTTP {status})")


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all errors that it wraps, in whatever way requests and urllib3 wrap them."""
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending:
        item = pending.pop()
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            pending += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
