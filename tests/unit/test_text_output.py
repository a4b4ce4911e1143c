"""What is printed of data: as it is, whatever it looks like."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from etl.cli.tables import print_rows
from etl.cli.text_output import print_status
from etl.ops.status_query import AccountStatus

WORDS = ["[red]", "[/]", "[/red]", "[link=https://example.com]here[/link]", "[bold", r"\[x]", ":warning:", "[[1]]"]


@pytest.mark.parametrize("words", WORDS)
def test_a_table_shows_what_looks_like_markup(capsys, words):
    print_rows(f"Title {words}", ("day", "words"), [(date(2026, 3, 11), f"a {words} b")])
    out = capsys.readouterr().out
    assert f"Title {words}" in out
    assert f"a {words} b" in out


@pytest.mark.parametrize("words", [words for words in WORDS if len(words) < 12])  # what fits into a narrow column
def test_a_label_and_an_error_of_a_run_are_shown_as_they_are(capsys, words):
    counts = dict.fromkeys(("days", "new", "changed", "withdrawn", "unchanged", "rejected"), 0)
    run = {"started_at": datetime(2026, 3, 11, tzinfo=UTC), "command": "sync", "outcome": "failed", "error": words}
    print_status([AccountStatus(f"shop {words}", last_runs=[run | counts]), AccountStatus(f"new {words}")])
    out = capsys.readouterr().out
    assert f"Account shop {words}" in out
    assert f"new {words}: never synced" in out
    assert words in out.partition("Last runs")[2].partition("never synced")[0].removesuffix(f"new {words}: ")
