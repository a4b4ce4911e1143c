"""The report's charts as a page of Datasette, with filters for account and days."""

from __future__ import annotations

import ipaddress
import socket
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from etl.errors import ConfigError
from etl.reports.charts import NO_FILTER, PLAIN, QUERIES, Spec, all_charts, build_query
from etl.reports.columns import ColumnType
from etl.reports.dashboard.asgi_filter import AllowList, Application, allow_list_middleware

NAME: Final = "billing"
"""Of the dashboard and of its database, in addresses."""
PAGE: Final = f"/-/dashboards/{NAME}"
QUERY_SECONDS: Final = 60
"""Of one chart: over millions of records the views take their time."""
MAX_ROWS: Final = 100_000
"""Of one chart, accounts times days; what is cut off is told on the page."""

_OF_ACCOUNT, _SINCE, _UNTIL = "AND account = :account", "AND day >= :since", "AND day <= :until"
"""Conditions of the filters; the plugin takes `[[…]]` out where its filter is empty."""
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
    ("delivery_by_operator", "delivery_by_operator", "weekday_and_hour", "weekday_and_hour"),
    ("balance",) * 4,
    ("restatements", "restatements", "day_states", "day_states"),
    ("freshness",) * 4,
)


def define_dashboard() -> dict[str, Any]:
    """The dashboard in the words of its plugin: Vega-Lite alone, for its tables put text into the page as it is."""
    accounts, days = f"{NO_FILTER} [[{_OF_ACCOUNT}]]", f"{NO_FILTER} [[{_SINCE}]] [[{_UNTIL}]]"
    charts = {
        name: _chart(title, _query_total(accounts, days), _figure(value, form)) for name, title, value, form in _FIGURES
    }
    for chart in all_charts(PLAIN):
        charts[chart.name] = _chart(
            chart.title, _query(chart.dataset, accounts, days), chart.spec | {"description": chart.description}
        )
    return {
        "title": "Billing",
        "description": "Charges as the vendor lists them, repeats included; amounts in the account's currency.",
        "layout": [list(row) for row in _LAYOUT],
        "filters": {name: dict(one) for name, one in FILTERS.items()},
        "charts": charts,
    }


def allowed_queries() -> frozenset[str]:
    """All queries that the dashboard may ask, one for each of its charts and each choice of filters."""
    found = set()
    for of_account, since, until in product((_OF_ACCOUNT, ""), (_SINCE, ""), (_UNTIL, "")):
        accounts, days = f"{NO_FILTER} {of_account}", f"{NO_FILTER} {since} {until}"
        found |= {_query(rows, accounts, days) for rows in QUERIES} | {_query_total(accounts, days)}
    return frozenset(found)


def require_libraries() -> None:
    """Make sure that there is what the dashboard is shown with.

    Raises:
        ConfigError: Datasette or its plugin is not installed.
    """
    if not all(map(find_spec, ("datasette", "datasette_dashboards"))):
        raise ConfigError("dashboard needs libraries that are not installed; run: pip install 'billing-etl[dashboard]'")


def open_dashboard(path: Path, *, at_rest: bool) -> Application:
    """The dashboard on an SQLite file, which is only read.

    Args:
        path: Of a database of ours, or of a snapshot.
        at_rest: Nobody changes the file while it is open.
    """
    from datasette.app import Datasette  # type: ignore[import-untyped]
    from datasette.database import Database  # type: ignore[import-untyped]

    from etl.reports.dashboard.error_handler import install_error_handler

    install_error_handler()
    dashboard = define_dashboard()
    server = Datasette(
        metadata={"title": "Billing", "plugins": {"datasette-dashboards": {NAME: dashboard}}},
        settings={
            "sql_time_limit_ms": QUERY_SECONDS * 1000,
            "max_returned_rows": MAX_ROWS,
            "allow_download": False,
            "default_cache_ttl": 0,
        },
    )
    server.remove_database("_memory")
    server.add_database(Database(server, path=quote(str(path)), is_mutable=not at_rest), name=NAME)
    admitted = AllowList(
        home=PAGE,
        redirects=frozenset({"/", "/-/dashboards"}),
        pages=frozenset({PAGE, *(f"{PAGE}/{chart}" for chart in dashboard["charts"])}),
        query_paths=frozenset({f"/{NAME}", f"/{NAME}.json", f"/{NAME}.csv"}),
        queries=allowed_queries(),
        filters=frozenset(FILTERS),
    )
    return allow_list_middleware(server.app(), admitted)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches such an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A socket that takes requests.

    Args:
        host: A name or an address.
        port: 0 for any that is free.

    Raises:
        ConfigError: The port is taken, or the address is none of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        # In front of the bracket: what it says of itself holds the address once more.
        reason = (error.strerror or type(error).__name__).partition(" (")[0]
        raise ConfigError(f"--host {host} --port {port}: {reason}") from None


def url_of(door: socket.socket) -> str:
    """The page's address."""
    host, port = door.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{PAGE}"


def serve(application: Application, door: socket.socket) -> None:
    """Answer requests until a signal comes, which is then raised again for whoever was to hear of it."""
    import uvicorn

    config = uvicorn.Config(
        application,
        log_config=None,
        log_level="critical",  # below that it tells, with tracebacks, of answers that the signal cuts off
        access_log=False,
        timeout_graceful_shutdown=0,
    )
    uvicorn.Server(config).run(sockets=[door])


# The queries and pictures ---------------------------------------------------------------------------------------------


def _query(rows: str, accounts: str, days: str) -> str:
    """A chart's query with numbers for amounts, of which the views tell large ones, and a snapshot all, as text."""
    columns = (
        f"CAST({name} AS REAL) AS {name}" if kind is ColumnType.AMOUNT else name
        for name, kind in QUERIES[rows].columns.items()
    )
    return f"SELECT {', '.join(columns)} FROM (\n{build_query(rows, 'sqlite', accounts=accounts, days=days)}\n)"


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
"""Name, title, value and form of each headline figure."""


def _figure(value: str, form: str) -> Spec:
    return {
        "usermeta": _NO_MENU,
        "height": 34,
        "transform": [{"calculate": value, "as": "value"}, {"filter": "isValid(datum.value)"}],
        "mark": {"type": "text", "align": "left", "x": 0, "fontSize": 26, "fontWeight": 600},
        "encoding": {"text": {"field": "value", "type": "quantitative", "format": form}},
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
"""A picture can be saved. The editor that is offered otherwise is a web site, and the figures would go there."""
_NO_MENU: Final[Spec] = {"embedOptions": {"actions": False}}
