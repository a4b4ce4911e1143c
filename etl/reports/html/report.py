"""The report: one page for who pays, made from the views. The database is only read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import BinaryIO, Final

from sqlalchemy import Connection, Date, Engine, bindparam, text

from etl import signals
from etl.db.engine import read_connection, require_database, translate_errors
from etl.db.migrate import require_schema
from etl.errors import ConfigError
from etl.reports.charts import NO_FILTER, QUERIES, build_query
from etl.reports.html.page import Rows, render_page
from etl.reports.html.totals import ReportTotals, compute_totals
from etl.reports.query import TYPES, ExportFilter, resolve_accounts

_BUNDLE: Final = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"


def load_vega_bundle() -> Callable[[], str]:
    """What gives the JavaScript that draws the charts: Vega, Vega-Lite and Vega-Embed, self-contained.

    Raises:
        ConfigError: The library that holds it is not installed.
    """
    try:
        import jinja2  # noqa: F401 - checked here, imported where the page is rendered
        import vl_convert  # noqa: F401
    except ImportError:
        raise ConfigError(
            "report needs libraries that are not installed; run: pip install 'billing-etl[report]'"
        ) from None
    return _bundle


def _bundle() -> str:
    # In a process of its own: for the seconds that it takes, the library would let no signal through.
    command = [sys.executable, "-P", "-c", _BUNDLE]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()  # noqa: S603 - our own words


def write_report(
    engine: Engine,
    selection: ExportFilter,
    renderer: Callable[[], str],
    output: AbstractContextManager[BinaryIO],
    *,
    now: datetime,
) -> ReportTotals:
    """Write the page.

    Args:
        engine: Of the database.
        selection: Which accounts and days, as they are now.
        renderer: Of `load_vega_bundle`.
        output: The file, entered when the page is made.
        now: When that is, in the zone in which it is to be told.

    Raises:
        ConfigError: The database has no such account, or the file cannot be written there.
        DatabaseError: There is no database, it has another schema, or it failed.
        DiskFullError: The disk is full.
    """
    require_database(engine)
    with translate_errors(), signals.deferred(), read_connection(engine, one_moment=True) as connection:
        # So what a picture shows adds up to what the headline says.
        require_schema(connection)
        labels = resolve_accounts(connection, selection.accounts)
        rows = load_datasets(connection, labels, selection.since, selection.until)
    figures = compute_totals(rows, labels, selection.since, selection.until)
    page = render_page(figures, rows, renderer(), now)
    with output as file:
        file.write(page.encode())
    return figures


def load_datasets(connection: Connection, labels: list[str], since: date | None, until: date | None) -> Rows:
    """What the charts show of these accounts and days, aggregated by the database."""
    bounds = {"since": (since, "day >= :since"), "until": (until, "day <= :until")}
    days = " AND ".join(condition for value, condition in bounds.values() if value) or NO_FILTER
    rows = {}
    for name, query in QUERIES.items():
        signals.raise_if_interrupted()
        statement = text(build_query(name, connection.dialect.name, accounts="account IN :accounts", days=days))
        statement = statement.bindparams(bindparam("accounts", labels, expanding=True))
        if query.has_days:
            given = [bindparam(bound, value, Date()) for bound, (value, _) in bounds.items() if value]
            statement = statement.bindparams(*given)
        typed = statement.columns(**{column: TYPES[kind] for column, kind in query.columns.items()})
        rows[name] = [dict(row) for row in connection.execute(typed).mappings()]
    return rows
