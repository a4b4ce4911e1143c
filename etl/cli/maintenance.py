"""The verbs for whoever runs or tries it: migrate, forget, demo, sandbox."""

from __future__ import annotations

import click

from etl.cli.exit_codes import OK, Options
from etl.cli.json_output import forgotten_as_json, print_json
from etl.cli.options import answers_in_json, settings_of, takes_accounts, takes_wait
from etl.errors import ConfigError


@click.command()
@click.option("--sql", is_flag=True, help="Print the SQL of all migrations instead of running them.")
@answers_in_json
@click.pass_obj
def migrate(options: Options, *, sql: bool) -> int:
    """Create or update the database schema."""
    from etl.db.engine import database_errors, open_engine
    from etl.db.lock import hold_lock
    from etl.db.migrate import migrate as run_migrations
    from etl.db.migrate import migration_sql
    from etl.db.tables import SCHEMA_REVISION
    from etl.services.sync import MIGRATION_WAIT

    engines = [open_engine(url) for url in dict.fromkeys(one.database_url for one in settings_of(options, ()))]
    if sql:
        click.echo(migration_sql(engines[0]))
        return OK
    for engine in engines:
        with database_errors(), hold_lock(engine, "schema", wait=MIGRATION_WAIT):
            run_migrations(engine)
    if options.as_json:
        print_json({"revision": SCHEMA_REVISION, "exit_code": OK})
    elif options.verbosity >= 0:
        click.echo(f"the schema is at revision {SCHEMA_REVISION}")
    return OK


@click.command()
@click.option("--phone", required=True, metavar="N", help="The number, in any spelling.")
@takes_accounts
@takes_wait
@answers_in_json
@click.pass_obj
def forget(options: Options, *, phone: str, accounts: tuple[str, ...], wait: float) -> int:
    """Remove one person's data from every table.

    Amounts, times and counts stay; phone, code and text go, and do not come back while the vendor lists them.
    """
    from etl.cli import text_output
    from etl.services.erase import canonical_number, forget_number

    try:
        canonical = canonical_number(phone)
    except ValueError as error:
        trouble = str(error)
    else:
        trouble = ""
    if trouble:
        raise click.UsageError(f"--phone must be {trouble}")
    all_settings = settings_of(options, accounts)
    results = [forget_number(settings, canonical, wait=wait) for settings in all_settings]
    if options.as_json:
        print_json({"accounts": [forgotten_as_json(result) for result in results], "exit_code": OK})
    elif options.verbosity >= 0:
        text_output.print_forgotten(results)
    return OK


@click.command()
@click.pass_obj
def demo(options: Options) -> int:
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
    return OK
