"""The vendor's newest records compared with the rows of each database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from support.run_helpers import NO_PROGRESS, settings_of
from support.sync_account import charges

from etl.db.engine import new_engine
from etl.errors import ConfigError
from etl.services.context import build_reader, open_client
from etl.services.recent import compare_newest, fetch_newest, find_stored_account
from etl.services.run import RunRequest
from etl.services.sync import run_sync

TENTH, TODAY = date(2026, 3, 10), date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)


def recent(settings, count=20):
    engine = new_engine(settings.database_url)
    account = find_stored_account(engine, settings)
    with open_client(settings, str) as client:
        newest = fetch_newest(client, count, build_reader(settings))
    return compare_newest(engine, account, newest, count)


def sync(settings):
    report = run_sync(settings, RunRequest("sync"), NO_PROGRESS, redact=str, clock=lambda: MORNING)
    assert report.error is None


@pytest.mark.empty_database
def test_newest_records_are_marked_stored_as_often_as_they_are_stored(database_url, sandbox):
    repeated, *others = charges(TENTH, 4)
    sandbox.dataset.replace([repeated, repeated, *others])
    settings = settings_of(database_url, sandbox, TENTH)
    before = recent(settings)
    assert (before.missing, len(before.records), "sync creates it" in before.note) == (5, 5, True)

    sync(settings)
    assert [record.stored for record in recent(settings).records] == [True] * 5

    sandbox.dataset.add([repeated, *charges(TODAY, 1)])
    after = recent(settings)
    assert [record.stored for record in after.records] == [False, True, True, True, True, True, False]
    assert (after.missing, after.note) == (2, "")


@pytest.mark.parametrize("changes", [{"phones": "masked"}, {"phones": "keyed", "phones_key_file": bytes(32)}])
def test_newest_records_are_found_in_every_format_of_phones_and_codes(database_url, sandbox, changes):
    sandbox.dataset.replace([*charges(TENTH, 2), charges(TENTH, 1)[0] | {"price": None, "phone": "89990001122"}])
    settings = settings_of(database_url, sandbox, TENTH, codes="drop", **changes)
    sync(settings)
    shown = recent(settings)
    assert ([record.stored for record in shown.records], len(shown.rejected)) == ([True, True], 1)
    assert "9243555100" not in str(shown)
    assert "9990001122" not in str(shown)
    with pytest.raises(ConfigError, match="BILLING_PHONES is plain"):
        recent(replace(settings, phones="plain", phones_key_file=None))


def test_a_hundred_records_of_a_long_range_are_found(database_url, sandbox):
    settings = settings_of(database_url, sandbox, date(2026, 2, 25))
    sync(settings)
    assert ([record.stored for record in recent(settings, 100).records]) == [True] * 100


def test_only_the_newest_records_are_shown_when_the_vendor_lists_more(sqlite_url, sandbox):
    sandbox.dataset.replace([])
    rows = ", ".join(
        f'{{"created_at": "2026-03-10T10:00:0{n}", "code_auth": "", "status": 1, "status_info": "", "phone": "1", '
        f'"price": {Decimal("0.2")}}}'
        for n in range(5)
    )
    sandbox.faults.add("status", status=200, body=f'{{"success": true, "error": "", "data": [{rows}]}}')
    shown = recent(settings_of(sqlite_url, sandbox, TENTH), 2)
    assert [entry.record.created_at[-2:] for entry in shown.records] == ["04", "03"]
