"""The `account` commands: list, rename, retire, resume, delete, set-timezone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from etl.cli.each_account import load_valid
from etl.cli.json_output import account_as_json, print_json
from etl.cli.options import examples, json_option, wait_option
from etl.cli.output import OutputOptions
from etl.cli.selection import load_known_settings
from etl.cli.tables import print_rows
from etl.cli.text_output import Note, print_notes
from etl.exit_codes import ExitCode

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from sqlalchemy import Engine

    from etl.db.accounts import Account, Extent


class _LabelType(click.ParamType[str]):
    """An account's label, as BILLING_ACCOUNT takes it."""

    name = "label"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from etl.config.validators import parse_account

        try:
            return parse_account(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


class _ZoneType(click.ParamType["ZoneInfo"]):
    """A time zone, as BILLING_TIMEZONE takes it."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:
        from etl.config.validators import parse_zone

        try:
            return parse_zone(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


LABEL: Final = _LabelType()


@click.group()
def account() -> None:
    """The accounts of the database."""


@account.command("list", epilog=examples("account list"))
@json_option
@click.pass_obj
def show_accounts(options: OutputOptions) -> int:
    """Show all accounts, including retired ones."""
    from etl.services.accounts import read_accounts
    from etl.services.database import open_engine

    valid = load_valid(options, ())
    code = valid.exit_code([ExitCode.OK])
    urls = dict.fromkeys(settings.database_url for settings in valid.results)
    accounts = [account for url in urls for account in read_accounts(open_engine(url))]
    if options.as_json:
        print_json({"accounts": [account_as_json(account) for account in accounts], "exit_code": code})
    else:
        _print_accounts(accounts)
    return code


def _print_accounts(accounts: Sequence[Account]) -> None:
    rows = [
        (
            account.label,
            f"{account.created_at:%Y-%m-%d}",
            account.last_synced_date or "no day yet",
            f"{account.retired_at:%Y-%m-%d}" if account.retired_at else "in use",
        )
        for account in accounts
    ]
    print_rows("Accounts", ("account", "since", "complete up to", "retired"), rows)
    print_notes(Note(account.problem, needs_attention=True) for account in accounts if account.problem)


@account.command("rename", epilog=examples("account rename default shop"))
@click.argument("old", type=LABEL)
@click.argument("new", type=LABEL)
@wait_option
@json_option
@click.pass_obj
def change_label(options: OutputOptions, *, old: str, new: str, wait: float) -> int:
    """Change the label of an account."""
    from etl.services.accounts import rename_account

    if old == new:
        raise click.UsageError("OLD and NEW are the same label")
    rename_account(_open_database(options, old), old, new, wait=wait)
    message = (
        f"{old} is {new} now; set BILLING_ACCOUNT or the name of its section to {new}: "
        f"a sync as {old} would create a new account"
    )
    _report_change(options, {"account": new, "before": old}, message)
    return ExitCode.OK


@account.command(epilog=examples("account retire shop"))
@click.argument("label", type=LABEL)
@wait_option
@json_option
@click.pass_obj
def retire(options: OutputOptions, *, label: str, wait: float) -> int:
    """Stop fetching an account; its stored rows are kept."""
    from etl.services.context import utc_now

    changed = "retired: sync no longer fetches it, and its stored rows are kept"
    return _set_retired(options, label, utc_now(), wait, changed, "retired already")


@account.command(epilog=examples("account resume shop"))
@click.argument("label", type=LABEL)
@wait_option
@json_option
@click.pass_obj
def resume(options: OutputOptions, *, label: str, wait: float) -> int:
    """Fetch a retired account again."""
    changed = "in use again; the next sync continues from its last complete day"
    return _set_retired(options, label, None, wait, changed, "not retired")


def _set_retired(
    options: OutputOptions, label: str, retired_at: datetime | None, wait: float, changed: str, unchanged: str
) -> int:
    """Retire an account, or resume it where `retired_at` is None, and print one of the two messages."""
    from etl.services.accounts import retire_account

    has_changed = retire_account(_open_database(options, label), label, retired_at, wait=wait)
    message = f"{label}: {changed if has_changed else unchanged}"
    _report_change(options, {"account": label, "changed": has_changed}, message)
    return ExitCode.OK


@account.command(epilog=examples("account delete shop"))
@click.argument("label", type=LABEL)
@click.option("--yes", is_flag=True, help="Delete without confirmation.")
@wait_option
@json_option
@click.pass_obj
def delete(options: OutputOptions, *, label: str, yes: bool, wait: float) -> int:
    """Delete an account with all its rows.

    This cannot be undone. If it is interrupted, run it again.
    """
    from etl.services.accounts import delete_account, read_account_extent
    from etl.services.context import utc_now

    engine = _open_database(options, label)
    extent = _describe(read_account_extent(engine, label))
    if not yes and not _confirm(f"Delete the account {label} with {extent}? This cannot be undone."):
        if options.as_json:
            print_json({"account": label, "removed": {}, "exit_code": ExitCode.CHECK_FAILED})
        click.echo("nothing was deleted", err=True)
        return ExitCode.CHECK_FAILED
    removed = delete_account(engine, label, wait=wait, clock=utc_now)
    rows = ", ".join(f"{count:,} of {table}" for table, count in removed.items() if count)
    message = f"{label} is deleted; rows: {rows}. Remove it from the configuration: a sync would create it again"
    _report_change(options, {"account": label, "removed": removed}, message)
    return ExitCode.OK


def _confirm(question: str) -> bool:
    """Ask on the terminal; False for no, or Ctrl+C."""
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal for the confirmation; --yes skips it")
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        return False


def _describe(extent: Extent) -> str:
    if extent.first_day is None:
        return "no day stored"
    return f"{extent.records:,} rows of records, {extent.first_day} to {extent.last_day}"


@account.command("set-timezone", epilog=examples("account set-timezone default Asia/Vladivostok"))
@click.argument("label", type=LABEL)
@click.argument("zone", type=_ZoneType())
@wait_option
@json_option
@click.pass_obj
def change_timezone(options: OutputOptions, *, label: str, zone: ZoneInfo, wait: float) -> int:
    """Change the time zone of an account and its stored rows.

    The vendor's local times are kept; the times in UTC are recalculated. If it is interrupted, run it again.
    """
    from etl.services.accounts import set_account_timezone
    from etl.services.context import utc_now

    changed = set_account_timezone(_open_database(options, label), label, zone, wait=wait, clock=utc_now)
    rows = "1 row" if changed == 1 else f"{changed:,} rows"
    message = f"{label} is in {zone.key} now, {rows} changed; set BILLING_TIMEZONE={zone.key} for it"
    _report_change(options, {"account": label, "timezone": zone.key, "changed": changed}, message)
    return ExitCode.OK


def _report_change(options: OutputOptions, document: dict[str, Any], message: str) -> None:
    """Print the document with --json, else the message unless quiet."""
    if options.as_json:
        print_json({**document, "exit_code": ExitCode.OK})
    elif options.verbosity >= 0:
        click.echo(message)


def _open_database(options: OutputOptions, label: str) -> Engine:
    """The engine of an account's database; of the first configured one where the account is not configured."""
    from etl.services.database import open_engine

    return open_engine(load_known_settings(options, (label,))[0].database_url)
