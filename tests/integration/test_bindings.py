"""An account is bound to its token and its zone, so that no record is stored twice or in two zones."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from support.run_helpers import NO_PROGRESS, token_of
from support.sync_account import START, Account, charges, just_before

from etl.db.bindings import fingerprint_of
from etl.errors import AuthenticationError, ConfigError
from etl.services.run import RunRequest
from etl.services.sync import run_sync

MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
VLADIVOSTOK = ZoneInfo("Asia/Vladivostok")


@pytest.fixture
def account(database_url, sandbox):
    sandbox.dataset.replace([*charges("2026-03-09", 3), *charges("2026-03-10", 2)])
    return Account(database_url, sandbox)


@pytest.fixture
def sqlite_account(sqlite_url, sandbox):
    sandbox.dataset.replace(charges("2026-03-09", 3))
    return Account(sqlite_url, sandbox)


def run(account, order=None, /, **changes):
    """Run a sync; returns its report and messages."""
    messages = []
    report = run_sync(
        replace(account.settings, **changes),
        order or RunRequest("sync"),
        replace(NO_PROGRESS, message=messages.append),
        redact=str,
        clock=lambda: MORNING,
    )
    return report, messages


def refused(account, order=None, /, **changes):
    """Check that a run is refused with 78 without a request or a write; returns the message."""
    before, requests = account.dump(), len(account.vendor.requests)
    report, _ = run(account, order, **changes)
    assert (type(report.error), report.exit_code) == (ConfigError, 78), report.error
    assert (account.dump(), len(account.vendor.requests)) == (before, requests)
    return str(report.error)


ORDERS = [
    RunRequest("sync"),
    RunRequest("sync", dry_run=True),
    RunRequest("backfill", date(2026, 3, 9), date(2026, 3, 9)),
    RunRequest("accept", date(2026, 3, 9), date(2026, 3, 9)),
]
of_each_order = pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order.command} {order.dry_run}")


# --- the token --------------------------------------------------------------------------------------------------------


@of_each_order
def test_a_mistyped_label_is_refused_with_the_label_of_the_token(account, order):
    assert account.run()[0] == 0
    message = refused(account, order, account="defualt")
    assert "BILLING_ACCOUNT=default" in message
    assert account.settings.api_token not in message
    assert account.read("SELECT label FROM accounts") == [("default",)]


def test_the_fingerprint_of_the_token_is_stored_and_the_token_is_not(account):
    account.run()
    token = account.settings.api_token
    assert account.read("SELECT token_fingerprint FROM accounts") == [(fingerprint_of(token),)]
    assert token not in fingerprint_of(token)
    assert fingerprint_of(token) != fingerprint_of(token + "x")


def test_a_retired_account_still_has_its_token(sqlite_account):
    sqlite_account.run()
    with sqlite_account.engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET retired_at = '2026-03-10 00:00:00'"))
    assert "the token is that of the account default" in refused(sqlite_account, account="new")


def test_configured_accounts_may_share_a_token_with_a_warning(sqlite_account, caplog):
    sqlite_account.run()
    both = frozenset({"default", "shop"})
    assert "BILLING_ACCOUNT" in refused(sqlite_account, account="shop", token_labels=frozenset({"shop", "bank"}))
    report, _ = run(sqlite_account, account="shop", labels=both, token_labels=both)
    assert report.error is None
    assert "the accounts default and shop have the same token" in caplog.text
    assert sqlite_account.read("SELECT COUNT(*) FROM billing") == [(6,)]


def test_a_changed_token_is_accepted_and_reported_once(account):
    account.run()
    changed = {"api_token": token_of(account.vendor, "renewed")}
    _, messages = run(account, RunRequest("sync", dry_run=True), **changed)
    assert "the token differs from that of the last run" in "".join(messages)
    report, messages = run(account, **changed)
    assert (report.error, "the token differs from that of the last run" in "".join(messages)) == (None, True)
    assert "the token" not in "".join(run(account, **changed)[1])
    assert "BILLING_ACCOUNT=default" in refused(account, account="defualt", **changed)


@of_each_order
def test_the_token_of_another_account_is_refused_under_a_known_label(account, order):
    account.run()
    shop = {"account": "shop", "api_token": token_of(account.vendor, "shop")}
    assert run(account, **shop)[0].error is None
    message = refused(account, order, account="shop")  # with the token of default
    assert "the records of default would replace those of shop" in message
    assert "BILLING_ACCOUNT=default" in message
    both = frozenset({"default", "shop"})
    assert run(account, account="shop", labels=both, token_labels=both)[0].error is None


@of_each_order
def test_exchanged_tokens_are_refused_with_both_labels(account, order):
    account.run()
    shop, both = token_of(account.vendor, "shop"), frozenset({"default", "shop"})
    of_default = {"labels": both, "token_labels": frozenset({"default"})}
    of_shop = {"account": "shop", "labels": both, "token_labels": frozenset({"shop"})}
    assert run(account, **of_shop, api_token=shop)[0].error is None
    message = refused(account, order, **of_shop)  # with the token of default
    assert "the records of default would replace those of shop" in message
    assert "sync --account default" in message
    message = refused(account, order, **of_default, api_token=shop)
    assert "the records of shop would replace those of default" in message
    assert run(account, **of_default)[1] == []


def test_the_old_token_of_an_account_is_accepted_under_another_label_after_it_has_run_with_its_new_one(account):
    account.run()
    both = frozenset({"default", "shop"})
    of_shop = {"account": "shop", "labels": both, "token_labels": frozenset({"shop"})}
    assert "sync --account default" in refused(account, **of_shop)
    renewed = {"labels": both, "token_labels": frozenset({"default"}), "api_token": token_of(account.vendor, "new")}
    assert run(account, **renewed)[0].error is None
    assert run(account, **of_shop)[0].error is None


def test_exchanged_tokens_are_accepted_by_way_of_one_token_for_both(account):
    account.run()
    shop, both = token_of(account.vendor, "shop"), frozenset({"default", "shop"})
    own = {"account": "shop", "labels": both}
    assert run(account, **own, token_labels=frozenset({"shop"}), api_token=shop)[0].error is None
    assert run(account, **own, token_labels=both)[0].error is None
    report, messages = run(account, labels=both, token_labels=frozenset({"default"}), api_token=shop)
    assert (report.error, "the token differs" in "".join(messages)) == (None, True)


def test_a_refused_token_does_not_become_that_of_the_account(account):
    account.run()
    for _ in range(2):  # it is not the account's after the first of them either
        report, messages = run(account, api_token="mistyped-token")
        assert isinstance(report.error, AuthenticationError)
        assert "the token differs from that of the last run" in "".join(messages)
    assert "BILLING_ACCOUNT=default" in refused(account, account="defualt")
    assert account.read("SELECT label FROM accounts") == [("default",)]
    assert run(account)[1] == []


def test_an_account_of_an_older_version_is_bound_by_its_next_run(account):
    account.run()
    with account.engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET token_fingerprint = NULL, timezone = NULL"))
    report, messages = run(account)
    assert (report.error, messages) == (None, [])
    assert account.read("SELECT timezone FROM accounts WHERE token_fingerprint IS NOT NULL") == [("Europe/Moscow",)]


def test_one_of_two_concurrent_first_runs_with_different_labels_is_refused(account):
    account.run()  # the schema is there
    other = replace(account.settings, api_token=token_of(account.vendor, "new"))
    reports = []

    def begin_the_other():
        thread = threading.Thread(target=lambda: reports.append(run(account, account="two", api_token=other.api_token)))
        thread.start()
        thread.join(timeout=5)  # as far as it comes
        threads.append(thread)

    threads = []
    with just_before("INSERT INTO sync_runs", begin_the_other):  # its checks are over, and nothing is committed
        reports.append(run(account, account="one", api_token=other.api_token))
    threads[0].join(timeout=60)
    codes = sorted(report.exit_code for report, _ in reports)
    assert codes == [0, 78]
    assert len(account.read("SELECT label FROM accounts WHERE label <> 'default'")) == 1


def test_an_account_that_never_stored_a_day_is_new(sqlite_account):
    sqlite_account.run()
    report, _ = run(sqlite_account, account="defualt", api_token="wrong")
    assert report.exit_code == 77
    assert "BILLING_ACCOUNT=default" in refused(sqlite_account, account="defualt")


# --- the zone ---------------------------------------------------------------------------------------------------------


@of_each_order
def test_another_zone_is_refused_with_the_stored_one_and_the_command(account, order):
    account.run()
    message = refused(account, order, timezone=VLADIVOSTOK)
    assert "BILLING_TIMEZONE is Asia/Vladivostok" in message
    assert "BILLING_TIMEZONE=Europe/Moscow" in message
    assert message.endswith("billing-etl account set-timezone default Asia/Vladivostok")


def test_an_account_of_an_older_version_is_not_bound_to_a_zone_unlike_its_last_runs(sqlite_account):
    sqlite_account.run()
    with sqlite_account.engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET timezone = NULL"))
    assert "are stored in another zone" in refused(sqlite_account, timezone=VLADIVOSTOK)
    assert run(sqlite_account)[0].error is None


# --- accept -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", [date(2026, 3, 9), date(2026, 2, 1)])
def test_only_a_suspect_day_can_be_accepted(sqlite_account, day):
    sqlite_account.run()
    before = sqlite_account.dump()
    report, _ = run(sqlite_account, RunRequest("accept", day, day))
    assert (report.exit_code, f"{day} is not suspect" in str(report.error)) == (1, True)
    assert sqlite_account.dump() == before


@pytest.mark.parametrize("anyway", [True, False])
def test_nothing_can_be_accepted_before_the_first_sync(sqlite_account, anyway):
    day = date(2026, 3, 9)
    report, _ = run(sqlite_account, RunRequest("accept", day, day, even_if_not_suspect=anyway))
    assert (report.exit_code, "nothing of the account default is stored" in str(report.error)) == (1, True)
    assert sqlite_account.read("SELECT * FROM accounts") == []


@pytest.mark.parametrize("day", [date(2026, 2, 1), START, date(2026, 3, 9)])
def test_an_accepted_day_moves_no_beginning_of_history(account, day):
    account.vendor.dataset.add(charges("2026-02-01", 1))
    account.run()
    position = "SELECT first_day, last_synced_date FROM sync_state"
    before = account.read(position)
    report, _ = run(account, RunRequest("accept", day, day, even_if_not_suspect=True))
    assert report.error is None
    assert account.read(position) == before
    assert account.run()[0] == 0
    assert account.read(position) == before
