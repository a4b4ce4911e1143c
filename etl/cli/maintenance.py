"""The verbs for whoever runs or tries it: migrate, forget, demo, sandbox."""

from __future__ import annotations

import click

from etl.cli.exit_codes import ExitCode
from etl.cli.json_output import erasure_as_json, print_json
from etl.cli.options import account_option, json_option, load_settings_for, wait_option
from etl.cli.output import OutputOptions
from etl.errors import ConfigError


@click.command()
@click.option("--sql", is_flag=True, help="Print the SQL of all migrations instead of running them.")
@json_option
@click.pass_obj
def migrate(options: OutputOptions, *, sql: bool) -> int:
    """Create or update the database schema."""
    from etl.db.engine import new_engine, translate_errors
    from etl.db.lock import advisory_lock
    from etl.db.migrate import migrate as run_migrations
    from etl.db.migrate import migration_sql
    from etl.db.tables import SCHEMA_REVISION
    from etl.services.sync import SCHEMA_LOCK_TIMEOUT

    engines = [new_engine(url) for url in dict.fromkeys(one.database_url for one in load_settings_for(options, ()))]
    if sql:
        click.echo(migration_sql(engines[0]))
        return ExitCode.OK
    for engine in engines:
        with translate_errors(), advisory_lock(engine, "schema", wait=SCHEMA_LOCK_TIMEOUT):
            run_migrations(engine)
    if options.as_json:
        print_json({"revision": SCHEMA_REVISION, "exit_code": ExitCode.OK})
    elif options.verbosity >= 0:
        click.echo(f"the schema is at revision {SCHEMA_REVISION}")
    return ExitCode.OK


@click.command()
@click.option("--phone", required=True, metavar="N", help="The number, in any spelling.")
@account_option
@wait_option
@json_option
@click.pass_obj
def forget(options: OutputOptions, *, phone: str, accounts: tuple[str, ...], wait: float) -> int:
    """Remove one person's data from every table.

    Amounts, times and counts stay; phone, code and text go, and do not come back while the vendor lists them.
    """
    from etl.cli import text_output
    from etl.services.erase import erase_number, normalise_number

    try:
        canonical = normalise_number(phone)
    except ValueError as error:
        trouble = str(error)
    else:
        trouble = ""
    if trouble:
        raise click.UsageError(f"--phone must be {trouble}")
    all_settings = load_settings_for(options, accounts)
    results = [erase_number(settings, canonical, wait=wait) for settings in all_settings]
    if options.as_json:
        print_json({"accounts": [erasure_as_json(result) for result in results], "exit_code": ExitCode.OK})
    elif options.verbosity >= 0:
        text_output.print_erasure(results)
    return ExitCode.OK


@click.command()
@click.pass_obj
def demo(options: OutputOptions) -> int:
    """Show the whole job, with nothing to configure.

    Two nights against the built-in sandbox, into billing-demo.db in this folder.
    """
    from etl.cli.demo import run_demo

    return run_demo(options.redact)


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--token", metavar="T", help="The token it takes; a made-up one unless given.")
def sandbox(*, port: int, token: str | None) -> int:
    """Serve an imitation of the vendor."""
    from etl.sandbox import DEFAULT_TOKEN
    from etl.sandbox.server import serve

    try:
        serve(port=port, token=token or DEFAULT_TOKEN)
    except OSError as error:
        raise ConfigError(f"--port {port}: {error.strerror or error}") from None
    return ExitCode.OK
