"""The lake equals the view after each export, whatever changed since the last one."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text
from support.lake_copy import COLUMNS, JANUARY, NINTH, TODAY, LakeCopy, charges, exported_copy

pytest.importorskip("pyiceberg", reason="the extra lake is not installed")

from etl.channels import ChannelRule
from etl.errors import ConfigError
from etl.lake.catalogue import open_lake
from etl.services.accounts import delete_account, rename_account
from etl.services.erase import erase_number
from etl.services.lake import export_to_lake
from etl.services.numbering import import_plan
from etl.services.purge import RetentionAge, purge_account

PLANS = Path(__file__).parents[1] / "data" / "numbering"


@pytest.fixture
def copied(database_url, sandbox, tmp_path):
    return exported_copy(database_url, sandbox, tmp_path)


@pytest.fixture
def copied_sqlite(sqlite_url, sandbox, tmp_path):
    """On SQLite, for tests that do not depend on the database."""
    return exported_copy(sqlite_url, sandbox, tmp_path)


def test_a_lake_of_an_older_version_gets_the_new_column(copied_sqlite):
    with copied_sqlite.table().update_schema() as change:
        change.delete_column("channel")
    copied_sqlite.settings = [
        replace(setting, channels=(ChannelRule("call", code=True),)) for setting in copied_sqlite.settings
    ]
    copied_sqlite.sync()
    assert [account.days for account in copied_sqlite.export().accounts.values()] == [3, 3]
    assert copied_sqlite.lake() == copied_sqlite.view()
    assert {row[COLUMNS.index("channel")] for row in copied_sqlite.view()} == {"call"}


def test_an_export_writes_changed_days_and_the_lake_equals_the_view(copied):
    assert (copied.export().rows, {path.parent.name for path in copied.files_left()}) == (
        0, {"metadata", "month=2026-01", "month=2026-03"},
    )  # fmt: skip
    late, corrected, withdrawn = charges(date(2026, 3, 8), 1, "1.5"), charges(NINTH, 3, "0.300001"), charges(TODAY, 1)
    for number, records in enumerate(([*charges(NINTH, 3), *late], [*corrected, *late], [*charges(NINTH, 2), *late])):
        copied.vendor.dataset.replace([*charges(JANUARY, 3), *records, *withdrawn])
        copied.sync()
        result = copied.export()
        assert sum(account.days for account in result.accounts.values()) > 0
        assert copied.lake() == copied.view(), number

    erase_number(copied.settings[0], "+79243555100", wait=0)
    copied.export()
    assert copied.lake() == copied.view()
    assert {row[COLUMNS.index("phone")] for row in copied.lake() if row[0] == "shop"} == {"forgotten"}

    age = RetentionAge(1, "m")
    purge_account(copied.settings[1], age, explicit_account=True, dry_run=False, wait=0, clock=lambda: copied.now)
    assert copied.export("office").rows == 0
    assert copied.lake() == copied.view()


def test_renamed_and_deleted_accounts_leave_the_lake(copied_sqlite):
    rename_account(copied_sqlite.engine, "shop", "store", wait=0)
    assert copied_sqlite.export().removed == ["shop"]
    assert copied_sqlite.lake() == copied_sqlite.view()
    for old, new in (("store", "spare"), ("office", "store"), ("spare", "office")):
        rename_account(copied_sqlite.engine, old, new, wait=0)
    copied_sqlite.export()
    assert copied_sqlite.lake() == copied_sqlite.view(), "two labels were swapped"
    for old, new in (("office", "spare"), ("store", "office"), ("spare", "store")):
        rename_account(copied_sqlite.engine, old, new, wait=0)
    copied_sqlite.export()
    delete_account(copied_sqlite.engine, "store", wait=0, clock=lambda: copied_sqlite.now)
    copied_sqlite.vendor.dataset.add(charges(date(2026, 3, 7), 1))
    copied_sqlite.sync()  # a new account with the old label starts with low revisions
    assert copied_sqlite.export().removed == ["store"]
    assert copied_sqlite.lake() == copied_sqlite.view()
    assert {row[0] for row in copied_sqlite.lake()} == {"shop", "office"}


def test_an_account_whose_deletion_was_interrupted_leaves_the_lake(copied_sqlite):
    copied_sqlite.execute("UPDATE accounts SET deletion_started_at = '2026-03-10 05:00:00' WHERE label = 'shop'")
    copied_sqlite.execute("DELETE FROM billing_records WHERE account_id = 1")
    result = copied_sqlite.export()
    assert (result.removed, result.refused) == (["shop"], {})
    assert copied_sqlite.lake() == copied_sqlite.view()
    assert {row[0] for row in copied_sqlite.lake()} == {"office"}


@pytest.mark.parametrize("damage", ["UPDATE billing_records SET price = '7'", "DELETE FROM billing_records"])
def test_rows_that_differ_from_the_ledger_are_refused_and_other_accounts_exported(copied, damage):
    copied.vendor.dataset.add(charges(date(2026, 3, 7), 1))
    copied.sync()
    before = copied.lake()
    account = "account_id = (SELECT id FROM accounts WHERE label = 'shop')"
    copied.execute(f"{damage} WHERE created_at BETWEEN '2026-03-07' AND '2026-03-08' AND {account}")
    result = copied.export()
    (refused,) = result.refused.values()
    assert str(refused) == (
        "the records of 2026-03-07 do not add up to the day ledger, and nothing of shop is exported; "
        "billing-etl backfill --since 2026-03-07 --until 2026-03-07 --account shop repairs it"
    )
    assert [row for row in copied.lake() if row[0] == "shop"] == [row for row in before if row[0] == "shop"]
    copied.sync("backfill", date(2026, 3, 7))
    assert copied.export().refused == {}
    assert copied.lake() == copied.view()


def test_the_numbering_plan_is_a_table_of_its_own(copied_sqlite):
    before = open_lake(copied_sqlite.folder, None)
    assert len(before.numbering.scan().to_arrow()) == 0
    import_plan(copied_sqlite.settings[0], sorted(PLANS.glob("*-?xx.csv")))
    assert copied_sqlite.export().rows == 0, "the plan changes no day"
    table = open_lake(copied_sqlite.folder, None).numbering
    rows = {tuple(row.values()) for row in table.scan().to_arrow().to_pylist()}
    with copied_sqlite.engine.connect() as connection:
        stored = connection.execute(text("SELECT first_phone, last_phone, operator, region FROM numbering_ranges"))
        assert rows == set(map(tuple, stored))
    snapshots = len(table.metadata.snapshots)
    copied_sqlite.export()
    assert len(open_lake(copied_sqlite.folder, None).numbering.metadata.snapshots) == snapshots


def test_a_catalogue_that_cannot_be_opened_is_named_without_its_password(copied_sqlite):
    catalogue = "postgresql+psycopg://postgres:hidden@127.0.0.1:1/nothing"
    with pytest.raises(ConfigError, match=r"cannot be opened \(\w+\); see --catalogue") as caught:
        export_to_lake(copied_sqlite.settings, (), copied_sqlite.folder, catalogue)
    assert "hidden" not in str(caught.value)


def test_a_label_of_two_databases_is_refused(copied_sqlite, sandbox, tmp_path):
    other = copied_sqlite.settings[0].database_url.set(database=str(tmp_path / "other.db"))
    again = LakeCopy(other, sandbox, tmp_path)
    again.settings = again.settings[:1]
    again.sync()
    with pytest.raises(ConfigError, match="the account shop is in two of the databases"):
        export_to_lake([copied_sqlite.settings[1], *again.settings], (), copied_sqlite.folder, None)
    assert copied_sqlite.lake() == copied_sqlite.view()
