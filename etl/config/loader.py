"""Where settings come from: the environment, then a `.env` file, then a TOML file. Nothing is read at import."""

from __future__ import annotations

import io
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from etl.config.schema import PREFIX, SETTINGS, RunSettings, Setting, Settings
from etl.errors import ConfigError

_DOTENV: Final = Path(".env")
_OWN_FOLDER: Final = "billing-etl"
_FILE_NAME: Final = "config.toml"
_MAX_FILE_BYTES: Final = 1 << 20
"""Characters of a file of settings or of a secret."""
_MAX_INTEGER_DIGITS: Final = 64
"""Bits; Python refuses to write out some thousand digits."""
_BY_VARIABLE: Final = {setting.variable: setting for setting in SETTINGS}
_BY_FILE: Final = {f"{setting.variable}_FILE": setting for setting in SETTINGS if setting.secret}
_TOKEN: Final = ("BILLING_API_TOKEN", "BILLING_API_TOKEN_FILE")


@dataclass(frozen=True, slots=True)
class SettingSource:
    """Where values come from.

    Attributes:
        name: As a person is told of it.
        values: What stands there, by variable.
        named: Whether the message about a wrong value names the source; a variable of the environment needs no source.
    """

    name: str
    values: Mapping[str, Any]
    named: bool = False


@dataclass(frozen=True, slots=True)
class ResolvedSetting:
    """A setting's effective value as it is written.

    Attributes:
        place: Where it comes from: `default`, or `not set` where there is none.
        text: The value; None where there is none.
        file: The file that a secret stands in.
    """

    setting: Setting
    place: SettingSource
    text: str | None
    file: Path | None = None

    def value(self) -> Any:
        """The value itself.

        Raises:
            ConfigError: It is wrong, or its file cannot be read.
        """
        text = self.text
        if self.file is not None:
            text = _read_secret(f"{self.setting.variable}_FILE", self.file)
        return None if text is None else _parse(self.setting, text, self.place)

    def origin(self) -> str:
        """Where it comes from, as a person is told of it."""
        return self.place.name if self.file is None else f"{self.place.name}: {self.file}"

    def warnings(self) -> list[str]:
        """A sentence, if others may read or change the file of a secret."""
        if self.file is not None:
            return _warn_permissions(f"{self.setting.variable}_FILE", self.file)
        if self.setting.secret_file and self.text is not None:
            return _warn_permissions(self.setting.variable, Path(self.text))
        return []


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that is configured, as it is written: nothing of it is parsed yet.

    Attributes:
        file: The TOML file, if there is one.
        credentials: The files that systemd hands over, by variable; those of one account by its label, others by "".
        sections: What the TOML file says of each account.
        error: Why a file could not be read; all accounts wait for that to be mended.
    """

    file: Path | None
    environment: Mapping[str, str]
    dotenv: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    error: ConfigError | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The accounts of the TOML file."""
        return tuple(self.sections)

    def sources(self, label: str | None) -> list[SettingSource]:
        """Where the values of an account come from, the strongest place first."""
        of_account = SettingSource(
            f"{self.file} [accounts.{label}]", _by_variable(self.sections.get(label or "", {})), named=True
        )
        own_token = {name: of_account.values[name] for name in _TOKEN if name in of_account.values}
        return [
            # One token in the environment cannot be that of several accounts.
            SettingSource(of_account.name, own_token, named=True),
            SettingSource("systemd credential", self.credentials.get(label, {}) if label else {}),
            SettingSource("environment", self.environment),
            SettingSource(str(_DOTENV), self.dotenv),
            SettingSource("systemd credential", self.credentials.get("", {})),
            of_account,
            SettingSource(str(self.file), _by_variable(self.shared), named=True),
        ]

    def resolve(self, label: str | None) -> list[ResolvedSetting]:
        """Every setting of an account, in the order of `SETTINGS`."""
        places = self.sources(label)
        found = [_find(setting, places) for setting in SETTINGS]
        if label is None:
            return found
        place = (
            SettingSource(f"{self.file} [accounts.{label}]", {}, named=True)
            if label in self.sections
            else SettingSource("--account", {})
        )
        return [ResolvedSetting(one.setting, place, label) if one.setting.name == "account" else one for one in found]

    def problems(self, label: str | None) -> Iterator[ConfigError]:
        """What stands in the way of an account before any value is looked at: a file, a name, a type."""
        if self.error is not None:
            yield self.error
        for source in (self.environment, self.dotenv):
            yield from _unknown_variables(source)
        yield from _mistakes_of_file(f"{_printable(self.file)}: ", self.shared, own=False, labelled=bool(self.sections))
        section = self.sections.get(label or "", {})
        yield from _mistakes_of_file(
            f"{_printable(self.file)}: [accounts.{_printable(label)}]: ", section, own=True, labelled=True
        )


def default_files(environment: Mapping[str, str]) -> list[Path]:
    """Where the TOML file is looked for unless `--config` names one; the first that is there is the only one read."""
    folders = []
    configured, home = environment.get("XDG_CONFIG_HOME", ""), environment.get("HOME", "")
    if Path(configured).is_absolute():  # what is relative is to be ignored, says the standard
        folders.append(Path(configured))
    elif home:
        folders.append(Path(home) / ".config")
    return [folder / _OWN_FOLDER / _FILE_NAME for folder in (*folders, Path("/etc"))]


def read_configuration(config_file: Path | None = None) -> Configuration:
    """All that is configured. A file that cannot be read is told of by `trouble`: the rest is known all the same.

    Args:
        config_file: The TOML file, instead of those of `default_files`.
    """
    environment = dict(os.environ)
    file = config_file or next(filter(_exists, default_files(environment)), None)
    trouble: list[ConfigError] = []
    content: dict[str, Any] = {}
    dotenv: dict[str, str] = {}
    try:
        content = _read_toml(file, "--config: " if config_file else "")
    except ConfigError as error:
        trouble.append(error)
    try:
        dotenv = _read_dotenv()
    except ConfigError as error:
        trouble.append(error)
    sections = content.pop("accounts", {})
    return Configuration(
        file, environment, dotenv, _find_credentials(environment), content, sections, next(iter(trouble), None)
    )


def load_run_settings(configuration: Configuration) -> RunSettings:
    """The settings of the whole run. What is wrong is left out here, and told of with the settings of the accounts."""
    values = {}
    for resolved in configuration.resolve(None):
        if resolved.setting.global_only:
            try:
                value = resolved.value()
            except ConfigError:
                value = resolved.setting.default_value()
            values[resolved.setting.name] = value
    return RunSettings(**values)


def default_label(configuration: Configuration) -> str:
    """What the only account is called."""
    return next(one.text for one in configuration.resolve(None) if one.setting.name == "account") or ""


def load_account(configuration: Configuration, label: str | None) -> Settings:
    """The effective settings of one account.

    Args:
        configuration: As it was read.
        label: Of the TOML file, or the label of the only account; None for the one that BILLING_ACCOUNT names.

    Raises:
        ConfigError: A setting is wrong or unknown. Only the first one is named.
    """
    for mistake in configuration.problems(label):
        raise mistake
    return replace(_settings_of(configuration.resolve(label)), labels=frozenset(configuration.labels))


def load_settings(config_file: Path | None = None, account: str | None = None) -> Settings:
    """The effective settings of one account.

    Raises:
        ConfigError: As `load_account`.
    """
    return load_account(read_configuration(config_file), account)


def load_accounts(config_file: Path | None, wanted: tuple[str, ...]) -> list[Settings]:
    """The settings of each account wanted, or of all the TOML file has; of the one account where it has none.

    Raises:
        ConfigError: As `load_account`, or an account is not in the file.
    """
    configuration = read_configuration(config_file)
    return [load_account(configuration, label) for label in select_accounts(configuration, wanted)]


def select_accounts(configuration: Configuration, wanted: tuple[str, ...]) -> list[str | None]:
    """The accounts wanted, or all the TOML file has; None is the one account where it has none.

    Raises:
        ConfigError: An account is not in the file.
    """
    known = configuration.labels
    for label in wanted:
        if known and label not in known:
            has = ", ".join(map(_printable, known))
            raise ConfigError(f"--account {_printable(label)}: the configuration has no such account; it has {has}")
    return [*dict.fromkeys(wanted or known)] or [None]


def parse_settings(sources: Sequence[Mapping[str, str]]) -> Settings:
    """Settings from variables, the strongest source first.

    Raises:
        ConfigError: A value is wrong.
    """
    places = [SettingSource("", source) for source in sources]
    return _settings_of([_find(setting, places) for setting in SETTINGS])


def warn_duplicate_tokens(accounts: Sequence[Settings]) -> list[str]:
    """A sentence for each pair of accounts that would bring the same charges into one database twice."""
    first: dict[tuple[Any, ...], str] = {}
    sentences = []
    for one in accounts:
        other = first.setdefault((one.api_token, one.api_url, one.database_url), one.account)
        if one.api_token is not None and other != one.account:
            sentences.append(
                f"the accounts {other} and {one.account} have the same token: each charge stands under both"
            )
    return sentences


def validate_combination(values: Mapping[str, Any]) -> None:
    """Values that are right by themselves, and wrong beside each other.

    Raises:
        ConfigError: Two of them are.
    """
    if values.get("phones") == "keyed" and values.get("phones_key_file", b"") is None:
        raise ConfigError("BILLING_PHONES is keyed, and must have a key: set BILLING_PHONES_KEY_FILE to a file of one")


def _settings_of(found: Sequence[ResolvedSetting]) -> Settings:
    values = {}
    warnings: list[str] = []
    for one in found:
        values[one.setting.name] = one.value()
        warnings += one.warnings()
    validate_combination(values)
    return Settings(**values, warnings=tuple(warnings))


def _find(setting: Setting, places: Sequence[SettingSource]) -> ResolvedSetting:
    for place in places:
        # An empty variable is an unset one: that is what `VARIABLE=` in a unit file means to say.
        if text := _as_text(place.values.get(setting.variable, "")):
            return ResolvedSetting(setting, place, text)
        if setting.secret and (path := _as_text(place.values.get(f"{setting.variable}_FILE", ""))):
            return ResolvedSetting(setting, place, None, Path(path))
    return ResolvedSetting(
        setting, SettingSource("not set" if setting.default is None else "default", {}), setting.default
    )


def _find_credentials(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The files of the secrets that systemd hands over, by label and variable.

    Each is named as its variable, in small letters; that of one account has `_` and the label behind it, as systemd
    itself names the files of a folder.
    """
    found: dict[str, dict[str, str]] = {}
    directory = environment.get("CREDENTIALS_DIRECTORY")
    with suppress(OSError):
        for file in Path(directory).iterdir() if directory else ():
            for variable, setting in _BY_FILE.items():
                if file.name == (name := setting.variable.lower()) or file.name.startswith(f"{name}_"):
                    found.setdefault(file.name[len(name) + 1 :], {})[variable] = str(file)
    return found


def _exists(path: Path) -> bool:
    # In a folder that we may not even search, as another user's home, nothing is meant for us.
    with suppress(PermissionError):
        return path.exists()
    return False


def _warn_permissions(variable: str, path: Path) -> list[str]:
    """A sentence, if others may read or change the file."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    # Windows has no such bits, and systemd guards its credentials by other means.
    if sys.platform == "win32" or (credentials and path.is_relative_to(credentials)):
        return []
    status = path.stat()
    # A group that reads somebody else's file was let in on purpose: by chmod 600 we would lock ourselves out.
    others = stat.S_IRWXO | (stat.S_IRWXG if status.st_uid == os.geteuid() else 0)
    if not status.st_mode & others:
        return []
    return [f"{variable}: others may read or change {path}; run: chmod 600 {shlex.quote(str(path))}"]


def _read_secret(variable: str, path: Path) -> str:
    text = _read_text(f"{variable}: ", path).strip()
    if not text:
        raise ConfigError(f"{variable}: {_printable(path)} is empty")
    return text


def _read_text(what: str, path: Path) -> str:
    """A file's text, whatever the file is: a pipe, a device without an end.

    Raises:
        ConfigError: It cannot be read. Raised outside of the except block: the error of a codec holds the file.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "it is not text"
    except ValueError:
        reason = "no file has such a name"
    else:
        if len(text) <= _MAX_FILE_BYTES:
            return text
        reason = f"it is longer than {_MAX_FILE_BYTES} characters"
    raise ConfigError(f"{what}{_printable(path)} cannot be read ({reason})")


def _printable(name: object) -> str:
    """A name as a message of one line shows it."""
    text = str(name)
    return f"{text[:200]}{'…' * (len(text) > 200)}" if text.isprintable() else repr(text[:200])


def _parse(setting: Setting, text: str, place: SettingSource) -> Any:
    try:
        return setting.parse(text)
    except ValueError as error:
        must = str(error)
    # Outside of the except block, because the error under this one may hold a piece of the text.
    # A URL with an @ may hold a password, whatever it was meant to be; a line with a = may have swallowed the token's.
    shown = "" if setting.secret or "@" in text or "=" in text else f" is {text[:80]!r}, and"
    origin = f" ({_printable(place.name)})" if place.named else ""
    raise ConfigError(f"{setting.variable}{shown} must be {must}{origin}")


def _unknown_variables(source: Mapping[str, str]) -> Iterator[ConfigError]:
    """The environment is everybody's: only what looks like one of ours, misspelled, is refused there."""
    by_ending = {variable.removeprefix(PREFIX): variable for variable in (*_BY_VARIABLE, *_BY_FILE)}
    for variable in source:
        if not variable.startswith(PREFIX) or variable in _BY_VARIABLE or variable in _BY_FILE:
            continue
        close = _suggest(variable.removeprefix(PREFIX), by_ending, similarity=0.8)
        if close:
            yield ConfigError(f"{_printable(variable)} is no setting; did you mean {by_ending[close[0]]}?")


def _suggest(name: str, known: Iterable[str], *, similarity: float) -> list[str]:
    import difflib  # for who misspelled a setting

    return difflib.get_close_matches(name, known, n=1, cutoff=similarity)


def _mistakes_of_file(where: str, part: Mapping[str, Any], *, own: bool, labelled: bool) -> Iterator[ConfigError]:
    """What is wrong with the names and types of a part of the TOML file.

    Args:
        where: Begins a message.
        part: Its keys and values.
        own: Whether it is an account's own section.
        labelled: Whether the file has sections of accounts.
    """
    names = {variable.removeprefix(PREFIX).lower(): variable for variable in (*_BY_VARIABLE, *_BY_FILE)}
    for key, value in part.items():
        variable = names.get(key.lower())
        if isinstance(value, dict) and variable in {None, "BILLING_ACCOUNT"}:
            yield ConfigError(f"{where}[{_printable(key)}] is no section; did you mean [accounts.LABEL]?")
        elif variable is None:
            close = _suggest(key.lower(), names, similarity=0.0)
            meant = f"; did you mean {close[0]} ({names[close[0]]})?" if close else ""
            yield ConfigError(f"{where}{_printable(key)} is no setting{meant}")
        elif isinstance(value, dict | list) or (isinstance(value, int) and value.bit_length() > _MAX_INTEGER_DIGITS):
            yield ConfigError(f"{where}{_printable(key)} must be one text, number or date, or true or false")
        elif labelled and variable == "BILLING_ACCOUNT":
            yield ConfigError(f"{where}account means nothing here: an account is called as its section is")
        elif own and (_BY_VARIABLE.get(variable) or _BY_FILE[variable]).global_only:
            yield ConfigError(
                f"{where}{_printable(key)} is for all accounts together; write it above the first section"
            )


def _read_toml(path: Path | None, called: str) -> dict[str, Any]:
    if path is None:
        return {}
    import tomllib  # two milliseconds, and few have such a file

    text = _read_text(called, path)
    content: dict[str, Any] | None = None
    trouble = ""
    # Beside its own error, tomllib lets through those of numbers too long and of brackets too deep.
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Nothing of its words but the place: they may repeat what stands there.
        place = re.search(r"\(at (line \d+, column \d+|end of document)\)$", str(error))
        twice = ": a name stands there twice" if re.match(r"Cannot (declare|overwrite)", str(error)) else ""
        trouble = f"{twice} {place[0]}" if place else ""
    if content is None:
        raise ConfigError(f"{called}{_printable(path)} is not TOML{trouble}")
    accounts = content.get("accounts", {})
    if not isinstance(accounts, dict) or not all(isinstance(part, dict) for part in accounts.values()):
        raise ConfigError(f"{called}{_printable(path)}: accounts are written as [accounts.LABEL]")
    return content


def _read_dotenv() -> dict[str, str]:
    if not (_DOTENV.is_file() or _DOTENV.is_fifo()):
        return {}
    from dotenv import dotenv_values  # two milliseconds, and few have such a file

    values = dotenv_values(stream=io.StringIO(_read_text("the file ", _DOTENV)))
    return {name: value for name, value in values.items() if value is not None}


def _by_variable(part: Mapping[str, Any]) -> dict[str, Any]:
    return {PREFIX + key.upper(): value for key, value in part.items()}


def _as_text(value: Any) -> str:
    if isinstance(value, dict | list) or (isinstance(value, int) and value.bit_length() > _MAX_INTEGER_DIGITS):
        return ""  # a mistake, and told of as one
    return str(value).lower() if isinstance(value, bool) else str(value).strip()
