"""Loads the settings of a run and of its accounts. Nothing is read at import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from etl.config.files import printable
from etl.config.network import network_variables
from etl.config.schema import SETTINGS, RunSettings, Settings
from etl.config.sources import (
    Configuration,
    ResolvedSetting,
    SettingSource,
    resolve_setting,
)
from etl.errors import ConfigError
from etl.suggestions import describe_known


def load_run_settings(configuration: Configuration) -> RunSettings:
    """The settings of the whole run; defaults for invalid ones, which are reported with the settings of an account."""
    values = {}
    for resolved in configuration.resolve(None):
        if resolved.setting.global_only:
            try:
                value = resolved.value()
            except ConfigError:
                value = resolved.setting.default_value()
            values[resolved.setting.name] = value
    return RunSettings(**values, network_variables=network_variables(configuration.environment))


def default_label(configuration: Configuration) -> str:
    """The label of the only account, where the TOML file has no sections."""
    by_name = {resolved.setting.name: resolved for resolved in configuration.resolve(None)}
    return by_name["account"].text or ""


def load_account(configuration: Configuration, label: str | None) -> Settings:
    """The effective settings of one account.

    Args:
        configuration: The sources.
        label: A label of the TOML file, or the label for the only account; None for the one that BILLING_ACCOUNT names.

    Raises:
        ConfigError: A setting is invalid or unknown. Only the first one is named.
    """
    for problem in configuration.problems(label):
        raise problem
    settings = _build_settings(configuration.resolve(label))
    return replace(
        settings,
        labels=configuration.labels,
        token_labels=configuration.labels_with(settings.api_token),
        network_variables=network_variables(configuration.environment),
    )


def select_accounts(configuration: Configuration, labels: tuple[str, ...]) -> list[str | None]:
    """The labels, or those of the TOML file if there are none; None is the only account of a file without sections.

    Raises:
        ConfigError: An account is not in the file.
    """
    known = configuration.sections
    for label in labels:
        if known and label not in known:
            names = describe_known(label, [printable(name) for name in known])
            raise ConfigError(f"--account {printable(label)}: the configuration has no such account; {names}")
    return [*dict.fromkeys(labels or known)] or [None]


def parse_settings(sources: Sequence[Mapping[str, str]]) -> Settings:
    """Settings from variables, in order of precedence; nothing else is read.

    Raises:
        ConfigError: A value is invalid.
    """
    named_sources = [SettingSource("", source) for source in sources]
    return _build_settings([resolve_setting(setting, named_sources) for setting in SETTINGS])


def warn_duplicate_tokens(accounts: Sequence[Settings]) -> list[str]:
    """A warning for each pair of accounts that would store the same charges in one database twice."""
    first_label: dict[tuple[Any, ...], str] = {}
    warnings = []
    for settings in accounts:
        label = first_label.setdefault((settings.api_token, settings.api_url, settings.database_url), settings.account)
        if settings.api_token is not None and label != settings.account:
            warnings.append(
                f"the accounts {label} and {settings.account} have the same token: each charge is stored under both"
            )
    return warnings


def validate_combination(values: Mapping[str, Any]) -> None:
    """Check settings that depend on each other.

    Args:
        values: Parsed values by the name of the setting; invalid ones are missing.

    Raises:
        ConfigError: A value requires another setting.
    """
    if values.get("phones") == "keyed" and values.get("phones_key_file", b"") is None:
        raise ConfigError("BILLING_PHONES is keyed, and must have a key: set BILLING_PHONES_KEY_FILE to a file of one")
    if values.get("codes") == "drop":
        for position, rule in enumerate(values.get("channels") or (), start=1):
            if rule.code is not None:
                raise ConfigError(
                    f"BILLING_CHANNELS: rule {position} ({rule.channel}) has the condition code, and BILLING_CODES "
                    "is drop: remove code from the rule, or keep the codes"
                )


def _build_settings(settings: Sequence[ResolvedSetting]) -> Settings:
    values = {}
    warnings: list[str] = []
    for resolved in settings:
        values[resolved.setting.name] = resolved.value()
        warnings += resolved.warnings()
    validate_combination(values)
    token = next(resolved for resolved in settings if resolved.setting.name == "api_token")
    return Settings(**values, warnings=tuple(warnings), token_source=token.description())
