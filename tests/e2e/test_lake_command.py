"""`export --lake`: output, exit codes and incompatible options."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

pytest.importorskip("pyiceberg", reason="the extra lake is not installed")


def test_a_lake_export_writes_days_once_and_prints_their_number(synced):
    first = synced("export", "--out", "lake", "--lake")
    assert (first.code, first.out) == (0, "lake: 10 days of 1 account replaced, 30 rows\n"), first.errors
    assert (synced.folder / "lake").stat().st_mode & 0o077 == 0
    assert list((synced.folder / "lake").rglob("*.parquet")), "in this folder, despite special characters in its path"
    again = synced("export", "--out", "lake", "--lake", "--expire", "30d", "--json")
    document = json.loads(again.out)
    revision = document["accounts"][0].pop("revision")
    assert revision > 0
    assert document == {
        "path": "lake", "accounts": [{"account": "default", "days": 0}], "rows": 0, "removed": [], "refused": [],
        "expired_files": 0, "exit_code": 0,
    }  # fmt: skip


def test_a_day_that_differs_from_the_ledger_exits_65(synced):
    with closing(sqlite3.connect(synced.folder / "billing.db")) as connection:
        connection.execute("DELETE FROM billing_records WHERE created_at = '2025-03-04 10:00:00.000000'")
        connection.execute("DELETE FROM billing_records WHERE created_at = '2025-03-04 10:00:00'")
        connection.commit()
    done = synced("export", "--out", "lake", "--lake")
    assert (done.code, "the records of 2025-03-04 do not add up to the day ledger" in done.errors) == (65, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lake", "--since", "2025-03-01"], "leave other options out"),
        (["--lake", "--anonymise"], "leave other options out"),
        (["--expire", "30d"], "are for --lake"),
        (["--lake", "--expire", "1m"], "a number of days, like 30d"),
    ],
)
def test_incompatible_options_are_a_usage_error(synced, options, message):
    done = synced("export", "--out", "lake", *options)
    assert (done.code, message in done.errors) == (2, True), done.errors


def test_a_file_in_place_of_the_folder_is_named(synced):
    (synced.folder / "lake").write_text("")
    done = synced("export", "--out", "lake", "--lake")
    assert (done.code, "--out lake must be a folder" in done.errors) == (78, True), done.errors


def test_a_missing_library_names_the_extra(synced):
    (synced.folder / "pyiceberg.py").write_text("raise ImportError")
    done = synced.interpret("export", "--out", "lake", "--lake")
    assert (done.code, "pip install 'billing-etl[lake]'" in done.errors) == (78, True), done
