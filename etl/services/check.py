"""The checks of one account: its settings, database, token and clock, and how the vendor interprets dates."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from etl.checks.filesystem import require_free_space
from etl.checks.runner import CheckResult, check_database, check_vendor, run_check
from etl.checks.vendor import COMPARED_RECORDS, NewestRecord, check_newest
from etl.config.schema import Settings
from etl.date_ranges import DateRange
from etl.db.accounts import DateSemantics, load_date_semantics, save_date_semantics
from etl.db.days import purged_days
from etl.db.engine import database_exists, read_connection
from etl.db.errors import translate_errors
from etl.db.migrate import has_current_schema
from etl.db.run_store import find_account
from etl.errors import ConfigError
from etl.services.context import build_reader, open_client, require_account_settings, utc_now
from etl.services.database import open_engine
from etl.services.recent import VendorRecords, compare_newest, fetch_newest, find_stored_account, newest_record


def check_account(
    settings: Settings, file: Path | None, *, redact: Callable[[str], str], clock: Callable[[], datetime] = utc_now
) -> Iterator[CheckResult]:
    """Run the checks of one account.

    Args:
        settings: The settings of the account.
        file: The TOML file that was read; None for no file.
        redact: Removes secrets from a text.
        clock: The present time, aware.
    """
    description = f"account {settings.account}, {settings.api_url}, zone {settings.timezone.key}"
    yield CheckResult("settings", f"{description}, {file or 'no configuration file'}")
    for warning in settings.warnings:
        yield CheckResult("settings", warning, is_warning=True)
    try:
        engine = open_engine(settings.database_url)
    except ConfigError as error:
        yield CheckResult("database", "", error)
        return
    mounts = Path("/proc/mounts")
    mount_table = mounts.read_text("utf-8", "surrogateescape") if mounts.exists() else ""
    database_checks = list(check_database(engine, auto_migrate=settings.auto_migrate, mounts=mount_table))
    yield from database_checks
    database_works = not any(check.error for check in database_checks)
    if database_works:
        yield run_check("account", lambda: _describe_account(engine, settings))
    yield run_check("temporary files", lambda: require_free_space(Path(tempfile.gettempdir())))
    now = clock()
    today = settings.today(now)
    route = run_check("network", lambda: str(settings.route_to(settings.api_url)))
    yield route
    if route.error:
        return
    try:
        with open_client(settings, redact) as client:
            # What is wrong with the database was reported above, once.
            remember = partial(_remember_date_semantics, engine, settings.account) if database_works else _forget
            vendor_checks = list(check_vendor(client, build_reader(settings), now, today, remember))
        yield from vendor_checks
        if database_works and not any(check.name == "token" and check.error for check in vendor_checks):
            with open_client(settings, redact, short_timeout=True) as client:
                fetch = partial(fetch_newest, client, COMPARED_RECORDS, build_reader(settings))
                yield check_newest(fetch, partial(_look_up_newest, engine, settings))
    except ConfigError as error:
        yield CheckResult("token", "", error)


def _look_up_newest(engine: Engine, settings: Settings, answer: VendorRecords) -> NewestRecord:
    """Compare the vendor's newest records with the database."""
    account = find_stored_account(engine, settings)
    compared = compare_newest(engine, account, answer, COMPARED_RECORDS)
    newest = newest_record(compared.records)
    note = compared.note
    if newest is not None and not newest.stored and account.id is not None:
        day = newest.created_at.date()
        with translate_errors(), read_connection(engine) as connection:
            note = "its day was purged" if purged_days(connection, account.id, DateRange(day, day)) else note
    return NewestRecord(
        created_at=newest.created_at if newest else None,
        is_stored=newest is not None and newest.stored,
        watermark=account.watermark,
        note=note,
        rejection_reason=compared.rejected[0].reason if compared.rejected else "",
    )


def _describe_account(engine: Engine, settings: Settings) -> str:
    """Describe whether the database has the account.

    Raises:
        ConfigError: The stored account is bound to another token, time zone or phone format.
    """
    if not database_exists(engine):
        return "new; sync creates it"
    with read_connection(engine) as connection:
        if not has_current_schema(connection):
            return "not checked: the schema is not up to date"
        require_account_settings(connection, settings)
        exists = find_account(connection, settings.account) is not None
    return "its token, time zone and phone format match its rows" if exists else "new; sync creates it"


def _forget(_semantics: DateSemantics) -> None:
    """Store nothing."""


def _remember_date_semantics(engine: Engine, account: str, semantics: DateSemantics) -> DateSemantics | None:
    """Store how the vendor interprets dates, if the database can be written to.

    Returns:
        The interpretation stored before; None for none.
    """
    if not database_exists(engine):
        return None
    with read_connection(engine) as connection:
        if not has_current_schema(connection):
            return None
        previous = load_date_semantics(connection, account)
    with suppress(SQLAlchemyError), engine.begin() as connection:
        save_date_semantics(connection, account, semantics)
    return previous
