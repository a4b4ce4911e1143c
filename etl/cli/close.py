"""The command that books a month: close."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from etl.cli.each_account import for_each_account
from etl.cli.json_output import print_json
from etl.cli.options import account_option, examples, json_option, wait_option
from etl.cli.output import OutputOptions
from etl.cli.selection import load_configured, load_known
from etl.cli.tables import render_minute, render_money
from etl.config.validators import parse_day
from etl.date_ranges import next_month
from etl.exit_codes import ExitCode

if TYPE_CHECKING:
    from etl.config.schema import Settings
    from etl.db.closed_months import Closing
    from etl.services.close import CloseResult


class _MonthType(click.ParamType[date]):
    """A month as YYYY-MM."""

    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            month = parse_day(f"{value}-01")
            next_month(month)  # the last month of the calendar has none
            return month
        except ValueError:
            self.fail(f"{value!r} must be a month like 2026-03", param, ctx)


@click.command(epilog=examples("close 2026-03", "close 2026-03 --provisional", "close 2026-03 --again"))
@click.argument("month", type=_MonthType())
@account_option
@click.option("--provisional", is_flag=True, help="Book the month although days of it may still change.")
@click.option("--again", is_flag=True, help="Book a closed month again.")
@wait_option
@json_option
@click.pass_obj
def close(
    options: OutputOptions, *, month: date, accounts: tuple[str, ...], provisional: bool, again: bool, wait: float
) -> int:
    """Book a month: store its current spend.

    Exits with 1, and books nothing, while a day of MONTH (YYYY-MM) is missing, open, settling or suspect, or if the
    month is closed already and has changed since. A later close replaces a provisional one.
    """
    from etl.services.close import CloseRequest, close_month

    configured = {label for label, _ in load_configured(options, ())}
    request = CloseRequest(month, provisional, again)

    def close_one(settings: Settings) -> CloseResult:
        return close_month(settings, request, is_configured=settings.account in configured, wait=wait)

    outcomes = for_each_account(options, load_known(options, accounts), close_one)
    results = outcomes.results
    code = outcomes.exit_code(
        ExitCode.CHECK_FAILED if result.outcome == "refused" else ExitCode.OK for result in results
    )
    if options.as_json:
        documents = [_result_as_json(result) for result in results] + outcomes.error_documents(options.redact)
        print_json({"accounts": documents, "exit_code": code})
    else:
        for result in results:
            if options.verbosity >= 0 or result.outcome == "refused":
                _print_result(result)
    return code


def _result_as_json(result: CloseResult) -> dict[str, Any]:
    """The result of one account as one JSON object; amounts are strings."""
    vat = result.booked_vat
    closing = result.closing
    return {
        "account": result.account,
        "month": f"{result.month:%Y-%m}",
        "outcome": result.outcome,
        "reason": result.reason,
        "final": not result.unsettled,
        "unsettled_days": {
            state: [[days.first, days.last] for days in ranges] for state, ranges in result.unsettled.items()
        },
        "spend": result.totals.spend,
        "records": result.totals.records,
        "changed_since_close": result.totals.spend - closing.totals.spend if closing else None,
        "booking": _closing_as_json(closing)
        | {"net": vat and vat.net, "vat": vat and vat.vat, "gross": vat and vat.gross}
        if closing
        else None,
        "replaced": _closing_as_json(result.replaced) if result.replaced else None,
    }


def _closing_as_json(closing: Closing) -> dict[str, Any]:
    totals = closing.totals
    basis_points = totals.terms.vat_basis_points
    return {
        "closing": closing.closing,
        "kind": totals.kind,
        "closed_at": closing.closed_at,
        "booked": totals.spend,
        "records": totals.records,
        "currency": totals.terms.currency,
        "vat_rate": None if basis_points is None else basis_points / 100,
        "prices_include_vat": totals.terms.vat == "included",
    }


def _print_result(result: CloseResult) -> None:
    """Print what is booked, or why nothing is."""
    from etl.services.close import NOTHING_STORED

    name = f"{result.account}, {result.month:%Y-%m}"
    if result.reason:
        click.secho(f"{name}: not booked: {result.reason}", fg="yellow")
        if result.unsettled and result.reason != NOTHING_STORED:
            click.echo("  billing-etl status shows the days; --provisional books the month as it is now")
    if result.closing is None:
        return
    totals, vat = result.closing.totals, result.booked_vat
    verb = "booked" if result.outcome == "booked" else f"booked at {render_minute(result.closing.closed_at)} UTC"
    line = f"{name}: {verb}, {totals.kind}: {render_money(totals.spend)} {totals.terms.currency}"
    if vat:
        line += f" (net {render_money(vat.net)}, VAT {render_money(vat.vat)}, gross {render_money(vat.gross)})"
    click.echo(f"{line}, {totals.records:,} charges")
    if change := result.totals.spend - totals.spend:
        click.echo(f"  the current spend is {render_money(result.totals.spend)} ({_signed(change)}); --again books it")
    if result.replaced:
        before = result.replaced
        click.echo(
            f"  before: {before.totals.kind}, {render_money(before.totals.spend)} {before.totals.terms.currency} "
            f"at {render_minute(before.closed_at)} UTC; that booking is kept"
        )


def _signed(amount: Decimal) -> str:
    return f"{'+' if amount > 0 else '-'}{render_money(abs(amount))}"
