"""Hooks of Datasette: the dashboard's page, the style of Datasette's pages, CSV without formulas, errors in one line.

Datasette's own error handler prints a traceback with the values of all variables.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from http import HTTPStatus
from typing import Any, Final

from datasette import Response, hookimpl  # type: ignore[import-untyped]  # untyped
from datasette.plugins import pm  # type: ignore[import-untyped]

from etl.errors import BillingError, ConfigError
from etl.reports.csv_writer import escape_formula
from etl.reports.dashboard.page import DashboardPage

_DATASETTE_HANDLER: Final = "datasette.handle_exception"
_PAGE_ATTRIBUTE: Final = "_billing_etl_page"
_STYLE: Final = """
@media (prefers-color-scheme: dark) { html { filter: invert(0.92) hue-rotate(180deg); background: #12161b; } }
"""
"""Dark colours for Datasette's pages, which have none."""


def set_page(server: Any, page: DashboardPage) -> None:
    """Set the page that a server of Datasette shows at its root."""
    setattr(server, _PAGE_ATTRIBUTE, page)


async def _show_page(datasette: Any, request: Any) -> Any:
    page: DashboardPage = getattr(datasette, _PAGE_ATTRIBUTE)
    parameters = {name: request.args.get(name) or "" for name in request.args}
    try:
        return Response.html(await asyncio.to_thread(page.render, parameters))
    except ConfigError as error:
        return Response.text(f"{error}\n", status=HTTPStatus.BAD_REQUEST)


async def _show_style() -> Any:
    return Response(_STYLE, content_type="text/css; charset=utf-8")


@hookimpl  # type: ignore[untyped-decorator]  # untyped
def register_routes() -> Any:
    """Datasette hook: the routes before its own."""
    return [
        (r"^/$", _show_page),
        (r"^/-/billing\.css$", _show_style),
    ]


@hookimpl  # type: ignore[untyped-decorator]  # untyped
def register_magic_parameters() -> Any:
    """Datasette hook: `:_request_format`, the extension of the request's path."""
    return [("request", lambda key, request: request.url_vars[key])]


@hookimpl  # type: ignore[untyped-decorator]  # untyped
def prepare_connection(conn: Any) -> None:
    """Datasette hook: the functions of the queries."""
    conn.create_function("escape_formula", 1, escape_formula, deterministic=True)


@hookimpl  # type: ignore[untyped-decorator]  # untyped
def handle_exception(exception: Exception) -> Any:
    """Datasette hook: the response to a failed request."""
    status = getattr(exception, "status", HTTPStatus.INTERNAL_SERVER_ERROR)
    reason = getattr(exception, "title", None) or type(exception).__name__
    if isinstance(exception, BillingError):
        reason = str(exception)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logging.getLogger("etl").error("the dashboard could not answer: %s", reason)
    return Response.json({"ok": False, "error": reason, "status": status}, status=status)


def install_hooks() -> None:
    """Install the hooks in place of Datasette's error handler, once in a process."""
    if pm.has_plugin(_DATASETTE_HANDLER):
        pm.unregister(name=_DATASETTE_HANDLER)
        pm.register(sys.modules[__name__])
