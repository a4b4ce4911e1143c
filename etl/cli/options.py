"""What several verbs take: days, accounts, --wait, --json; and the settings these select."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from etl.cli.output import OutputOptions
from etl.config.schema import RunSettings, Settings, parse_day
from etl.errors import ConfigError

if TYPE_CHECKING:
    from etl.config.loader import Configuration

Command = TypeVar("Command", bound=Callable[..., Any])


class _Day(click.ParamType[date]):
    """A date as the contract writes it."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return parse_day(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


class _Moment(click.ParamType[date | datetime]):
    """A day, or a time with its offset."""

    name = "date or time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date | datetime:
        try:
            return parse_day(value) if len(value) == len("2026-01-31") else _parse_moment(value)
        except ValueError as error:
            self.fail(f"{value!r} must be {error}", param, ctx)


def _parse_moment(text: str) -> datetime:
    must = "a date like 2026-01-31, or a time with its offset like 2026-01-31T18:00+03:00"
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(must) from None
    raise ValueError(must)


class _Amount(click.ParamType[Decimal]):
    """Money as the database keeps it, above zero."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        if isinstance(value, Decimal):
            return value
        amount = Decimal(value) if _AMOUNT.fullmatch(value) else Decimal(0)
        if not amount:
            must = "an amount above zero of at most twelve digits and six decimal places, like 500 or 499.90"
            self.fail(f"{value!r} must be {must}", param, ctx)
        return amount


_AMOUNT: Final = re.compile(r"\d{1,12}(\.\d{1,6})?", re.ASCII)
DAY, MOMENT, AMOUNT = _Day(), _Moment(), _Amount()
"""A date, a date or a time, and money: types for options."""


def json_option(command: Command) -> Command:
    """Add --json, which the whole program looks at: errors are then JSON too."""

    def remember(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
        context.ensure_object(OutputOptions).as_json = value

    help_text = "Answer with one JSON document on stdout."
    return click.option("--json", is_flag=True, expose_value=False, callback=remember, help=help_text)(command)


def account_option(command: Command) -> Command:
    """Add --account."""
    return click.option(
        "--account", "accounts", multiple=True, metavar="A", help="Only this account; may be repeated."
    )(command)


def wait_option(command: Command) -> Command:
    """Add --wait."""
    help_text = "Wait so long for another run of the account."
    return click.option("--wait", type=click.FloatRange(min=0), default=0, metavar="SECONDS", help=help_text)(command)


def load_configuration(options: OutputOptions) -> tuple[Configuration, RunSettings]:
    """All that is configured; from here on logs are as it says, and its secrets are hidden."""
    from etl.config.loader import load_run_settings, read_configuration

    configuration = read_configuration(options.config)
    run_settings = load_run_settings(configuration)
    options.redact.add(run_settings.secrets())
    if options.log_format is None and run_settings.log_format != "text":
        options.log_format = run_settings.log_format
        options.set_up_logs()
    return configuration, run_settings


def load_all(
    options: OutputOptions, configuration: Configuration, labels: Iterable[str | None]
) -> list[tuple[str, Settings | ConfigError]]:
    """What each account is called, and its settings or what is wrong with them; secrets are hidden from here on."""
    from etl.config.loader import default_label, load_account, warn_duplicate_tokens

    loaded: list[tuple[str, Settings | ConfigError]] = []
    for label in labels:
        try:
            settings = load_account(configuration, label)
            options.redact.add(settings.secrets())
            loaded.append((settings.account, settings))
        except ConfigError as error:
            loaded.append((label or default_label(configuration), error))
    good = [settings for _, settings in loaded if isinstance(settings, Settings)]
    sentences = [sentence for settings in good for sentence in settings.warnings] + warn_duplicate_tokens(good)
    for sentence in dict.fromkeys(sentences):
        logging.getLogger("etl").warning("%s", sentence)
    return loaded


def load_settings_for(options: OutputOptions, accounts: tuple[str, ...]) -> list[Settings]:
    """The settings of the accounts wanted; from here on their secrets are hidden wherever text comes out.

    Raises:
        ConfigError: Those of any of them are wrong.
    """
    from etl.config.loader import select_accounts

    configuration, _ = load_configuration(options)
    all_settings = []
    for _, settings in load_all(options, configuration, select_accounts(configuration, accounts)):
        if isinstance(settings, ConfigError):
            raise settings
        all_settings.append(settings)
    return all_settings


def require_ordered_range(since: date | None, until: date | None) -> None:
    """Raises click.UsageError when a range ends before it begins."""
    if since and until and since > until:
        raise click.UsageError(f"--since {since} lies after --until {until}")
