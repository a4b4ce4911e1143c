"""Commands for finance and BI: export, report, dashboard, numbering."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from etl.cli.json_output import export_as_json, print_json, report_as_json
from etl.cli.lake import DaysType, export_lake
from etl.cli.options import DAY, TIMESTAMP, account_option, examples, json_option, require_ordered_range
from etl.cli.output import OutputOptions
from etl.cli.selection import load_configured_settings, load_known_settings, require_one_database
from etl.cli.streams import binary_stdout
from etl.errors import ConfigError
from etl.exit_codes import ExitCode

if TYPE_CHECKING:
    from etl.config.schema import Settings
    from etl.reports.columns import ExportView
    from etl.reports.export import ExportResult
    from etl.services.numbering import ImportResult

DEFAULT_VIEW: Final = "billing"


@click.command(
    epilog=examples(
        "export --out billing.csv",
        "export --out 2026.parquet --since 2026-01-01 --anonymise",
        "export --out months.xlsx --view monthly_spend",
        "export --out lake --lake",
    )
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE",
    help="File that ends with .csv, .csv.gz, .parquet or .xlsx; - for CSV on stdout; a folder with --lake.",
)
@click.option("--lake", is_flag=True, help="Write what changed to Apache Iceberg tables in the folder.")
@click.option("--catalogue", metavar="URI", help="Catalogue of the lake; default an SQLite file in the folder.")
@click.option("--expire", type=DaysType(), metavar="DAYS", help="Remove older snapshots of the lake, like 30d.")
@click.option("--view", default=DEFAULT_VIEW, show_default=True, metavar="VIEW", help="View to export.")
@click.option("--since", type=DAY, metavar="DATE", help="First day; default the first stored one.")
@click.option("--until", type=DAY, metavar="DATE", help="Last day; default the last stored one.")
@account_option
@click.option("--as-of", type=TIMESTAMP, metavar="TIME", help="State at the end of this day, or at this time.")
@click.option("--anonymise", is_flag=True, help="Replace phones by pseudonyms; leave out codes and numbers in texts.")
@click.option(
    "--excel-ru", is_flag=True, help="CSV for Excel in Russian: semicolons, decimal commas, a byte order mark."
)
@json_option
@click.pass_obj
def export(
    options: OutputOptions, /, *, lake: bool, catalogue: str | None, expire: timedelta | None, **file_options: Any
) -> int:
    """Write a view to a CSV, Parquet or Excel file, or to a lake.

    A lake has all records in Apache Iceberg tables, partitioned by account and month. Only days that changed since the
    last export are written again.
    """
    target = _FileExport(**file_options)
    if lake:
        if target != _FileExport(target.out, target.accounts) or target.to_stdout:
            raise click.UsageError("--lake takes all days of the view billing as they are: leave other options out")
        return export_lake(options, target.out, target.accounts, catalogue, expire)
    if catalogue or expire:
        raise click.UsageError("--catalogue and --expire are for --lake")
    return _export_file(options, target)


@dataclass(frozen=True, slots=True)
class _FileExport:
    """The options of an export to a file, each named as on the command line."""

    out: Path
    accounts: tuple[str, ...]
    view: str = DEFAULT_VIEW
    since: date | None = None
    until: date | None = None
    as_of: date | datetime | None = None
    anonymise: bool = False
    excel_ru: bool = False

    @property
    def to_stdout(self) -> bool:
        """Whether the file is stdout."""
        return str(self.out) == "-"

    def extension(self) -> str:
        """The extension that decides on the format of the file.

        Raises:
            click.UsageError: There is no such format, or --excel-ru does not apply to it.
        """
        from etl.reports.export import FORMATS, format_of

        extension = ".csv" if self.to_stdout else format_of(self.out.name)
        if extension is None:
            raise click.UsageError(f"--out {self.out} must end with {' or '.join(FORMATS)}, or be -")
        if self.excel_ru and not extension.startswith(".csv"):
            raise click.UsageError(f"--excel-ru is for CSV; Excel opens {extension} without it")
        return extension

    def moment(self, all_settings: Sequence[Settings]) -> datetime | None:
        """The time of --as-of: of a day, its end in the time zone of the accounts.

        Raises:
            click.UsageError: The accounts have several time zones.
        """
        if self.as_of is None or isinstance(self.as_of, datetime):
            return self.as_of
        zone = all_settings[0].timezone
        if any(settings.timezone != zone for settings in all_settings):
            raise click.UsageError("the accounts have different time zones; give --as-of a time with its offset")
        return datetime.combine(self.as_of, time.max, tzinfo=zone)


def _export_file(options: OutputOptions, target: _FileExport) -> int:
    """Write a view to a file or to stdout, and print the number of rows."""
    from etl.atomic_file import atomic_write
    from etl.reports.export import export_records, writer_for
    from etl.reports.query import ExportFilter
    from etl.services.database import open_engine

    require_ordered_range(target.since, target.until)
    extension = target.extension()
    if target.to_stdout and options.as_json:
        raise click.UsageError("--out - and --json both write to stdout")
    view = _find_view(target.view, has_period=bool(target.since or target.until), has_time=target.as_of is not None)
    all_settings = load_known_settings(options, target.accounts)
    url = require_one_database(all_settings)
    as_of = target.moment(all_settings)
    path, to_stdout = target.out, target.to_stdout
    output: AbstractContextManager[BinaryIO] = closing(binary_stdout()) if to_stdout else atomic_write(path)
    result = export_records(
        open_engine(url),
        ExportFilter(target.accounts, target.since, target.until, as_of, view),
        writer_for(extension, excel_russian=target.excel_ru),
        output,
        zone=all_settings[0].timezone,
        anonymise=target.anonymise,
    )
    _warn_missing_days(result)
    if options.as_json:
        print_json({"path": str(path), "view": target.view, **export_as_json(result), "exit_code": ExitCode.OK})
    elif options.verbosity >= 0:
        click.echo(f"{path}: {result.rows:,} rows", err=to_stdout)
    return ExitCode.OK


def _find_view(name: str, *, has_period: bool, has_time: bool) -> ExportView:
    """The view that --view names, if the options for days and for a time apply to it."""
    from etl.reports.columns import BILLING, EXPORT_VIEWS

    view = EXPORT_VIEWS.get(name)
    if view is None:
        raise click.UsageError(f"--view {name}: unknown view; the views are {', '.join(EXPORT_VIEWS)}")
    if has_period and view.period_column is None:
        raise click.UsageError(f"--since and --until do not apply to --view {name}: it has no column day or month")
    if has_time and view is not BILLING:
        raise click.UsageError(f"--as-of does not apply to --view {name}, only to {BILLING.name}")
    return view


def _warn_missing_days(result: ExportResult) -> None:
    """Report on stderr how many days an export lacks, and why."""
    if count := result.unknown_days:
        days = "1 day was" if count == 1 else f"{count:,} days were"
        reason = "the journal begins when a day is complete"
        click.echo(f"{days} not complete at that time, and left out: {reason}", err=True)
    if count := result.purged_days:
        days = "1 day" if count == 1 else f"{count:,} days"
        click.echo(f"the records of {days} were purged, and are missing", err=True)


@click.command(epilog=examples("report --out march.html --since 2026-03-01 --until 2026-03-31"))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    required=True,
    metavar="FILE.html",
    help="File to write; - for stdout.",
)
@click.option("--since", type=DAY, metavar="DATE", help="First day; default the first stored one.")
@click.option("--until", type=DAY, metavar="DATE", help="Last day; default the last stored one.")
@account_option
@json_option
@click.pass_obj
def report(
    options: OutputOptions, *, out: Path, since: date | None, until: date | None, accounts: tuple[str, ...]
) -> int:
    """Write one HTML page with totals, charts and tables.

    The page contains all that it needs, and works without a network.
    """
    from etl.atomic_file import atomic_write
    from etl.reports.html.report import load_vega_bundle, write_report
    from etl.reports.query import ExportFilter
    from etl.services.context import utc_now
    from etl.services.database import open_engine

    require_ordered_range(since, until)
    to_stdout = str(out) == "-"
    if not to_stdout and out.suffix.lower() not in {".html", ".htm"}:
        raise click.UsageError(f"--out {out} must end with .html, or be -")
    if to_stdout and options.as_json:
        raise click.UsageError("--out - and --json both write to stdout")
    all_settings = load_known_settings(options, accounts)
    url, zone = require_one_database(all_settings), all_settings[0].timezone
    output: AbstractContextManager[BinaryIO] = closing(binary_stdout()) if to_stdout else atomic_write(out)
    written = write_report(
        open_engine(url),
        ExportFilter(accounts, since, until),
        load_vega_bundle(),
        output,
        now=utc_now().astimezone(zone),
        budgets=_budgets(all_settings),
    )
    for currency, labels in written.other_currencies.items():
        reason = f"amounts in {currency} and {written.currency} are not added"
        click.echo(f"left out: {', '.join(labels)} ({reason}); --account chooses them", err=True)
    if options.as_json:
        print_json({"path": str(out), **report_as_json(written), "exit_code": ExitCode.OK})
    elif options.verbosity >= 0:
        click.echo(f"{out}: {written.totals.total.records:,} charges", err=to_stdout)
    return ExitCode.OK


def _budgets(all_settings: list[Settings]) -> dict[str, Decimal]:
    return {one.account: one.monthly_budget for one in all_settings if one.monthly_budget is not None}


@click.group()
def numbering() -> None:
    """The numbering plan: operator and region of phone numbers."""


@numbering.command("import", epilog=examples("numbering import DEF-9xx.csv ABC-4xx.csv"))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@json_option
@click.pass_obj
def import_numbering(options: OutputOptions, *, files: tuple[Path, ...]) -> int:
    """Import files of the numbering plan (ABC-3xx, ABC-4xx, ABC-8xx, DEF-9xx).

    They replace the stored ranges of codes with the same first digit; other ranges are kept.
    """
    from etl.services.numbering import import_plan

    by_database = {settings.database_url: settings for settings in load_configured_settings(options, ())}
    results = [import_plan(settings, files) for settings in by_database.values()]
    result = replace(results[0], replaced=sum(each.replaced for each in results))
    if options.as_json:
        print_json({**asdict(result), "exit_code": ExitCode.OK})
    elif options.verbosity >= 0:
        _print_import(result)
    return ExitCode.OK


def _print_import(result: ImportResult) -> None:
    """Print how many ranges each file has, and how many rows were replaced."""
    for name, ranges in result.files.items():
        click.echo(f"{name}: {ranges:,} ranges")
    click.echo(
        f"{', '.join(result.codes)}: {result.numbers:,} numbers with an operator; {result.rows:,} rows replaced "
        f"{result.replaced:,}"
    )
    if result.overlapping:
        click.secho(f"  {result.overlapping:,} ranges were shortened: narrower or equal ones overlap them", fg="yellow")


@click.command(epilog=examples("dashboard", "dashboard --port 9000 --snapshot figures.db"))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8001,
    show_default=True,
    help="Port to listen on; 0 for any free port.",
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to listen on.")
@click.option("--to-anyone", is_flag=True, help="Required for a --host that others can reach: there is no password.")
@click.option(
    "--snapshot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Copy the data to this SQLite file, and serve the copy.",
)
@click.pass_obj
def dashboard(options: OutputOptions, *, port: int, host: str, to_anyone: bool, snapshot: Path | None) -> int:
    """Serve charts with filters, for a browser.

    It ends with Ctrl+C or SIGTERM. An SQLite database is read live; the data of other databases are copied when the
    dashboard starts.
    """
    from functools import cache
    from tempfile import TemporaryDirectory

    from etl.atomic_file import atomic_write
    from etl.reports.dashboard.app import open_dashboard, require_libraries
    from etl.reports.dashboard.page import PageOptions
    from etl.reports.dashboard.server import bind, is_loopback, serve, url_of
    from etl.reports.dashboard.snapshot import create_snapshot, is_snapshot, require_views
    from etl.reports.html.report import load_vega_bundle
    from etl.services.context import utc_now
    from etl.services.database import file_of, open_engine, open_file

    if not is_loopback(host) and not to_anyone:
        raise click.UsageError(f"--host {host} lets other machines see the data without a password; add --to-anyone")
    if snapshot and snapshot.exists() and not is_snapshot(snapshot):
        raise ConfigError(f"--snapshot {str(snapshot)!r} exists and is not a snapshot; name another file")
    require_libraries()
    all_settings = load_configured_settings(options, ())
    url = require_one_database(all_settings, "the dashboard shows one: name a --config with its accounts alone")
    zone = all_settings[0].timezone
    engine = open_engine(url)
    require_views(engine)
    live = None if snapshot else file_of(engine)
    with ExitStack() as stack:
        listener = stack.enter_context(bind(host, port))
        if live:
            path = live
        elif snapshot:
            path = snapshot
            with atomic_write(snapshot, "--snapshot") as file:
                create_snapshot(engine, Path(file.name))
        else:
            path = Path(stack.enter_context(TemporaryDirectory(prefix="billing-etl-"))) / "snapshot.db"
            create_snapshot(engine, path)
        page_options = PageOptions(
            cache(load_vega_bundle()), lambda: utc_now().astimezone(zone), _budgets(all_settings)
        )
        served = engine if live else open_file(path)
        application = open_dashboard(path, served, page_options, at_rest=not live)
        if options.verbosity >= 0:
            click.echo(f"dashboard: {url_of(listener)} (Ctrl+C ends it)")
            if not live:
                click.echo("data:      as of now; restart for newer data")
        serve(application, listener)
    return ExitCode.OK
