"""Any text or bytes as settings raise ConfigError in one line without a secret, or give valid settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from random import Random

import pytest
from support.fuzzing import fuzz, parts, refill, spoil
from support.run_helpers import load_accounts, load_settings

from etl.config.loader import parse_settings
from etl.config.schema import SETTINGS, Settings
from etl.errors import ConfigError

TOKEN = "5ecre7-t0ken"
PASSWORD = "p4ssw0rd"
GOOD = {
    "BILLING_API_TOKEN": TOKEN,
    "BILLING_API_URL": "https://api.telefon-ip.ru/api/v1/authcalls",
    "BILLING_DATABASE_URL": f"postgresql://billing:{PASSWORD}@db.example.com:5432/billing",
    "BILLING_ACCOUNT": "Первый",
    "BILLING_START_DATE": "2026-01-31",
    "BILLING_LOOKBACK_DAYS": "7",
    "BILLING_WINDOW_DAYS": "31",
    "BILLING_TIMEZONE": "Europe/Moscow",
    "BILLING_TIMEOUT": "0.5",
    "BILLING_REQUEST_DEADLINE": "1e2",
    "BILLING_CONCURRENCY": "2",
    "BILLING_RETRY_ATTEMPTS": "5",
    "BILLING_RETRY_MAX_WAIT": "60",
    "BILLING_MAX_RESPONSE_MB": "512",
    "BILLING_MAX_WITHDRAWN_SHARE": "0.2",
    "BILLING_AUTO_MIGRATE": "true",
}
URLS = [
    *("http://127.0.0.1:8080/api/", "http://[::1]:80", "http://localhost", "https://user:0ther@h/", "https://h:99999/"),
    *("sqlite:///billing.db", "sqlite://", "mariadb://u:0ther@h/b", "mysql://u@h:x/b", "sqlite:///:memory:", "https://[::1"),
]  # fmt: skip
ODD = [
    *("", " ", "\0", "\n", "\r", "\ud800", "\u2028", "\x1b[31m", "１", "٣", "1_0", "nan", "inf", "1e99"),
    *("9" * 5000, "-1", "/", "@", ":", "%", "#", "$", "${HOME}", "${BILLING_API_TOKEN}", "=", '"', "'", "\\"),
    *("../", "x" * 300, "a." * 1000, "UTC", "posix"),
]
FILES = ["token.txt", "empty.txt", "binary.txt", "none.txt", ".", "/dev/null", "/dev/zero", "a\0b", "x" * 5000, "a\nb"]
WORD = re.compile(r"[^\W_]+|\W|_")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder with valid and invalid secrets, and no settings in the environment."""
    for name in [*os.environ]:
        if name.startswith("BILLING_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("token.txt").write_text(f"{TOKEN}\n")
    Path("empty.txt").write_text(" \n")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    yield
    for name in [*os.environ]:
        if name.startswith("BILLING_"):
            del os.environ[name]


def one_value(random: Random, variable: str) -> str:
    if variable.endswith("_FILE"):
        return random.choice(FILES)
    seeds = [GOOD[variable]] if variable in GOOD else [*GOOD.values()]
    return spoil(random, seeds + URLS if "URL" in variable else seeds, ODD + URLS, WORD)


def variables(random: Random) -> dict[str, str]:
    chosen = random.sample(sorted(GOOD), random.randrange(1, 5))
    values = {name: one_value(random, name) if random.random() < 0.4 else GOOD[name] for name in chosen}
    if random.random() < 0.1:
        name = random.choice(("BILLING_API_TOKEN_FILE", "BILLING_DATABASE_URL_FILE"))
        values[name] = one_value(random, name)
    if random.random() < 0.1:
        values["BILLING_" + spoil(random, ["API_TOKEN", "TIMEOUT"], ODD, WORD)] = "7"
    return values


def assert_within_bounds(found: Settings) -> None:
    assert found.api_url.startswith(("https://", "http://"))
    assert not found.api_url.endswith("/")
    assert found.database_url.get_backend_name() in {"sqlite", "postgresql", "mysql", "mariadb"}
    assert found.account.strip()
    assert found.account.isprintable()
    assert found.start_date is None or found.start_date >= date(2000, 1, 1)
    assert 0 <= found.lookback_days <= 3660
    assert 1 <= found.window_days <= 366
    assert 0 < found.timeout <= 3600
    assert 0 < found.request_deadline <= 86400
    assert 1 <= found.retry_attempts <= 100
    assert 0 <= found.retry_max_wait <= 86400
    assert found.max_response_mb >= 1
    assert 0 <= found.max_withdrawn_share <= 1
    assert type(found.auto_migrate) is bool
    assert found.api_token is None or re.fullmatch(r"[!-.0-~]+", found.api_token)
    assert all(found.secrets())
    # Values have the same meaning when they are written as they are shown.
    again = {setting.variable: str(getattr(found, setting.name)) for setting in SETTINGS if not setting.secret}
    unset = {name for name, text in again.items() if text == "None"}
    shown = parse_settings([{name: text for name, text in again.items() if name not in unset}])
    assert [getattr(shown, setting.name) for setting in SETTINGS if not setting.secret] == [
        getattr(found, setting.name) for setting in SETTINGS if not setting.secret
    ]


def assert_one_line(error: ConfigError, without: tuple[str, ...] = ()) -> None:
    assert not any(secret in str(error) for secret in without)
    assert str(error).isprintable(), str(error)
    assert len(str(error)) < 1000
    # Errors of decoders and of URLs contain their input, including passwords.
    assert error.__context__ is None


@parts
def test_any_environment_is_refused_in_one_line_or_gives_valid_settings(part: int) -> None:
    def accepts(values: dict[str, str]) -> bool:
        # An environment contains bytes without NUL; Python shows bytes that are not UTF-8 as lone surrogates.
        kept = {name: text for name, text in values.items() if "\0" not in name + text and "=" not in name}
        for name, text in kept.items():
            os.environb[os.fsencode(name.encode(errors="replace"))] = text.encode(errors="replace")
        try:
            found = load_settings()
        except ConfigError as refusal:
            assert_one_line(refusal, without=(TOKEN, PASSWORD))
            return False
        finally:
            for name in kept:
                del os.environb[os.fsencode(name.encode(errors="replace"))]
        assert_within_bounds(found)
        # A password that is twice in its URL is also a part of the name.
        if values.get("BILLING_DATABASE_URL", "").count(PASSWORD) == 1 and found.database_url.password == PASSWORD:
            assert PASSWORD not in repr(found)
        assert found.api_token != TOKEN or TOKEN not in repr(found)
        return True

    fuzz(part, variables, accepts)


def dotenv(random: Random) -> bytes:
    quote = random.choice(("", "'", '"'))
    lines = [f"{name}={quote}{text}{quote}" for name, text in variables(random).items()]
    text = random.choice(("\n", "\r\n", "\n# why\n", "\nexport ")).join(lines) + "\n"
    return spoil(random, [text.encode(errors="surrogatepass")], DOTENV_TOKENS, DOTENV_WORD)


DOTENV_WORD = re.compile(rb"\w+|\W")
DOTENV_TOKENS = [
    *(text.encode(errors="surrogatepass") for text in ODD),
    b"\xff",
    b"\xcf\xe5",
    b"\xef\xbb\xbf",
    b"export ",
]


@parts
def test_any_dotenv_is_refused_in_one_line_or_gives_valid_settings(part: int) -> None:
    path = Path(".env")

    def accepts(data: bytes) -> bool:
        refill(path, data)
        try:
            found = load_settings()
        except ConfigError as refusal:
            assert_one_line(refusal)
            return False
        assert_within_bounds(found)
        return True

    fuzz(part, dotenv, accepts)


def toml(random: Random) -> bytes:
    def lines(values: dict[str, str]) -> str:
        return "".join(
            f"{name.removeprefix('BILLING_').lower()} = "
            + (text if re.fullmatch(r"\d+(\.\d+)?|true|\d{4}-\d\d-\d\d", text) else f"'{text}'")
            + "\n"
            for name, text in values.items()
        )

    text = lines(variables(random))
    for label in random.sample(("first", '"Второй"', '""', '"a b"', '"x\\ny"'), random.randrange(3)):
        text += f"\n[accounts.{label}]\n" + lines(variables(random))
    if random.random() < 0.05:
        return random.randbytes(random.randrange(100))
    return spoil(random, [text.encode(errors="replace")], TOML_TOKENS, TOML_WORD)


TOML_WORD = re.compile(rb"'[^']*'|[\w.]+|\W")
TOML_TOKENS = [
    *(text.encode(errors="replace") for text in ODD),
    *(b"[[accounts]]", b"[accounts]", b"[" * 900, b"a." * 2000, b"x = " + b"[" * 2000 + b"]" * 2000),
    *(b"0x" + b"f" * 5000, b"'''", b'"""', b'"\\u0000"', b'"\\ud800"', b"[1]", b"{a = 1}", b"inf", b"nan"),
    *(
        b"1979-05-27T07:32:00Z",
        b"07:32:00",
        b"1979-02-30",
        b"\xff",
        b"\xef\xbb\xbf",
        b"1" * 5000,
        b"1_000",
        b"1e400",
        b"false",
        b"[]",
        b"{}",
    ),
]


@parts
def test_any_toml_file_is_refused_in_one_line_or_gives_valid_settings(part: int) -> None:
    path = Path("billing.toml")

    def accepts(data: bytes) -> bool:
        refill(path, data)
        try:
            accounts = load_accounts(path, ())
        except ConfigError as refusal:
            assert_one_line(refusal)
            return False
        for found in accounts:
            assert_within_bounds(found)
        return True

    fuzz(part, toml, accepts)
