"""Sources of settings and their precedence: environment, `.env` file, systemd credentials, TOML file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from etl.config.files import file_exists, printable, read_dotenv, read_secret, read_toml, warn_permissions
from etl.config.schema import PREFIX, SETTINGS, Setting
from etl.errors import ConfigError
from etl.suggestions import similar_names

_DOTENV: Final = Path(".env")
_FOLDER: Final = "billing-etl"
_FILE_NAME: Final = "config.toml"
_SECRET_WITH_PASSWORD: Final = frozenset({"database_url", "proxy"})
_ENVIRONMENT: Final = "environment"
_CREDENTIAL: Final = "systemd credential"
_MAX_INTEGER_BITS: Final = 64
"""Larger integers of a TOML file are refused: Python does not convert some thousand digits to text."""
_BY_VARIABLE: Final = {setting.variable: setting for setting in SETTINGS}
_BY_FILE_VARIABLE: Final = {f"{setting.variable}_FILE": setting for setting in SETTINGS if setting.secret}
_STRUCTURED: Final = frozenset(setting.variable for setting in SETTINGS if setting.structured)
_TOKEN_VARIABLES: Final = ("BILLING_API_TOKEN", "BILLING_API_TOKEN_FILE")


@dataclass(frozen=True, slots=True)
class SettingSource:
    """One source of values.

    Attributes:
        name: Name in `config show` and in error messages.
        values: Unparsed values by variable.
        named: Whether an error message names the source; a variable of the environment needs none.
        file: The file with the values.
    """

    name: str
    values: Mapping[str, Any]
    named: bool = False
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class ResolvedSetting:
    """The effective, unparsed value of a setting.

    Attributes:
        setting: The declaration.
        source: The source that won; named `default`, or `not set` where there is no value.
        text: The value; None where there is none, or where it is in `file`.
        file: The file with the secret.
        ignored: The other variable of a secret that is set as well, its own or that of its file; empty for none.
    """

    setting: Setting
    source: SettingSource
    text: str | None
    file: Path | None = None
    ignored: str = ""

    def value(self) -> Any:
        """The parsed value.

        Raises:
            ConfigError: The value is invalid, or its file cannot be read.
        """
        text = self.text
        if self.file is not None:
            text = read_secret(self.file, f"{self.setting.variable}_FILE")
        return None if text is None else _parse(self.setting, text, self.source)

    def origin(self) -> str:
        """The name of the source, with the file of a secret."""
        return self.source.name if self.file is None else f"{self.source.name}: {self.file}"

    def description(self) -> str:
        """Variable, file and source of the value, for an error message."""
        if self.source.name == _CREDENTIAL:
            return f"{printable(self.file)} ({_CREDENTIAL})"
        variable = self.setting.variable if self.file is None else f"{self.setting.variable}_FILE"
        source = "" if self.source.name == _ENVIRONMENT else f" in {self.source.name}"
        return f"{variable}{source}" if self.file is None else f"{printable(self.file)} ({variable}{source})"

    def warnings(self) -> list[str]:
        """Warnings: a variable is ignored; other users may read or change the file of a secret."""
        variable = self.setting.variable
        ignored = [f"{self.ignored} is ignored: {self.description()} is set as well"] if self.ignored else []
        if self.file is not None:
            return ignored + warn_permissions(self.file, f"{variable}_FILE")
        if self.setting.secret_file and self.text is not None:
            return warn_permissions(Path(self.text), variable)
        if self._holds_secret() and self.source.file is not None:
            return ignored + warn_permissions(self.source.file, variable)
        return ignored

    def _holds_secret(self) -> bool:
        """Whether the text is a secret; the URL of a database or proxy is one only with a password."""
        if not self.setting.secret or self.text is None:
            return False
        return self.setting.name not in _SECRET_WITH_PASSWORD or "@" in self.text or "pass" in self.text


@dataclass(frozen=True)
class Configuration:
    """All sources, read but not parsed.

    Attributes:
        file: The TOML file, if there is one.
        environment: The variables of the process.
        dotenv: The variables of the `.env` file.
        credentials: Paths of systemd credentials by label and `_FILE` variable; the label is "" for all accounts.
        shared: The keys of the TOML file outside sections.
        sections: The keys of the TOML file by account label.
        error: Why a file could not be read; no account can be loaded then.
    """

    file: Path | None
    environment: Mapping[str, str]
    dotenv: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    error: ConfigError | None = None

    @cached_property
    def labels(self) -> frozenset[str]:
        """The accounts of the TOML file: one set, which the settings of all accounts share."""
        return frozenset(self.sections)

    @cached_property
    def _labels_by_token(self) -> dict[str, frozenset[str]]:
        """The accounts of the TOML file by token; one whose token cannot be read is missing."""
        labels: defaultdict[str, set[str]] = defaultdict(set)
        for label in self.sections:
            with suppress(ConfigError):
                if token := resolve_setting(_BY_VARIABLE["BILLING_API_TOKEN"], self.sources(label)).value():
                    labels[token].add(label)
        return {token: frozenset(sharing) for token, sharing in labels.items()}

    def labels_with(self, token: str | None) -> frozenset[str]:
        """The accounts of the TOML file that have this token."""
        return self._labels_by_token.get(token, frozenset()) if token else frozenset()

    def sources(self, label: str | None) -> list[SettingSource]:
        """The sources of an account's values, in order of precedence."""
        section = SettingSource(
            f"{self.file} [accounts.{label}]", _by_variable(self.sections.get(label or "", {})), named=True,
            file=self.file,
        )  # fmt: skip
        own_token = {name: section.values[name] for name in _TOKEN_VARIABLES if name in section.values}
        return [
            # The token of a section precedes the environment: a single variable cannot hold the tokens of all accounts.
            SettingSource(section.name, own_token, named=True, file=self.file),
            SettingSource(_CREDENTIAL, self.credentials.get(label, {}) if label else {}),
            SettingSource(_ENVIRONMENT, self.environment),
            SettingSource(str(_DOTENV), self.dotenv, file=_DOTENV),
            SettingSource(_CREDENTIAL, self.credentials.get("", {})),
            section,
            SettingSource(str(self.file), _by_variable(self.shared), named=True, file=self.file),
        ]

    def resolve(self, label: str | None) -> list[ResolvedSetting]:
        """The effective value of every setting of an account, in the order of `SETTINGS`.

        Args:
            label: The account; None for the one that BILLING_ACCOUNT names.
        """
        sources = self.sources(label)
        settings = [resolve_setting(setting, sources) for setting in SETTINGS]
        if label is None:
            return settings
        source = (
            SettingSource(f"{self.file} [accounts.{label}]", {}, named=True)
            if label in self.sections
            else SettingSource("--account", {})
        )
        return [
            ResolvedSetting(resolved.setting, source, label) if resolved.setting.name == "account" else resolved
            for resolved in settings
        ]

    def problems(self, label: str | None) -> Iterator[ConfigError]:
        """The errors of an account before any value is parsed: unreadable files, unknown names, wrong types."""
        if self.error is not None:
            yield self.error
        for variables in (self.environment, self.dotenv):
            yield from _misspelled_variables(variables)
        yield from _invalid_keys(f"{printable(self.file)}: ", self.shared, own=False, labelled=bool(self.sections))
        section = self.sections.get(label or "", {})
        prefix = f"{printable(self.file)}: [accounts.{printable(label)}]: "
        yield from _invalid_keys(prefix, section, own=True, labelled=True)


def default_files(environment: Mapping[str, str]) -> list[Path]:
    """The paths of the TOML file, unless `--config` names one; only the first existing file is read."""
    folders = []
    configured, home = environment.get("XDG_CONFIG_HOME", ""), environment.get("HOME", "")
    if Path(configured).is_absolute():  # the XDG specification ignores relative paths
        folders.append(Path(configured))
    elif home:
        folders.append(Path(home) / ".config")
    return [folder / _FOLDER / _FILE_NAME for folder in (*folders, Path("/etc"))]


def read_configuration(config_file: Path | None = None) -> Configuration:
    """Read all sources; the first file that cannot be read becomes `error`, the remaining ones are still read.

    Args:
        config_file: The TOML file, instead of those of `default_files`.
    """
    environment = dict(os.environ)
    file = config_file or next(filter(file_exists, default_files(environment)), None)
    errors: list[ConfigError] = []
    content: dict[str, Any] = {}
    dotenv: dict[str, str] = {}
    try:
        content = read_toml(file, "--config: " if config_file else "")
    except ConfigError as error:
        errors.append(error)
    try:
        dotenv = read_dotenv(_DOTENV)
    except ConfigError as error:
        errors.append(error)
    sections = content.pop("accounts", {})
    return Configuration(
        file, environment, dotenv, _find_credentials(environment), content, sections, next(iter(errors), None)
    )


def resolve_setting(setting: Setting, sources: Sequence[SettingSource]) -> ResolvedSetting:
    """The value of the first source that has one, else the default."""
    for source in sources:
        # An empty variable counts as unset: that is the intention of `VARIABLE=` in a unit file.
        if text := _environment_text(source.values.get(setting.variable, "")):
            ignored = _also_set(f"{setting.variable}_FILE", source, sources) if setting.secret else ""
            return ResolvedSetting(setting, source, text, ignored=ignored)
        if setting.secret and (path := _environment_text(source.values.get(f"{setting.variable}_FILE", ""))):
            return ResolvedSetting(setting, source, None, Path(path), _also_set(setting.variable, source, sources))
    source = SettingSource("not set" if setting.default is None else "default", {})
    return ResolvedSetting(setting, source, setting.default)


def _also_set(variable: str, winner: SettingSource, sources: Sequence[SettingSource]) -> str:
    """The variable with its source, if that source or, between environment and `.env`, the other one sets it."""
    alike = {_ENVIRONMENT, str(_DOTENV)}
    for source in sources:
        is_candidate = source is winner or {source.name, winner.name} == alike
        if is_candidate and _environment_text(source.values.get(variable, "")):
            return variable if source.name == _ENVIRONMENT else f"{variable} in {source.name}"
    return ""


def _parse(setting: Setting, text: str, source: SettingSource) -> Any:
    try:
        return setting.parse(text)
    except ValueError as error:
        expected = str(error)
    # Raised outside the except block: the chained error may contain a piece of the text.
    # A text with @ may contain a password, and a text with = a swallowed line of the .env file.
    value = "" if setting.secret or setting.structured or "@" in text or "=" in text else f" is {text[:80]!r}, and"
    origin = f" ({printable(source.name)})" if source.named else ""
    raise ConfigError(f"{setting.variable}{value} must be {expected}{origin}")


def _find_credentials(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The paths of systemd credentials by label and `_FILE` variable.

    A credential has the name of its variable in lower case. One for a single account ends with `_` and the label, as
    systemd names the files of a folder.
    """
    credentials: dict[str, dict[str, str]] = {}
    directory = environment.get("CREDENTIALS_DIRECTORY")
    with suppress(OSError):
        for file in Path(directory).iterdir() if directory else ():
            for variable, setting in _BY_FILE_VARIABLE.items():
                if file.name == (name := setting.variable.lower()) or file.name.startswith(f"{name}_"):
                    credentials.setdefault(file.name[len(name) + 1 :], {})[variable] = str(file)
    return credentials


def _misspelled_variables(variables: Mapping[str, str]) -> Iterator[ConfigError]:
    """Errors for variables that resemble a setting; others may belong to another program."""
    by_name = {variable.removeprefix(PREFIX): variable for variable in (*_BY_VARIABLE, *_BY_FILE_VARIABLE)}
    for variable in variables:
        if not variable.startswith(PREFIX) or variable in _BY_VARIABLE or variable in _BY_FILE_VARIABLE:
            continue
        similar = similar_names(variable.removeprefix(PREFIX), by_name, similarity=0.8)
        if similar:
            yield ConfigError(f"{printable(variable)} is not a setting; did you mean {by_name[similar[0]]}?")


def _invalid_keys(prefix: str, values: Mapping[str, Any], *, own: bool, labelled: bool) -> Iterator[ConfigError]:
    """Errors in the names and types of one part of the TOML file.

    Args:
        prefix: Starts each message.
        values: The keys and values of the part.
        own: Whether it is the section of an account.
        labelled: Whether the file has sections of accounts.
    """
    names = {variable.removeprefix(PREFIX).lower(): variable for variable in (*_BY_VARIABLE, *_BY_FILE_VARIABLE)}
    for key, value in values.items():
        variable = names.get(key.lower())
        if isinstance(value, dict) and variable in {None, "BILLING_ACCOUNT"}:
            yield ConfigError(f"{prefix}[{printable(key)}] is not a section; did you mean [accounts.LABEL]?")
        elif variable is None:
            similar = similar_names(key.lower(), names, similarity=0.0)
            hint = f"; did you mean {similar[0]} ({names[similar[0]]})?" if similar else ""
            yield ConfigError(f"{prefix}{printable(key)} is not a setting{hint}")
        elif variable in _STRUCTURED and not isinstance(value, list | str):
            yield ConfigError(f"{prefix}{printable(key)} must be a list: [[{key}]] begins each of its tables")
        elif not _is_scalar(value) and variable not in _STRUCTURED:
            yield ConfigError(f"{prefix}{printable(key)} must be one text, number or date, or true or false")
        elif labelled and variable == "BILLING_ACCOUNT":
            yield ConfigError(f"{prefix}account is not allowed here: the name of a section is the account's label")
        elif own and (_BY_VARIABLE.get(variable) or _BY_FILE_VARIABLE[variable]).global_only:
            yield ConfigError(f"{prefix}{printable(key)} applies to all accounts; move it above the first section")


def _by_variable(values: Mapping[str, Any]) -> dict[str, Any]:
    by_variable = {PREFIX + key.upper(): value for key, value in values.items()}
    lists = {name: value for name, value in by_variable.items() if name in _STRUCTURED and isinstance(value, list)}
    if lists:
        import json  # few installations have such a setting

        by_variable |= {name: json.dumps(value, ensure_ascii=False, default=str) for name, value in lists.items()}
    return by_variable


def _is_scalar(value: Any) -> bool:
    is_large = isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS
    return not (isinstance(value, dict | list) or is_large)


def _environment_text(value: Any) -> str:
    """A value of any source as it would be written in the environment; empty for one that `problems` reports."""
    if not _is_scalar(value):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value).strip()
