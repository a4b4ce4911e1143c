"""Reads files of settings and secrets; every error is a ConfigError without their content."""

from __future__ import annotations

import io
import os
import re
import shlex
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from etl.errors import ConfigError

_MAX_CHARACTERS: Final = 1 << 24
"""Enough for 50,000 accounts in a TOML file; a device may have no end."""
_MAX_NAME_SHOWN: Final = 200


def file_exists(path: Path) -> bool:
    """Whether a file exists; false in a folder that we may not search, such as another user's home."""
    with suppress(PermissionError):
        return path.exists()
    return False


def read_toml(path: Path | None, prefix: str) -> dict[str, Any]:
    """The content of a TOML file; empty for None.

    Args:
        path: The file.
        prefix: Starts each error message.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or its `accounts` are not tables.
    """
    if path is None:
        return {}
    import tomllib  # takes two milliseconds, and few installations have a TOML file

    text = _read_text(path, prefix)
    content: dict[str, Any] | None = None
    problem = ""
    # Besides TOMLDecodeError, tomllib raises ValueError for long numbers and RecursionError for deep nesting.
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Only the position is repeated: the message may contain a piece of the file.
        position = re.search(r"\(at (line \d+, column \d+|end of document)\)$", str(error))
        repeated = ": a name is repeated" if re.match(r"Cannot (declare|overwrite)", str(error)) else ""
        problem = f"{repeated} {position[0]}" if position else ""
    if content is None:
        raise ConfigError(f"{prefix}{printable(path)} is not TOML{problem}")
    accounts = content.get("accounts", {})
    if not isinstance(accounts, dict) or not all(isinstance(section, dict) for section in accounts.values()):
        raise ConfigError(f"{prefix}{printable(path)}: accounts are written as [accounts.LABEL]")
    return content


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a `.env` file; empty if there is none.

    Raises:
        ConfigError: The file cannot be read.
    """
    if not (path.is_file() or path.is_fifo()):
        return {}
    from dotenv import dotenv_values  # takes two milliseconds, and few installations have a .env file

    values = dotenv_values(stream=io.StringIO(_read_text(path, "the file ")))
    return {name: value for name, value in values.items() if value is not None}


def read_secret(path: Path, variable: str) -> str:
    """The stripped content of a file with a secret.

    Args:
        path: The file.
        variable: The setting that names it, for error messages.

    Raises:
        ConfigError: The file cannot be read, or is empty.
    """
    text = _read_text(path, f"{variable}: ").strip()
    if not text:
        raise ConfigError(f"{variable}: {printable(path)} is empty")
    return text


def warn_permissions(path: Path, variable: str) -> list[str]:
    """A warning if other users may read or change the file.

    Args:
        path: The file.
        variable: The setting that names it.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    # Windows has no such permission bits, and systemd protects its credentials by other means.
    if sys.platform == "win32" or (credentials and path.is_relative_to(credentials)):
        return []
    status = path.stat()
    # If another user owns the file, we read it as a group member: chmod 600 would take our own permission.
    others = stat.S_IRWXO | (stat.S_IRWXG if status.st_uid == os.geteuid() else 0)
    if not status.st_mode & others:
        return []
    return [f"{variable}: others may read or change {path}; run: chmod 600 {shlex.quote(str(path))}"]


def printable(name: object) -> str:
    """A name for a message of one line: shortened, and quoted if it has unprintable characters."""
    text = str(name)
    if not text.isprintable():
        return repr(text[:_MAX_NAME_SHOWN])
    return text if len(text) <= _MAX_NAME_SHOWN else f"{text[:_MAX_NAME_SHOWN]}…"


def _read_text(path: Path, prefix: str) -> str:
    """The text of a file, which may also be a pipe or an endless device.

    Raises:
        ConfigError: It cannot be read. Raised outside the except block: UnicodeDecodeError holds the content.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_MAX_CHARACTERS + 1)
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "it is not text"
    except ValueError:
        reason = "invalid file name"
    else:
        if len(text) <= _MAX_CHARACTERS:
            return text
        reason = f"it is longer than {_MAX_CHARACTERS} characters"
    raise ConfigError(f"{prefix}{printable(path)} cannot be read ({reason})")
