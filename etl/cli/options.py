"""Options and parameter types that several commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import click

from etl.cli.output import OutputOptions
from etl.config.validators import parse_day

Command = TypeVar("Command", bound=Callable[..., Any])
VERBOSE_HELP: Final = "Log progress; -vv also requests and tracebacks."
QUIET_HELP: Final = "Print nothing unless there is a problem."
_AMOUNT: Final = re.compile(r"\d{1,12}(\.\d{1,6})?", re.ASCII)


class _DayType(click.ParamType[date]):
    """A date as YYYY-MM-DD."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return parse_day(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


class _TimestampType(click.ParamType[date | datetime]):
    """A date, or a timestamp with its UTC offset."""

    name = "date or time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date | datetime:
        try:
            return parse_day(value) if len(value) == len("2026-01-31") else _parse_timestamp(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


def _parse_timestamp(text: str) -> datetime:
    expected = "a date like 2026-01-31, or a time with its offset like 2026-01-31T18:00+03:00"
    try:
        timestamp = datetime.fromisoformat(text)
        if timestamp.tzinfo is not None:
            return timestamp.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(expected) from None
    raise ValueError(expected)


class _AmountType(click.ParamType[Decimal]):
    """A positive amount of money that fits NUMERIC(18,6)."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        if isinstance(value, Decimal):
            return value
        amount = Decimal(value) if _AMOUNT.fullmatch(value) else Decimal(0)
        if not amount:
            expected = "an amount above zero of at most twelve digits and six decimal places, like 500 or 499.90"
            self.fail(f"{value!r} must be {expected}", param, ctx)
        return amount


class _DurationType(click.FloatRange):
    """A finite number of seconds or hours, at least zero."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} must be a finite number", param, ctx)
        return number


DAY, TIMESTAMP, AMOUNT, DURATION = _DayType(), _TimestampType(), _AmountType(), _DurationType()


def examples(*commands: str) -> str:
    """The epilog of a command's help, with line breaks that click keeps."""
    lines = ["\b", "Examples:" if len(commands) > 1 else "Example:"]
    return "\n".join(lines + [f"  billing-etl {command}" for command in commands])


def json_option(command: Command) -> Command:
    """Add --json; sets `OutputOptions.as_json`."""

    def set_as_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - the signature of a click callback
        context.ensure_object(OutputOptions).as_json = value

    help_text = "Print one JSON document on stdout."
    return click.option("--json", is_flag=True, expose_value=False, callback=set_as_json, help=help_text)(command)


def add_verbosity_options(command: click.Command) -> None:
    """Accept -v and -q after a command too, and after the commands of a group; they add to those before it."""
    if isinstance(command, click.Group):
        for member in command.commands.values():
            add_verbosity_options(member)
        return

    def raise_verbosity(context: click.Context, _parameter: click.Parameter, count: int) -> None:
        options = context.ensure_object(OutputOptions)
        if count and options.verbosity >= 0:
            options.verbosity += count
            options.set_up_logs()

    def set_quiet(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - the signature of a click callback
        options = context.ensure_object(OutputOptions)
        if value:
            options.verbosity = -1
            options.set_up_logs()

    command.params += [
        click.Option(["-v", "--verbose"], count=True, expose_value=False, callback=raise_verbosity, help=VERBOSE_HELP),
        click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=set_quiet, help=QUIET_HELP),
    ]


def account_option(command: Command) -> Command:
    """Add --account; the labels are passed as `accounts`."""
    return click.option(
        "--account",
        "accounts",
        multiple=True,
        metavar="LABEL",
        help="Account label; may be repeated.",
    )(command)


def wait_option(command: Command) -> Command:
    """Add --wait."""
    help_text = "Seconds to wait for the lock of another run."
    return click.option("--wait", type=DURATION, default=0, metavar="SECONDS", help=help_text)(command)


def require_ordered_range(since: date | None, until: date | None) -> None:
    """Raise click.UsageError if a range ends before it starts."""
    if since and until and since > until:
        raise click.UsageError(f"--since {since} is after --until {until}")
