"""What can be set: `SETTINGS` is the one list, from which the loader, `--help` and the documentation are made."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from etl.errors import ConfigError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from sqlalchemy import URL

PREFIX: Final = "BILLING_"
DEFAULT_API_URL: Final = "https://api.telefon-ip.ru/api/v1/authcalls"
"""Source: the vendor's public reference."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f]")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_TOKEN: Final = re.compile(r"[!-~]+")
_ACCOUNT_LENGTH: Final = 255
_MIN_SECRET_PART: Final = 16
"""Characters of a secret address's path that are hidden by themselves: shorter ones are words."""
_PLAIN_NUMBER: Final = re.compile(r"[+-]?\d{1,20}(\.\d{1,20})?([eE][+-]?\d{1,2})?", re.ASCII)
"""Python itself would take 1_0, full-width digits and nan as well."""
_SHORTEST_KEY, _LONGEST_KEY = 32, 4096
"""Bytes: fewer can be guessed, more are another file."""
EARLIEST_DAY: Final = date(2000, 1, 1)
"""No account is older than that, and date arithmetic has room before it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: Its variable is BILLING_ and this in capitals; its TOML key is this.
        default: As it would be written in the environment; None where there is none.
        meaning: One line, for `--help`.
        parse: Turns the text into the value, or raises ValueError with what is wrong and the cure.
        secret: Its value is never shown, and may stand in a file named by the variable and `_FILE`.
        secret_file: It names a file that is a secret itself.
        global_only: It is that of a whole run, whatever the accounts: no account has one of its own.
    """

    name: str
    default: str | None
    meaning: str
    parse: Callable[[str], Any]
    secret: bool = False
    secret_file: bool = False
    global_only: bool = False

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return PREFIX + self.name.upper()


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings of one account.

    Attributes:
        phones_key_file: The key that stands in it.
        warnings: Sentences about files of secrets that others may read.
        labels: The accounts of the TOML file, this one included.
    """

    api_token: str | None = field(repr=False)
    api_url: str
    database_url: URL
    account: str
    start_date: date | None
    lookback_days: int
    window_days: int
    timezone: ZoneInfo
    timeout: float
    request_deadline: float
    retry_attempts: int
    retry_max_wait: float
    max_response_mb: int
    max_withdrawn_share: Decimal
    concurrency: int
    auto_migrate: bool
    phones: str = "plain"
    phones_key_file: bytes | None = field(default=None, repr=False)
    codes: str = "keep"
    low_balance: Decimal | None = None
    log_format: str = "text"
    metrics_file: Path | None = None
    heartbeat_url: str | None = field(default=None, repr=False)
    keep_runs: int = 400
    keep_rejected: int | None = None
    warnings: tuple[str, ...] = ()
    labels: frozenset[str] = frozenset()

    def secrets(self) -> list[str]:
        """The values that may appear nowhere."""
        password = self.database_url.password
        queried = passwords_of(self.database_url).values()
        key = (self.phones_key_file or b"").decode("utf-8", "ignore").strip()
        named = (self.api_token, str(password) if password else None, *queried, key, self.heartbeat_url)
        return [secret for secret in named if secret]

    def require_token(self) -> str:
        """The token, for a command that asks the vendor.

        Raises:
            ConfigError: None is set.
        """
        if self.api_token is None:
            raise ConfigError(
                "BILLING_API_TOKEN is not set; set it, or BILLING_API_TOKEN_FILE to a file that holds the token"
            )
        return self.api_token


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings of a whole run: known also where those of an account are wrong."""

    log_format: str = "text"
    metrics_file: Path | None = None
    heartbeat_url: str | None = field(default=None, repr=False)

    def secrets(self) -> list[str]:
        """The values that may appear nowhere: who knows the long parts of the path knows the address."""
        if self.heartbeat_url is None:
            return []
        parts = urlsplit(self.heartbeat_url).path.split("/")
        return [self.heartbeat_url, *(part for part in parts if len(part) >= _MIN_SECRET_PART)]


def passwords_of(url: URL) -> dict[str, str]:
    """The passwords that stand behind the ? of a database URL, by their names there."""
    return {name: str(value) for name, value in url.query.items() if "pass" in name.lower()}


def _number(kind: Callable[[str], Any], low: float, high: float, words: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text) if _PLAIN_NUMBER.fullmatch(text) else None
        except (ValueError, InvalidOperation):
            value = None
        if value is None or not low <= value <= high:
            raise ValueError(f"{words}, between {low:g} and {high:g}")
        return value

    return parse


def _parse_bool(text: str) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if text.lower() not in words:
        raise ValueError("true or false")
    return words[text.lower()]


def parse_day(text: str) -> date:
    """A date as settings and the command line write it.

    Raises:
        ValueError: What it must be.
    """
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError("a date like 2026-01-31")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError("a date of the calendar, like 2026-01-31") from None
    if day < EARLIEST_DAY:
        raise ValueError(f"a date from {EARLIEST_DAY} on")
    return day


def parse_zone(text: str) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        ValueError: What it must be.
    """
    from zoneinfo import ZoneInfo  # two milliseconds that `--help` has no use for

    try:
        # What is no name would be looked for as a package in packages, as deep as it has dots.
        if not _ZONE.fullmatch(text):
            raise ValueError
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("a time zone of the IANA list, like Europe/Moscow") from None


def _parse_url(text: str, example: str, hidden: str, *, query: bool = False) -> str:
    """A URL of https, or of this machine.

    Args:
        text: As it was given.
        example: What one looks like.
        hidden: What http would show to everybody on the way.
        query: Whether it may have one.
    """
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("a URL like " + example) from None
    odd = (parts.query and not query) or parts.fragment or _BLANK.search(text)
    if parts.scheme not in {"http", "https"} or not host or odd:
        raise ValueError("a URL like " + example)
    if "@" in text:
        raise ValueError("a URL without a user and a password")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ValueError(f"an https URL: {hidden} would travel in clear; http is for this machine alone")
    return text


def _parse_api_url(text: str) -> str:
    return _parse_url(text, DEFAULT_API_URL, "the token").rstrip("/")


def _parse_heartbeat_url(text: str) -> str:
    return _parse_url(text, "https://hc-ping.com/UUID", "it", query=True)


def _parse_token(text: str) -> str:
    if not _TOKEN.fullmatch(text) or "/" in text:
        raise ValueError("the token as the vendor gave it: no spaces, no slashes, nothing but ASCII")
    return text


def parse_account(text: str) -> str:
    """A label as settings and the command line write it.

    Raises:
        ValueError: What it must be.
    """
    if not text or len(text) > _ACCOUNT_LENGTH or not text.isprintable() or text != text.strip():
        raise ValueError(f"a name of at most {_ACCOUNT_LENGTH} printable characters, without blanks around it")
    return text


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text.lower()

    return parse


def _read_key(text: str) -> bytes:
    try:
        with Path(text).open("rb") as file:
            key = file.read(_LONGEST_KEY + 1)
    except (OSError, ValueError):
        key = None
    if key is None:
        raise ValueError("a file that can be read")
    if not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise ValueError(
            f"a file of {_SHORTEST_KEY} to {_LONGEST_KEY} random bytes, as `openssl rand -out FILE 32` makes it"
        )
    return key


def _parse_file(text: str) -> Path:
    if not text.isprintable():
        raise ValueError("a file's name")
    return Path(text)


def _parse_database_url(text: str) -> URL:
    from etl.config.database_url import parse_url

    return parse_url(text)


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("api_token", None, "the account's token; never on the command line", _parse_token, secret=True),
    Setting("api_url", DEFAULT_API_URL, "where the vendor's API is; https, except on this machine", _parse_api_url),
    Setting(
        "database_url", "sqlite:///billing.db", "SQLite, PostgreSQL or MariaDB/MySQL", _parse_database_url, secret=True
    ),
    Setting("account", "default", "the label under which this token's records stand", parse_account),
    Setting("start_date", None, "where a first sync begins; 30 days back unless set", parse_day),
    Setting(
        "lookback_days", "7", "complete days fetched again every run", _number(int, 0, 3660, "a whole number of days")
    ),
    Setting("window_days", "7", "days a request", _number(int, 1, 366, "a whole number of days")),
    Setting("timezone", "Europe/Moscow", 'of created_at and of "today"', parse_zone),
    Setting("timeout", "30", "seconds to connect or between bytes", _number(float, 0.01, 3600, "a number of seconds")),
    Setting(
        "request_deadline", "300", "seconds for one whole request", _number(float, 0.01, 86400, "a number of seconds")
    ),
    Setting("retry_attempts", "5", "tries of one request", _number(int, 1, 100, "a whole number")),
    Setting(
        "retry_max_wait", "60", "seconds between two tries at the most", _number(float, 0, 86400, "a number of seconds")
    ),
    Setting(
        "max_response_mb", "512", "decoded size of one answer", _number(int, 1, 1 << 20, "a whole number of megabytes")
    ),
    Setting(
        "max_withdrawn_share",
        "0.2",
        "of a day's records that may vanish before the day is suspect",
        _number(Decimal, 0, 1, "a share"),
    ),
    Setting(
        "concurrency",
        "2",
        "windows under way at once: one is loaded, the others are fetched",
        _number(int, 1, 16, "a whole number"),
    ),
    Setting("auto_migrate", "true", "sync creates or migrates the schema first", _parse_bool),
    Setting("phones", "plain", "how phones are stored: plain, masked or keyed", _one_of("plain", "masked", "keyed")),
    Setting("phones_key_file", None, "the key of keyed phones, at least 32 bytes", _read_key, secret_file=True),
    Setting("codes", "keep", "whether codes are stored: keep or drop", _one_of("keep", "drop")),
    Setting(
        "low_balance",
        None,
        "a balance below it is a warning; none unless set",
        _number(Decimal, -1_000_000_000, 1_000_000_000, "an amount"),
    ),
    Setting("log_format", "text", "of the lines on stderr: text or json", _one_of("text", "json"), global_only=True),
    Setting(
        "metrics_file",
        None,
        "where the figures of a run go for Prometheus; no file unless set",
        _parse_file,
        global_only=True,
    ),
    Setting(
        "heartbeat_url",
        None,
        "is told when a run begins and how it ends, as Healthchecks has it; a secret",
        _parse_heartbeat_url,
        secret=True,
        global_only=True,
    ),
    Setting("keep_runs", "400", "days a run stays in the history", _number(int, 1, 36_500, "a whole number of days")),
    Setting(
        "keep_rejected",
        None,
        "days a rejected record stays; for ever unless set",
        _number(int, 1, 36_500, "a whole number of days"),
    ),
)
