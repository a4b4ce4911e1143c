"""Commands that maintain a database, and the answers of all commands to a foreign database."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

SPAN = ("--until", "2025-03-10")


def execute(folder, sql):
    with closing(sqlite3.connect(folder / "billing.db")) as database:
        rows = database.execute(sql).fetchall()
        database.commit()
        return rows


@pytest.mark.fault(87)
def test_an_unknown_schema_is_refused_by_every_command_and_left_unchanged(synced, vendor):
    vendor.requests.clear()
    newer = (
        ("sync", *SPAN), ("sync", *SPAN, "--dry-run"), ("backfill", "--since", "2025-03-01", "--until", "2025-03-01"),
        ("accept", "2025-03-01"), ("verify",), ("status",), ("export", "--out", "x.csv"), ("migrate",),
        ("forget", "--phone", "+79000000000"), ("purge", "--older-than", "36m"), ("account", "list"),
        ("account", "rename", "default", "shop"), ("account", "retire", "default"), ("recent",),
        ("close", "2025-03"),
    )  # fmt: skip
    for revision, words, commands in (
        ("9999", "newer than that of this version", newer),
        ("a1b2c3d4e5f6", "none of billing-etl's", (("sync", *SPAN), ("status",), ("migrate",))),
    ):
        execute(synced.folder, f"UPDATE alembic_version SET version_num = '{revision}'")
        before = (synced.folder / "billing.db").read_bytes()
        for command in commands:
            done = synced(*command)
            assert (done.code, done.errors.count("\n"), words in done.errors) == (74, 1, True), (command, done)
        assert vendor.requests == []
        assert (synced.folder / "billing.db").read_bytes() == before
    assert words in synced("check").out
    assert synced("backup", "--out", "copy.db").code == 0


@pytest.mark.fault(87)
def test_another_programs_database_is_refused_by_every_command_and_left_unchanged(billing, vendor):
    with closing(sqlite3.connect(billing.folder / "billing.db")) as database:
        database.execute("CREATE TABLE accounts (id INT, name TEXT)")
    before = (billing.folder / "billing.db").read_bytes()
    for command in (
        ("sync", *SPAN), ("sync", *SPAN, "--dry-run"), ("backfill", "--since", "2025-03-01", "--until", "2025-03-01"),
        ("accept", "2025-03-01"), ("verify",), ("status",), ("export", "--out", "x.csv"), ("migrate",),
        ("forget", "--phone", "+79000000000"), ("purge", "--older-than", "36m"), ("account", "list"),
        ("balance",), ("close", "2025-03"),
    ):  # fmt: skip
        done = billing(*command)
        assert (done.code, "table accounts, none of billing-etl's" in done.errors) == (74, True), (command, done)
    assert vendor.requests == []
    done = billing("check")
    assert done.code == 1, done
    assert "✗ schema: the database belongs to another program" in done.out
    assert (billing.folder / "billing.db").read_bytes() == before


def test_the_meaning_of_dates_is_stored_and_a_change_reported_once(billing, vendor):
    assert billing("sync", *SPAN).code == 0
    vendor.dataset.reset()
    vendor.set_now(None)  # seeded records of the last days
    for end_date, code in (("inclusive", 0), ("inclusive", 0), ("exclusive", 1), ("exclusive", 0)):
        vendor.policies.end_date = end_date
        done = billing("check")
        assert done.code == code, done
        (line,) = [line for line in done.out.splitlines() if " dates: " in line]
        assert ("the end date is included" in line, "the end date is not included" in line) == (
            end_date == "inclusive" or bool(code),
            end_date == "exclusive",
        )


def test_check_writes_only_the_meaning_of_dates(synced, vendor):
    vendor.dataset.reset()
    vendor.set_now(None)
    before = "\n".join(dump(synced.folder))
    assert synced("check").code == 0
    after = "\n".join(dump(synced.folder))
    assert after != before
    execute(synced.folder, "UPDATE accounts SET dates_mean = NULL, dates_seen_at = NULL")
    assert "\n".join(dump(synced.folder)) == before


def dump(folder):
    with closing(sqlite3.connect(folder / "billing.db")) as database:
        return list(database.iterdump())


def test_an_account_is_listed_renamed_and_retired(synced):
    assert synced("account", "rename", "default", "shop").code == 0
    assert synced("account", "rename", "default", "shop2").code == 78
    for labels in (("shop", "shop"), ("shop", " x"), ("shop", "")):
        assert synced("account", "rename", *labels).code == 2
    listed = json.loads(synced("account", "list", "--json").out)["accounts"]
    assert [(account["account"], account["last_synced_date"], account["retired_at"]) for account in listed] == [
        ("shop", "2025-03-10", None)
    ]
    synced.variables["BILLING_ACCOUNT"] = "shop"
    assert synced("status", "--max-age", "1").code == 1
    assert synced("account", "retire", "shop").code == 0
    assert synced("status", "--max-age", "1").code == 0
    assert "retired since" in synced("status").out
    done = synced("sync", *SPAN)
    assert (done.code, "retired since" in done.out) == (0, True)
    assert synced("-q", "sync", *SPAN) == (0, "", "")
    done = synced("sync", *SPAN, "--account", "shop")
    assert (done.code, "account resume shop" in done.errors) == (78, True)
    assert synced("account", "resume", "shop").code == 0
    assert synced("sync", *SPAN, "--account", "shop").code == 0


def test_purge_reports_the_purged_months(synced):
    spend = execute(synced.folder, "SELECT * FROM monthly_spend")
    # The days of March that were never fetched keep it.
    done = synced("purge", "--older-than", "1m", "--json")
    (account,) = json.loads(done.out)["accounts"]
    assert (done.code, account["months"]) == (65, [])
    assert account["kept"] == [{"month": "2025-03-01", "reason": "2025-03-11 was never fetched"}]
    assert synced("account", "retire", "default").code == 0
    done = synced("purge", "--older-than", "1m", "--json")
    (account,) = json.loads(done.out)["accounts"]
    month = {"month": "2025-03-01", "billing_records": 30, "restatements": 0, "rejected_records": 0}
    assert (done.code, account["months"], account["kept"]) == (0, [month], []), done
    assert execute(synced.folder, "SELECT * FROM monthly_spend") == spend
    assert execute(synced.folder, "SELECT count(*) FROM billing") == [(0,)]
    done = synced("export", "--out", "march.csv", "--json")
    assert (json.loads(done.out)["purged_days"], "10 days were purged" in done.errors) == (10, True)
    assert "nothing before" in synced("purge", "--older-than", "1m").out
    assert synced("purge", "--older-than", "soon").code == 2
    assert synced("purge", "--older-than", "1m", "--account", "nobody").code == 78


def test_backup_reports_the_size_of_the_file(synced):
    done = synced("backup", "--out", "copy.db", "--json")
    document = json.loads(done.out)
    assert (done.code, document["bytes"]) == (0, (synced.folder / "copy.db").stat().st_size)
    assert synced("status", BILLING_DATABASE_URL="sqlite:///copy.db").out == synced("status").out
    done = synced("backup", "--out", "x.db", BILLING_DATABASE_URL="postgresql://u:s3cret@h/d")
    assert (done.code, "pg_dump" in done.errors, "s3cret" in done.errors) == (78, True, False)
