"""The charts of the report as a Datasette dashboard, with filters for account and days."""

from __future__ import annotations

import ipaddress
import socket
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from etl.errors import ConfigError
from etl.reports.charts.catalog import all_charts
from etl.reports.charts.palette import PLAIN
from etl.reports.charts.parts import Spec
from etl.reports.charts.queries import NO_FILTER, QUERIES, build_query
from etl.reports.columns import ColumnType
from etl.reports.dashboard.asgi_filter import AllowList, Application, allow_list_middleware

NAME: Final = "billing"
"""Name of the dashboard and of its database in URLs."""
PAGE: Final = f"/-/dashboards/{NAME}"
QUERY_TIMEOUT_SECONDS: Final = 60
"""Timeout of a chart's query: the views are slow over millions of records."""
MAX_ROWS: Final = 100_000
"""Rows of a chart, accounts × days; the page reports truncation."""

_ACCOUNT, _SINCE, _UNTIL = "AND account = :account", "AND day >= :since", "AND day <= :until"
"""Conditions of the filters; the plugin removes `[[…]]` if its filter is empty."""
FILTERS: Final[dict[str, dict[str, str]]] = {
    "account": {
        "name": "Account",
        "type": "select",
        "db": NAME,
        "query": "SELECT account FROM freshness ORDER BY account",
    },
    "since": {"name": "From", "type": "date"},
    "until": {"name": "To", "type": "date"},
}
_LAYOUT: Final = (
    ("spend", "charges", "delivery_rate", "cost_per_delivery"),
    ("spend_by_day",) * 4,
    ("months",) * 4,
    ("delivery_by_operator", "delivery_by_operator", "weekday_and_hour", "weekday_and_hour"),
    ("balance",) * 4,
    ("restatements", "restatements", "day_states", "day_states"),
    ("freshness",) * 4,
)


def define_dashboard() -> dict[str, Any]:
    """Configuration of datasette-dashboards: only Vega-Lite charts, because its tables do not escape text."""
    accounts, days = f"{NO_FILTER} [[{_ACCOUNT}]]", f"{NO_FILTER} [[{_SINCE}]] [[{_UNTIL}]]"
    charts = {
        name: _chart(title, _query_total(accounts, days), _figure(value, number_format))
        for name, title, value, number_format in _FIGURES
    }
    for chart in all_charts(PLAIN):
        charts[chart.name] = _chart(
            chart.title, _query(chart.dataset, accounts, days), chart.spec | {"description": chart.description}
        )
    return {
        "title": "Billing",
        "description": "Charges as the vendor lists them, repeats included; amounts in the account's currency.",
        "layout": [list(row) for row in _LAYOUT],
        "filters": {name: dict(options) for name, options in FILTERS.items()},
        "charts": charts,
    }


def allowed_queries() -> frozenset[str]:
    """All queries of the dashboard: one for each chart and combination of filters."""
    queries = set()
    for account, since, until in product((_ACCOUNT, ""), (_SINCE, ""), (_UNTIL, "")):
        accounts, days = f"{NO_FILTER} {account}", f"{NO_FILTER} {since} {until}"
        queries |= {_query(name, accounts, days) for name in QUERIES} | {_query_total(accounts, days)}
    return frozenset(queries)


def require_libraries() -> None:
    """Check that the libraries of the extra `dashboard` are installed.

    Raises:
        ConfigError: Datasette or its plugin is not installed.
    """
    if not all(map(find_spec, ("datasette", "datasette_dashboards"))):
        raise ConfigError("dashboard needs libraries that are not installed; run: pip install 'billing-etl[dashboard]'")


def open_dashboard(path: Path, *, at_rest: bool) -> Application:
    """Open the dashboard on an SQLite file, read-only.

    Args:
        path: A database of billing-etl, or a snapshot.
        at_rest: Whether the file never changes while it is open.
    """
    from datasette.app import Datasette  # type: ignore[import-untyped]
    from datasette.database import Database  # type: ignore[import-untyped]

    from etl.reports.dashboard.error_handler import install_error_handler

    install_error_handler()
    dashboard = define_dashboard()
    server = Datasette(
        metadata={"title": "Billing", "plugins": {"datasette-dashboards": {NAME: dashboard}}},
        settings={
            "sql_time_limit_ms": QUERY_TIMEOUT_SECONDS * 1000,
            "max_returned_rows": MAX_ROWS,
            "allow_download": False,
            "default_cache_ttl": 0,
        },
    )
    server.remove_database("_memory")
    server.add_database(Database(server, path=quote(str(path)), is_mutable=not at_rest), name=NAME)
    allow_list = AllowList(
        home=PAGE,
        redirects=frozenset({"/", "/-/dashboards"}),
        pages=frozenset({PAGE, *(f"{PAGE}/{chart}" for chart in dashboard["charts"])}),
        query_paths=frozenset({f"/{NAME}", f"/{NAME}.json", f"/{NAME}.csv"}),
        queries=allowed_queries(),
        filters=frozenset(FILTERS),
    )
    return allow_list_middleware(server.app(), allow_list)


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
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{PAGE}"


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


# The queries and specifications ---------------------------------------------------------------------------------------


def _query(dataset: str, accounts: str, days: str) -> str:
    """The query of a dataset with amounts as numbers: large amounts in views, and all in snapshots, are text."""
    columns = (
        f"CAST({name} AS REAL) AS {name}" if column_type is ColumnType.AMOUNT else name
        for name, column_type in QUERIES[dataset].columns.items()
    )
    return f"SELECT {', '.join(columns)} FROM (\n{build_query(dataset, 'sqlite', accounts=accounts, days=days)}\n)"


def _query_total(accounts: str, days: str) -> str:
    return (
        "SELECT SUM(records) AS records, SUM(delivered) AS delivered, SUM(spend) AS spend FROM (\n"
        f"{_query('days', accounts, days)}\n)"
    )


_FIGURES: Final = (
    ("spend", "Spend", "datum.spend", ",.2f"),
    ("charges", "Charges", "datum.records", ",d"),
    ("delivery_rate", "Delivery rate", "datum.records ? datum.delivered / datum.records : null", ".1%"),
    ("cost_per_delivery", "Cost per delivery", "datum.delivered ? datum.spend / datum.delivered : null", ",.4f"),
)
"""Name, title, expression and number format of each headline figure."""


def _figure(value: str, number_format: str) -> Spec:
    return {
        "usermeta": _NO_MENU,
        "height": 34,
        "transform": [{"calculate": value, "as": "value"}, {"filter": "isValid(datum.value)"}],
        "mark": {"type": "text", "align": "left", "x": 0, "fontSize": 26, "fontWeight": 600},
        "encoding": {"text": {"field": "value", "type": "quantitative", "format": number_format}},
    }


def _chart(title: str, query: str, spec: Spec) -> dict[str, Any]:
    display = {"usermeta": _MENU, "config": _CONFIG} | spec
    return {"title": title, "db": NAME, "query": query, "library": "vega-lite", "display": display}


_CONFIG: Final[Spec] = {
    "background": "transparent",
    "view": {"stroke": None},
    "font": "system-ui, sans-serif",
}
_MENU: Final[Spec] = {
    "embedOptions": {"actions": {"export": True, "source": False, "compiled": False, "editor": False}}
}
"""Charts can be saved as images. The Vega editor is disabled: it is a web site that would receive the figures."""
_NO_MENU: Final[Spec] = {"embedOptions": {"actions": False}}
