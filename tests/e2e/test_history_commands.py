"""`runs` and `rejected` on the command line."""

from __future__ import annotations

import json
import sqlite3

SPAN = ("--until", "2025-03-10")
RUN_KEYS = {
    "id", "account", "command", "program_version", "started_at", "finished_at", "seconds", "outcome", "exit_code",
    "error", "first_day", "last_day", "sources", "days", "new", "changed", "withdrawn", "unchanged", "rejected",
    "suspect_days",
}  # fmt: skip
PHONE = "9243555100"


def of_json(done):
    return json.loads(done.out)


def lists_bad_records(vendor, records_on, *days):
    vendor.dataset.add([records_on(day, 1)[0] | {"price": "much"} for day in days])


# --- runs -------------------------------------------------------------------------------------------------------------


def test_runs_lists_the_requested_number_newest_first(synced, vendor):
    synced("sync", *SPAN)
    vendor.faults.add("status", status=503, times=None)
    synced("backfill", "--since", "2025-03-09", "--until", "2025-03-10")
    shown = of_json(synced("runs", "--json"))
    assert [(run["id"], run["command"], run["outcome"], run["exit_code"]) for run in shown["runs"]] == [
        (3, "backfill", "failed", 69), (2, "sync", "done", 0), (1, "sync", "done", 0),
    ]  # fmt: skip
    first = shown["runs"][-1]
    assert first.keys() == RUN_KEYS
    assert (first["account"], first["days"], first["new"], first["last_day"]) == ("default", 10, 30, "2025-03-10")
    assert first["seconds"] >= 0
    assert [run["id"] for run in of_json(synced("runs", "--last", "1", "--json"))["runs"]] == [3]
    text = synced("runs").out
    assert text.index("backfill") < text.index("sync")
    assert f"run 3: {shown['runs'][0]['error']}" in text


def test_runs_lists_twenty_by_default(synced):
    with sqlite3.connect(synced.folder / "billing.db") as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(sync_runs)") if row[1] != "id"]
        columns = ", ".join(f'"{name}"' for name in names)
        for _ in range(24):
            connection.execute(f"INSERT INTO sync_runs ({columns}) SELECT {columns} FROM sync_runs WHERE id = 1")
    connection.close()
    assert [run["id"] for run in of_json(synced("runs", "--json"))["runs"]] == list(range(25, 5, -1))
    assert len(of_json(synced("runs", "--last", "22", "--json"))["runs"]) == 22


def test_a_run_shows_its_changes_with_masked_phones_and_no_codes(synced, vendor, records_on):
    records = [record for record in vendor.dataset.records if not record["created_at"].startswith("2025-03-09")]
    ninth = records_on("2025-03-09", 3)
    vendor.dataset.replace([*records, ninth[0] | {"price": "0.5"}, *ninth[1:], *records_on("2025-03-10", 4)[3:]])
    synced("sync", *SPAN)
    shown = of_json(synced("runs", "2", "--json"))
    assert shown["run"]["changed"] == 1
    assert shown["changed_days"] == [
        {
            "day": "2025-03-09", "delta": "0.300000",
            "lines": [
                {
                    "kind": "corrected", "created_at": "2025-03-09T10:00:00", "phone": "+7924*****00",
                    "delta": "0.300000",
                },
            ],
        },
        {
            "day": "2025-03-10", "delta": "0.200000",
            "lines": [
                {"kind": "late", "created_at": "2025-03-10T10:00:03", "phone": "+7924*****00", "delta": "0.200000"},
            ],
        },
    ]  # fmt: skip
    text = synced("runs", "2").out
    for part in ("days 2025-03-04 to 2025-03-10", "corrected", "late", "+7924*****00", "10:00:03"):
        assert part in text
    for printed in (text, json.dumps(shown)):
        assert PHONE not in printed
        assert "0371" not in printed


def test_a_run_without_changes_of_complete_days_is_shown(synced):
    done = synced("runs", "1")
    assert (done.code, "no day that was complete before has changed" in done.out) == (0, True)
    assert of_json(synced("runs", "1", "--json"))["changed_days"] == []


def test_an_unknown_run_exits_1_with_a_message(synced):
    done = synced("runs", "99")
    assert (done.code, done.out) == (1, "")
    assert "there is no run 99" in done.errors
    assert synced("runs", "--last", "5", "1").code == 2
    for wrong in ("soon", "0", "1.5", "9" * 19, "9" * 30):
        done = synced("runs", wrong)
        assert (done.code, "must be a whole number from 1" in done.errors) == (2, True)


def test_the_history_without_a_database_is_empty_and_creates_none(billing):
    for command, key in (("runs", "runs"), ("rejected", "records")):
        done = billing(command, "--json")
        assert (done.code, of_json(done)) == (0, {key: [], "exit_code": 0})
        assert "there is no database yet" in done.errors
    assert (billing("runs", "1").code, billing("rejected", "--acknowledge", "1").code) == (1, 1)
    assert billing.files() == []


def test_runs_of_one_account_are_only_its_own(synced, vendor):
    second = "00000000-0000-4000-8000-00000000000b"
    vendor.tokens.add(second)
    synced("sync", *SPAN, BILLING_ACCOUNT="shop", BILLING_API_TOKEN=second)
    assert [run["account"] for run in of_json(synced("runs", "--json"))["runs"]] == ["shop", "default"]
    assert [run["id"] for run in of_json(synced("runs", "--account", "default", "--json"))["runs"]] == [1]
    assert synced("runs", "2", "--account", "default").code == 1
    assert synced("runs", "2").code == 0


# --- rejected ---------------------------------------------------------------------------------------------------------


def test_rejected_shows_each_record_with_its_reason_and_no_payload(synced, vendor, records_on):
    assert "no rejected records" in synced("rejected").out
    lists_bad_records(vendor, records_on, "2025-03-09", "2025-03-10")
    assert synced("sync", *SPAN).code == 65
    shown = of_json(synced("rejected", "--json"))
    assert [(row["id"], row["account"], row["day"], row["reason"]) for row in shown["records"]] == [
        (1, "default", "2025-03-09", "price is not a number"), (2, "default", "2025-03-10", "price is not a number"),
    ]  # fmt: skip
    assert {row["acknowledged_at"] for row in shown["records"]} == {None}
    assert shown["records"][0].keys() == {"id", "account", "day", "reason", "first_seen_at", "acknowledged_at"}
    text = synced("rejected").out
    assert "rejected_records.payload" in text
    for printed in (text, json.dumps(shown)):
        assert PHONE not in printed
        assert "much" not in printed


def test_an_acknowledged_record_is_listed_separately_and_no_longer_causes_65(synced, vendor, records_on):
    lists_bad_records(vendor, records_on, "2025-03-09", "2025-03-10")
    assert synced("sync", *SPAN).code == 65

    done = synced("rejected", "--acknowledge", "1")
    assert (done.code, "1 acknowledged" in done.out) == (0, True)
    sync = synced("sync", *SPAN)
    assert (sync.code, "2 rejected, 1 acknowledged" in sync.out) == (65, True)
    assert "2, 1 acknowledged" in synced("status").out

    assert of_json(synced("rejected", "--acknowledge", "1", "2", "--json"))["newly_acknowledged"] == 1
    sync = synced("sync", *SPAN, "--json")
    (account,) = of_json(sync)["accounts"]
    assert (sync.code, account["rejected"], account["acknowledged"]) == (0, 2, 2)
    (account,) = of_json(synced("status", "--json"))["accounts"]
    assert (account["rejected"], account["acknowledged"], account["last_run"]["outcome"]) == (2, 2, "done")
    assert synced("-q", "sync", *SPAN).out == ""


def test_acknowledging_twice_changes_nothing(synced, vendor, records_on):
    lists_bad_records(vendor, records_on, "2025-03-09")
    synced("sync", *SPAN)
    first = of_json(synced("rejected", "--acknowledge", "1", "--acknowledge", "1", "--json"))
    again = of_json(synced("rejected", "--acknowledge", "1", "--json"))
    assert (first["newly_acknowledged"], again["newly_acknowledged"]) == (1, 0)
    assert first["records"] == again["records"]
    assert first["records"][0]["acknowledged_at"] is not None
    assert "0 acknowledged, 1 were already" in synced("rejected", "--acknowledge", "1").out


def test_an_unknown_id_exits_1_and_acknowledges_none(synced, vendor, records_on):
    lists_bad_records(vendor, records_on, "2025-03-09")
    synced("sync", *SPAN)
    done = synced("rejected", "--acknowledge", "1", "--acknowledge", "7")
    assert (done.code, done.out) == (1, "")
    assert "there is no rejected record 7" in done.errors
    assert of_json(synced("rejected", "--json"))["records"][0]["acknowledged_at"] is None
    assert synced("rejected", "1").code == 2


# --- several databases ------------------------------------------------------------------------------------------------


def test_an_id_requires_the_account_with_several_databases(billing, vendor, records_on):
    vendor.tokens.add(second := "00000000-0000-4000-8000-00000000000b")
    (billing.folder / "billing.toml").write_text(
        f"[accounts.one]\napi_token = '{billing.variables['BILLING_API_TOKEN']}'\ndatabase_url = 'sqlite:///one.db'\n"
        f"[accounts.two]\napi_token = '{second}'\ndatabase_url = 'sqlite:///two.db'\n"
    )
    lists_bad_records(vendor, records_on, "2025-03-09")
    config, alone = ("--config", "billing.toml"), {"BILLING_API_TOKEN": None}
    assert billing(*config, "sync", *SPAN, **alone).code == 65
    shown = of_json(billing(*config, "runs", "--json", **alone))["runs"]
    assert sorted((run["id"], run["account"]) for run in shown) == [(1, "one"), (1, "two")]
    assert [run["started_at"] for run in shown] == sorted((run["started_at"] for run in shown), reverse=True)
    for command in (("runs", "1"), ("rejected", "--acknowledge", "1")):
        done = billing(*config, *command, **alone)
        assert (done.code, "name its account with --account" in done.errors) == (1, True), done
        assert billing(*config, *command, "--account", "two", **alone).code == 0
    records = of_json(billing(*config, "rejected", "--json", **alone))["records"]
    assert [(row["account"], row["acknowledged_at"] is None) for row in records] == [("one", True), ("two", False)]
