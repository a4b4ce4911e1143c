"""Tables and status lines print data literally, even if they look like markup."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from etl.cli.output import OutputOptions
from etl.cli.tables import print_rows
from etl.cli.text_output import print_status
from etl.ops.status_query import AccountStatus

MARKUP = ["[red]", "[/]", "[/red]", "[link=https://example.com]here[/link]", "[bold", r"\[x]", ":warning:", "[[1]]"]


@pytest.mark.parametrize("markup", MARKUP)
def test_a_table_prints_markup_literally(capsys, markup):
    print_rows(f"Title {markup}", ("day", "text"), [(date(2026, 3, 11), f"a {markup} b")])
    out = capsys.readouterr().out
    assert f"Title {markup}" in out
    assert f"a {markup} b" in out


@pytest.mark.parametrize("markup", [markup for markup in MARKUP if len(markup) < 12])  # what fits into a narrow column
def test_labels_and_errors_are_printed_literally(capsys, markup):
    counts = dict.fromkeys(("days", "new", "changed", "withdrawn", "unchanged", "rejected"), 0)
    run = {"started_at": datetime(2026, 3, 11, tzinfo=UTC), "command": "sync", "outcome": "failed", "error": markup}
    run |= counts | {"id": 1, "finished_at": None, "exit_code": None}
    print_status(OutputOptions(), [AccountStatus(f"shop {markup}", last_runs=[run]), AccountStatus(f"new {markup}")])
    out = capsys.readouterr().out
    assert f"Account shop {markup}" in out
    assert f"new {markup}: never synced" in out
    assert markup in out.partition("Last runs")[2].partition("never synced")[0].removesuffix(f"new {markup}: ")


@pytest.mark.parametrize(
    ("hours", "age"),
    [
        (0.1, "yesterday, the last day that is over"),
        (22.1, "yesterday, the last day that is over"),
        (24.0, "1 later day is over, and not complete"),
        (51.0, "2 later days are over, and not complete"),
    ],
)
def test_the_age_of_the_last_day_is_not_mistaken_for_that_of_the_last_run(capsys, hours, age):
    status = AccountStatus(
        "default",
        last_synced_date=date(2026, 11, 27),
        hours_behind=hours,
        last_success_at=datetime(2026, 11, 28, 19, 4, tzinfo=UTC),
    )
    print_status(OutputOptions(), [status])
    out = " ".join(capsys.readouterr().out.split())
    assert f"complete up to 2026-11-27 ({age})" in out
    assert "last success 2026-11-28 19:04 UTC" in out
