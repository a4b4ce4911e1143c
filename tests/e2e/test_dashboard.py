"""The dashboard: its server, its page in a real browser, and its end."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
from contextlib import closing
from html import unescape
from urllib.parse import quote

import pytest
from support.external_tools import tool

from etl.reports.charts.catalog import all_charts

HOSTILE = "<img src=x onerror=\"document.title='ran'\">"


@pytest.fixture
def hostile(billing):
    """An account whose label is a script."""
    done = billing("sync", "--until", "2025-03-10", BILLING_ACCOUNT=HOSTILE)
    assert done.code == 0, done
    return billing


@pytest.fixture
def served(hostile):
    """A dashboard on a free port; yields its address."""
    process = hostile.start("dashboard", "--port", "0")
    line = process.stdout.readline()
    match = re.fullmatch(r"dashboard: (http://127\.0\.0\.1:\d+)/ \(Ctrl\+C ends it\)\n", line)
    assert match, line
    return process, match[1]


def drawn_by_chromium(address, folder):
    """The elements of the drawn page, in a browser that can reach no other host."""
    command = [
        tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", f"--user-data-dir={folder / 'chromium'}",
        "--virtual-time-budget=20000", "--dump-dom", address,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout


def test_every_chart_is_drawn_offline_and_no_text_is_executed(served, hostile, tmp_path):
    process, address = served
    page = drawn_by_chromium(f"{address}/?account={quote(HOSTILE)}&since=2025-03-02", tmp_path)
    assert "<title>Telefon-IP charges, Sun 2 Mar" in page
    elements = re.sub(r'="[^"]*"', "", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    assert "<select name>" in elements
    assert "<img" not in elements
    drawn = {"spend_by_day", "spend_by_channel", "weekday_and_hour", "day_states", "freshness"}
    assert drawn <= {chart.name for chart in all_charts()}
    for name in drawn:
        assert re.search(rf'id="{name}"[^>]* data-drawn="yes"', page), name
    chosen = re.search(r'<option selected="" value="([^"]*)">', page)
    assert chosen
    assert unescape(chosen[1]) == HOSTILE
    process.send_signal(signal.SIGTERM)
    done = hostile.finish(process)
    assert (done.code, done.errors) == (143, "billing-etl: stopped by SIGTERM\n")


def test_a_snapshot_is_kept_and_another_file_is_not_replaced(hostile):
    process = hostile.start("dashboard", "--port", "0", "--snapshot", "figures.db")
    assert process.stdout.readline().startswith("dashboard: http://127.0.0.1:")
    assert "restart for newer data" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert hostile.finish(process).code == 130
    with closing(sqlite3.connect(hostile.folder / "figures.db")) as snapshot:
        assert snapshot.execute("SELECT SUM(records) FROM daily_spend").fetchone() == (30,)
    before = (hostile.folder / "billing.db").read_bytes()
    done = hostile("dashboard", "--port", "0", "--snapshot", "billing.db")
    assert (done.code, "is not a snapshot; name another file" in done.errors) == (78, True)
    assert (hostile.folder / "billing.db").read_bytes() == before


def test_other_hosts_are_allowed_only_by_an_option(billing):
    done = billing("dashboard", "--host", "0.0.0.0")
    assert (done.code, "without a password; add --to-anyone" in done.errors) == (2, True)
    done = billing("dashboard")
    assert (done.code, done.errors) == (74, "billing-etl: there is no database yet; run: billing-etl sync\n")
