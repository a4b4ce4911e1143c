"""Environments of Dagster, Airflow, dbt and the readers of a lake, which `make dagster` and its like create.

Where one is not there, its tests are skipped and say why; REQUIRE_ENVIRONMENTS names those for which that is a failure.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]


def environment(name: str) -> Path:
    """The folder of the programs of an environment; without it the test is skipped, or fails where it is required."""
    if not (HOME / f".{name}" / "ready").exists():
        reason = f"run: make {name}"
        if name in os.environ.get("REQUIRE_ENVIRONMENTS", "").split():
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return HOME / f".{name}" / "bin"
