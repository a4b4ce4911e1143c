"""The command that tests the set-up: check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli.exit_codes import ExitCode, code_for_error, most_severe
from etl.cli.json_output import check_as_json, print_json
from etl.cli.options import account_option, examples, json_option, load_all, load_configuration
from etl.cli.output import OutputOptions
from etl.config.schema import Settings
from etl.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.checks.runner import CheckResult
    from etl.checks.vendor import NewestRecord
    from etl.db.accounts import DateSemantics
    from etl.services.recent import VendorRecords


@click.command(epilog=examples("check"))
@account_option
@json_option
@click.pass_obj
def check(options: OutputOptions, *, accounts: tuple[str, ...]) -> int:
    """Test whether a sync can work.

    Checks the settings, the database with its location, permissions and schema, the token, the clock, and how the
    vendor interprets dates. The interpretation is stored, and a change of it is reported.
    """
    from etl.checks.runner import CheckResult
    from etl.config.loader import select_accounts

    code: int = ExitCode.OK
    documents = []
    configuration, _ = load_configuration(options)
    for label, settings in load_all(options, configuration, select_accounts(configuration, accounts)):
        if isinstance(settings, ConfigError):
            checks = [CheckResult("settings", "", ConfigError(f"account {label}: {settings}"))]
        else:
            checks = list(_run_checks(options, settings, configuration.file))
        code = most_severe([code, *(code_for_error(check.error) for check in checks if check.error)])
        documents.append({"account": label, "checks": [check_as_json(check, options.redact) for check in checks]})
        if not options.as_json:
            _print_checks(options, checks)
    if options.as_json:
        print_json({"accounts": documents, "exit_code": code})
    return code


def _print_checks(options: OutputOptions, checks: Sequence[CheckResult]) -> None:
    """Print a line for each check; with -q, only for warnings and errors."""
    for check in checks:
        if options.verbosity < 0 and check.error is None and not check.is_warning:
            continue
        mark = click.style("!", fg="yellow") if check.is_warning else click.style("✓", fg="green")
        mark = click.style("✗", fg="red") if check.error else mark
        click.echo(f"{mark} {check.name}: {options.redact(str(check.error or check.message))}")


def _run_checks(options: OutputOptions, settings: Settings, file: Path | None) -> Iterator[CheckResult]:
    """Run the checks of one account.

    Args:
        options: Its redactor removes secrets from errors.
        settings: The settings of the account.
        file: The TOML file that was read; None for no file.
    """
    import tempfile

    from etl.checks.filesystem import require_free_space
    from etl.checks.runner import CheckResult, check_database, check_vendor, run_check
    from etl.checks.vendor import COMPARED_RECORDS, check_newest
    from etl.db.engine import new_engine
    from etl.services.context import build_reader, open_client, utc_now
    from etl.services.recent import fetch_newest

    description = f"account {settings.account}, {settings.api_url}, zone {settings.timezone.key}"
    yield CheckResult("settings", f"{description}, {file or 'no configuration file'}")
    for warning in settings.warnings:
        yield CheckResult("settings", warning, is_warning=True)
    engine = new_engine(settings.database_url)
    mounts = Path("/proc/mounts")
    mount_table = mounts.read_text("utf-8", "surrogateescape") if mounts.exists() else ""
    database_checks = list(check_database(engine, auto_migrate=settings.auto_migrate, mounts=mount_table))
    yield from database_checks
    if not any(check.error for check in database_checks):
        yield run_check("account", lambda: _check_account(engine, settings))
    yield run_check("temporary files", lambda: require_free_space(Path(tempfile.gettempdir())))
    now = utc_now()
    today = now.astimezone(settings.timezone).date()
    route = run_check("network", lambda: str(settings.route_to(settings.api_url)))
    yield route
    if route.error:
        return
    try:
        with open_client(settings, options.redact) as client:
            remember = partial(_remember_date_semantics, engine, settings.account)
            vendor_checks = list(check_vendor(client, build_reader(settings), now, today, remember))
        yield from vendor_checks
        if not any(check.name == "token" and check.error for check in vendor_checks):
            with open_client(settings, options.redact, short_timeout=True) as client:
                fetch = partial(fetch_newest, client, COMPARED_RECORDS, build_reader(settings))
                yield check_newest(fetch, partial(_look_up_newest, engine, settings))
    except ConfigError as error:
        yield CheckResult("token", "", error)


def _look_up_newest(engine: Engine, settings: Settings, answer: VendorRecords) -> NewestRecord:
    """Compare the vendor's newest records with the database."""
    from etl.checks.vendor import COMPARED_RECORDS, NewestRecord
    from etl.services.context import account_binding
    from etl.services.recent import compare_newest, find_stored_account, newest_record

    account = find_stored_account(engine, settings.account, account_binding(settings))
    compared = compare_newest(engine, account, answer, COMPARED_RECORDS)
    newest = newest_record(compared.records)
    return NewestRecord(
        created_at=newest.created_at if newest else None,
        is_stored=newest is not None and newest.stored,
        watermark=account.watermark,
        note=compared.note,
        rejection_reason=compared.rejected[0].reason if compared.rejected else "",
    )


def _check_account(engine: Engine, settings: Settings) -> str:
    """Describe whether the database has the account.

    Raises:
        ConfigError: The stored account is bound to another token, time zone or phone format.
    """
    from etl.db.bindings import require_binding
    from etl.db.engine import database_exists, read_connection
    from etl.db.migrate import has_current_schema
    from etl.db.run_store import find_account
    from etl.services.context import account_binding

    if not database_exists(engine):
        return "new; sync creates it"
    with read_connection(engine) as connection:
        if not has_current_schema(connection):
            return "not checked: the schema is not up to date"
        require_binding(connection, settings.account, account_binding(settings))
        exists = find_account(connection, settings.account) is not None
    return "its token, time zone and phone format match its rows" if exists else "new; sync creates it"


def _remember_date_semantics(engine: Engine, account: str, semantics: DateSemantics) -> DateSemantics | None:
    """Store how the vendor interprets dates, if the database can be written to.

    Returns:
        The interpretation stored before; None for none.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from etl.db.accounts import load_date_semantics, save_date_semantics
    from etl.db.engine import database_exists, read_connection
    from etl.db.migrate import has_current_schema

    if not database_exists(engine):
        return None
    with read_connection(engine) as connection:
        if not has_current_schema(connection):
            return None
        previous = load_date_semantics(connection, account)
    with suppress(SQLAlchemyError), engine.begin() as connection:
        save_date_semantics(connection, account, semantics)
    return previous
