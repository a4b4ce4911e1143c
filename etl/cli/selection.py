"""The accounts that a command line selects, and their settings.

load_configured            configured accounts: each label with its settings or the error in them
load_known                 the same, also for accounts that may be in a database only
load_configured_settings   the settings of configured accounts; raises the first error in them
load_known_settings        the same, also for accounts that may be in a database only
load_single_settings       the settings of the only account
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from etl.cli.output import OutputOptions
from etl.config.schema import RunSettings, Settings
from etl.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import URL

    from etl.config.sources import Configuration

LoadedAccount = tuple[str, Settings | ConfigError]
"""An account's label, with its settings or the error in them."""
SEVERAL_ACCOUNTS: Final = "several accounts are configured; name one with --account"


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


def load_accounts(
    options: OutputOptions, configuration: Configuration, labels: Iterable[str | None]
) -> list[LoadedAccount]:
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


def load_configured(options: OutputOptions, accounts: tuple[str, ...]) -> list[LoadedAccount]:
    """The accounts, or all that are configured: each label with the settings or the error in them.

    Raises:
        ConfigError: An account is not configured.
    """
    from etl.config.loader import select_accounts

    configuration, _ = load_configuration(options)
    return load_accounts(options, configuration, select_accounts(configuration, accounts))


def load_known(options: OutputOptions, labels: tuple[str, ...]) -> list[LoadedAccount]:
    """The accounts, configured or not, or all that are configured: each label with the settings or the error in them.

    An account may be in the database only: retired, or already renamed in the configuration. It gets the settings of
    the first configured account, under its own label.
    """
    configured = load_configured(options, ())
    known = dict(configured)
    first = next((settings for settings in known.values() if isinstance(settings, Settings)), configured[0][1])
    others = {label: first if isinstance(first, ConfigError) else replace(first, account=label) for label in labels}
    return [(label, known.get(label, others[label])) for label in labels] or configured


def load_configured_settings(options: OutputOptions, accounts: tuple[str, ...]) -> list[Settings]:
    """The settings of the accounts, or of all that are configured; redact their secrets.

    Raises:
        ConfigError: A setting of any of these accounts is missing or wrong.
    """
    return _require_valid(load_configured(options, accounts))


def load_known_settings(options: OutputOptions, labels: tuple[str, ...]) -> list[Settings]:
    """The settings of the accounts of `load_known`.

    Raises:
        ConfigError: A setting of any of these accounts is missing or wrong.
    """
    return _require_valid(load_known(options, labels))


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


def load_single_settings(options: OutputOptions, accounts: tuple[str, ...]) -> Settings:
    """The settings of the only account that is configured or selected.

    Raises:
        click.UsageError: There are several.
        ConfigError: A setting is missing or wrong, or there is no token.
    """
    all_settings = load_configured_settings(options, accounts)
    if len(all_settings) > 1:
        raise click.UsageError(SEVERAL_ACCOUNTS)
    all_settings[0].require_token()
    return all_settings[0]
