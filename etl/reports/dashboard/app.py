"""The dashboard: the report's page with filters, and the rows of its charts, served by Datasette.

Datasette's permissions refuse everything but the named queries of the charts: the database may hold phones and codes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Engine

from etl.errors import ConfigError
from etl.reports.charts.queries import QUERIES, build_query
from etl.reports.columns import ColumnType
from etl.reports.dashboard.page import DashboardPage, PageOptions

NAME: Final = "billing"
"""Name of the database in URLs."""
QUERY_TIMEOUT_SECONDS: Final = 60
MAX_ROWS: Final = 100_000
"""Rows of a query, accounts × days; the page reports truncation."""

Application = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]
"""An ASGI application."""
_ACCOUNT: Final = "(:account = '' OR account = :account)"
_DAYS: Final = "(:since = '' OR day >= :since) AND (:until = '' OR day <= :until)"
_EXPRESSIONS: Final = {
    ColumnType.AMOUNT: "CASE WHEN abs({0}) < 1000000000 THEN CAST({0} AS REAL) ELSE {0} END",
    ColumnType.LABEL: "CASE WHEN :_request_format = 'csv' THEN escape_formula({0}) ELSE {0} END",
}
"""SQL of a value by column type; `datasette_hooks` defines the parameter and the function."""


def require_libraries() -> None:
    """Check that the libraries of the extra `dashboard` are installed.

    Raises:
        ConfigError: One of them is not installed.
    """
    if not all(map(find_spec, ("datasette", "jinja2", "vl_convert"))):
        raise ConfigError("dashboard needs libraries that are not installed; run: pip install 'billing-etl[dashboard]'")


def named_queries() -> dict[str, dict[str, Any]]:
    """The queries of the charts as Datasette's named queries, open to everyone; a filter that is empty selects all."""
    return {
        name: {
            "title": f"Rows of {name}",
            "sql": _query(name),
            "params": ["account", "since", "until"] if query.has_days else ["account"],
            "allow": True,
        }
        for name, query in QUERIES.items()
    }


def open_dashboard(path: Path, engine: Engine, options: PageOptions, *, at_rest: bool) -> Application:
    """Open the dashboard on an SQLite file, read-only.

    Args:
        path: A database of billing-etl, or a snapshot.
        engine: Engine of the same file.
        options: The options of the page, besides the data.
        at_rest: Whether the file never changes while it is open.
    """
    from datasette.app import Datasette  # type: ignore[import-untyped]
    from datasette.database import Database  # type: ignore[import-untyped]

    from etl.reports.dashboard.datasette_hooks import install_hooks, set_page

    install_hooks()
    server = Datasette(
        metadata={
            "title": "Billing",
            "allow": False,
            "allow_sql": False,
            "databases": {NAME: {"allow": False, "queries": named_queries()}},
            "extra_css_urls": ["/-/billing.css"],
        },
        settings={
            "sql_time_limit_ms": QUERY_TIMEOUT_SECONDS * 1000,
            "max_returned_rows": MAX_ROWS,
            "allow_download": False,
            "default_cache_ttl": 0,
        },
    )
    server.remove_database("_memory")
    server.add_database(Database(server, path=quote(str(path)), is_mutable=not at_rest), name=NAME)
    set_page(server, DashboardPage(engine, options, database=NAME))
    application: Application = server.app()
    return application


def _query(dataset: str) -> str:
    """The query of a dataset with values as Datasette writes them.

    Amounts are numbers where those are exact: in snapshots they all are text. Labels are safe for spreadsheets in CSV.
    """
    columns = (
        f"{_EXPRESSIONS.get(column_type, '{0}').format(name)} AS {name}"
        for name, column_type in QUERIES[dataset].columns.items()
    )
    return f"SELECT {', '.join(columns)} FROM (\n{build_query(dataset, 'sqlite', accounts=_ACCOUNT, days=_DAYS)}\n)"
