"""Servers, databases and users with other defaults: the result is the same, or the error message names the setting."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy import NullPool, create_engine, text
from support.sync_account import LAST_CLOSED, START, Account, charges

from etl.db.engine import new_engine

pytestmark = pytest.mark.empty_database

ODD = "нет ответа; \\ 'x' \"y\" 🙂 %s"


@pytest.fixture
def account(database_url, sandbox):
    sandbox.dataset.replace(
        [*charges(START, 3, price="0.000001"), *charges(LAST_CLOSED, 4, price="999999999999.999999", info=ODD)]
    )
    return Account(database_url, sandbox)


def administer(url, *statements):
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def assert_works(account):
    """Check a first run, a run without changes and one with changes; then the views."""
    assert account.run() == (0, "")
    account.assert_matches_vendor()
    assert account.run() == (0, "")
    account.vendor.dataset.add(charges(LAST_CLOSED, 1, price="-1.5", info=ODD))
    assert account.run() == (0, "")
    account.assert_matches_vendor()
    rows = account.read("SELECT day, records, spend FROM daily_spend ORDER BY day")
    assert [(str(row[0]), row[1], Decimal(str(row[2]))) for row in rows] == [
        ("2026-03-08", 3, Decimal("0.000003")),
        ("2026-03-10", 5, 4 * Decimal("999999999999.999999") - Decimal("1.5")),
    ]
    assert len(account.read("SELECT * FROM freshness")) == 1
    assert len(account.read("SELECT * FROM billing")) == 8


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "datestyle = 'German, DMY'",
        "timezone = 'Pacific/Kiritimati'",
        "standard_conforming_strings = off",
        "client_encoding = 'LATIN1'",
        "bytea_output = 'escape'",
        "extra_float_digits = 0",
        "statement_timeout = '10min'",
        "lock_timeout = 0",
        "search_path = own, public",
    ],
)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_setting_of_the_database_changes_no_result_on_postgresql(account, setting):
    name = account.settings.database_url.database
    if "own" in setting:
        administer(account.settings.database_url, "CREATE SCHEMA own")
    administer(account.settings.database_url, f"ALTER DATABASE {name} SET {setting}")
    assert_works(account)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_read_only_database_is_reported_on_postgresql(account):
    name = account.settings.database_url.database
    administer(account.settings.database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    code, line = account.run()
    assert (code, "is read-only" in line) == (74, True), line


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "WIN1251"])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_with_a_limited_encoding_is_refused_on_postgresql(database_url, sandbox, encoding):
    name = f"{database_url.database}_{encoding.lower()}"
    administer(database_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    try:
        code, line = Account(database_url.set(database=name), sandbox).run()
        assert (code, encoding in line, "UTF8" in line) == (74, True, True), line
    finally:
        administer(database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.fault(71)
@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "cp1251", "utf16"])
@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_the_character_set_of_the_database_changes_no_result_on_mariadb(account, charset):
    name = account.settings.database_url.database
    administer(account.settings.database_url, f"ALTER DATABASE {name} CHARACTER SET {charset}")
    assert_works(account)


@pytest.mark.fault(70, 72)
@pytest.mark.parametrize(
    "setting",
    [
        "sql_mode = ''",
        "sql_mode = 'ANSI'",
        "sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,HIGH_NOT_PRECEDENCE'",
        "tx_isolation = 'SERIALIZABLE'",
        "time_zone = '+13:00'",
        "collation_connection = latin1_swedish_ci",
        "autocommit = 0",
        "sql_safe_updates = 1",
    ],
)
@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_setting_of_the_server_changes_no_result_on_mariadb(account, setting):
    # The server's setting, set only for our sessions, because the server is shared.
    url = account.settings.database_url.update_query_dict({"init_command": f"SET SESSION {setting}"})
    account.engine = new_engine(url)
    account.settings = replace(account.settings, database_url=url)
    assert_works(account)


@pytest.mark.fault(72)
@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_value_that_does_not_fit_is_refused_in_every_sql_mode(account):
    url = account.settings.database_url.update_query_dict({"init_command": "SET SESSION sql_mode = ''"})
    assert account.run() == (0, "")
    with new_engine(url).connect() as connection, pytest.raises(Exception, match=r"1264|1406|1366"):
        connection.execute(text("UPDATE billing_records SET repeats = 99999999999"))


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_read_only_session_is_reported_on_mariadb(account):
    url = account.settings.database_url.update_query_dict({"init_command": "SET SESSION tx_read_only = 1"})
    assert account.run() == (0, "")
    code, line = account.run(url=url)
    assert (code, "is read-only" in line) == (74, True), line
