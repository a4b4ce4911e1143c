"""The verbs that show what the vendor has now: recent, auth-status."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from etl.cli.exit_codes import ExitCode
from etl.cli.json_output import print_json, recent_as_json
from etl.cli.options import account_option, json_option, load_settings_for
from etl.cli.output import OutputOptions
from etl.config.schema import Settings
from etl.errors import AuthenticationError, SourceUnavailable, UnknownRecordError, VendorError

if TYPE_CHECKING:
    from etl.services.recent import Recent

MAX_RECORDS = 100
"""Source: the vendor's reference, `get_billing_record`."""


class _RecordId(click.ParamType[str]):
    """The id of an authorisation."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from etl.extract.client import RECORD_ID

        if not RECORD_ID.fullmatch(value):
            self.fail(f"{value!r} cannot be an id: letters, digits and ._~:- only, at most 128 of them", param, ctx)
        return str(value)


@click.command()
@click.argument("count", metavar="[N]", type=click.IntRange(1, MAX_RECORDS), default=20)
@account_option
@json_option
@click.pass_obj
def recent(options: OutputOptions, *, count: int, accounts: tuple[str, ...]) -> int:
    """Show the vendor's last N records, and whether each is in the database.

    The newest first; 20 unless N is given, 100 at the most. Phones and codes are shown as the account stores them.
    """
    from etl.db.engine import new_engine
    from etl.services.recent import compare_newest, fetch_newest, find_stored_account
    from etl.services.sync import account_binding, build_reader, open_client

    settings = _settings_of_one(options, accounts)
    engine = new_engine(settings.database_url)
    account = find_stored_account(engine, settings.account, account_binding(settings))
    try:
        with open_client(settings, options.redact) as client:
            newest = fetch_newest(client, count, build_reader(settings))
    except AuthenticationError:
        raise
    except VendorError as error:
        raise SourceUnavailable(f"the newest records cannot be fetched: {error}") from None
    found = compare_newest(engine, account, newest, count)
    if options.as_json:
        print_json(recent_as_json(settings.account, found) | {"exit_code": ExitCode.OK})
    else:
        _print_recent(settings.account, found)
    return ExitCode.OK


@click.command("auth-status")
@click.argument("record_id", metavar="ID", type=_RecordId())
@account_option
@json_option
@click.pass_obj
def auth_status(options: OutputOptions, *, record_id: str, accounts: tuple[str, ...]) -> int:
    """Show one authorisation as the vendor has it now.

    ID is what the vendor answered to the call that started the authorisation; billing records do not carry it. Exits
    with 1 where the vendor knows no such authorisation.
    """
    from etl.services.recent import read_status
    from etl.services.sync import build_phone_policy, open_client

    settings = _settings_of_one(options, accounts)
    try:
        with open_client(settings, options.redact) as client:
            fields = client.get_status(record_id)
    except (AuthenticationError, UnknownRecordError):
        raise
    except VendorError as error:
        raise SourceUnavailable(f"the authorisation cannot be fetched: {error}") from None
    record = read_status(fields, record_id, settings.timezone, build_phone_policy(settings))
    if options.as_json:
        print_json({"account": settings.account, "record": record, "exit_code": ExitCode.OK})
    else:
        _print_authorisation(record)
    return ExitCode.OK


def _settings_of_one(options: OutputOptions, accounts: tuple[str, ...]) -> Settings:
    """The settings of the one account that is configured or named, with its token.

    Raises:
        click.UsageError: There are several.
        ConfigError: A setting is missing or wrong.
    """
    chosen = load_settings_for(options, accounts)
    if len(chosen) > 1:
        raise click.UsageError("several accounts are configured; name one with --account")
    chosen[0].require_token()
    return chosen[0]


def _print_recent(account: str, recent: Recent) -> None:
    """The vendor's newest records, and whether each is in the database."""
    from etl.cli.text_output import print_rows, render_money

    rows = [
        (
            f"{one.created_at:%Y-%m-%d %H:%M:%S}",
            one.record.phone,
            one.record.code_auth,
            "" if one.record.status is None else one.record.status,
            one.record.status_info,
            render_money(one.record.price),
            "yes" if one.stored else "no",
        )
        for one in recent.records
    ]
    print_rows(f"Newest records of {account}", ("created at", "phone", "code", "#", "status", "#price", "stored"), rows)
    for item in recent.rejected:
        click.secho(f"rejected: {item.reason}: {item.payload}", fg="yellow")
    if recent.note:
        click.secho(recent.note, fg="yellow")
    elif recent.missing:
        click.echo(f"{recent.missing} of {len(recent.records)} are not in the database; billing-etl sync fetches them")


def _print_authorisation(record: dict[str, Any]) -> None:
    """One authorisation, a field a line."""
    from etl.cli.text_output import print_rows, render_money

    shown = {name: "" if value is None else value for name, value in record.items()}
    if isinstance(shown["price"], Decimal):
        shown["price"] = render_money(shown["price"])
    print_rows(f"Authorisation {record['id']}", ("field", "value"), list(shown.items()))
