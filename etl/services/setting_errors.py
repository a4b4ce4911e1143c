"""Errors about settings, as people read them: with the environment variable and the remedy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

from etl.config.schema import PREFIX
from etl.db.bindings import BindingError
from etl.errors import ConfigError, SettingError
from etl.extract.connection_errors import SettingNames


def variable_of(field: str) -> str:
    """The environment variable of a field of the settings."""
    return f"{PREFIX}{field.upper()}"


def environment_names() -> SettingNames:
    """The environment variables of the settings that errors of the transport name."""
    return SettingNames(**{field.name: variable_of(field.name) for field in fields(SettingNames)})


@contextmanager
def named_settings() -> Iterator[None]:
    """Translate errors that name a field of the settings.

    Raises:
        ConfigError: Replaces a SettingError; the message names the environment variable and the remedy.
    """
    try:
        yield
    except SettingError as error:
        raise ConfigError(explain_setting(error)) from None


def explain_setting(error: SettingError) -> str:
    """The message of an error about a setting. Pure."""
    variable = variable_of(error.field)
    if not isinstance(error, BindingError):
        return f"{variable} {error.problem}"
    if error.field == "account":
        return _explain_other_account(error, variable)
    if error.field == "timezone":
        return _explain_zone(error, variable)
    return _explain_format(error, variable)


def _explain_other_account(error: BindingError, variable: str) -> str:
    label, owner = error.label, str(error.stored)
    if error.may_be_exchanged:
        return _explain_exchanged_tokens(error, variable)
    remedy = f"To continue with {owner}, " + (
        f"name its section [accounts.{owner}]" if error.in_file else f"set {variable}={owner}"
    )
    keep_both = "to keep both, name both in the configuration file"
    if error.has_rows:
        return (
            f"{variable} is {label}, and the token is that of the account {owner}: the records of {owner} would "
            f"replace those of {label}. {remedy}; {keep_both}"
        )
    command = f"billing-etl account rename {shlex.quote(owner)} {shlex.quote(label)}"
    return (
        f"{variable} is {label}, which this database does not have yet, and the token is that of the account "
        f"{owner}: each charge would be stored under both. {remedy}; to rename it to {label}, run: {command}; "
        f"{keep_both}"
    )


def _explain_exchanged_tokens(error: BindingError, variable: str) -> str:
    label, owner = error.label, str(error.stored)
    harm = f"would replace those of {label}" if error.has_rows else f"would be stored under {label} as well"
    return (
        f"{variable} is {label}, and its token is that of the last run of the account {owner}, which does "
        f"not have it in the configuration file any more: if tokens are exchanged, the records of {owner} {harm}. "
        f"Correct them; or, if {owner} has a new token, run first: billing-etl sync --account {shlex.quote(owner)}. If "
        f"neither helps and both are right, set the token of {label} for both once, run: billing-etl sync --account "
        f"{shlex.quote(label)}, and set that of {owner} again"
    )


def _explain_format(error: BindingError, variable: str) -> str:
    problem, stored = f"{variable} is {error.configured}", f"{variable}={error.stored}"
    if error.field == "phones_key_file":
        problem = f"{variable} holds the key {error.configured}"
        stored = f"{variable} to the file of the key {error.stored}"
    return (
        f"{problem}, and the account {error.label} is stored in another format: set {stored} again, or start over, "
        f"after billing-etl account delete {shlex.quote(error.label)} or in an empty database, and backfill"
    )


def _explain_zone(error: BindingError, variable: str) -> str:
    stored = error.stored or "another zone"
    remedy = f"{variable}={error.stored}" if error.stored else "the zone of the earlier runs"
    return (
        f"{variable} is {error.configured}, and the times of the account {error.label} are stored in {stored}: set "
        f"{remedy} again, or convert the stored times with: billing-etl account set-timezone "
        f"{shlex.quote(error.label)} {error.configured}"
    )
