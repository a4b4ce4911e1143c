"""The vendor as it is on the day of the test: units and lines of cron know no other."""

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
