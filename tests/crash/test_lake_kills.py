"""Exports to a lake that are killed at random times. KILLS sets the number of kills, for a longer search."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

pytest.importorskip("pyiceberg", reason="the extra lake is not installed")

from support.crash_injection import run_and_kill
from support.lake_copy import JANUARY, NINTH, charges, exported_copy

PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
def test_exports_killed_at_random_times_neither_lose_nor_double_rows(sqlite_url, sandbox, tmp_path, part):
    wanted = int(os.environ.get("KILLS", "12")) // PARTS
    random = Random(part)
    copied = exported_copy(sqlite_url, sandbox, tmp_path)
    variables = os.environ | {
        "BILLING_API_TOKEN": sandbox.token,
        "BILLING_API_URL": sandbox.url,
        "BILLING_DATABASE_URL": sqlite_url.render_as_string(),
    }

    def change():
        days = [NINTH - timedelta(days=number) for number in range(6)]
        listed = [charges(day, random.randint(1, 5), f"0.{random.randint(1, 999_999):06}") for day in days]
        sandbox.dataset.replace([*charges(JANUARY, 3), *(record for records in listed for record in records)])
        copied.sync()

    def export(**options):
        return run_and_kill(["-q", "export", "--out", str(copied.folder), "--lake"], variables, **options)

    change()
    done = export()
    assert (done.code, copied.lake()) == (0, copied.view()), done.output
    longest, landed, tries = done.seconds, 0, 0
    while landed < wanted:
        before = copied.lake()
        change()
        # Not at once, because the libraries are imported first.
        done = export(signum=signal.SIGKILL, after=random.uniform(longest / 3, longest))
        if done.code == 0:
            longest = done.seconds
        landed += done.code == -signal.SIGKILL and bool(done.points) and done.points[-1] != "end #1"
        assert copied.lake() in (before, copied.view()), "both accounts share a commit"
        tries += 1
        assert tries < 10 * wanted, f"only {landed} kills landed"
    copied.export(expire=timedelta(days=1), now=datetime.now(UTC) + timedelta(days=2))
    assert copied.lake() == copied.view()
    data = [str(path) for path in copied.files_left() if path.suffix == ".parquet"]
    assert sorted(data) == sorted(copied.files()), "no file of the killed exports remains"
