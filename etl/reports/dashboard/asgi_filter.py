"""Who is let through to Datasette: the dashboard's own addresses, and queries that it asks itself.

Datasette answers whoever reaches it whatever SQL can ask, and the file it has open may hold phones and codes. So what
is not known here, word by word, is not found.
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
_TOLD: Final = b"This server shows the dashboard and answers its own queries, nothing else.\n"


@dataclass(frozen=True, slots=True)
class AllowList:
    """What may be asked for.

    Attributes:
        home: The page to which other beginnings lead.
        redirects: Addresses that lead there.
        pages: Addresses of pages; what is asked of them behind the `?` is their business.
        query_paths: Addresses that answer a query.
        queries: Those queries.
        filters: What a query may be given beside itself.
    """

    home: str
    redirects: frozenset[str]
    pages: frozenset[str]
    query_paths: frozenset[str]
    queries: frozenset[str]
    filters: frozenset[str]

    def allows(self, path: str, question: str) -> bool:
        """Whether a request may pass.

        Args:
            path: As it was sent, not decoded: so Datasette reads it too.
            question: What stands behind the `?`, likewise.
        """
        if path.startswith(_ASSETS) or path in self.pages:
            return True
        if path not in self.query_paths:
            return False
        asked = parse_qs(question, keep_blank_values=True)
        if any(len(values) > 1 for values in asked.values()) or not asked.keys() <= self.filters | {"sql", "_shape"}:
            return False
        return asked.get("sql", [""])[0] in self.queries


def allow_list_middleware(application: Application, admitted: AllowList) -> Application:
    """The application, for such requests alone."""

    async def gate(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        if scope["method"] not in {"GET", "HEAD"}:
            await _answer(send, 405)
        elif path in admitted.redirects:
            await _answer(send, 302, (b"location", admitted.home.encode()))
        elif admitted.allows(path, scope["query_string"].decode("latin-1")):
            await application(scope, receive, send)
        else:
            await _answer(send, 404)

    return gate


async def _answer(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    plain = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [plain, *headers]})
    await send({"type": "http.response.body", "body": _TOLD})
