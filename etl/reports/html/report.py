"""Write the HTML report from the views; the database is only read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, BinaryIO, Final

from sqlalchemy import Connection, Date, Engine, bindparam, text

from etl import signals
from etl.db.engine import read_connection, require_database
from etl.db.errors import translate_errors
from etl.db.migrate import require_schema
from etl.errors import ConfigError
from etl.reports.charts.catalog import DEFAULT_CURRENCY
from etl.reports.charts.queries import NO_FILTER, QUERIES, build_query
from etl.reports.html.chart_data import Rows
from etl.reports.html.comparison import HISTORY_DAYS, MAX_DELAY, compare_budget, compare_periods, forecast_month
from etl.reports.html.page import ReportData, render_page
from etl.reports.html.stored_days import stored_days
from etl.reports.html.totals import compute_totals, purged_account_days, retired_accounts
from etl.reports.html.unexplained import load_unexplained
from etl.reports.query import TYPES, ExportFilter, resolve_accounts

NO_BUDGETS: Final[Mapping[str, Decimal]] = MappingProxyType({})
_BUNDLE_PROGRAM: Final = "import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle().encode())"


def load_vega_bundle() -> Callable[[], str]:
    """A function that returns the JavaScript that draws the charts: a bundle of Vega, Vega-Lite and Vega-Embed.

    Raises:
        ConfigError: A library of the extra `report` is not installed.
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
    # In a child process: the library blocks signals for the seconds that it takes.
    command = [sys.executable, "-P", "-c", _BUNDLE_PROGRAM]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()  # noqa: S603 - a fixed command


def write_report(
    engine: Engine,
    selection: ExportFilter,
    renderer: Callable[[], str],
    output: AbstractContextManager[BinaryIO],
    *,
    now: datetime,
    budgets: Mapping[str, Decimal] = NO_BUDGETS,
) -> ReportData:
    """Write the page.

    Args:
        engine: Engine of the database.
        selection: Filter of accounts and days; `as_of` is ignored.
        renderer: Result of `load_vega_bundle`.
        output: Context manager of the file, entered once the page is rendered.
        now: Creation time, in the time zone that the page shows it in.
        budgets: Monthly budgets by account.

    Returns:
        What the page shows.

    Raises:
        ConfigError: Unknown account, or the file cannot be written.
        DatabaseError: The database is missing, has another schema, or failed.
        DiskFullError: The disk is full.
    """
    require_database(engine)
    with translate_errors(), signals.deferred(), read_connection(engine, repeatable_read=True) as connection:
        # A single snapshot of the database, so that the charts add up to the headline figures.
        require_schema(connection)
        known = resolve_accounts(connection, ())
        labels = resolve_accounts(connection, selection.accounts)
        report = load_report(connection, labels, selection.since, selection.until, now.date(), budgets)
    page = render_page(report, renderer(), now, known_accounts=known)
    with output as file:
        file.write(page.encode())
    return report


def load_report(
    connection: Connection,
    labels: list[str],
    since: date | None,
    until: date | None,
    today: date,
    budgets: Mapping[str, Decimal] = NO_BUDGETS,
) -> ReportData:
    """Load and compute what a page shows; the connection should read a single state of the database.

    Amounts of different currencies are not added: of the accounts, the page shows those of the currency that most of
    them have, and names the others.
    """
    by_currency = _labels_by_currency(connection, labels)
    currency = max(by_currency, key=lambda each: len(by_currency[each]), default=DEFAULT_CURRENCY)
    labels = by_currency.pop(currency, [])
    rows = load_datasets(connection, labels, since, until)
    days, calendar = (
        [*(_load_earlier_days(connection, name, labels, since, until, today) if since else ()), *rows[name]]
        for name in ("days", "calendar")
    )
    retired = retired_accounts(rows)
    stored = stored_days(calendar, labels, retired, purged_account_days(days, calendar))
    recent = []
    if until is None or until >= min(today.replace(day=1), today - timedelta(days=MAX_DELAY)):
        recent = _load_dataset(connection, "calendar", labels, today - timedelta(days=HISTORY_DAYS), today)
    forecast = forecast_month(stored_days(recent, labels, retired), today)
    return ReportData(
        totals=compute_totals(rows, labels, since, until),
        rows=rows,
        currency=currency,
        other_currencies=by_currency,
        comparison=compare_periods(days, stored, since, until),
        forecast=forecast,
        budget=compare_budget(recent, labels, budgets, forecast, today),
        unexplained=load_unexplained(connection, labels, since, until, rows["balances"]),
    )


def _labels_by_currency(connection: Connection, labels: list[str]) -> dict[str, list[str]]:
    by_currency: dict[str, list[str]] = {}
    for label, currency in connection.execute(text("SELECT account, currency FROM freshness ORDER BY account")):
        if label in labels:
            by_currency.setdefault(currency, []).append(label)
    return by_currency


def load_datasets(connection: Connection, labels: list[str], since: date | None, until: date | None) -> Rows:
    """Run the queries of the charts for the accounts and days; of the months, for those with one of the days."""
    rows = {}
    for name in QUERIES:
        signals.raise_if_interrupted()
        rows[name] = _load_dataset(connection, name, labels, since, until)
    first, last = since and since.replace(day=1), until and until.replace(day=1)
    rows["months"] = [
        row for row in rows["months"] if (not first or row["day"] >= first) and (not last or row["day"] <= last)
    ]
    return rows


def _load_dataset(
    connection: Connection, name: str, labels: list[str], since: date | None, until: date | None
) -> list[dict[str, Any]]:
    query = QUERIES[name]
    bounds = {"since": (since, "day >= :since"), "until": (until, "day <= :until")}
    days = " AND ".join(condition for value, condition in bounds.values() if value) or NO_FILTER
    statement = text(build_query(name, connection.dialect.name, accounts="account IN :accounts", days=days))
    statement = statement.bindparams(bindparam("accounts", labels, expanding=True))
    if query.has_days:
        parameters = [bindparam(bound, value, Date()) for bound, (value, _) in bounds.items() if value]
        statement = statement.bindparams(*parameters)
    typed = statement.columns(**{column: TYPES[column_type] for column, column_type in query.columns.items()})
    return [dict(row) for row in connection.execute(typed).mappings()]


def _load_earlier_days(
    connection: Connection, name: str, labels: list[str], since: date, until: date | None, today: date
) -> list[dict[str, Any]]:
    """Rows of a query for the days before `since` that the comparison needs."""
    length = max((min(until or today, today) - since).days + 1, 0) + HISTORY_DAYS
    known = (since - date.min).days
    if not known:
        return []
    first = since - timedelta(days=min(length, known))
    return _load_dataset(connection, name, labels, first, since - timedelta(days=1))
