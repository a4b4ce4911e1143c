"""The vendor at the current date, because units and cron lines have no other clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.secret_leaks import TOKEN

from etl.sandbox import Sandbox


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    """The vendor, with its own seeded records."""
    with Sandbox(port=0, token=TOKEN) as sandbox:
        yield sandbox
