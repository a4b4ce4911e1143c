"""Two accounts of one configuration in two databases: no command takes one database for both."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

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

    assert run("sync").code == 0
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
