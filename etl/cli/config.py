"""The command that shows the settings: config show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from etl.cli.json_output import print_json
from etl.cli.options import account_option, examples, json_option
from etl.cli.output import OutputOptions, report_error
from etl.cli.selection import load_configuration
from etl.cli.tables import print_rows
from etl.config.schema import mask_passwords
from etl.errors import ConfigError
from etl.exit_codes import ExitCode
from etl.pii import MASK

if TYPE_CHECKING:
    from etl.config.sources import Configuration, ResolvedSetting


@click.group()
def config() -> None:
    """The settings and their sources."""


@config.command(epilog=examples("config show", "config show --account shop --json"))
@account_option
@json_option
@click.pass_obj
def show(options: OutputOptions, *, accounts: tuple[str, ...]) -> int:
    """Show every setting of each account with its source; secrets are masked.

    Works without a token and with invalid settings, which are reported with exit code 78.
    """
    from etl.config.loader import select_accounts

    configuration, _ = load_configuration(options)
    documents = [_settings_as_json(options, configuration, label) for label in select_accounts(configuration, accounts)]
    code = ExitCode.CONFIG if any(document["errors"] for document in documents) else ExitCode.OK
    if options.as_json:
        file = None if configuration.file is None else str(configuration.file)
        print_json({"file": file, "accounts": documents, "exit_code": code})
        return code
    click.echo(f"configuration file: {configuration.file or 'none'}")
    _print_settings({document["account"]: document["settings"] for document in documents})
    for document in documents:
        for message in document["errors"]:
            report_error(options, ConfigError(message), document["account"] if len(documents) > 1 else None)
    return code


def _print_settings(settings: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    """Print the settings by account and variable: those of all accounts once, then those in which accounts differ."""
    first = next(iter(settings))
    shared = {
        name: entry
        for name, entry in settings[first].items()
        if all(entries[name] == entry for entries in settings.values())
    }
    title = f"Account {first}" if len(settings) == 1 else f"All {len(settings):,} accounts"
    columns = ("setting", "~value", "~from")
    print_rows(title, columns, ((name, _render(entry), entry["source"]) for name, entry in shared.items()))
    if len(settings) > 1:
        own = (
            (label, name, _render(entry), entry["source"])
            for label, entries in settings.items()
            for name, entry in entries.items()
            if name not in shared
        )
        print_rows("Settings in which accounts differ", ("account", *columns), own)


def _settings_as_json(options: OutputOptions, configuration: Configuration, label: str | None) -> dict[str, Any]:
    """The settings of one account as one JSON object: value and source by variable, and all errors."""
    from etl.config.loader import default_label, validate_combination

    entries: dict[str, dict[str, Any]] = {}
    errors = [str(problem) for problem in configuration.problems(label)]
    values: dict[str, Any] = {}
    for resolved in configuration.resolve(label):
        entry: dict[str, Any] = {"value": None, "source": resolved.origin()}
        try:
            value = values[resolved.setting.name] = resolved.value()
            entry["value"] = _masked_value(resolved, value)
        except ConfigError as error:
            entry["error"] = str(error)
            errors.append(str(error))
        entries[resolved.setting.variable] = entry
    try:
        validate_combination(values)
    except ConfigError as error:
        errors.append(str(error))
    return {
        "account": label or default_label(configuration),
        "settings": entries,
        "errors": [options.redact(message) for message in dict.fromkeys(errors)],
    }


def _masked_value(resolved: ResolvedSetting, value: Any) -> Any:
    """The value for JSON, with `***` in place of secrets; of a secret file, its path."""
    if value is None:
        return None
    if resolved.setting.name == "database_url":
        return mask_passwords(value)
    if resolved.setting.secret:
        return MASK
    if resolved.setting.secret_file:
        return resolved.text
    if isinstance(value, date | Decimal) or not isinstance(value, int | float | str):
        return str(value)
    return value


def _render(entry: dict[str, Any]) -> str:
    """The value of a setting as a cell of the table."""
    value = entry["value"]
    if "error" in entry:
        return "wrong, see below"
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
