"""The page of the dashboard: the report for the chosen account and days."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from urllib.parse import urlencode

from sqlalchemy import Engine, text

from etl.db.engine import read_connection
from etl.db.errors import translate_errors
from etl.errors import ConfigError
from etl.reports.charts.queries import QUERIES
from etl.reports.html.page import Controls, render_page
from etl.reports.html.report import load_report


@dataclass(frozen=True, slots=True)
class PageOptions:
    """The options of the page, besides the data.

    Attributes:
        renderer: Returns the JavaScript that draws the charts.
        clock: The current time, in the time zone that the page shows it in.
        budgets: Monthly budgets by account.
    """

    renderer: Callable[[], str]
    clock: Callable[[], datetime]
    budgets: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DashboardPage:
    """The page of one SQLite file.

    Attributes:
        database: Name of the file in URLs.
    """

    engine: Engine
    options: PageOptions
    database: str

    def render(self, parameters: Mapping[str, str]) -> str:
        """Render the page.

        Args:
            parameters: `account`, `since` and `until`; what is missing or empty selects all.

        Raises:
            ConfigError: A parameter is not a date, or the account is unknown.
            DatabaseError: The database failed.
        """
        account = parameters.get("account", "")
        since, until = (_parse_day(name, parameters.get(name, "")) for name in ("since", "until"))
        now = self.options.clock()
        with translate_errors(), read_connection(self.engine, repeatable_read=True) as connection:
            known = list(connection.scalars(text("SELECT account FROM freshness ORDER BY account")))
            if account and account not in known:
                raise ConfigError("account: unknown account")
            labels = [account] if account else known
            report = load_report(connection, labels, since, until, now.date(), self.options.budgets)
        return render_page(
            report,
            self.options.renderer(),
            now,
            known_accounts=known,
            controls=Controls(
                accounts=known,
                account=account,
                since=since.isoformat() if since else "",
                until=until.isoformat() if until else "",
                rows_urls={name: self._rows_url(name, account, since, until) for name in QUERIES},
            ),
        )

    def _rows_url(self, dataset: str, account: str, since: date | None, until: date | None) -> str:
        """URL of the rows of a query, to which `.csv` or `.json` may be added before the question mark."""
        parameters = {"account": account}
        if QUERIES[dataset].has_days:
            parameters |= {"since": str(since or ""), "until": str(until or "")}
        return f"/{self.database}/{dataset}{{}}?{urlencode(parameters)}"


def _parse_day(name: str, value: str) -> date | None:
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise ConfigError(f"{name}: not a date like 2026-01-31") from None
