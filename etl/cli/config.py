"""The verb that shows the settings: config show."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from etl.cli.exit_codes import ExitCode
from etl.cli.json_output import print_json
from etl.cli.options import account_option, json_option, load_configuration
from etl.cli.output import OutputOptions, report_error
from etl.config.schema import passwords_of
from etl.errors import ConfigError
from etl.pii import MASK

if TYPE_CHECKING:
    from etl.config.loader import Configuration, ResolvedSetting


@click.group()
def config() -> None:
    """The settings: what they are, and where they come from."""


@config.command()
@account_option
@json_option
@click.pass_obj
def show(options: OutputOptions, *, accounts: tuple[str, ...]) -> int:
    """Show every setting of each account and where it comes from, secrets masked.

    Works without a token, and where a setting is wrong: it is named then, and the exit code is 78.
    """
    from etl.cli import text_output
    from etl.config.loader import select_accounts

    configuration, _ = load_configuration(options)
    documents = [_explain(options, configuration, label) for label in select_accounts(configuration, accounts)]
    code = ExitCode.CONFIG if any(document["errors"] for document in documents) else ExitCode.OK
    if options.as_json:
        file = None if configuration.file is None else str(configuration.file)
        print_json({"file": file, "accounts": documents, "exit_code": code})
        return code
    click.echo(f"configuration file: {configuration.file or 'none'}")
    for document in documents:
        rows = [(name, _as_shown(one), one["source"]) for name, one in document["settings"].items()]
        text_output.print_rows(f"Account {document['account']}", ("setting", "value", "from"), rows)
    for document in documents:
        for message in document["errors"]:
            report_error(options, ConfigError(message), document["account"] if len(documents) > 1 else None)
    return code


def _explain(options: OutputOptions, configuration: Configuration, label: str | None) -> dict[str, Any]:
    """One account's settings as one JSON object: by variable the value and its source; and all that is wrong."""
    from etl.config.loader import default_label, validate_combination

    found = configuration.resolve(label)
    settings: dict[str, dict[str, Any]] = {}
    errors = [str(mistake) for mistake in configuration.problems(label)]
    values: dict[str, Any] = {}
    for one in found:
        wrong = None
        try:
            values[one.setting.name] = one.value()
        except ConfigError as error:
            wrong = str(error)
            errors.append(wrong)
        shown = None if wrong else _mask(one, values[one.setting.name])
        settings[one.setting.variable] = {"value": shown, "source": one.origin()} | ({"error": wrong} if wrong else {})
    try:
        validate_combination(values)
    except ConfigError as error:
        errors.append(str(error))
    return {
        "account": label or default_label(configuration),
        "settings": settings,
        "errors": [options.redact(message) for message in dict.fromkeys(errors)],
    }


def _mask(found: ResolvedSetting, value: Any) -> Any:
    """A value as it may be seen by everybody, and as JSON can have it."""
    from sqlalchemy import URL

    if value is None:
        return None
    if isinstance(value, URL):
        shown = value.update_query_dict(dict.fromkeys(passwords_of(value), MASK)).render_as_string(hide_password=True)
        return shown.replace(quote(MASK, safe=""), MASK)
    if found.setting.secret:
        return MASK
    if found.setting.secret_file:
        return found.text
    if isinstance(value, date | Decimal) or not isinstance(value, int | float | str):
        return str(value)
    return value


def _as_shown(setting: dict[str, Any]) -> str:
    value = setting["value"]
    if "error" in setting:
        return "wrong, see below"
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
