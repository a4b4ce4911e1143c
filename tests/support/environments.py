"""Virtual environments of Dagster, Airflow, dbt and the readers of a lake; `make dagster` and the like create them.

Tests of a missing environment are skipped with the reason; for those named in REQUIRE_ENVIRONMENTS they fail.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]


def environment(name: str) -> Path:
    """The `bin` folder of an environment; if it is missing, the test is skipped, or fails if it is required."""
    if not (HOME / f".{name}" / "ready").exists():
        reason = f"run: make {name}"
        if name in os.environ.get("REQUIRE_ENVIRONMENTS", "").split():
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return HOME / f".{name}" / "bin"
