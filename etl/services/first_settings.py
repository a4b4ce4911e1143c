"""The first settings of an account: completed, tried, and written to files that only their owner may read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Final

from etl.atomic_file import atomic_write
from etl.checks.runner import CheckResult
from etl.config.database_url import parse_url
from etl.config.loader import parse_settings
from etl.config.network import network_variables
from etl.config.schema import Settings, query_passwords
from etl.config.validators import DEFAULT_API_URL
from etl.db.engine import database_file
from etl.errors import ConfigError
from etl.services.check import check_account

CONFIG_NAME: Final = "config.toml"
TOKEN_NAME: Final = "token"  # noqa: S105 - the name of a file
DATABASE_URL_NAME: Final = "database_url"


@dataclass(frozen=True, slots=True)
class FirstSettings:
    """The settings that a first sync needs.

    Attributes:
        database_url: With its password, if it has one.
        start_date: First day of the first sync; None for the default.
        account: Label of the account; None for the default.
        api_url: URL of the vendor's API.
    """

    token: str = field(repr=False)
    database_url: str = field(repr=False)
    start_date: date | None = None
    account: str | None = None
    api_url: str = DEFAULT_API_URL

    def variables(self) -> dict[str, str]:
        """The settings by the names of their variables."""
        values = {
            "BILLING_API_TOKEN": self.token,
            "BILLING_DATABASE_URL": self.database_url,
            "BILLING_START_DATE": "" if self.start_date is None else self.start_date.isoformat(),
            "BILLING_ACCOUNT": self.account or "",
            "BILLING_API_URL": self.api_url,
        }
        return {name: value for name, value in values.items() if value}

    def parse(self, environment: Mapping[str, str]) -> Settings:
        """The settings of an account with these and with defaults.

        Args:
            environment: Its proxy and certificates are used; its settings are not.

        Raises:
            ConfigError: A value is invalid.
        """
        settings = parse_settings([self.variables()])
        return replace(settings, network_variables=network_variables(environment), token_source="")


def absolute_database_url(text: str) -> str:
    """The URL of a database; a relative path of SQLite becomes absolute, because a job has another current folder.

    Raises:
        ConfigError: It is no URL of a supported database.
    """
    url = parse_url(text)
    file = database_file(url)
    if file is None or str(url.database).startswith("file:"):
        return text
    return url.set(drivername=url.get_backend_name(), database=str(file.absolute())).render_as_string()


def needs_password(text: str) -> str:
    """The user of a database URL that has no password; empty if there is no user, or a password.

    Raises:
        ConfigError: It is no URL of a supported database.
    """
    url = parse_url(text)
    return "" if url.password or query_passwords(url) else str(url.username or "")


def add_password(text: str, password: str) -> str:
    """The database URL with a password, encoded as a URL needs it."""
    return parse_url(text).set(password=password).render_as_string(hide_password=False)


def has_password(text: str) -> bool:
    """Whether a database URL contains a password."""
    url = parse_url(text)
    return bool(url.password or query_passwords(url))


def try_settings(
    first: FirstSettings, environment: Mapping[str, str], *, redact: Callable[[str], str]
) -> Iterator[CheckResult]:
    """Run the checks of `check` with settings that are not written yet.

    Raises:
        ConfigError: A value is invalid.
    """
    return check_account(first.parse(environment), None, redact=redact)


def existing_files(folder: Path) -> list[Path]:
    """The files that writing the settings would replace."""
    return [path for name in (CONFIG_NAME, TOKEN_NAME, DATABASE_URL_NAME) if (path := folder / name).exists()]


def write_settings(first: FirstSettings, folder: Path) -> list[Path]:
    """Write a TOML file, and the secrets to separate files, all with mode 0600; return their paths.

    Args:
        first: The settings.
        folder: Is created, for its owner only, unless it exists.

    Raises:
        ConfigError: A file cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--folder {str(folder)!r} cannot be created: {error.strerror}") from None
    secrets = {TOKEN_NAME: first.token}
    if has_password(first.database_url):
        secrets[DATABASE_URL_NAME] = first.database_url
    for old in existing_files(folder):
        old.unlink()  # its mode would be kept, and no secret of the former settings may stay behind
    for name, text in secrets.items():
        _write(folder / name, f"{text}\n")
    _write(folder / CONFIG_NAME, _render_toml(first, folder, in_file=DATABASE_URL_NAME in secrets))
    return [folder / CONFIG_NAME, *(folder / name for name in secrets)]


def _write(path: Path, text: str) -> None:
    with atomic_write(path, "--folder") as file:
        file.write(text.encode())


def _render_toml(first: FirstSettings, folder: Path, *, in_file: bool) -> str:
    values = {"api_token_file": str(folder / TOKEN_NAME)}
    if in_file:
        values["database_url_file"] = str(folder / DATABASE_URL_NAME)
    else:
        values["database_url"] = first.database_url
    if first.account:
        values["account"] = first.account
    if first.api_url != DEFAULT_API_URL:
        values["api_url"] = first.api_url
    # A string of JSON is one of TOML as well.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    if first.start_date is not None:
        lines.append(f"start_date = {first.start_date.isoformat()}")
    return "\n".join(["# All settings: billing-etl help settings", *lines, ""])


def default_folder() -> Path:
    """The folder where the program looks for its TOML file first."""
    from etl.config.sources import default_files

    return default_files(os.environ)[0].parent
