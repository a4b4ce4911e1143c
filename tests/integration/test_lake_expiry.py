"""`--expire` deletes files with erased or purged rows, and files that killed exports left."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("pyiceberg", reason="the extra lake is not installed")

from support import rival_files
from support.lake_copy import JANUARY, LABELS, charges, exported_copy
from support.lake_export import start

from etl.services.accounts import delete_account
from etl.services.erase import erase_number
from etl.services.purge import RetentionAge, purge_account

PHONE, OTHER = "9243555100", "9161112233"
MONTH = timedelta(days=30)


@pytest.fixture
def copied(sqlite_url, sandbox, tmp_path):
    return exported_copy(sqlite_url, sandbox, tmp_path)


def expire(copied, *, days_later):
    return copied.export(expire=MONTH, now=datetime.now(UTC) + timedelta(days=days_later)).expired_files


def test_no_file_contains_the_phone_of_an_erased_person_after_expiry(copied):
    copied.vendor.dataset.add(charges(JANUARY, 2, phone=f"8{OTHER}"))
    copied.sync("backfill", JANUARY)
    copied.export()
    for settings in copied.settings:
        erase_number(settings, f"+7{PHONE}", wait=0)
    assert expire(copied, days_later=0) == 0
    assert {path.suffix for path in copied.files_that_hold(PHONE)} == {".parquet"}, "old snapshots have the number"
    assert expire(copied, days_later=31) > 0
    assert copied.files_that_hold(PHONE) == []
    assert copied.files_that_hold(OTHER), "the search finds what is there"
    assert copied.lake() == copied.view()


def test_no_file_contains_rows_of_purged_months_or_deleted_accounts_after_expiry(copied):
    copied.vendor.dataset.add(charges(JANUARY, 2, phone=f"8{OTHER}"))
    copied.sync("backfill", JANUARY)
    copied.export()
    purge_account(
        copied.settings[0], RetentionAge(1, "m"), explicit_account=True, dry_run=False, wait=0, clock=lambda: copied.now
    )
    delete_account(copied.engine, LABELS[1], wait=0, clock=lambda: copied.now)
    expire(copied, days_later=31)
    assert copied.files_that_hold(OTHER) == []
    assert copied.files_that_hold(PHONE), "March stays"
    assert copied.lake() == copied.view()


def test_files_of_a_killed_export_are_deleted_when_old_enough(copied):
    copied.vendor.dataset.add(charges(JANUARY, 2, phone=f"8{OTHER}"))
    copied.sync("backfill", JANUARY)
    killed = start(
        copied.settings[0].database_url, copied.folder, rival=(rival_files.METADATA, ["sh", "-c", "kill -9 $PPID"])
    )
    assert (killed.communicate(), killed.returncode) == (("", ""), -9)
    left = copied.files_that_hold(OTHER)
    erase_number(copied.settings[0], f"+7{OTHER}", wait=0)
    erase_number(copied.settings[1], f"+7{OTHER}", wait=0)
    assert (bool(left), expire(copied, days_later=0)) == (True, 0), "they could belong to an export in progress"
    assert copied.files_that_hold(OTHER) == left
    age = datetime.now(UTC).timestamp() - 2 * MONTH.total_seconds()
    for path in left:
        os.utime(path, (age, age))
    assert expire(copied, days_later=0) == len(left)
    assert copied.files_that_hold(OTHER) == []
    assert copied.lake() == copied.view()
