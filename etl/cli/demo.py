"""The whole job on one screen: two nights against the sandbox, with a vendor that changes its mind in between."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click
from sqlalchemy import Engine, text

from etl.cli import text_output
from etl.config.loader import parse_settings
from etl.config.schema import Settings
from etl.db.engine import new_engine, read_connection
from etl.db.errors import translate_errors
from etl.ops.status_query import read_status
from etl.sandbox import Dataset, Sandbox
from etl.services.context import utc_now
from etl.services.run import RunRequest
from etl.services.sync import run_sync

DATABASE: Final = Path("billing-demo.db")
BAR_WIDTH: Final = 30
DAYS_SHOWN: Final = 10


def run_demo(redact: Callable[[str], str]) -> int:
    """Show the job in the current folder, beginning with an empty database each time.

    Returns:
        0 when both nights went well.
    """
    for leftover in (DATABASE, *Path().glob(f"{DATABASE.name}-*")):
        leftover.unlink(missing_ok=True)
    now = datetime.now(ZoneInfo("Europe/Moscow")).replace(tzinfo=None)
    dataset = Dataset(seed=1, today=now.date(), until=now.time())
    with Sandbox(port=0, dataset=dataset) as sandbox:
        settings = parse_settings(
            [
                {
                    "BILLING_API_URL": sandbox.url,
                    "BILLING_API_TOKEN": sandbox.token,
                    "BILLING_DATABASE_URL": f"sqlite:///{DATABASE}",
                }
            ]
        )
        engine = new_engine(settings.database_url)
        _say("The first night", "an imitation of the vendor is up, and an empty database is filled")
        good = _sync(settings, redact)
        revision = dataset.revise()
        _say(
            "The vendor changes its mind",
            f"{revision.late} records arrive late, {revision.corrected} are corrected, {revision.withdrawn} withdrawn",
        )
        _say("The second night", "the lookback finds it all; nothing else is written")
        good = _sync(settings, redact) and good
    with translate_errors():
        _show_restated(engine)
        _show_spend(engine)
        with read_connection(engine) as connection:
            text_output.print_status(read_status(connection, [settings.account], utc_now()))
    _show_next()
    return 0 if good else 70


def _sync(settings: Settings, redact: Callable[[str], str]) -> bool:
    with text_output.progress_listener(quiet=False) as watcher:
        report = run_sync(settings, RunRequest("sync"), watcher, redact=redact, exit_code_of=lambda _report: 0)
    text_output.print_result(report)
    if report.error:
        click.secho(f"  {report.error}", fg="red")
    return report.error is None


def _show_restated(engine: Engine) -> None:
    with read_connection(engine) as connection:
        rows = connection.execute(
            text("SELECT day, spend_before, spend_after, delta FROM restated_days ORDER BY day")
        ).all()
    text_output.print_rows(
        "Days restated after they were closed (view restated_days)",
        ("day", "#spend before", "#spend after", "#delta"),
        [(row.day, f"{row.spend_before:.2f}", f"{row.spend_after:.2f}", f"{row.delta:+.2f}") for row in rows],
    )


def _show_spend(engine: Engine) -> None:
    query = text(
        "SELECT day, records, delivered, spend, day_state FROM daily_spend ORDER BY day DESC LIMIT :days"
    ).bindparams(days=DAYS_SHOWN)
    with read_connection(engine) as connection:
        rows = connection.execute(query).all()[::-1]
    highest = max((row.spend for row in rows), default=1) or 1
    text_output.print_rows(
        "Spend by day (view daily_spend)",
        ("day", "#records", "#delivered", "#spend", "state", ""),
        [
            (
                row.day,
                row.records,
                row.delivered,
                f"{row.spend:.2f}",
                row.day_state,
                "█" * round(BAR_WIDTH * row.spend / highest),
            )
            for row in rows
        ],
    )


def _show_next() -> None:
    variable = f"BILLING_DATABASE_URL=sqlite:///{DATABASE}"
    by_path = Path(sys.argv[0]).name.startswith("billing-etl")
    program = "billing-etl" if shutil.which("billing-etl") else sys.argv[0] if by_path else "python -m etl"
    click.secho("\nTo try next", bold=True)
    for command, meaning in (
        (f"{variable} {program} status", "the same status, at any time"),
        (f"sqlite3 {DATABASE} .dump", "all that is stored (the views billing and daily_spend are for BI)"),
        (f"{program} sandbox --port 8080", "the imitation of the vendor, to sync from yourself"),
        (f"{program} --help", "all commands and settings"),
        (f"BILLING_API_TOKEN=… {program} sync", "your own account, into billing.db"),
    ):
        click.echo(f"  {command}\n      {meaning}")


def _say(headline: str, sentence: str) -> None:
    click.echo(f"\n{click.style(headline, bold=True)}: {sentence}")
