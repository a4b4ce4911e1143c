"""Options and parameter types that several commands share, and loading the settings of the selected accounts."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from etl.cli.output import OutputOptions
from etl.config.schema import RunSettings, Settings
from etl.config.validators import parse_day
from etl.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import URL

    from etl.config.sources import Configuration

LoadedAccount = tuple[str, Settings | ConfigError]
"""An account's label, with its settings or the error in them."""
Command = TypeVar("Command", bound=Callable[..., Any])
SEVERAL_ACCOUNTS: Final = "several accounts are configured; name one with --account"
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


def load_configuration(options: OutputOptions) -> tuple[Configuration, RunSettings]:
    """Read the configuration, apply its log format and redact the secrets of the run."""
    from etl.config.loader import load_run_settings
    from etl.config.sources import read_configuration

    configuration = read_configuration(options.config)
    run_settings = load_run_settings(configuration)
    options.redact.add(run_settings.secrets())
    if options.log_format is None and run_settings.log_format != "text":
        options.log_format = run_settings.log_format
        options.set_up_logs()
    return configuration, run_settings


def load_all(options: OutputOptions, configuration: Configuration, labels: Iterable[str | None]) -> list[LoadedAccount]:
    """The label of each account with its settings or the error in them; log warnings, redact the secrets."""
    from etl.config.loader import default_label, load_account, warn_duplicate_tokens

    loaded: list[LoadedAccount] = []
    for label in labels:
        try:
            settings = load_account(configuration, label)
            options.redact.add(settings.secrets())
            loaded.append((settings.account, settings))
        except ConfigError as error:
            loaded.append((label or default_label(configuration), error))
    valid = [settings for _, settings in loaded if isinstance(settings, Settings)]
    warnings = [warning for settings in valid for warning in settings.warnings] + warn_duplicate_tokens(valid)
    for warning in dict.fromkeys(warnings):
        logging.getLogger("etl").warning("%s", warning)
    return loaded


def load_selected(options: OutputOptions, accounts: tuple[str, ...]) -> list[LoadedAccount]:
    """The accounts, or all that are configured: each label with the settings or the error in them.

    Raises:
        ConfigError: An account is not configured.
    """
    from etl.config.loader import select_accounts

    configuration, _ = load_configuration(options)
    return load_all(options, configuration, select_accounts(configuration, accounts))


def load_selected_by_label(options: OutputOptions, labels: tuple[str, ...]) -> list[LoadedAccount]:
    """The accounts, configured or not, or all that are configured, as in `load_selected`.

    An account may be in the database only: retired, or already renamed in the configuration. It gets the settings of
    the first configured account, under its own label.
    """
    configured = load_selected(options, ())
    known = dict(configured)
    first = next((settings for settings in known.values() if isinstance(settings, Settings)), configured[0][1])
    others = {label: first if isinstance(first, ConfigError) else replace(first, account=label) for label in labels}
    return [(label, known.get(label, others[label])) for label in labels] or configured


def load_settings_for(options: OutputOptions, accounts: tuple[str, ...]) -> list[Settings]:
    """The settings of the accounts, or of all that are configured; redact their secrets.

    Raises:
        ConfigError: A setting of any of these accounts is missing or wrong.
    """
    return _require_valid(load_selected(options, accounts))


def load_settings_by_label(options: OutputOptions, labels: tuple[str, ...]) -> list[Settings]:
    """The settings of the accounts of `load_selected_by_label`.

    Raises:
        ConfigError: A setting of any of these accounts is missing or wrong.
    """
    return _require_valid(load_selected_by_label(options, labels))


def _require_valid(selected: Iterable[LoadedAccount]) -> list[Settings]:
    all_settings = []
    for _, settings in selected:
        if isinstance(settings, ConfigError):
            raise settings
        all_settings.append(settings)
    return all_settings


def require_one_database(
    all_settings: Iterable[Settings], cure: str = "name an account of one of them with --account"
) -> URL:
    """The only database of the accounts.

    Raises:
        click.UsageError: They have several; the message ends with the cure.
    """
    urls = {settings.database_url for settings in all_settings}
    if len(urls) > 1:
        raise click.UsageError(f"several databases are configured; {cure}")
    return urls.pop()


def load_settings_with_token(options: OutputOptions, accounts: tuple[str, ...]) -> Settings:
    """The settings of the only account that is configured or selected.

    Raises:
        click.UsageError: There are several.
        ConfigError: A setting is missing or wrong, or there is no token.
    """
    all_settings = load_settings_for(options, accounts)
    if len(all_settings) > 1:
        raise click.UsageError(SEVERAL_ACCOUNTS)
    all_settings[0].require_token()
    return all_settings[0]


def require_ordered_range(since: date | None, until: date | None) -> None:
    """Raise click.UsageError if a range ends before it starts."""
    if since and until and since > until:
        raise click.UsageError(f"--since {since} is after --until {until}")
