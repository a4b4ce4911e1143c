"""The scenario of `demo`: two nights against the sandbox, whose records are revised in between."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click

from etl.cli.output import OutputOptions
from etl.cli.progress import progress_listener
from etl.cli.run_summary import print_result
from etl.cli.tables import print_rows
from etl.cli.text_output import print_status
from etl.config.loader import parse_settings
from etl.config.schema import Settings
from etl.exit_codes import ExitCode
from etl.sandbox import DEFAULT_TOKEN, Dataset, Sandbox
from etl.services.demo import DailySpend, RestatedDay, read_figures, require_demo_database, require_writable_folder
from etl.services.run import RunRequest
from etl.services.sync import run_sync

DATABASE: Final = Path("billing-demo.db")
BAR_WIDTH: Final = 24
MAX_DAYS_SHOWN: Final = 10


def run_demo(options: OutputOptions) -> int:
    """Run two syncs in the current folder, on a database that is recreated each time.

    Args:
        options: Verbosity of the output.

    Returns:
        The exit code: 0 if both syncs succeeded.
    """
    require_writable_folder(DATABASE)
    require_demo_database(DATABASE, DEFAULT_TOKEN)
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
        _announce("The first night", "the sandbox imitates the vendor, and sync fills an empty database")
        succeeded = _sync(settings, options)
        revision = dataset.revise()
        _announce(
            "The vendor revises its records",
            f"{revision.late} records arrive late, {revision.corrected} are corrected, {revision.withdrawn} withdrawn",
        )
        _announce("The second night", "the lookback finds all of these changes; nothing else is written")
        succeeded = _sync(settings, options) and succeeded
    figures = read_figures(settings, days=MAX_DAYS_SHOWN)
    _show_restated(figures.restated)
    _show_spend(figures.spend)
    print_status(options, figures.statuses)
    _show_next_steps()
    return ExitCode.OK if succeeded else ExitCode.SOFTWARE


def _sync(settings: Settings, options: OutputOptions) -> bool:
    with progress_listener(quiet=False) as listener:
        result = run_sync(settings, RunRequest("sync"), listener, redact=options.redact)
    result.run_id = None  # a command that shows the run would need the settings of the demo
    print_result(options, result)
    if result.error:
        click.secho(f"  {result.error}", fg="red")
    return result.error is None


def _show_restated(rows: Iterable[RestatedDay]) -> None:
    print_rows(
        "Days restated after they were closed (view restated_days)",
        ("day", "#spend before", "#spend after", "#delta"),
        [(row.day, f"{row.spend_before:.2f}", f"{row.spend_after:.2f}", f"{row.delta:+.2f}") for row in rows],
    )


def _show_spend(rows: Sequence[DailySpend]) -> None:
    highest = max((row.spend for row in rows), default=1) or 1
    print_rows(
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


def _show_next_steps() -> None:
    variable = f"BILLING_DATABASE_URL=sqlite:///{DATABASE}"
    is_script = Path(sys.argv[0]).name.startswith("billing-etl")
    program = "billing-etl" if shutil.which("billing-etl") else sys.argv[0] if is_script else "python -m etl"
    click.secho("\nTo try next", bold=True)
    for command, purpose in (
        (f"{variable} {program} status", "the status, at any time"),
        (f"sqlite3 {DATABASE} .dump", "every stored row (the views billing and daily_spend are for BI)"),
        (f"{program} sandbox --port 8080", "the sandbox, to sync from with your own settings"),
        (f"{program} help", "all commands, and where their settings are described"),
        (f"{program} init", "your own account: token, database, schedule"),
    ):
        click.echo(f"  {command}\n      {purpose}")


def _announce(title: str, message: str) -> None:
    click.echo(f"\n{click.style(title, bold=True)}: {message}")
