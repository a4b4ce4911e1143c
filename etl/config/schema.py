"""The settings, declared once as dataclass fields; loader, `--help` and documentation are made from `SETTINGS`."""

# ruff: noqa: RUF009 - `setting` returns a dataclass field

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload
from urllib.parse import quote, urlsplit

from etl.config.network import find_route, parse_ca_path, parse_proxy, proxy_secrets
from etl.config.validators import (
    DEFAULT_API_URL,
    number_between,
    one_of,
    parse_account,
    parse_api_url,
    parse_bool,
    parse_channels,
    parse_currency,
    parse_database_url,
    parse_day,
    parse_heartbeat_url,
    parse_path,
    parse_token,
    parse_vat_rate,
    parse_zone,
    read_key,
)
from etl.errors import ConfigError
from etl.network import Route
from etl.pii import MASK

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from sqlalchemy import URL

    from etl.channels import ChannelRule

Value = TypeVar("Value")

PREFIX: Final = "BILLING_"
_MIN_SECRET_PART: Final = 16
"""Characters. Longer parts of a secret URL's path are redacted on their own; shorter ones may be ordinary words."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting.

    Attributes:
        name: Its key in the TOML file; its environment variable is BILLING_ and the name in capitals.
        default: Text as in the environment; None for no value.
        meaning: One line for `--help` and the documentation.
        parse: Converts the text; raises ValueError with a description of valid values.
        secret: The value is never shown, and may be in a file named by the variable with the suffix `_FILE`.
        secret_file: The value is the path of a file with a secret.
        global_only: It applies to the whole run and cannot differ between accounts.
        structured: Its value is a list in the TOML file, and JSON elsewhere.
    """

    name: str
    default: str | None
    meaning: str
    parse: Callable[[str], Any]
    secret: bool = False
    secret_file: bool = False
    global_only: bool = False
    structured: bool = False

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return PREFIX + self.name.upper()

    def default_value(self) -> Any:
        """The parsed default; None for no value."""
        return None if self.default is None else self.parse(self.default)


@overload
def setting(
    default: str, meaning: str, parse: Callable[[str], Value], *, secret: bool = False, secret_file: bool = False
) -> Value: ...


@overload
def setting(
    default: None,
    meaning: str,
    parse: Callable[[str], Value],
    *,
    secret: bool = False,
    secret_file: bool = False,
    structured: bool = False,
) -> Value | None: ...


def setting(
    default: str | None,
    meaning: str,
    parse: Callable[[str], Value],
    *,
    secret: bool = False,
    secret_file: bool = False,
    structured: bool = False,
) -> Any:
    """A dataclass field that declares a setting; the arguments are those of `Setting`.

    It is typed as the value, so that mypy compares the parser with the field's annotation.
    """
    declaration = {
        "default": default, "meaning": meaning, "parse": parse, "secret": secret, "secret_file": secret_file,
        "structured": structured,
    }  # fmt: skip
    return field(repr=not (secret or secret_file), metadata=declaration)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The settings of a whole run, which are known even if those of an account are wrong.

    Attributes:
        network_variables: The variables of the environment that decide on the route to a host besides the settings.
    """

    log_format: str = setting("text", "format of log lines on stderr: text or json", one_of("text", "json"))
    metrics_file: Path | None = setting(
        None, "file for the metrics of a run, for Prometheus; no file unless set", parse_path
    )
    heartbeat_url: str | None = setting(
        None,
        "ping URL of a Healthchecks check, called at the start and the end of each run; a secret",
        parse_heartbeat_url,
        secret=True,
    )
    proxy: str | None = setting(
        None,
        "HTTP proxy for https, with its password if it has one; else HTTPS_PROXY, NO_PROXY; a secret",
        parse_proxy,
        secret=True,
    )
    ca_file: Path | None = setting(
        None,
        "trusted certificates for https, PEM; else SSL_CERT_FILE, REQUESTS_CA_BUNDLE, the certifi package",
        parse_ca_path,
    )
    network_variables: Mapping[str, str] = field(default_factory=dict, kw_only=True, hash=False, repr=False)

    def secrets(self) -> list[str]:
        """The values to redact: passwords of proxies, the heartbeat URL and the long parts of its path."""
        secrets = proxy_secrets(self.proxy, self.network_variables)
        if self.heartbeat_url is not None:
            parts = urlsplit(self.heartbeat_url).path.split("/")
            secrets += [self.heartbeat_url, *(part for part in parts if len(part) >= _MIN_SECRET_PART)]
        return secrets

    def route_to(self, url: str) -> Route:
        """The route to the host of a URL.

        Raises:
            ConfigError: A variable of the environment that applies to it is invalid.
        """
        return find_route(url, self.proxy, self.ca_file, self.network_variables)


@dataclass(frozen=True, slots=True)
class Settings(RunSettings):
    """The effective settings of one account.

    Attributes:
        phones_key_file: The content of the file, not its path.
        warnings: Warnings about permissions of secret files.
        token_source: Where the token comes from, for error messages.
        labels: All accounts of the TOML file, this account included.
        token_labels: Those of them that have the same token.
    """

    api_token: str | None = setting(None, "the account's token; never on the command line", parse_token, secret=True)
    api_url: str = setting(
        DEFAULT_API_URL, "base URL of the vendor's API; https, except on this machine", parse_api_url
    )
    database_url: URL = setting(
        "sqlite:///billing.db", "SQLite, PostgreSQL or MariaDB/MySQL", parse_database_url, secret=True
    )
    database_wait: float = setting(
        "60",
        "seconds that a run waits for a database server that is down",
        number_between(float, 0, 86400, "a number of seconds"),
    )
    account: str = setting("default", "label under which the records of this token are stored", parse_account)
    start_date: date | None = setting(None, "first day of the first sync; 30 days ago unless set", parse_day)
    lookback_days: int = setting(
        "7", "complete days that every run fetches again", number_between(int, 0, 3660, "a whole number of days")
    )
    window_days: int = setting("7", "days per request", number_between(int, 1, 366, "a whole number of days"))
    timezone: ZoneInfo = setting("Europe/Moscow", 'time zone of created_at and of "today"', parse_zone)
    timeout: float = setting(
        "30",
        "timeout in seconds to connect, and between bytes",
        number_between(float, 0.01, 3600, "a number of seconds"),
    )
    request_deadline: float = setting(
        "300", "timeout in seconds of one whole request", number_between(float, 0.01, 86400, "a number of seconds")
    )
    retry_attempts: int = setting("5", "attempts per request", number_between(int, 1, 100, "a whole number"))
    retry_max_wait: float = setting(
        "60", "maximum seconds between two attempts", number_between(float, 0, 86400, "a number of seconds")
    )
    max_response_mb: int = setting(
        "512",
        "maximum size of one answer, decompressed, in megabytes",
        number_between(int, 1, 1 << 20, "a whole number of megabytes"),
    )
    max_withdrawn_share: Decimal = setting(
        "0.2",
        "share of a day's records that may disappear before the day is suspect",
        number_between(Decimal, 0, 1, "a share"),
    )
    concurrency: int = setting(
        "2",
        "windows in progress at once: one is loaded while the next ones are fetched",
        number_between(int, 1, 16, "a whole number"),
    )
    auto_migrate: bool = setting("true", "sync creates or migrates the schema first", parse_bool)
    phones: str = setting("plain", "how phones are stored: plain, masked or keyed", one_of("plain", "masked", "keyed"))
    phones_key_file: bytes | None = setting(
        None, "the key of keyed phones, at least 32 bytes", read_key, secret_file=True
    )
    codes: str = setting("keep", "whether codes are stored: keep or drop", one_of("keep", "drop"))
    currency: str = setting("RUB", "currency of the prices, ISO 4217; a label, nothing is converted", parse_currency)
    vat_rate: Decimal | None = setting(
        None, "VAT in percent; net and gross amounts are empty unless set", parse_vat_rate
    )
    vat: str = setting(
        "included",
        "whether prices include VAT or it comes on top: included or excluded",
        one_of("included", "excluded"),
    )
    channels: tuple[ChannelRule, ...] | None = setting(
        None, "rules for the channel of a charge, a JSON list; assumed ones unless set", parse_channels, structured=True
    )
    monthly_budget: Decimal | None = setting(
        None,
        "what a month of the account may cost; the report compares the forecast with it",
        number_between(Decimal, 0, 1_000_000_000_000, "an amount"),
    )
    low_balance: Decimal | None = setting(
        None,
        "warn when the balance is below this amount; no warning unless set",
        number_between(Decimal, -1_000_000_000, 1_000_000_000, "an amount"),
    )
    keep_runs: int = setting(
        "400", "days that runs are kept in the history", number_between(int, 1, 36_500, "a whole number of days")
    )
    keep_rejected: int | None = setting(
        None,
        "days that rejected records are kept; no limit unless set",
        number_between(int, 1, 36_500, "a whole number of days"),
    )
    warnings: tuple[str, ...] = ()
    token_source: str = ""
    labels: frozenset[str] = frozenset()
    token_labels: frozenset[str] = frozenset()

    def secrets(self) -> list[str]:
        """The values to redact: token, passwords, phone key, and those of the run."""
        password = self.database_url.password
        passwords = query_passwords(self.database_url).values()
        key = (self.phones_key_file or b"").decode("utf-8", "ignore").strip()
        values = (self.api_token, str(password) if password else None, *passwords, key)
        return [value for value in values if value] + RunSettings.secrets(self)

    def today(self, now: datetime) -> date:
        """The day of an aware time in the vendor's wall clock."""
        return now.astimezone(self.timezone).date()

    def require_token(self) -> str:
        """The token, for a command that sends requests to the vendor.

        Raises:
            ConfigError: None is set.
        """
        if self.api_token is None:
            raise ConfigError(
                "BILLING_API_TOKEN is not set; set it, or BILLING_API_TOKEN_FILE to a file that holds the token"
            )
        return self.api_token


def query_passwords(url: URL) -> dict[str, str]:
    """The passwords in the query of a database URL, by parameter."""
    return {name: str(value) for name, value in url.query.items() if "pass" in name.lower()}


def mask_passwords(url: URL) -> str:
    """A database URL with MASK in place of its passwords."""
    masked = url.update_query_dict(dict.fromkeys(query_passwords(url), MASK)).render_as_string(hide_password=True)
    return masked.replace(quote(MASK, safe=""), MASK)


def _declared_settings() -> tuple[Setting, ...]:
    """The settings of accounts in the order of their declaration, then those of the run."""
    run_names = {declared.name for declared in fields(RunSettings)}
    settings = [
        Setting(declared.name, global_only=declared.name in run_names, **declared.metadata)
        for declared in fields(Settings)
        if declared.metadata
    ]
    return tuple(sorted(settings, key=lambda setting: setting.global_only))


SETTINGS: Final = _declared_settings()
"""All settings, in the order of `--help`."""
