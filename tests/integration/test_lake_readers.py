"""DuckDB and ClickHouse read the same rows and sums from the lake as the views have, to the last digit."""

from __future__ import annotations

import json
import subprocess
from decimal import Decimal

import pytest
from sqlalchemy import text

pytest.importorskip("pyiceberg", reason="the extra lake is not installed")

from support.environments import HOME, environment
from support.lake_copy import COLUMNS, JANUARY, NINTH, TODAY, charges, exported_copy, normal

from etl.services.erase import erase_number
from etl.services.purge import RetentionAge, purge_account

READER = HOME / "tests" / "support" / "read_lake.py"


def read_by(engine, copied):
    """The rows, and the sums of each account and day, as the engine reads them."""
    table = copied.table()
    folder = f"{copied.folder}/billing/billing"
    metadata = table.metadata_location.partition(f"{folder}/")[2]
    request = {"folder": folder, "metadata": metadata, "files": copied.files(), "columns": COLUMNS}
    done = subprocess.run(
        [environment("lake-readers") / "python", READER, engine, json.dumps(request)],
        cwd=copied.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows, sums = json.loads(done.stdout)
    return sorted(map(normal, rows)), sorted(map(normal_sum, sums))


def normal_sum(row):
    account, day, records, spend = row
    return account, str(day), int(records), Decimal(str(spend)).quantize(Decimal("0.000001"))


def spend_by_day(copied):
    with copied.engine.connect() as connection:
        query = "SELECT account, day, records, spend FROM daily_spend WHERE records > 0 AND account IS NOT NULL"
        return sorted(normal_sum(row) for row in connection.execute(text(query)))


@pytest.mark.parametrize("engine", ["duckdb", "clickhouse"])
def test_an_engine_reads_the_same_rows_and_sums_as_the_views(engine, database_url, sandbox, tmp_path):
    environment("lake-readers")
    copied = exported_copy(database_url, sandbox, tmp_path)

    def check(what):
        copied.export()
        rows, sums = read_by(engine, copied)
        assert rows == copied.view(), what
        assert sums == spend_by_day(copied), what

    corrected = [*charges(JANUARY, 3), *charges(NINTH, 3, "0.300001"), *charges(TODAY, 1, "98765432109.876543")]
    copied.vendor.dataset.replace(corrected)
    copied.sync()
    check("corrected, and one withdrawn")
    copied.vendor.dataset.replace([*charges(JANUARY, 3), *charges(NINTH, 2, "0.300001", phone="89161112233")])
    copied.sync()
    check("withdrawn")
    erase_number(copied.settings[0], "+79161112233", wait=0)
    check("forgotten")
    purge_account(
        copied.settings[1], RetentionAge(1, "m"), explicit_account=True, dry_run=False, wait=0, clock=lambda: copied.now
    )
    # The views keep the totals of purged days; the rows are gone.
    copied.export()
    rows, _ = read_by(engine, copied)
    assert rows == copied.view()
