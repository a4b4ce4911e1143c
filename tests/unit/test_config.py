"""Every setting: its default, its sources, and the error message of an invalid value."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from support.run_helpers import load_accounts, load_settings

from etl.channels import ChannelRule
from etl.config.loader import warn_duplicate_tokens
from etl.config.schema import SETTINGS, Settings
from etl.config.sources import default_files, read_configuration
from etl.errors import ConfigError

TOKEN = "5ecre7-t0ken"
OTHER = "an0ther-t0ken"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch, tmp_path):
    """No settings in the environment, and a folder without a .env file."""
    for name in [*os.environ]:
        if name.startswith("BILLING_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config home"))
    monkeypatch.chdir(tmp_path)


def values(settings: Settings) -> dict[str, object]:
    return {setting.name: getattr(settings, setting.name) for setting in SETTINGS}


def refusal(config_file: Path | None = None, account: str | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        load_settings(config_file, account)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "billing.toml"
    path.write_text(text, encoding="utf-8")
    return path


# The settings --------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_contract():
    found = values(load_settings())
    assert found.pop("database_url").render_as_string() == "sqlite+pysqlite:///billing.db"
    assert found == {
        "api_token": None,
        "api_url": "https://api.telefon-ip.ru/api/v1/authcalls",
        "database_wait": 60.0,
        "account": "default",
        "start_date": None,
        "lookback_days": 7,
        "window_days": 7,
        "timezone": ZoneInfo("Europe/Moscow"),
        "timeout": 30.0,
        "request_deadline": 300.0,
        "retry_attempts": 5,
        "retry_max_wait": 60.0,
        "max_response_mb": 512,
        "max_withdrawn_share": Decimal("0.2"),
        "concurrency": 2,
        "auto_migrate": True,
        "phones": "plain",
        "phones_key_file": None,
        "codes": "keep",
        "currency": "RUB",
        "vat_rate": None,
        "vat": "included",
        "channels": None,
        "monthly_budget": None,
        "low_balance": None,
        "log_format": "text",
        "metrics_file": None,
        "heartbeat_url": None,
        "proxy": None,
        "ca_file": None,
        "keep_runs": 400,
        "keep_rejected": None,
    }


EXAMPLES = {
    "BILLING_API_TOKEN": (TOKEN, TOKEN),
    "BILLING_API_URL": ("http://127.0.0.1:8080/api/", "http://127.0.0.1:8080/api"),
    "BILLING_ACCOUNT": ("Первый", "Первый"),
    "BILLING_START_DATE": ("2026-01-31", date(2026, 1, 31)),
    "BILLING_LOOKBACK_DAYS": ("0", 0),
    "BILLING_WINDOW_DAYS": ("31", 31),
    "BILLING_TIMEZONE": ("Asia/Vladivostok", ZoneInfo("Asia/Vladivostok")),
    "BILLING_TIMEOUT": ("0.5", 0.5),
    "BILLING_REQUEST_DEADLINE": ("1e2", 100.0),
    "BILLING_RETRY_ATTEMPTS": ("1", 1),
    "BILLING_RETRY_MAX_WAIT": ("0", 0.0),
    "BILLING_MAX_RESPONSE_MB": ("1", 1),
    "BILLING_MAX_WITHDRAWN_SHARE": ("0.05", Decimal("0.05")),
    "BILLING_CONCURRENCY": ("4", 4),
    "BILLING_AUTO_MIGRATE": ("false", False),
    "BILLING_PHONES": ("Masked", "masked"),
    "BILLING_CODES": ("drop", "drop"),
    "BILLING_CURRENCY": ("eur", "EUR"),
    "BILLING_VAT_RATE": ("8.25", Decimal("8.25")),
    "BILLING_VAT": ("Excluded", "excluded"),
    "BILLING_MONTHLY_BUDGET": ("25000.50", Decimal("25000.50")),
    "BILLING_LOW_BALANCE": ("-99.5", Decimal("-99.5")),
    "BILLING_LOG_FORMAT": ("JSON", "json"),
    "BILLING_METRICS_FILE": ("/var/lib/x/billing.prom", Path("/var/lib/x/billing.prom")),
    "BILLING_HEARTBEAT_URL": ("http://127.0.0.1:8000/ping/7f2c?create=1", "http://127.0.0.1:8000/ping/7f2c?create=1"),
    "BILLING_DATABASE_WAIT": ("0", 0.0),
    "BILLING_PROXY": ("proxy.example:3128", "http://proxy.example:3128"),
    "BILLING_CA_FILE": ("/", Path("/")),
    "BILLING_KEEP_RUNS": ("30", 30),
    "BILLING_KEEP_REJECTED": ("730", 730),
}


def test_every_setting_has_an_example_in_this_file():
    assert {setting.variable for setting in SETTINGS} == {
        *EXAMPLES,
        "BILLING_DATABASE_URL",
        "BILLING_PHONES_KEY_FILE",
        "BILLING_CHANNELS",
    }


@pytest.mark.parametrize(("variable", "example"), EXAMPLES.items())
@pytest.mark.parametrize("source", ["environment", "dotenv", "toml"])
def test_a_setting_is_read_from_each_source(monkeypatch, tmp_path, variable, example, source):
    text, value = example
    config = None
    if source == "environment":
        monkeypatch.setenv(variable, f" {text} ")
    elif source == "dotenv":
        Path(".env").write_text(f"{variable}={text}\n", encoding="utf-8")
    else:
        config = toml(tmp_path, f'{variable.removeprefix("BILLING_").lower()} = "{text}"\n')
    assert values(load_settings(config))[variable.removeprefix("BILLING_").lower()] == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sqlite:////data/b.db", "sqlite+pysqlite:////data/b.db"),
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:***@h/d"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg://u:p%40q@h:5433/d", "postgresql+psycopg://u:***@h:5433/d"),
        ("mysql://u:p@h/d", "mysql+pymysql://u:***@h/d"),
        ("mariadb://u:p@h/d", "mariadb+pymysql://u:***@h/d"),
    ],
)
def test_a_database_url_gets_the_driver_that_is_tested(monkeypatch, text, shown):
    monkeypatch.setenv("BILLING_DATABASE_URL", text)
    assert load_settings().database_url.render_as_string() == shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("YES", True),
        ("on", True),
        ("1", True),
        ("False", False),
        ("no", False),
        ("off", False),
        ("0", False),
    ],
)
def test_a_boolean_has_several_spellings(monkeypatch, text, value):
    monkeypatch.setenv("BILLING_AUTO_MIGRATE", text)
    assert load_settings().auto_migrate is value


def test_toml_numbers_dates_and_booleans_are_accepted(tmp_path):
    text = "lookback_days = 3\nstart_date = 2026-01-31\nauto_migrate = false\nmax_withdrawn_share = 0.5\n"
    settings = load_settings(toml(tmp_path, text))
    assert (settings.lookback_days, settings.start_date, settings.auto_migrate, settings.max_withdrawn_share) == (
        *(3, date(2026, 1, 31), False, Decimal("0.5")),
    )


# Precedence ----------------------------------------------------------------------------------------------------------


def test_the_environment_precedes_dotenv_and_dotenv_precedes_toml(monkeypatch, tmp_path):
    config = toml(tmp_path, "lookback_days = 1\nwindow_days = 1\nretry_attempts = 1\n")
    Path(".env").write_text("BILLING_LOOKBACK_DAYS=2\nBILLING_WINDOW_DAYS=2\n")
    monkeypatch.setenv("BILLING_LOOKBACK_DAYS", "3")
    settings = load_settings(config)
    assert (settings.lookback_days, settings.window_days, settings.retry_attempts) == (3, 2, 1)


def test_an_empty_variable_is_an_unset_one(monkeypatch):
    Path(".env").write_text("BILLING_LOOKBACK_DAYS=2\nBILLING_WINDOW_DAYS=\n")
    monkeypatch.setenv("BILLING_LOOKBACK_DAYS", " ")
    assert (load_settings().lookback_days, load_settings().window_days) == (2, 7)


def test_dotenv_does_not_change_the_environment():
    Path(".env").write_text("BILLING_LOOKBACK_DAYS=2\n")
    load_settings()
    assert "BILLING_LOOKBACK_DAYS" not in os.environ


def test_a_wrong_value_is_ignored_if_a_source_of_higher_precedence_is_valid(monkeypatch):
    Path(".env").write_text("BILLING_LOOKBACK_DAYS=many\n")
    monkeypatch.setenv("BILLING_LOOKBACK_DAYS", "3")
    assert load_settings().lookback_days == 3


def test_the_file_is_that_of_the_option_or_the_first_default_one(monkeypatch, tmp_path):
    own = tmp_path / "config home" / "billing-etl" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("lookback_days = 3\nwindow_days = 3\n")
    assert (read_configuration().file, load_settings().window_days) == (own, 3)
    settings = load_settings(toml(tmp_path, "lookback_days = 4\n"))
    assert (settings.lookback_days, settings.window_days) == (4, 7)
    system = Path("/etc/billing-etl/config.toml")
    assert default_files({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == [Path("/x/billing-etl/config.toml"), system]
    assert default_files({"XDG_CONFIG_HOME": "x", "HOME": "/h"}) == [Path("/h/.config/billing-etl/config.toml"), system]
    assert default_files({}) == [system]


def test_a_default_file_that_cannot_be_read_is_an_error(tmp_path):
    path = tmp_path / "config home" / "billing-etl" / "config.toml"
    path.parent.mkdir(parents=True)
    path.mkdir()
    assert refusal() == f"{path} cannot be read (Is a directory)"


# Secrets -------------------------------------------------------------------------------------------------------------


def test_the_token_can_be_in_a_file(monkeypatch, tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("BILLING_API_TOKEN_FILE", str(tmp_path / "token"))
    assert load_settings().require_token() == TOKEN
    monkeypatch.setenv("BILLING_API_TOKEN", OTHER)
    assert load_settings().require_token() == OTHER


def test_the_token_can_be_a_systemd_credential(monkeypatch, tmp_path):
    (tmp_path / "billing_api_token").write_text(TOKEN)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_settings().require_token() == TOKEN
    assert load_settings(toml(tmp_path, f'api_token = "{OTHER}"')).require_token() == TOKEN
    monkeypatch.setenv("BILLING_API_TOKEN", OTHER)
    assert load_settings().require_token() == OTHER


def test_every_secret_can_be_a_systemd_credential(monkeypatch, tmp_path):
    secret_file(tmp_path / "billing_database_url", b"postgresql://u:p4ssw0rd@h/d")
    secret_file(tmp_path / "billing_heartbeat_url", b"https://hc-ping.com/7f2c")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load_settings()
    assert settings.secrets() == ["p4ssw0rd", "https://hc-ping.com/7f2c"]
    assert "7f2c" not in repr(settings)


def test_a_credential_can_belong_to_one_account(monkeypatch, tmp_path):
    (tmp_path / "billing_api_token").write_text(TOKEN)
    (tmp_path / "billing_api_token_shop").write_text(f"{TOKEN}-of-the-shop")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    file = toml(tmp_path, "[accounts.shop]\n[accounts.bank]\n")
    tokens = {settings.account: settings.api_token for settings in load_accounts(file, ())}
    assert tokens == {"shop": f"{TOKEN}-of-the-shop", "bank": TOKEN}


def test_credentials_of_other_programs_are_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load_settings().api_token is None


def test_the_database_url_can_be_in_a_file(monkeypatch, tmp_path):
    (tmp_path / "url").write_text("postgresql://u:p4ssw0rd@h/d\n")
    monkeypatch.setenv("BILLING_DATABASE_URL_FILE", str(tmp_path / "url"))
    settings = load_settings()
    assert settings.database_url.password == "p4ssw0rd"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "No such file or directory"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe", "it is not text")],
)
def test_a_file_without_a_secret_is_named(monkeypatch, tmp_path, content, expected):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("BILLING_API_TOKEN_FILE", str(path))
    message = refusal()
    assert message.startswith("BILLING_API_TOKEN_FILE: ")
    assert expected in message


def test_a_missing_token_is_an_error_only_when_required():
    settings = load_settings()
    with pytest.raises(ConfigError, match="BILLING_API_TOKEN is not set"):
        settings.require_token()


def test_the_secrets_are_the_token_and_the_password(monkeypatch):
    assert load_settings().secrets() == []
    monkeypatch.setenv("BILLING_API_TOKEN", TOKEN)
    monkeypatch.setenv("BILLING_DATABASE_URL", "postgresql://u:p%40ss@h/d")
    assert load_settings().secrets() == [TOKEN, "p@ss"]


@pytest.mark.fault(119)
def test_settings_show_no_secret(monkeypatch):
    monkeypatch.setenv("BILLING_API_TOKEN", TOKEN)
    monkeypatch.setenv("BILLING_DATABASE_URL", "postgresql://u:p4ssw0rd@h/d")
    assert asdict(load_settings())["api_token"] == TOKEN
    assert TOKEN not in repr(load_settings())
    assert "p4ssw0rd" not in repr(load_settings())


# Wrong values --------------------------------------------------------------------------------------------------------

WRONG = {
    "BILLING_API_TOKEN": ["two words", "a/b", "тайна", "a\tb"],
    "BILLING_API_URL": [
        *(
            "http://api.telefon-ip.ru/api",
            "http://localhost.evil.com",
            "ftp://127.0.0.1",
            "api.telefon-ip.ru",
            "https://",
        ),
        *("https://h/?x=1", "https://h/#x", "https://u@h/", "https://h:port/", "https://[::1", "http://127.0.0.1.evil"),
    ],
    "BILLING_DATABASE_URL": [
        *(
            "billing.db",
            "oracle://u:p4ssw0rd@h/d",
            "postgresql+asyncpg://u:p4ssw0rd@h/d",
            "postgresql://u:p4ss@w0rd@h/d",
            "postgresql://u:p4ss@h/w0rd@h/d",
            "mysql://u:p4ss%c3w0rd@h/d",
        ),
        *("postgresql://u:p4ssw0rd@h", "sqlite://", "sqlite:///:memory:", "postgresql://u:p4ssw0rd@h:port/d"),
    ],
    "BILLING_ACCOUNT": ["a" * 256, "a\tb", "a\u0000b"],
    "BILLING_START_DATE": ["31.01.2026", "2026-1-31", "2026-02-30", "20260131", "yesterday", "２０２６-01-31"],
    "BILLING_LOOKBACK_DAYS": ["-1", "3661", "1.5", "many", "nan", "", "9" * 5000],
    "BILLING_WINDOW_DAYS": ["0", "367", "7 days", "-7"],
    "BILLING_TIMEZONE": ["Moscow", "MSK+3", "../../etc/passwd", "Europe", "/etc/localtime"],
    "BILLING_TIMEOUT": ["0", "-1", "nan", "inf", "3601", "soon"],
    "BILLING_REQUEST_DEADLINE": ["0", "nan", "inf", "1e9", "5m"],
    "BILLING_CONCURRENCY": ["0", "17", "1.5", "two"],
    "BILLING_RETRY_ATTEMPTS": ["0", "101", "1.0", "-1"],
    "BILLING_RETRY_MAX_WAIT": ["-0.1", "nan", "inf", "86401"],
    "BILLING_MAX_RESPONSE_MB": ["0", "0.5", "2000000"],
    "BILLING_MAX_WITHDRAWN_SHARE": ["-0.1", "1.1", "20%", "nan", "NaN", "sNaN", "inf", "0,2"],
    "BILLING_AUTO_MIGRATE": ["maybe", "2", "-"],
    "BILLING_PHONES": ["hashed", "true"],
    "BILLING_PHONES_KEY_FILE": ["nowhere", "/dev/null", "/dev/zero", "."],
    "BILLING_CODES": ["masked", "no"],
    "BILLING_CURRENCY": ["rouble", "₽", "RU", "RU1"],
    "BILLING_VAT_RATE": ["20%", "100.01", "-1", "1.234", "1e1", "none"],
    "BILLING_VAT": ["yes", "on top", "true"],
    "BILLING_CHANNELS": ["sms", "[]", '{"channel": "sms", "code": true}', '[{"channel": "sms", "price": "1"}]'],
    "BILLING_MONTHLY_BUDGET": ["much", "-1", "1,5", "1e13"],
    "BILLING_LOW_BALANCE": ["much", "1_000", "1,5", "NaN", "inf", "1e10", "500 rub"],
    "BILLING_LOG_FORMAT": ["xml"],
    "BILLING_METRICS_FILE": ["a\tb", "a\u0000b"],
    "BILLING_HEARTBEAT_URL": ["http://hc.example.com/7f2c", "hc-ping.com/7f2c", "https://u@h/7f2c", "https://h/7f2c#x"],
    "BILLING_DATABASE_WAIT": ["-1", "86401", "a minute"],
    "BILLING_PROXY": ["socks5://u:p4ss@h:1", "http://u:p4ss/w0rd@h:1", "ftp://h:1", "http://", "http://h:port"],
    "BILLING_CA_FILE": ["nowhere", "/dev/null"],
    "BILLING_KEEP_RUNS": ["0", "1.5", "36501", "36m"],
    "BILLING_KEEP_REJECTED": ["0", "never"],
}
CASES = [(variable, text) for variable, texts in WRONG.items() for text in texts if text]


def test_every_setting_has_a_wrong_value_in_this_file():
    assert {setting.variable for setting in SETTINGS} == {*WRONG}


@pytest.mark.fault(24)
@pytest.mark.parametrize(("variable", "text"), CASES, ids=[f"{variable}={text[:30]!a}" for variable, text in CASES])
def test_a_wrong_value_is_reported_with_its_variable_and_the_remedy(tmp_path, variable, text):
    Path(".env").write_text(f"{variable}='{text}'\n", encoding="utf-8")
    if "\0" in text:
        config = toml(tmp_path, f'{variable.removeprefix("BILLING_").lower()} = "a\\u0000b"\n')
        Path(".env").unlink()
        message = refusal(config)
    else:
        message = refusal()
    assert message.startswith(variable)
    assert len(message) < 300


@pytest.mark.parametrize("variable", ["BILLING_API_TOKEN", "BILLING_DATABASE_URL", "BILLING_PROXY"])
def test_a_wrong_secret_is_not_repeated(monkeypatch, variable):
    for text in WRONG[variable]:
        monkeypatch.setenv(variable, text)
        message = refusal()
        assert text not in message or text in {
            "billing.db",
            "sqlite://",
            "http://",
        }  # which the remedy shows as examples
        assert "p4ss" not in message
        assert "w0rd" not in message


def test_a_password_in_the_url_of_the_api_is_not_repeated(monkeypatch):
    monkeypatch.setenv("BILLING_API_URL", f"https://user:{TOKEN}@api.telefon-ip.ru/")
    message = refusal()
    assert message.startswith("BILLING_API_URL")
    assert TOKEN not in message


@pytest.mark.parametrize("text", ["1_0", "１０", "+7", " 7"])
def test_a_number_has_only_ascii_digits(text):
    Path(".env").write_text(f"BILLING_WINDOW_DAYS={text}\n", encoding="utf-8")
    if text in {"+7", " 7"}:
        assert load_settings().window_days == 7
    else:
        assert refusal().startswith("BILLING_WINDOW_DAYS")


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "intended"),
    [
        ("BILLING_API_TOKN", "BILLING_API_TOKEN"),
        ("BILLING_APITOKEN", "BILLING_API_TOKEN"),
        ("BILLING_LOOKBACK_DAY", "BILLING_LOOKBACK_DAYS"),
        ("BILLING_DATABASE_URI", "BILLING_DATABASE_URL"),
        ("BILLING_API_TOKEN_FILES", "BILLING_API_TOKEN_FILE"),
        ("BILLING_TIME_ZONE", "BILLING_TIMEZONE"),
    ],
)
@pytest.mark.parametrize("source", ["environment", "dotenv"])
def test_a_misspelled_variable_is_refused_with_a_suggestion(monkeypatch, name, intended, source):
    if source == "environment":
        monkeypatch.setenv(name, "7")
    else:
        Path(".env").write_text(f"{name}=7\n")
    assert refusal() == f"{name} is not a setting; did you mean {intended}?"


def test_variables_of_other_programs_are_ignored(monkeypatch):
    monkeypatch.setenv("BILLING_SMTP_HOST", "mail.example.com")
    monkeypatch.setenv("BILLINGAPI_TOKEN", "x")
    monkeypatch.setenv("billing_lookback_days", "3")
    assert load_settings().lookback_days == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lookback_day = 7", "lookback_day is not a setting; did you mean lookback_days (BILLING_LOOKBACK_DAYS)?"),
        ("api_tokens = 7", "api_tokens is not a setting; did you mean api_token (BILLING_API_TOKEN)?"),
        ("colour = 7", "colour is not a setting; did you mean "),
        ("lookback_days = [7]", "lookback_days must be one text, number or date, or true or false"),
        ("start_date = { day = 7 }", "start_date must be one text, number or date, or true or false"),
        ("account = 'two'", "account is not allowed here: the name of a section is the account's label"),
    ],
)
def test_a_wrong_name_or_type_is_reported_with_its_section(tmp_path, text, expected):
    path = toml(tmp_path, f"{text}\n[accounts.one]\n")
    assert refusal(path, "one").startswith(f"{path}: {expected}")
    path = toml(tmp_path, f"[accounts.one]\n{text}\n")
    assert refusal(path, "one").startswith(f"{path}: [accounts.one]: {expected}")


def test_rules_for_channels_are_toml_tables_of_all_accounts_or_of_one(tmp_path):
    path = toml(
        tmp_path,
        """
        [[channels]]
        channel = "sms"
        status_info = "*sms*"
        min_price = 0.1
        [[channels]]
        channel = "call"
        code = true
        [accounts.one]
        [accounts.two]
        [[accounts.two.channels]]
        channel = "all"
        price = 2
        """,
    )
    shared, own = load_accounts(path, ())
    assert shared.channels == (ChannelRule("sms", "*sms*", Decimal("0.1")), ChannelRule("call", code=True))
    assert own.channels == (ChannelRule("all", None, Decimal(2), Decimal(2)),)


def test_rules_for_channels_are_json_in_the_environment(monkeypatch):
    monkeypatch.setenv("BILLING_CHANNELS", '[{"channel": "sms", "max_price": 0.3}]')
    assert load_settings().channels == (ChannelRule("sms", None, None, Decimal("0.3")),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[[channels]]\nchannel = 'sms'",
            "BILLING_CHANNELS must be a list of rules, and rule 1 (sms) has no condition",
        ),
        (
            "[[channels]]\nchannel = 'sms'\nprice = nan",
            "rule 1 (sms) needs for price a number without quotes, like 0.2",
        ),
        ("[[channels]]\nchannel = 'sms'\nprice = 2026-01-01", "rule 1 (sms) needs for price a number"),
        ("[channels]\nchannel = 'sms'", "channels must be a list: [[channels]] begins each of its tables"),
        ("channels = 5", "channels must be a list: [[channels]] begins each of its tables"),
        (
            "codes = 'drop'\n[[channels]]\nchannel = 'a'\ncode = true",
            "rule 1 (a) has the condition code, and BILLING_CODES is drop",
        ),
    ],
)
def test_an_invalid_rule_for_channels_is_named_with_the_remedy(tmp_path, text, expected):
    assert expected in refusal(toml(tmp_path, text))


@pytest.mark.parametrize("text", ["[acounts.one]", "[account.one]", "[database]"])
def test_an_unknown_section_is_refused_with_a_suggestion(tmp_path, text):
    path = toml(tmp_path, text)
    assert "is not a section; did you mean [accounts.LABEL]?" in refusal(path)


def test_a_setting_of_the_whole_run_is_refused_in_a_section(tmp_path):
    path = toml(tmp_path, "[accounts.one]\nmetrics_file = 'a.prom'\n[accounts.two]\n")
    assert refusal(path, "one") == (
        f"{path}: [accounts.one]: metrics_file applies to all accounts; move it above the first section"
    )
    assert load_settings(path, "two").metrics_file is None


def test_a_wrong_value_of_the_toml_file_is_reported_with_its_section(tmp_path):
    path = toml(tmp_path, "lookback_days = 'many'\n[accounts.one]\n[accounts.two]\nlookback_days = -1\n")
    assert refusal(path, "one").endswith(f" ({path})")
    assert refusal(path, "two").endswith(f" ({path} [accounts.two])")


# The TOML file -------------------------------------------------------------------------------------------------------

TWO = f"""
api_url = "https://example.com/api"
lookback_days = 3

[accounts.first]
api_token = "{TOKEN}"

[accounts.second]
api_token_file = "second.token"
lookback_days = 5
"""


def test_several_accounts_have_their_own_tokens_and_share_the_rest(tmp_path):
    Path("second.token").write_text(OTHER)
    first, second = load_accounts(toml(tmp_path, TWO), ())
    assert (first.account, first.api_token, first.lookback_days) == ("first", TOKEN, 3)
    assert (second.account, second.api_token, second.lookback_days) == ("second", OTHER, 5)
    assert first.api_url == second.api_url == "https://example.com/api"


def test_accounts_with_the_same_token_cause_a_warning(tmp_path):
    text = f"[accounts.a]\napi_token = '{TOKEN}'\n[accounts.b]\napi_token = '{TOKEN}'\n[accounts.c]\n[accounts.d]\n"
    assert warn_duplicate_tokens(load_accounts(toml(tmp_path, text), ())) == [
        "the accounts a and b have the same token: each charge is stored under both"
    ]
    elsewhere = text.replace("[accounts.b]", "[accounts.b]\ndatabase_url = 'sqlite:///b.db'")
    assert warn_duplicate_tokens(load_accounts(toml(tmp_path, elsewhere), ())) == []


def test_an_account_knows_which_others_have_its_token(tmp_path):
    Path("b.token").write_text(TOKEN)
    sections = {
        "a": f"api_token = '{TOKEN}'",
        "b": "api_token_file = 'b.token'",
        "c": f"api_token = '{OTHER}'",
        "d": "api_token_file = 'missing.token'",
    }
    file = toml(tmp_path, "".join(f"[accounts.{label}]\n{token}\n" for label, token in sections.items()))
    loaded = load_accounts(file, ("a", "b", "c"))
    assert [settings.token_labels for settings in loaded] == [{"a", "b"}, {"a", "b"}, {"c"}]
    assert {settings.labels for settings in loaded} == {frozenset(sections)}


def test_one_account_can_be_selected(tmp_path):
    [first] = load_accounts(toml(tmp_path, TWO), ("first", "first"))
    assert first.account == "first"


def test_an_unknown_account_is_reported_with_the_existing_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"--account third: .* it has first, second"):
        load_accounts(toml(tmp_path, TWO), ("third",))


def test_the_closest_of_many_accounts_are_named(tmp_path):
    many = "".join(f"[accounts.shop-{number}]\n" for number in range(1, 2001))
    with pytest.raises(ConfigError) as refused:
        load_accounts(toml(tmp_path, many), ("shop-17a",))
    expected = "--account shop-17a: the configuration has no such account; it has 2,000; the closest are shop-17, "
    assert str(refused.value).startswith(expected)
    assert len(str(refused.value)) < len(expected) + 30


def test_thousands_of_accounts_share_one_set_of_labels(tmp_path):
    comment = "# " + "x" * 1000
    many = "".join(f"{comment}\n[accounts.shop-{number}]\n" for number in range(2000))
    first, *_, last = load_accounts(toml(tmp_path, many), ())
    assert len(many) > 1 << 20
    assert (first.labels is last.labels, len(last.labels)) == (True, 2000)


def test_there_is_one_account_without_sections(monkeypatch, tmp_path):
    assert [settings.account for settings in load_accounts(None, ())] == ["default"]
    assert [settings.account for settings in load_accounts(None, ("mine",))] == ["mine"]
    monkeypatch.setenv("BILLING_ACCOUNT", "env")
    assert [settings.account for settings in load_accounts(toml(tmp_path, "lookback_days = 3"), ())] == ["env"]


def test_an_account_with_its_own_token_ignores_that_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BILLING_API_TOKEN", OTHER)
    [first] = load_accounts(toml(tmp_path, TWO), ("first",))
    assert first.api_token == TOKEN


def test_the_environment_precedes_other_settings_of_an_account(monkeypatch, tmp_path):
    monkeypatch.setenv("BILLING_LOOKBACK_DAYS", "9")
    Path("second.token").write_text(OTHER)
    assert [settings.lookback_days for settings in load_accounts(toml(tmp_path, TWO), ())] == [9, 9]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lookback_days = ", "is not TOML (at "),
        ("[accounts.one]\n[accounts.one]", "is not TOML: a name is repeated (at line 2, column 14)"),
        ("accounts = 1", "accounts are written as [accounts.LABEL]"),
        ("[accounts]\nfirst = 1", "accounts are written as [accounts.LABEL]"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, expected):
    message = refusal(toml(tmp_path, text))
    assert message.startswith("--config: ")
    assert expected in message


def test_a_file_that_is_missing_or_not_text_is_named(tmp_path):
    assert refusal(tmp_path / "none.toml").startswith("--config: ")
    (tmp_path / "billing.toml").write_bytes(b"\xff\xfe")
    assert refusal(tmp_path / "billing.toml").endswith("cannot be read (it is not text)")


def test_a_dotenv_file_that_is_not_text_is_named():
    Path(".env").write_bytes(b"BILLING_ACCOUNT=\xcf\xe5\xf0\xe2\xfb\xe9\n")
    assert ".env" in refusal()


# The key of keyed phones, and permissions of secret files ------------------------------------------------------------

KEY = bytes(range(32))


def secret_file(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_key_is_the_bytes_of_its_file_and_is_never_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("BILLING_PHONES", "keyed")
    monkeypatch.setenv("BILLING_PHONES_KEY_FILE", str(secret_file(tmp_path / "key", KEY + b"\n")))
    assert load_settings().phones_key_file == KEY + b"\n"
    assert repr(KEY)[2:-1] not in repr(load_settings())


def test_a_key_that_is_text_is_among_the_secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("BILLING_PHONES_KEY_FILE", str(secret_file(tmp_path / "key", b"0123456789abcdef" * 2 + b"\n")))
    assert load_settings().secrets() == ["0123456789abcdef" * 2]


@pytest.mark.parametrize("content", [b"", KEY[:31], bytes(4097), None])
def test_a_key_file_of_a_wrong_size_is_refused(monkeypatch, tmp_path, content):
    if content is not None:
        secret_file(tmp_path / "key", content)
    monkeypatch.setenv("BILLING_PHONES_KEY_FILE", str(tmp_path / "key"))
    message = refusal()
    assert message.startswith("BILLING_PHONES_KEY_FILE is ")
    assert ("can be read" in message) == (content is None)


def test_keyed_phones_require_a_key(monkeypatch):
    monkeypatch.setenv("BILLING_PHONES", "keyed")
    assert "BILLING_PHONES_KEY_FILE" in refusal()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o620, 0o777])
@pytest.mark.parametrize(
    ("variable", "content"),
    [
        ("BILLING_API_TOKEN_FILE", TOKEN.encode()),
        ("BILLING_DATABASE_URL_FILE", b"postgresql://u:pa55word@h/d"),
        ("BILLING_PHONES_KEY_FILE", KEY),
    ],
)
def test_a_secret_file_accessible_to_others_causes_a_warning(monkeypatch, tmp_path, variable, content, mode):
    path = secret_file(tmp_path / "a secret", content, mode)
    monkeypatch.setenv(variable, str(path))
    assert load_settings().warnings == (f"{variable}: others may read or change {path}; run: chmod 600 '{path}'",)
    path.chmod(0o600)
    assert load_settings().warnings == ()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_secret_file_readable_by_our_group_causes_no_warning(monkeypatch, tmp_path):
    path = secret_file(tmp_path / "token", TOKEN.encode(), 0o640)
    monkeypatch.setenv("BILLING_API_TOKEN_FILE", str(path))
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert load_settings().warnings == ()


def test_a_systemd_credential_causes_no_warning(monkeypatch, tmp_path):
    secret_file(tmp_path / "billing_api_token", TOKEN.encode(), 0o644)
    key = secret_file(tmp_path / "key", KEY, 0o644)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("BILLING_PHONES_KEY_FILE", str(key))
    settings = load_settings()
    assert (settings.api_token, settings.warnings) == (TOKEN, ())


# Causes of errors ----------------------------------------------------------------------------------------------------


def chain(error: BaseException | None) -> str:
    """Everything that an error and its causes contain, as text."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error.args), repr(vars(error)), repr(getattr(error, "object", None))]
        error = error.__cause__ or error.__context__
    return " ".join(texts)


@pytest.mark.parametrize(
    ("variable", "content"),
    [
        ("BILLING_API_TOKEN_FILE", b"canary-7777\xff"),
        ("BILLING_API_TOKEN", b"canary-7777 with a space"),
        ("BILLING_DATABASE_URL", b"postgresql://u@h:canary-7777/d"),
        ("BILLING_DATABASE_URL", b"postgresql://u:canary-7777@x@h/d"),
        ("BILLING_API_URL", b"https://u:canary-7777@h:port/"),
    ],
)
def test_no_error_of_a_setting_contains_its_value(monkeypatch, tmp_path, variable, content):
    path = secret_file(tmp_path / "secret", content)
    monkeypatch.setenv(variable, str(path) if variable.endswith("_FILE") else content.decode())
    with pytest.raises(ConfigError) as refused:
        load_settings()
    assert "canary" not in chain(refused.value)


@pytest.mark.parametrize("name", [".env", "billing.toml"])
def test_no_error_of_a_settings_file_contains_its_text(tmp_path, name):
    path = secret_file(tmp_path / name, b"api_token = canary-7777\xff\n")
    with pytest.raises(ConfigError) as refused:
        load_settings(None if name == ".env" else path)
    assert "canary" not in chain(refused.value)


@pytest.mark.parametrize(
    "value",
    ["[7]", "{ days = 7 }", "0x" + "f" * 5000, "[" * 5000, "7" * 5000],
    ids=["list", "table", "hex", "deep", "long"],
)
def test_a_toml_value_that_is_not_a_setting_is_refused(tmp_path, value):
    assert "billing.toml" in refusal(toml(tmp_path, f"lookback_days = {value}\n"))


@pytest.mark.parametrize("text", ["''", "' a'", "'a\u00a0'"])
def test_the_label_of_an_account_must_be_visible_text(tmp_path, text):
    with pytest.raises(ConfigError, match=r"BILLING_ACCOUNT is .* must be a name"):
        load_accounts(toml(tmp_path, f"[accounts.{text}]\napi_token = '{TOKEN}'\n"), ())


@pytest.mark.parametrize("text", ["a." * 1000, "../Moscow", "localtime", "/etc/localtime", "Europe/", "Европа/Москва"])
def test_an_invalid_name_of_a_time_zone_is_not_looked_up(monkeypatch, text):
    monkeypatch.setenv("BILLING_TIMEZONE", text)
    assert refusal().endswith("must be a time zone of the IANA list, like Europe/Moscow")


# Unusual files -------------------------------------------------------------------------------------------------------


def test_an_endless_file_is_read_only_up_to_a_limit(monkeypatch):
    monkeypatch.setenv("BILLING_API_TOKEN_FILE", "/dev/zero")
    assert refusal() == "BILLING_API_TOKEN_FILE: /dev/zero cannot be read (it is longer than 16777216 characters)"
    assert refusal(Path("/dev/zero")).startswith("--config: /dev/zero cannot be read")


def test_a_secret_can_be_read_from_a_pipe(monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, TOKEN.encode())
    os.close(writing)
    monkeypatch.setenv("BILLING_API_TOKEN_FILE", f"/dev/fd/{reading}")
    try:
        assert load_settings().api_token == TOKEN
    finally:
        os.close(reading)


def test_an_impossible_file_name_is_reported_in_one_line(tmp_path):
    message = refusal(toml(tmp_path, 'api_token_file = "a\\u0000\\nb"\n'))
    assert message == r"BILLING_API_TOKEN_FILE: 'a\x00\nb' cannot be read (invalid file name)"


def test_a_byte_order_mark_is_ignored(tmp_path):
    Path(".env").write_text("BILLING_LOOKBACK_DAYS=3\n", encoding="utf-8-sig")
    path = tmp_path / "billing.toml"
    path.write_text("window_days = 3\n", encoding="utf-8-sig")
    settings = load_settings(path)
    assert (settings.lookback_days, settings.window_days) == (3, 3)


# Contents of refusals ------------------------------------------------------------------------------------------------


def test_a_line_that_includes_the_token_by_mistake_is_not_shown(monkeypatch):
    monkeypatch.setenv("BILLING_TIMEOUT", f"30BILLING_API_TOKEN={TOKEN}")
    assert refusal() == "BILLING_TIMEOUT must be a number of seconds, between 0.01 and 3600"


@pytest.mark.parametrize("name", ["BILLING_DATABASE_URL", "BILLING_API_URL"])
def test_no_cause_of_a_refusal_contains_a_part_of_a_url(monkeypatch, name):
    monkeypatch.setenv(name, "https://u:p@h:p4ssw0rd/b")
    with pytest.raises(ConfigError) as refused:
        load_settings()
    assert refused.value.__context__ is None


def test_no_cause_of_a_refusal_contains_a_file_that_is_not_text(tmp_path):
    Path(".env").write_bytes(b"BILLING_API_TOKEN=5ecre7\xff\n")
    path = tmp_path / "billing.toml"
    path.write_bytes(b"api_token = '5ecre7\xff'\n")
    for config_file in (None, path):
        with pytest.raises(ConfigError) as refused:
            load_settings(config_file)
        assert refused.value.__context__ is None


@pytest.mark.parametrize(
    "text", ["https://h/a b", "https://h/a https://user:p4ss@h", "https://h/\x07", "https://h/https://user:p4ss@h"]
)
def test_the_url_of_the_api_must_be_a_single_url(monkeypatch, text):
    monkeypatch.setenv("BILLING_API_URL", text)
    message = refusal()
    assert message.startswith("BILLING_API_URL")
    assert "p4ss" not in message
