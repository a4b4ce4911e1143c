"""Commands that show the vendor's current data: recent, auth-status."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from etl.cli.json_output import print_json, recent_as_json
from etl.cli.options import account_option, examples, json_option
from etl.cli.output import OutputOptions
from etl.cli.selection import load_single_settings
from etl.cli.tables import print_rows, render_money
from etl.exit_codes import ExitCode

if TYPE_CHECKING:
    from etl.services.recent import RecentRecords

MAX_RECORDS: Final = 100
"""Records in one answer. Source: the vendor's reference, `get_billing_record`."""


class _RecordIdType(click.ParamType[str]):
    """The vendor's id of an authorisation."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from etl.extract.client import RECORD_ID

        if not RECORD_ID.fullmatch(value):
            self.fail(f"{value!r} cannot be an id: letters, digits and ._~:- only, at most 128 of them", param, ctx)
        return str(value)


@click.command(epilog=examples("recent", "recent 100"))
@click.argument("count", metavar="[N]", type=click.IntRange(1, MAX_RECORDS), default=20)
@account_option
@json_option
@click.pass_obj
def recent(options: OutputOptions, *, count: int, accounts: tuple[str, ...]) -> int:
    """Show the vendor's last records, and whether they are stored.

    Shows the newest record first, and whether each is in the database. N is 20 unless given, and at most 100. Phones
    and codes are shown as the account stores them.
    """
    from etl.services.recent import read_recent

    settings = load_single_settings(options, accounts)
    result = read_recent(settings, count, redact=options.redact)
    if options.as_json:
        print_json(recent_as_json(settings.account, result) | {"exit_code": ExitCode.OK})
    else:
        _print_recent(settings.account, result)
    return ExitCode.OK


@click.command("auth-status", epilog=examples("auth-status 4f1c2b9a"))
@click.argument("record_id", metavar="ID", type=_RecordIdType())
@account_option
@json_option
@click.pass_obj
def auth_status(options: OutputOptions, *, record_id: str, accounts: tuple[str, ...]) -> int:
    """Show one authorisation as the vendor has it now.

    ID is the id that the vendor returned when the authorisation was started; billing records do not contain it. Exits
    with 1 if the vendor has no authorisation with this id.
    """
    from etl.services.recent import read_authorisation

    settings = load_single_settings(options, accounts)
    record = read_authorisation(settings, record_id, redact=options.redact)
    if options.as_json:
        print_json({"account": settings.account, "record": record, "exit_code": ExitCode.OK})
    else:
        _print_authorisation(record)
    return ExitCode.OK


def _print_recent(account: str, recent: RecentRecords) -> None:
    rows = [
        (
            f"{item.created_at:%Y-%m-%d %H:%M:%S}",
            item.record.phone,
            item.record.code_auth,
            "" if item.record.status is None else item.record.status,
            item.record.status_info,
            render_money(item.record.price),
            "yes" if item.stored else "no",
        )
        for item in recent.records
    ]
    print_rows(
        f"Newest records of {account}", ("created at", "phone", "code", "#", "~status", "#price", "stored"), rows
    )
    for rejected in recent.rejected:
        click.secho(f"rejected: {rejected.reason}: {rejected.payload}", fg="yellow")
    if recent.note:
        click.secho(recent.note, fg="yellow")
    elif recent.missing:
        click.echo(
            f"{recent.missing} of {len(recent.records)} are not in the database; billing-etl sync fetches them, except "
            "those before the first day and those of purged days"
        )


def _print_authorisation(record: dict[str, Any]) -> None:
    fields = {name: "" if value is None else value for name, value in record.items()}
    if isinstance(fields["price"], Decimal):
        fields["price"] = render_money(fields["price"])
    print_rows(f"Authorisation {record['id']}", ("field", "~value"), list(fields.items()))
