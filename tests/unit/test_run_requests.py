"""Validation of run requests."""

from __future__ import annotations

from datetime import date

import pytest

from etl.errors import ConfigError
from etl.services.run import RunRequest

DAY = date(2026, 3, 10)


@pytest.mark.parametrize("command", ["backfill", "accept"])
@pytest.mark.parametrize("days", [(), (DAY,), (None, DAY)])
def test_a_command_that_requires_days_refuses_a_request_without_days(command, days):
    with pytest.raises(ConfigError, match=f"{command} needs a first and a last day"):
        RunRequest(command, *days).span()
    assert RunRequest(command, DAY, DAY).span() == (DAY, DAY)
