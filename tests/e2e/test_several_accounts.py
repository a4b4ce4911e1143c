"""Two accounts of one configuration in two databases: neither is left out, whatever happens to the other."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from etl.config.database_url import parse_url
from etl.db.engine import new_engine
from etl.db.lock import advisory_lock

PLAN = Path(__file__).parents[1] / "data" / "numbering"
LABELS = ("shop", "bank")


@pytest.fixture
def both(billing, vendor):
    """Runs a command for both accounts, which are synced."""
    lines = []
    for label in LABELS:
        token = f"t0ken-of-the-{label}"
        vendor.tokens.add(token)
        lines += [f"[accounts.{label}]", f'api_token = "{token}"', f'database_url = "sqlite:///{label}.db"']
    (billing.folder / "billing.toml").write_text("\n".join(lines))

    def run(*arguments):
        return billing("--config", "billing.toml", *arguments, BILLING_API_TOKEN=None)

    assert run("sync", "--until", "2025-03-10").code == 0
    return run


@pytest.mark.parametrize("command", ["export", "report"])
def test_an_export_of_two_databases_is_refused_and_of_one_is_complete(both, billing, command):
    file = {"export": "charges.csv", "report": "charges.html"}[command]
    done = both(command, "--out", file)
    assert (done.code, "name an account of one of them with --account" in done.errors) == (2, True), done
    assert file not in billing.files()
    for label in LABELS:
        done = both(command, "--out", file, "--account", label)
        assert (done.code, "30 " in done.out) == (0, True), done


def test_the_dashboard_shows_one_database(both):
    done = both("dashboard", "--port", "0")
    assert (done.code, "several databases are configured" in done.errors) == (2, True), done


def test_the_numbering_plan_is_imported_into_each_database(both, billing):
    assert both("numbering", "import", str(next(PLAN.glob("DEF*.csv")))).code == 0
    counts = []
    for label in LABELS:
        with closing(sqlite3.connect(billing.folder / f"{label}.db")) as connection:
            counts.append(connection.execute("SELECT COUNT(*) FROM numbering_ranges").fetchone()[0])
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("command", ["verify", "balance"])
def test_a_refused_token_of_one_account_does_not_stop_the_other(both, vendor, command):
    vendor.tokens.discard("t0ken-of-the-shop")
    done = both(command, "--json")
    documents = {document["account"]: document for document in json.loads(done.out)["accounts"]}
    bank, shop = documents["bank"], documents["shop"]
    assert (bank["exit_code"], bank["error"]) == (0, None)
    assert (shop["exit_code"], "refused the token" in shop["error"]) == (77, True)
    done = both(command)
    assert (done.code, "shop: the vendor refused the token" in done.errors) == (77, True)


@pytest.mark.parametrize(
    "command",
    [("close", "2025-03", "--provisional"), ("purge", "--older-than", "1m"), ("forget", "--phone", "89243555100")],
    ids=lambda command: command[0],
)
def test_a_locked_account_does_not_stop_the_other(both, billing, command):
    engine = new_engine(parse_url(f"sqlite:///{billing.folder / 'shop.db'}"))
    with advisory_lock(engine, "account-shop", wait=0):
        done = both(*command, "--json")
    bank, shop = json.loads(done.out)["accounts"]
    assert (bank["account"], "error" in bank) == ("bank", False)
    assert (shop["account"], shop["exit_code"]) == ("shop", 75)
    assert (done.code, "shop: another run of this account" in done.errors) == (75, True)


def test_status_shows_the_other_account_of_one_that_cannot_be_read(both, billing):
    (billing.folder / "shop.db").write_bytes(b"not a database" * 100)
    done = both("status", "--json")
    bank, shop = json.loads(done.out)["accounts"]
    assert (bank["account"], bank["records"]) == ("bank", 30)
    assert (shop["account"], shop["exit_code"], done.code) == ("shop", 74, 74)
    text = (billing.folder / "billing.toml").read_text()
    (billing.folder / "billing.toml").write_text(text.replace("[accounts.shop]", "[accounts.shop]\nlookback_days = -1"))
    for command, shown in ("status", "bank"), ("runs", "sync"), ("rejected", "no rejected"), ("account list", "bank"):
        done = both(*command.split())
        assert (done.code, "shop: " in done.errors, shown in done.out) == (78, True, True), done
