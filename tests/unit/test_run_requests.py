"""Run requests are validated; a result names each reason for a review."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from etl.errors import ConfigError
from etl.reconcile import BalanceSummary, ReconciliationPeriod
from etl.run_counts import RunCounts
from etl.services.run import RunRequest, SyncResult

DAY = date(2026, 3, 10)


@pytest.mark.parametrize("command", ["backfill", "accept"])
@pytest.mark.parametrize("days", [(), (DAY,), (None, DAY)])
def test_a_command_that_requires_days_refuses_a_request_without_days(command, days):
    with pytest.raises(ConfigError, match=f"{command} needs a first and a last day"):
        RunRequest(command, *days).span()
    assert RunRequest(command, DAY, DAY).span() == (DAY, DAY)


def test_each_reason_for_a_review_is_named():
    result = SyncResult("shop", "sync", dry_run=False)
    assert result.review_reasons() == []
    result.counts = RunCounts(
        rejected={"a", "b", "c"}, acknowledged={"a"}, suspect_days=[DAY], missing_days={date(2026, 3, 9): "no source"}
    )
    now = datetime(2026, 3, 11, tzinfo=UTC)
    charge, credit = (
        ReconciliationPeriod(now, now, *[Decimal(0)] * 4, unexplained=Decimal(amount)) for amount in ("-5", "7")
    )
    result.balance = BalanceSummary(Decimal(3), now, limit=Decimal(10), unexplained=(charge, credit))
    assert result.review_reasons() == [
        "2026-03-10 is suspect: its answer was implausible, the stored day was kept",
        "2026-03-09 is open: no source",
        "rejected records: 2",
        "the balance is low: 3, below 10",
        "the balance decreased by 5 without a record",
    ]
    result.balance = BalanceSummary(Decimal(30), now, unexplained=(credit,))
    assert len(result.review_reasons()) == 3, "a top-up is no reason"
