"""The verbs that care for a database kept for years: backup, purge, account."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etl.cli.exit_codes import ExitCode
from etl.cli.json_output import account_as_json, print_json, purge_as_json
from etl.cli.options import account_option, json_option, load_settings_for, wait_option
from etl.cli.output import OutputOptions

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from sqlalchemy import Engine

    from etl.config.schema import Settings
    from etl.db.accounts import Extent
    from etl.services.purge import RetentionAge


class _AgeType(click.ParamType["RetentionAge"]):
    """So many days, months or years."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RetentionAge:
        from etl.services.purge import parse_retention_age

        try:
            return parse_retention_age(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


class _Label(click.ParamType[str]):
    """An account's label, as BILLING_ACCOUNT takes it."""

    name = "label"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from etl.config.schema import parse_account

        try:
            return parse_account(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


class _Zone(click.ParamType["ZoneInfo"]):
    """A time zone, as BILLING_TIMEZONE takes it."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        from etl.config.schema import parse_zone

        try:
            return parse_zone(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


LABEL = _Label()


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
@account_option
@json_option
@click.pass_obj
def backup(options: OutputOptions, *, out: Path, accounts: tuple[str, ...]) -> int:
    """Copy an SQLite database into a file, while others write to it.

    The copy is of one moment, checked, and there whole or not at all.
    """
    from etl.db.engine import new_engine
    from etl.services.backup import backup_database

    urls = {settings.database_url for settings in _settings_of_any(options, accounts)}
    if len(urls) > 1:
        raise click.UsageError("several databases are configured; name an account of one of them with --account")
    done = backup_database(new_engine(urls.pop()), out)
    if options.as_json:
        print_json({"path": str(out), "bytes": done.size_bytes, "revision": done.revision, "exit_code": ExitCode.OK})
    elif options.verbosity >= 0:
        click.echo(f"{out}: {done.size_bytes:,} bytes, checked")
    return ExitCode.OK


@click.command()
@click.option("--older-than", "age", type=_AgeType(), required=True, metavar="AGE", help="Like 36m, 3y or 400d.")
@account_option
@click.option("--dry-run", is_flag=True, help="Say what would go; change nothing.")
@wait_option
@json_option
@click.pass_obj
def purge(options: OutputOptions, *, age: RetentionAge, accounts: tuple[str, ...], dry_run: bool, wait: float) -> int:
    """Remove the records of months that are wholly older than so.

    Monthly totals and the day ledger stay, and no later run brings the records back.
    """
    from etl.cli import text_output
    from etl.services.purge import purge_account

    results = [
        purge_account(settings, age, named=bool(accounts), dry_run=dry_run, wait=wait)
        for settings in _settings_of_any(options, accounts)
    ]
    code = ExitCode.NEEDS_REVIEW if any(result.blocked for result in results) else ExitCode.OK
    if options.as_json:
        print_json({"accounts": [purge_as_json(result) for result in results], "exit_code": code})
    elif options.verbosity >= 0 or code != ExitCode.OK:
        text_output.print_purged(results)
    return code


@click.group()
def account() -> None:
    """The accounts of the database."""


@account.command("list")
@json_option
@click.pass_obj
def list_accounts(options: OutputOptions) -> int:
    """Show all accounts, retired ones too."""
    from etl.cli import text_output
    from etl.db.engine import new_engine
    from etl.services.accounts import read_accounts

    urls = dict.fromkeys(settings.database_url for settings in load_settings_for(options, ()))
    found = [each for url in urls for each in read_accounts(new_engine(url))]
    if options.as_json:
        print_json({"accounts": [account_as_json(each) for each in found], "exit_code": ExitCode.OK})
    else:
        text_output.print_accounts(found)
    return ExitCode.OK


@account.command()
@click.argument("old", type=LABEL)
@click.argument("new", type=LABEL)
@wait_option
@json_option
@click.pass_obj
def rename(options: OutputOptions, *, old: str, new: str, wait: float) -> int:
    """Give an account another label."""
    from etl.services.accounts import rename_account

    if old == new:
        raise click.UsageError("OLD and NEW are the same label")
    rename_account(_engine_of(options, old), old, new, wait=wait)
    words = f"set BILLING_ACCOUNT or the name of its section to {new}: a sync as {old} would begin a new account"
    _answer(options, {"account": new, "before": old}, f"{old} is {new} now; {words}")
    return ExitCode.OK


@account.command()
@click.argument("label", type=LABEL)
@wait_option
@json_option
@click.pass_obj
def retire(options: OutputOptions, *, label: str, wait: float) -> int:
    """Fetch an account no more; what is stored stays."""
    from etl.services.sync import utc_now

    words = "retired: no sync fetches it any more, and what is stored stays"
    return _set_retired(options, label, utc_now(), wait, (words, "retired already"))


@account.command()
@click.argument("label", type=LABEL)
@wait_option
@json_option
@click.pass_obj
def resume(options: OutputOptions, *, label: str, wait: float) -> int:
    """Fetch a retired account again."""
    words = "in use again; the next sync begins where its days are complete"
    return _set_retired(options, label, None, wait, (words, "not retired"))


@account.command()
@click.argument("label", type=LABEL)
@click.option("--yes", is_flag=True, help="Do not ask.")
@wait_option
@json_option
@click.pass_obj
def delete(options: OutputOptions, *, label: str, yes: bool, wait: float) -> int:
    """Remove an account with all its rows.

    What is removed cannot be brought back. If it is stopped half-way, run it again.
    """
    from etl.services.accounts import delete_account, read_account_extent
    from etl.services.sync import utc_now

    engine = _engine_of(options, label)
    extent = read_account_extent(engine, label)
    if not yes and not _confirms(f"Delete the account {label} with {_describe(extent)}? This cannot be undone."):
        if options.as_json:
            print_json({"account": label, "removed": {}, "exit_code": ExitCode.CHECK_FAILED})
        click.echo("nothing was deleted", err=True)
        return ExitCode.CHECK_FAILED
    removed = delete_account(engine, label, wait=wait, clock=utc_now)
    rows = ", ".join(f"{count:,} of {table}" for table, count in removed.items() if count)
    words = f"{label} is deleted; rows: {rows}. Take it out of the configuration: a sync would begin it again"
    _answer(options, {"account": label, "removed": removed}, words)
    return ExitCode.OK


def _confirms(question: str) -> bool:
    """Whether whoever sits at the terminal says yes."""
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; --yes goes on without asking")
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        return False


def _describe(extent: Extent) -> str:
    if extent.first_day is None:
        return "no day stored"
    return f"{extent.records:,} rows of records, {extent.first_day} to {extent.last_day}"


@account.command("set-timezone")
@click.argument("label", type=LABEL)
@click.argument("zone", type=_Zone())
@wait_option
@json_option
@click.pass_obj
def set_timezone(options: OutputOptions, *, label: str, zone: ZoneInfo, wait: float) -> int:
    """Turn what is stored of an account to another time zone.

    The vendor's wall clock stays; the times in UTC follow. If it is stopped half-way, run it again.
    """
    from etl.services.accounts import set_account_timezone
    from etl.services.sync import utc_now

    changed = set_account_timezone(_engine_of(options, label), label, zone, wait=wait, clock=utc_now)
    rows = "1 row" if changed == 1 else f"{changed:,} rows"
    words = f"{label} is in {zone.key} now, {rows} changed; set BILLING_TIMEZONE={zone.key} for it"
    _answer(options, {"account": label, "timezone": zone.key, "changed": changed}, words)
    return ExitCode.OK


def _set_retired(
    options: OutputOptions, label: str, moment: datetime | None, wait: float, words: tuple[str, str]
) -> int:
    """Retire or resume; the words are for a change and for none."""
    from etl.services.accounts import retire_account

    changed = retire_account(_engine_of(options, label), label, moment, wait=wait)
    _answer(options, {"account": label, "changed": changed}, f"{label}: {words[0] if changed else words[1]}")
    return ExitCode.OK


def _answer(options: OutputOptions, document: dict[str, Any], words: str) -> None:
    if options.as_json:
        print_json({**document, "exit_code": ExitCode.OK})
    elif options.verbosity >= 0:
        click.echo(words)


def _engine_of(options: OutputOptions, label: str) -> Engine:
    """The database of an account, which is in no configuration after it was renamed there first."""
    from etl.db.engine import new_engine

    return new_engine(_settings_of_any(options, (label,))[0].database_url)


def _settings_of_any(options: OutputOptions, labels: tuple[str, ...]) -> list[Settings]:
    """The settings of the accounts named, or of all that are configured; of one that is not, those of the first."""
    configured = load_settings_for(options, ())
    by_label = {settings.account: settings for settings in configured}
    return [by_label.get(label) or replace(configured[0], account=label) for label in labels] or configured
