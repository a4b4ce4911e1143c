"""Commands for maintaining the database: migrate, backup, purge, forget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etl.cli.each_account import for_each_account
from etl.cli.json_output import erasure_as_json, print_json, purge_as_json
from etl.cli.options import account_option, examples, json_option, wait_option
from etl.cli.output import OutputOptions
from etl.cli.selection import load_configured_settings, load_known, load_known_settings, require_one_database
from etl.exit_codes import ExitCode

if TYPE_CHECKING:
    from etl.config.schema import Settings
    from etl.services.erase import ErasureResult
    from etl.services.purge import PurgeResult, RetentionAge


@click.command("migrate", epilog=examples("migrate", "migrate --sql > schema.sql", "migrate --partition-by-month"))
@click.option("--sql", is_flag=True, help="Print the SQL of all migrations instead of running them.")
@click.option(
    "--partition-by-month", is_flag=True, help="On PostgreSQL, also partition the charges by month; copies all of them."
)
@json_option
@click.pass_obj
def migrate_schema(options: OutputOptions, *, sql: bool, partition_by_month: bool) -> int:
    """Create or update the database schema."""
    from etl.services.migrate import migrate_databases, partition_database, sql_of_migrations

    urls = list(dict.fromkeys(settings.database_url for settings in load_configured_settings(options, ())))
    if sql:
        click.echo(sql_of_migrations(urls[0]))
        return ExitCode.OK
    revision = migrate_databases(urls)
    partitions = sum(map(partition_database, urls)) if partition_by_month else None
    if options.as_json:
        print_json({"revision": revision, "partitions": partitions, "exit_code": ExitCode.OK})
    elif options.verbosity >= 0:
        click.echo(f"the schema is at revision {revision}")
        if partitions is not None:
            click.echo(f"the charges are partitioned by month: {partitions} partitions")
    return ExitCode.OK


@click.command(epilog=examples("backup --out billing-backup.db"))
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE", help="File to write."
)
@account_option
@json_option
@click.pass_obj
def backup(options: OutputOptions, *, out: Path, accounts: tuple[str, ...]) -> int:
    """Copy an SQLite database to a file.

    It may be written to meanwhile. The copy is consistent and checked, and is created completely or not at all.
    """
    from etl.services.backup import backup_database
    from etl.services.database import open_engine

    url = require_one_database(load_known_settings(options, accounts))
    result = backup_database(open_engine(url), out)
    if options.as_json:
        print_json(
            {"path": str(out), "bytes": result.size_bytes, "revision": result.revision, "exit_code": ExitCode.OK}
        )
    elif options.verbosity >= 0:
        click.echo(f"{out}: {result.size_bytes:,} bytes, checked")
    return ExitCode.OK


class _AgeType(click.ParamType["RetentionAge"]):
    """A number of days, months or years."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RetentionAge:
        from etl.services.purge import parse_retention_age

        try:
            return parse_retention_age(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


@click.command(epilog=examples("purge --older-than 36m --dry-run"))
@click.option("--older-than", "age", type=_AgeType(), required=True, metavar="AGE", help="Such as 36m, 3y or 400d.")
@account_option
@click.option("--dry-run", is_flag=True, help="Report what would be removed, but change nothing.")
@wait_option
@json_option
@click.pass_obj
def purge(options: OutputOptions, *, age: RetentionAge, accounts: tuple[str, ...], dry_run: bool, wait: float) -> int:
    """Delete the records of old months, and keep their totals.

    A month is old if all of its days are older than AGE. Monthly totals and the day ledger are kept, and later runs do
    not fetch these records again.
    """
    from etl.services.purge import purge_account

    def purge_one(settings: Settings) -> PurgeResult:
        return purge_account(settings, age, explicit_account=bool(accounts), dry_run=dry_run, wait=wait)

    outcomes = for_each_account(options, load_known(options, accounts), purge_one)
    results = outcomes.results
    code = outcomes.exit_code(ExitCode.NEEDS_REVIEW if result.blocked else ExitCode.OK for result in results)
    if options.as_json:
        documents = [purge_as_json(result) for result in results] + outcomes.error_documents(options.redact)
        print_json({"accounts": documents, "exit_code": code})
    elif options.verbosity >= 0 or code != ExitCode.OK:
        _print_purges(results)
    return code


def _print_purges(results: Sequence[PurgeResult]) -> None:
    """Print which months were purged, and which were kept although they are old enough."""
    for result in results:
        if result.months:
            names = ("records", "lines of the journal", "rejected records")
            sums = map(sum, zip(*result.months.values(), strict=True))
            counts = ", ".join(f"{count:,} {name}" for name, count in zip(names, sums, strict=True))
            would = "would be " if result.dry_run else ""
            months = f"{min(result.months):%Y-%m} to {max(result.months):%Y-%m}"
            click.echo(f"{result.account}: {would}purged, {months}: {counts}; monthly totals are kept")
        else:
            click.echo(f"{result.account}: nothing before {result.before} to purge")
        for month in result.still_in_lookback:
            click.echo(f"  {month:%Y-%m} is kept: sync still fetches its days again, or earlier days are missing")
        for month, reason in result.blocked.items():
            click.secho(f"  {month:%Y-%m} is kept: {reason}; see billing-etl status", fg="yellow")


@click.command(epilog=examples("forget --phone +7XXXXXXXXXX"))
@click.option("--phone", required=True, metavar="NUMBER", help="Phone number, in any spelling.")
@account_option
@wait_option
@json_option
@click.pass_obj
def forget(options: OutputOptions, *, phone: str, accounts: tuple[str, ...], wait: float) -> int:
    """Erase one person's data from every table.

    Amounts, times and counts are kept; phone, code and text are erased, and stay erased while the vendor still lists
    them.
    """
    from etl.services.erase import erase_number, normalise_number

    try:
        canonical = normalise_number(phone)
    except ValueError as error:
        problem = str(error)
    else:
        problem = ""
    # Raised outside the except block: the chained error would carry the phone number.
    if problem:
        raise click.UsageError(f"--phone must be {problem}")

    def erase_one(settings: Settings) -> ErasureResult:
        return erase_number(settings, canonical, explicit_account=bool(accounts), wait=wait)

    outcomes = for_each_account(options, load_known(options, accounts), erase_one)
    code = outcomes.exit_code([ExitCode.OK])
    if options.as_json:
        documents = [erasure_as_json(result) for result in outcomes.results] + outcomes.error_documents(options.redact)
        print_json({"accounts": documents, "exit_code": code})
    elif options.verbosity >= 0:
        _print_erasures(outcomes.results)
    return code


def _print_erasures(results: Sequence[ErasureResult]) -> None:
    """Print which rows were erased, and which accounts were not searched; never the number."""
    for result in results:
        counts = [f"{count:,} of {table}" for table, count in result.rows.items() if count]
        click.echo(f"{result.account}: " + (f"forgotten: {', '.join(counts)}" if counts else "the number is not there"))
        if result.masked and counts:
            click.echo("  phones are stored masked: numbers with the same mask are forgotten as well")
    searched = {result.account for result in results}
    if unsearched := sorted({label for result in results for label in result.unchecked_accounts} - searched):
        click.secho(f"not searched: {', '.join(unsearched)}; see --account", fg="yellow")
