"""Where settings come from: the environment, then a `.env` file, then a TOML file. Nothing is read at import."""

from __future__ import annotations

import difflib
import io
import os
import shlex
import stat
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from etl.errors import ConfigError
from etl.settings import PREFIX, SETTINGS, Setting, Settings

_DOTENV: Final = Path(".env")
_LONGEST_FILE: Final = 1 << 20
"""Characters of a file of settings or of a secret."""
_LONGEST_INTEGER: Final = 64
"""Bits; Python refuses to write out some thousand digits."""
_TOKEN_VARIABLE: Final = f"{PREFIX}API_TOKEN"
_TOKEN_FILE: Final = f"{PREFIX}API_TOKEN_FILE"
CREDENTIAL: Final = "billing_api_token"
"""The name of the systemd credential that holds the token."""


def load_settings(config_file: Path | None = None, account: str | None = None) -> Settings:
    """The effective settings of one account.

    Args:
        config_file: A TOML file, the weakest source.
        account: Which account of the TOML file; the label of the only one otherwise.

    Raises:
        ConfigError: A setting is missing, wrong or unknown. Only the first one is named.
    """
    return parse_settings(_sources(config_file, account), account)


def load_accounts(config_file: Path | None, wanted: tuple[str, ...]) -> list[Settings]:
    """The settings of each account wanted, or of all the TOML file has; of the one account where it has none.

    Raises:
        ConfigError: As `load_settings`, or an account is not in the file.
    """
    file = _read_toml(config_file)
    known = list(file.get("accounts", {}))
    for label in wanted:
        if known and label not in known:
            has = ", ".join(map(_shown, known))
            raise ConfigError(f"--account {_shown(label)}: the configuration has no such account; it has {has}")
    labels: list[str | None] = [*(wanted or known)] or [None]
    return [load_settings(config_file, label) for label in labels]


def _sources(config_file: Path | None, account: str | None) -> list[Mapping[str, str]]:
    """Where values come from, by variable, the strongest first."""
    file = _read_toml(config_file)
    of_account = _as_variables(file.pop("accounts", {}).get(account, {}))
    of_all = _as_variables(file)
    dotenv = _read_dotenv()
    credentials = {}
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory and (Path(directory) / CREDENTIAL).is_file():
        credentials[_TOKEN_FILE] = str(Path(directory) / CREDENTIAL)
    for part in (of_account, of_all):
        _refuse_unknown(part, similarity=0.0)
    environments: tuple[Mapping[str, str], ...] = (os.environ, dotenv)
    for source in environments:
        # The environment is everybody's: only what looks like one of ours, misspelled, is refused there.
        _refuse_unknown(source, similarity=0.8)
    own_token = {name: of_account[name] for name in (_TOKEN_VARIABLE, _TOKEN_FILE) if name in of_account}
    # One token in the environment cannot be that of several accounts.
    return [own_token, os.environ, dotenv, credentials, of_account, of_all]


def parse_settings(sources: Sequence[Mapping[str, str]], account: str | None = None) -> Settings:
    """Settings from variables, the strongest source first.

    Raises:
        ConfigError: A value is wrong.
    """
    values: dict[str, Any] = {}
    warnings: list[str] = []
    for setting in SETTINGS:
        text = account if setting.name == "account" and account is not None else _find(setting, sources, warnings)
        values[setting.name] = None if text is None else _parse(setting, text)
        if setting.is_file and text is not None:
            warnings += _warn_if_shared(setting.variable, Path(text))
    if values["phones"] == "keyed" and values["phones_key_file"] is None:
        raise ConfigError("BILLING_PHONES is keyed, and must have a key: set BILLING_PHONES_KEY_FILE to a file of one")
    return Settings(**values, warnings=tuple(warnings))


def _find(setting: Setting, sources: Sequence[Mapping[str, str]], warnings: list[str]) -> str | None:
    for source in sources:
        # An empty variable is an unset one: that is what `VARIABLE=` in a unit file means to say.
        if text := source.get(setting.variable, "").strip():
            return text
        if setting.secret and (path := source.get(f"{setting.variable}_FILE", "").strip()):
            text = _read_secret(f"{setting.variable}_FILE", Path(path))
            warnings += _warn_if_shared(f"{setting.variable}_FILE", Path(path))
            return text
    return setting.default


def _warn_if_shared(variable: str, path: Path) -> list[str]:
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
    text = _read_text(f"{variable}:", path).strip()
    if not text:
        raise ConfigError(f"{variable}: {_shown(path)} is empty")
    return text


def _read_text(what: str, path: Path) -> str:
    """A file's text, whatever the file is: a pipe, a device without an end.

    Raises:
        ConfigError: It cannot be read. Raised outside of the except block: the error of a codec holds the file.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "it is not text"
    except ValueError:
        reason = "no file has such a name"
    else:
        if len(text) <= _LONGEST_FILE:
            return text
        reason = f"it is longer than {_LONGEST_FILE} characters"
    raise ConfigError(f"{what} {_shown(path)} cannot be read ({reason})")


def _shown(name: object) -> str:
    """A name as a message of one line shows it."""
    text = str(name)
    return f"{text[:200]}{'…' * (len(text) > 200)}" if text.isprintable() else repr(text[:200])


def _parse(setting: Setting, text: str) -> Any:
    try:
        return setting.parse(text)
    except ValueError as error:
        must = str(error)
    # Outside of the except block, because the error under this one may hold a piece of the text.
    # A URL with an @ may hold a password, whatever it was meant to be; a line with a = may have swallowed the token's.
    shown = "" if setting.secret or "@" in text or "=" in text else f" is {text[:80]!r}, and"
    raise ConfigError(f"{setting.variable}{shown} must be {must}")


def _refuse_unknown(source: Mapping[str, str], *, similarity: float) -> None:
    known = {setting.variable for setting in SETTINGS}
    known |= {f"{setting.variable}_FILE" for setting in SETTINGS if setting.secret}
    by_ending = {variable.removeprefix(PREFIX): variable for variable in known}
    for variable in source:
        if not variable.startswith(PREFIX) or variable in known:
            continue
        close = difflib.get_close_matches(variable.removeprefix(PREFIX), by_ending, n=1, cutoff=similarity)
        if close:
            raise ConfigError(f"{_shown(variable)} is no setting; did you mean {by_ending[close[0]]}?")


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    text = _read_text("--config:", path)
    content: dict[str, Any] | None = None
    # Beside its own error, tomllib lets through those of numbers too long and of brackets too deep.
    with suppress(ValueError, RecursionError):
        content = tomllib.loads(text)
    if content is None:
        raise ConfigError(f"--config: {_shown(path)} is not TOML")
    accounts = content.get("accounts", {})
    if not isinstance(accounts, dict) or not all(isinstance(part, dict) for part in accounts.values()):
        raise ConfigError(f"--config: {_shown(path)}: accounts are written as [accounts.LABEL]")
    return content


def _read_dotenv() -> dict[str, str]:
    if not (_DOTENV.is_file() or _DOTENV.is_fifo()):
        return {}
    from dotenv import dotenv_values  # two milliseconds, and few have such a file

    values = dotenv_values(stream=io.StringIO(_read_text("the file", _DOTENV)))
    return {name: value for name, value in values.items() if value is not None}


def _as_variables(part: dict[str, Any]) -> dict[str, str]:
    return {PREFIX + key.upper(): _as_text(key, value) for key, value in part.items()}


def _as_text(key: str, value: Any) -> str:
    if isinstance(value, dict | list) or (isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER):
        raise ConfigError(f"--config: {_shown(key)} must be one text, number or date, or true or false")
    return str(value).lower() if isinstance(value, bool) else str(value)
