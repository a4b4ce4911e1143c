"""An account whose vendor has corrected its records since the last sync, so that a run makes every kind of change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL
from support.crash_invariants import TODAY, Account

from etl.sandbox import Dataset, Sandbox


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    """The vendor; the clock is long after TODAY, so every day is over."""
    with Sandbox(port=0, dataset=Dataset(seed=1, today=TODAY, days=1)) as sandbox:
        yield sandbox


@pytest.fixture
def account(database_url: URL, vendor: Sandbox, tmp_path: Path) -> Account:
    """An empty account on each of the three databases in turn."""
    return Account(database_url, vendor, tmp_path)


@pytest.fixture(scope="session")
def records() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The vendor's records, and its corrected records; both with repeats."""
    dataset = Dataset(seed=7, today=TODAY, days=7, per_day=30)
    old = dataset.records
    old += [dict(record) for record in old[::15]]
    dataset.replace(old)
    dataset.revise()
    new = dataset.records
    return old, [record for number, record in enumerate(new) if number % 37] + [dict(record) for record in new[::41]]
