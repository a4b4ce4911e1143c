"""Parsers of setting values: each returns the value, or raises ValueError with a description of what is valid.

The description completes the sentence "BILLING_… must be …" and never repeats the text, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from sqlalchemy import URL

    from etl.channels import ChannelRule

Number = TypeVar("Number", int, float, Decimal)

DEFAULT_API_URL: Final = "https://api.telefon-ip.ru/api/v1/authcalls"
"""Source: the vendor's public reference."""
EARLIEST_DAY: Final = date(2000, 1, 1)
"""Earlier than any account of the vendor, with days to spare before it for date arithmetic."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f]")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
_TOKEN: Final = re.compile(r"[!-~]+")
_MAX_ACCOUNT_LENGTH: Final = 255
_PLAIN_NUMBER: Final = re.compile(r"[+-]?\d{1,20}(\.\d{1,20})?([eE][+-]?\d{1,2})?", re.ASCII)
"""Stricter than Python, which also accepts 1_0, full-width digits and nan."""
_MIN_KEY_BYTES, _MAX_KEY_BYTES = 32, 4096
"""A shorter key can be guessed; a longer file is unlikely to be a key."""
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def number_between(
    convert: Callable[[str], Number], low: float, high: float, description: str
) -> Callable[[str], Number]:
    """A parser of numbers from `low` to `high`, both included.

    Args:
        convert: int, float or Decimal.
        low: The smallest valid number.
        high: The largest valid number.
        description: The kind of number, for the error message.
    """

    def parse(text: str) -> Number:
        try:
            value = convert(text) if _PLAIN_NUMBER.fullmatch(text) else None
        except (ValueError, InvalidOperation):
            value = None
        if value is None or not low <= value <= high:
            raise ValueError(f"{description}, between {low:g} and {high:g}")
        return value

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """A case-insensitive parser of lower-case choices."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text.lower()

    return parse


def parse_bool(text: str) -> bool:
    """True or false, as true, yes, on, 1 or their opposites."""
    if text.lower() not in _BOOLEANS:
        raise ValueError("true or false")
    return _BOOLEANS[text.lower()]


def parse_day(text: str) -> date:
    """A date as YYYY-MM-DD, in settings and on the command line."""
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
    """A time zone by its IANA name."""
    from zoneinfo import ZoneInfo  # `--help` does not need it

    try:
        # zoneinfo would search packages for a name with dots, and `localtime` is the machine's own zone.
        if not _ZONE.fullmatch(text) or text == "localtime":
            raise ValueError
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("a time zone of the IANA list, like Europe/Moscow") from None


def _parse_https_url(text: str, example: str, exposed: str, *, query: bool = False) -> str:
    """A URL with https, or with http on the loopback interface.

    Args:
        text: The URL.
        example: A valid URL, for the error message.
        exposed: What http would expose on the network, for the error message.
        query: Whether a query is allowed.
    """
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("a URL like " + example) from None
    invalid = (parts.query and not query) or parts.fragment or _BLANK.search(text)
    if parts.scheme not in {"http", "https"} or not host or invalid:
        raise ValueError("a URL like " + example)
    if "@" in text:
        raise ValueError("a URL without a user and a password")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ValueError(f"an https URL: {exposed} would travel in clear; http is for this machine alone")
    return text


def parse_api_url(text: str) -> str:
    """The base URL of the vendor's API, without a slash at the end."""
    return _parse_https_url(text, DEFAULT_API_URL, "the token").rstrip("/")


def parse_heartbeat_url(text: str) -> str:
    """The ping URL of a check, as Healthchecks shows it."""
    return _parse_https_url(text, "https://hc-ping.com/UUID", "it", query=True)


def parse_database_url(text: str) -> URL:
    """An SQLAlchemy URL of SQLite, PostgreSQL, MariaDB or MySQL."""
    from etl.config.database_url import parse_url

    return parse_url(text)


def parse_token(text: str) -> str:
    """The account's token: printable ASCII without spaces and slashes."""
    if not _TOKEN.fullmatch(text) or "/" in text:
        raise ValueError("the vendor's token: printable ASCII without spaces and slashes")
    return text


def parse_account(text: str) -> str:
    """An account's label, in settings and on the command line."""
    if not text or len(text) > _MAX_ACCOUNT_LENGTH or not text.isprintable() or text != text.strip():
        raise ValueError(f"a name of at most {_MAX_ACCOUNT_LENGTH} printable characters, without blanks around it")
    return text


def read_key(text: str) -> bytes:
    """The key in the file with this path."""
    try:
        with Path(text).open("rb") as file:
            key = file.read(_MAX_KEY_BYTES + 1)
    except (OSError, ValueError):
        key = None
    if key is None:
        raise ValueError("a file that can be read")
    if not _MIN_KEY_BYTES <= len(key) <= _MAX_KEY_BYTES:
        raise ValueError(
            f"a file of {_MIN_KEY_BYTES} to {_MAX_KEY_BYTES} random bytes, as `openssl rand -out FILE 32` makes it"
        )
    return key


def parse_currency(text: str) -> str:
    """An ISO 4217 code, in any case."""
    if not re.fullmatch(r"[A-Za-z]{3}", text, re.ASCII):
        raise ValueError("a currency's code of ISO 4217, like RUB")
    return text.upper()


def parse_vat_rate(text: str) -> Decimal:
    """A rate in percent with at most two decimal places."""
    rate = Decimal(text) if re.fullmatch(r"\d{1,3}(\.\d{1,2})?", text, re.ASCII) else None
    if rate is None or rate > 100:
        raise ValueError("a percentage, between 0 and 100 with at most two decimal places, like 20")
    return rate


def parse_channels(text: str) -> tuple[ChannelRule, ...]:
    """The rules for channels, as a JSON list of objects."""
    from etl.config.channels import parse_rules  # few installations have their own rules

    return parse_rules(text)


def parse_path(text: str) -> Path:
    """The path of a file, which need not exist."""
    if not text.isprintable():
        raise ValueError("a file's name")
    return Path(text)
