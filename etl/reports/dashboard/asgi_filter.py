"""ASGI middleware that restricts Datasette to the URLs and queries of the dashboard.

Datasette runs any SQL for any client, and its database may contain phones and codes. Every other URL and query is
therefore answered with 404.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""

_ASSETS: Final = ("/-/static/", "/-/static-plugins/")
_MESSAGE: Final = b"This server shows the dashboard and answers its own queries, nothing else.\n"


@dataclass(frozen=True, slots=True)
class AllowList:
    """Allowed requests.

    Attributes:
        home: Path that the redirects lead to.
        redirects: Paths that redirect to `home`.
        pages: Paths of pages, with any query string.
        query_paths: Paths that run SQL.
        queries: Allowed SQL.
        filters: Names of the allowed SQL parameters.
    """

    home: str
    redirects: frozenset[str]
    pages: frozenset[str]
    query_paths: frozenset[str]
    queries: frozenset[str]
    filters: frozenset[str]

    def allows(self, path: str, query_string: str) -> bool:
        """Whether a request is allowed.

        Args:
            path: Path as sent, not percent-decoded, which is how Datasette matches it.
            query_string: Query string as sent.
        """
        if path.startswith(_ASSETS) or path in self.pages:
            return True
        if path not in self.query_paths:
            return False
        parameters = parse_qs(query_string, keep_blank_values=True)
        if any(len(values) > 1 for values in parameters.values()) or not parameters.keys() <= self.filters | {
            "sql",
            "_shape",
        }:
            return False
        return parameters.get("sql", [""])[0] in self.queries


def allow_list_middleware(application: Application, allow_list: AllowList) -> Application:
    """Wrap an application so that it receives only allowed requests."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        if scope["method"] not in {"GET", "HEAD"}:
            await _respond(send, 405)
        elif path in allow_list.redirects:
            await _respond(send, 302, (b"location", allow_list.home.encode()))
        elif allow_list.allows(path, scope["query_string"].decode("latin-1")):
            await application(scope, receive, send)
        else:
            await _respond(send, 404)

    return middleware


async def _respond(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    content_type = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [content_type, *headers]})
    await send({"type": "http.response.body", "body": _MESSAGE})
