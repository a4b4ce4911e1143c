"""`balance`, and the balance in the output of `sync` and `status`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest
from click.testing import CliRunner

from etl.cli.app import cli

SPAN = ("--until", "2025-03-10")


def account_of(done):
    return json.loads(done.out)["accounts"][0]


def top_ups(billing):
    with closing(sqlite3.connect(billing.folder / "billing.db")) as connection:
        return connection.execute("SELECT amount FROM balance_top_ups").fetchall()


def test_a_rise_is_reported_with_a_command_and_a_hidden_charge_as_a_warning(synced, vendor):
    vendor.dataset.credit += Decimal("499.5")
    done = synced("sync", *SPAN)
    assert (done.code, "unexplained credit of 499.50" in done.out) == (0, True)
    command = done.out.split("to record a top-up: billing-etl ")[1].split()
    vendor.dataset.credit -= Decimal("0.000001")
    done = synced("sync", *SPAN)
    assert (done.code, "unexplained charge of 0.000001" in done.out) == (0, True)

    noted = account_of(synced(*command, "--json"))
    assert (noted["top_up"]["amount"], noted["exit_code"]) == ("499.50", 0)
    assert [pair["unexplained"] for pair in noted["unexplained"]] == ["-0.000001"]
    assert noted["pairs"][-1]["closing"] == noted["balance"] == f"{vendor.dataset.balance:.6f}"

    shown = synced("status").out
    assert "unexplained charge of 0.000001" in shown
    assert "unexplained credit" not in shown
    status = account_of(synced("status", "--json"))
    assert [pair["finding"] for pair in status["unexplained"]] == ["unexplained charge"]


def test_a_top_up_without_a_time_explains_a_past_or_later_rise(synced, vendor):
    vendor.dataset.credit += 500
    done = synced("balance", "--top-up", "500")
    assert (done.code, "unexplained credit" in done.out, "recorded: 500.00" in done.out) == (0, False, True)
    assert synced("balance", "--top-up", "20").code == 0
    vendor.dataset.credit += 20
    assert account_of(synced("balance", "--json"))["unexplained"] == []
    assert top_ups(synced) == [("500.000000",), ("20.000000",)]


def test_charges_without_a_stored_record_are_counted_and_not_stored(billing, vendor, records_on):
    today = vendor.now.date().isoformat()
    assert billing("sync", BILLING_START_DATE=today).code == 0
    vendor.dataset.add(records_on(today, 3))
    shown = account_of(billing("balance", "--json"))
    assert (shown["unexplained"], shown["pairs"][-1]["charged"]) == ([], "0.600000")
    synced = account_of(billing("sync", "--json", BILLING_START_DATE=today))
    assert (synced["new"], synced["unexplained"]) == (3, [])


def lines_of(done):
    return [line.strip() for line in done.out.splitlines()]


@pytest.mark.parametrize("paid_back", [True, False])
def test_a_suspect_day_causes_no_advice_on_top_ups_before_or_after_it_is_accepted(
    synced, vendor, records_on, paid_back
):
    vendor.dataset.add(records_on("2025-03-09", 1, "35.25"))
    assert synced("sync", *SPAN).code == 0
    vendor.dataset.replace(
        [record for record in vendor.dataset.records if not record["created_at"].startswith("2025-03-09")]
    )
    if not paid_back:
        vendor.dataset.credit -= Decimal("35.85")
    waits = "the balance proof is pending: 2025-03-09 suspect or incomplete (see billing-etl status)"
    for command, code in ((("sync", *SPAN), 65), (("balance",), 0), (("status",), 0)):
        done = synced(*command)
        assert (done.code, waits in lines_of(done)) == (code, True), done
        assert not any(word in done.out for word in ("an unexplained", "--top-up", "restated days")), done
        shown = account_of(synced(*command, "--json"))
        assert (shown["waits_for"], shown["unexplained"], shown["restated"]) == (["2025-03-09"], [], [])
    pairs = account_of(synced("balance", "--json"))["pairs"]
    assert (pairs[-1]["finding"], pairs[-1]["unexplained"]) == ("waits for days", None)

    assert synced("accept", "2025-03-09").code == 0
    vendor.dataset.add(records_on("2025-03-10", 5))
    done = synced("sync", *SPAN)
    assert (done.code, "unexplained" in done.out, "pending" in done.out) == (0, False, False), done
    assert ("restated days explain 35.85" in done.out) is not paid_back
    shown = account_of(synced("balance", "--json"))
    assert (shown["waits_for"], shown["unexplained"]) == ([], [])
    assert [pair["restated"] for pair in shown["restated"]] == ([] if paid_back else ["-35.850000"])


def test_a_top_up_is_listed_with_its_id_and_can_be_removed(synced, vendor):
    vendor.dataset.credit += 500
    noted = account_of(synced("balance", "--top-up", "500", "--json"))
    assert noted["unexplained"] == []
    [top_up] = noted["top_ups"]
    assert (top_up["amount"], type(top_up["id"])) == ("500.000000", int)
    assert str(top_up["id"]) in synced("balance").out.partition("Top-ups")[2].split()

    removed = account_of(synced("balance", "--remove-top-up", str(top_up["id"]), "--json"))
    assert (removed["removed_top_up"], removed["top_ups"], removed["exit_code"]) == (top_up, [], 0)
    assert [pair["unexplained"] for pair in removed["unexplained"]] == ["500.000000"]
    assert top_ups(synced) == []


def test_an_unknown_top_up_is_a_usage_error_that_names_the_existing_ones(synced, vendor):
    assert "default has no such top-up; it has none" in synced("balance", "--remove-top-up", "7").errors
    synced("balance", "--top-up", "5")
    [number] = [top_up["id"] for top_up in account_of(synced("balance", "--top-up", "6", "--json"))["top_ups"]][:1]
    vendor.requests.clear()
    done = synced("balance", "--remove-top-up", "12345")
    assert (done.code, f"it has {number}, {number + 1}" in done.errors) == (2, True)
    assert (vendor.requests, len(top_ups(synced))) == ([], 2)


def test_a_top_up_of_another_account_is_not_removed(synced):
    number = account_of(synced("balance", "--top-up", "5", "--json"))["top_ups"][0]["id"]
    other = {"BILLING_ACCOUNT": "other", "BILLING_API_TOKEN": "the-token-of-another-account"}
    with closing(sqlite3.connect(synced.folder / "billing.db")) as connection, connection:
        connection.execute("INSERT INTO accounts (label, created_at) VALUES ('other', '2026-03-01 00:00:00.000000')")
        connection.execute(
            "INSERT INTO sync_state (account_id, fence) SELECT id, 0 FROM accounts WHERE label = 'other'"
        )
    done = synced("balance", "--remove-top-up", str(number), **other)
    assert (done.code, "other has no such top-up; it has none" in done.errors) == (2, True), done
    assert len(top_ups(synced)) == 1


def test_a_low_balance_is_a_warning_also_with_q_and_not_a_failure(synced):
    low = {"BILLING_LOW_BALANCE": "99999.5"}
    for command in (("-q", "sync", *SPAN), ("-q", "balance"), ("status",)):
        done = synced(*command, **low)
        assert (done.code, "below BILLING_LOW_BALANCE (99999.50)" in done.out) == (0, True), done
    assert account_of(synced("sync", *SPAN, "--json", **low))["balance_is_low"] is True
    assert synced("-q", "sync", *SPAN, BILLING_LOW_BALANCE="-1").out == ""
    assert synced("sync", BILLING_LOW_BALANCE="a lot").code == 78


def test_a_failed_balance_request_is_the_exit_code_unless_a_top_up_changed(synced, vendor):
    """A scheduler that repeated the command after a 69 would record the payment twice."""
    vendor.faults.add("html", action="get_balance", times=None)
    done = synced("balance", "--top-up", "5")
    assert (done.code, "no snapshot was taken: an HTML page" in done.errors) == (0, True)
    assert top_ups(synced) == [("5.000000",)]
    done = synced("balance", "--remove-top-up", "1", "--json")
    assert (done.code, account_of(done)["removed_top_up"]["amount"], top_ups(synced)) == (0, "5.000000", [])
    assert "no snapshot was taken" in account_of(done)["error"]
    assert synced("balance").code == 69
    vendor.faults.clear()
    vendor.faults.add("status", status=403, times=None)
    assert synced("balance").code == 77


def test_a_run_does_not_wait_for_a_slow_balance_answer(synced, vendor):
    vendor.faults.add("drip_body", action="get_balance", seconds=0.4)  # it would be whole after half a minute
    done = synced("sync", *SPAN, BILLING_REQUEST_DEADLINE="120")
    assert (done.code, "the balance before this run is unknown: the only attempt, of at most 5 s" in done.errors) == (
        0,
        True,
    )


def test_balance_before_the_first_sync_exits_74(billing):
    done = billing("balance")
    assert (done.code, "run: billing-etl sync" in done.errors, billing.files()) == (74, True, [])


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--top-up", amount] for amount in ("0", "-5", "x", "1.0000001", "1234567890123", "1e3", "NaN", "1,5", "")),
        ["--at", "2026-03-11"],
        *(["--remove-top-up", number] for number in ("0", "-1", "x", "")),
        ["--remove-top-up", "1", "--top-up", "5"],
        ["--top-up", "5", "--at", "yesterday"],
    ],
    ids=" ".join,
)
def test_an_invalid_top_up_is_a_usage_error(arguments):
    result = CliRunner().invoke(cli, ["balance", *arguments])
    assert result.exit_code == 2, result.output
    assert len([line for line in result.output.splitlines() if line.startswith("Error: ")]) == 1


def test_a_top_up_in_the_future_is_a_usage_error(synced):
    done = synced("balance", "--top-up", "5", "--at", "2199-01-01")
    assert (done.code, "is in the future" in done.errors, top_ups(synced)) == (2, True, [])
