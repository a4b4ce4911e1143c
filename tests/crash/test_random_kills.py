"""Runs that are killed at random times, night after night, while the vendor changes its records.

A kill counts if it hits a run. KILLS sets the number of kills for each database, for a longer search.
"""

from __future__ import annotations

import os
import signal
from random import Random

import pytest

PARTS = 4
KILLS = {"sqlite": 100, "postgresql": 40, "mariadb": 40}
KILLS_IN_A_ROW = 5
"""Maximum number of kills before a run is left undisturbed."""


@pytest.mark.fault(104)
@pytest.mark.parametrize("part", range(PARTS))
def test_runs_killed_at_random_times_neither_lose_nor_double_rows(account, records, part):
    wanted = int(os.environ.get("KILLS", KILLS[account.engine.dialect.name])) // PARTS
    random = Random(part)
    old, new = records
    account.prepare(old, new)
    longest = account.sync().seconds
    landed = tries = 0
    while landed < wanted:
        account.rename()
        watermark = None
        for _ in range(random.randint(1, KILLS_IN_A_ROW)):
            account.set_records(random.sample(new, len(new) - random.randint(0, 3)))
            done = account.sync(signum=signal.SIGKILL, after=random.uniform(0, longest))
            landed += done.code == -signal.SIGKILL and bool(done.points) and done.points[-1] != "end #1"
            watermark = account.check_invariants(watermark)
        account.check_undisturbed_run(watermark)
        tries += 1
        assert tries < 10 * wanted, f"only {landed} kills landed"
