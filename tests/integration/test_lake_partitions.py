"""The partitions of the lake: by account or by its hash, chosen when the table is created, changed by engines."""

from __future__ import annotations

from datetime import date

import pytest

pytest.importorskip("pyiceberg", reason="the extra lake is not installed")

from pyiceberg.transforms import BucketTransform
from sqlalchemy import insert
from support.lake_copy import MORNING, charges, exported_copy, synced_copy

from etl.db.tables import accounts
from etl.lake.schema import ACCOUNTS_PER_BUCKET, MIN_ACCOUNTS_FOR_BUCKETS, billing_partitions, billing_schema

SEVENTH = date(2026, 3, 7)
BUCKETS = MIN_ACCOUNTS_FOR_BUCKETS // ACCOUNTS_PER_BUCKET


@pytest.mark.parametrize(
    ("number", "name", "transform"),
    [
        (1, "account", "identity"),
        (MIN_ACCOUNTS_FOR_BUCKETS - 1, "account", "identity"),
        (MIN_ACCOUNTS_FOR_BUCKETS, "account_bucket", f"bucket[{BUCKETS}]"),
        (MIN_ACCOUNTS_FOR_BUCKETS + 1, "account_bucket", f"bucket[{BUCKETS + 1}]"),
    ],
)
def test_partitions_are_shared_from_a_number_of_accounts_on(number, name, transform):
    by_account, by_month = billing_partitions(billing_schema(), number).fields
    assert (by_account.name, str(by_account.transform)) == (name, transform)
    assert (by_month.name, str(by_month.transform)) == ("month", "month")


def change_and_export(copied):
    copied.vendor.dataset.replace([*charges(SEVENTH, 2, "0.3"), *charges(date(2026, 3, 9), 3)])
    copied.sync()
    assert copied.export().rows > 0
    assert copied.lake() == copied.view()


def test_a_lake_of_many_accounts_equals_the_view(sqlite_url, sandbox, tmp_path):
    copied = synced_copy(sqlite_url, sandbox, tmp_path)
    more = [
        {"label": f"shop-{number}", "created_at": MORNING, "timezone": "Europe/Moscow"}
        for number in range(MIN_ACCOUNTS_FOR_BUCKETS)
    ]
    with copied.engine.begin() as connection:
        connection.execute(insert(accounts), more)
    copied.export()
    assert copied.table().spec().fields[0].name == "account_bucket"
    assert copied.lake() == copied.view()
    change_and_export(copied)


def test_days_in_files_of_earlier_partitions_are_replaced(sqlite_url, sandbox, tmp_path):
    copied = exported_copy(sqlite_url, sandbox, tmp_path)
    with copied.table().update_spec() as update:
        update.remove_field("account")
        update.add_field("account", BucketTransform(4), "account_bucket")
    change_and_export(copied)
    used = {task.file.spec_id for task in copied.table().scan().plan_files()}
    assert used == {0, copied.table().spec().spec_id}, "January is in files of the earlier partitions"
