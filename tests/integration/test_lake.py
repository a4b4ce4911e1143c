"""The lake equals the view, whatever happened since the last export, and an export that is killed doubles nothing."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from support.run_helpers import SILENT, settings_of

pytest.importorskip("pyiceberg", reason="the extra lake is not installed")

import pyarrow.parquet as pq

from etl.db.engine import new_engine
from etl.errors import ConfigError
from etl.lake.catalogue import open_lake
from etl.services.accounts import delete_account, rename_account
from etl.services.erase import erase_number
from etl.services.lake import export_to_lake
from etl.services.numbering import import_plan
from etl.services.purge import RetentionAge, purge_account
from etl.services.run import RunRequest
from etl.services.sync import run_sync

FIRST, JANUARY, NINTH, TODAY = date(2026, 1, 29), date(2026, 1, 31), date(2026, 3, 9), date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
COLUMNS = (
    "account",
    "created_at",
    "phone",
    "code_auth",
    "status",
    "status_info",
    "price",
    "repeats",
    "amount",
    "delivered",
)
PLANS = Path(__file__).parents[1] / "data" / "numbering"


def charges(day, count, price="0.2", phone="89243555100"):
    return [
        {
            "created_at": f"{day}T10:00:{second:02}",
            "code_auth": "0371",
            "status": 1,
            "status_info": "ok",
            "phone": phone,
            "price": Decimal(price),
        }
        for second in range(count)
    ]


class Copied:
    """Two accounts in one database, and their lake."""

    def __init__(self, url, vendor, folder):
        self.vendor, self.folder = vendor, folder / "lake"
        self.settings = [settings_of(url, vendor, FIRST, account=label) for label in ("shop", "office")]
        self.engine = new_engine(url)
        self.now = MORNING

    def sync(self, command="sync", day=None):
        self.now += timedelta(minutes=1)
        for settings in self.settings:
            request = RunRequest(command, day, day)
            done = run_sync(settings, request, SILENT, redact=str, exit_code_of=lambda _: 0, clock=lambda: self.now)
            assert done.error is None

    def export(self, *labels, **options):
        return export_to_lake(self.settings, labels, self.folder, None, **options)

    def execute(self, statement):
        with self.engine.begin() as connection:
            connection.execute(text(statement))

    def view(self):
        with self.engine.connect() as connection:
            rows = connection.execute(text(f"SELECT {', '.join(COLUMNS)} FROM billing")).all()
        return sorted(map(normal, rows))

    def lake(self):
        """What a reader of Parquet finds in the files of the current snapshot."""
        files = [
            urlsplit(task.file.file_path).path for task in open_lake(self.folder, None).billing.scan().plan_files()
        ]
        rows = [row for file in files for row in pq.ParquetFile(file).read(columns=list(COLUMNS)).to_pylist()]
        return sorted(normal([row[name] for name in COLUMNS]) for row in rows)

    def data_files(self):
        return {path for path in self.folder.rglob("*") if path.suffix in {".parquet", ".avro"}}


def normal(row):
    account, created_at, *others, price, repeats, amount, delivered = row
    amounts = [Decimal(str(value)).quantize(Decimal("0.000001")) for value in (price, amount)]
    return (account, str(created_at)[:19], *others, *amounts, int(repeats), bool(delivered))


def copy(url, sandbox, folder):
    made = Copied(url, sandbox, folder)
    sandbox.dataset.replace([*charges(JANUARY, 3), *charges(NINTH, 3), *charges(NINTH, 2), *charges(TODAY, 1)])
    made.sync()
    result = made.export()
    assert (result.rows, [account.days for account in result.accounts]) == (14, [42, 42])
    assert made.lake() == made.view()
    return made


@pytest.fixture
def copied(database_url, sandbox, tmp_path):
    return copy(database_url, sandbox, tmp_path)


@pytest.fixture
def copied_sqlite(sqlite_url, sandbox, tmp_path):
    """For what does not depend on the database."""
    return copy(sqlite_url, sandbox, tmp_path)


def test_an_export_writes_what_changed_and_the_lake_equals_the_view(copied):
    assert (copied.export().rows, {path.parent.name for path in copied.data_files()}) == (
        0, {"metadata", "month=2026-01", "month=2026-03"},
    )  # fmt: skip
    late, corrected, withdrawn = charges(date(2026, 3, 8), 1, "1.5"), charges(NINTH, 3, "0.300001"), charges(TODAY, 1)
    for number, records in enumerate(([*charges(NINTH, 3), *late], [*corrected, *late], [*charges(NINTH, 2), *late])):
        copied.vendor.dataset.replace([*charges(JANUARY, 3), *records, *withdrawn])
        copied.sync()
        result = copied.export()
        assert (sum(account.days for account in result.accounts) > 0, copied.lake()) == (True, copied.view()), number

    erase_number(copied.settings[0], "+79243555100", wait=0)
    copied.export()
    assert copied.lake() == copied.view()
    assert {row[2] for row in copied.lake() if row[0] == "shop"} == {"forgotten"}

    age = RetentionAge(1, "m")
    purge_account(copied.settings[1], age, explicit_account=True, dry_run=False, wait=0, clock=lambda: copied.now)
    assert copied.export("office").rows == 0
    assert copied.lake() == copied.view()


def test_renamed_and_deleted_accounts_leave_the_lake(copied_sqlite):
    rename_account(copied_sqlite.engine, "shop", "store", wait=0)
    assert copied_sqlite.export().removed == ["shop"]
    assert copied_sqlite.lake() == copied_sqlite.view()
    for old, new in (("store", "spare"), ("office", "store"), ("spare", "office")):
        rename_account(copied_sqlite.engine, old, new, wait=0)
    copied_sqlite.export()
    assert copied_sqlite.lake() == copied_sqlite.view(), "two labels changed places"
    for old, new in (("office", "spare"), ("store", "office"), ("spare", "store")):
        rename_account(copied_sqlite.engine, old, new, wait=0)
    copied_sqlite.export()
    delete_account(copied_sqlite.engine, "store", wait=0, clock=lambda: copied_sqlite.now)
    copied_sqlite.vendor.dataset.add(charges(date(2026, 3, 7), 1))
    copied_sqlite.sync()  # an account of the old label begins anew, with low revisions
    assert copied_sqlite.export().removed == ["store"]
    assert copied_sqlite.lake() == copied_sqlite.view()
    assert {row[0] for row in copied_sqlite.lake()} == {"shop", "office"}


def test_rows_that_are_not_those_of_the_ledger_are_refused_and_other_accounts_exported(copied):
    copied.vendor.dataset.add(charges(date(2026, 3, 7), 1))
    copied.sync()
    before = copied.lake()
    copied.execute(
        "UPDATE billing_records SET price = '7' WHERE created_at = '2026-03-07 10:00:00' AND account_id = "
        "(SELECT id FROM accounts WHERE label = 'shop')"
    )
    result = copied.export()
    (refused,) = result.refused
    assert str(refused) == (
        "the records of 2026-03-07 do not add up to the day ledger, and nothing of shop is exported; "
        "billing-etl backfill --since 2026-03-07 --until 2026-03-07 --account shop repairs it"
    )
    assert [row for row in copied.lake() if row[0] == "shop"] == [row for row in before if row[0] == "shop"]
    copied.sync("backfill", date(2026, 3, 7))
    assert copied.export().refused == []
    assert copied.lake() == copied.view()


def test_old_snapshots_are_removed_with_the_files_that_only_they_used(copied_sqlite):
    erase_number(copied_sqlite.settings[0], "+79243555100", wait=0)
    erase_number(copied_sqlite.settings[1], "+79243555100", wait=0)
    now = datetime.now(UTC)
    assert copied_sqlite.export(expire=timedelta(days=30), now=now).expired_files == 0
    old = [path for path in copied_sqlite.data_files() if b"9243555100" in path.read_bytes()]
    assert old, "old snapshots have the number still"
    assert copied_sqlite.export(expire=timedelta(days=30), now=now + timedelta(days=31)).expired_files > 0
    assert [path for path in copied_sqlite.data_files() if b"9243555100" in path.read_bytes()] == []
    assert copied_sqlite.lake() == copied_sqlite.view()


KILLED = """
import os, sys
from pathlib import Path
from pyiceberg.catalog.sql import SqlCatalog
from etl.config.database_url import parse_url
from etl.services.lake import export_to_lake
from support.run_helpers import settings_of
from etl.sandbox import Sandbox
from datetime import date

SqlCatalog.commit_table = lambda *_: os.kill(os.getpid(), 9)
settings = settings_of(parse_url(sys.argv[1]), Sandbox(), date(2026, 1, 29), account="shop")
export_to_lake([settings], (), Path(sys.argv[2]), None)
"""


def test_a_kill_between_data_and_commit_doubles_and_loses_nothing(copied_sqlite):
    copied_sqlite.vendor.dataset.add(charges(date(2026, 3, 7), 2))
    copied_sqlite.sync()
    before, files = copied_sqlite.lake(), copied_sqlite.data_files()
    url = copied_sqlite.settings[0].database_url.render_as_string(hide_password=False)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(copied_sqlite.folder)],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (killed.returncode, killed.stderr) == (-9, "")
    assert (copied_sqlite.lake(), copied_sqlite.data_files() > files) == (before, True)
    assert copied_sqlite.export().rows > 0
    assert copied_sqlite.lake() == copied_sqlite.view()


def test_the_numbering_plan_is_a_table_of_its_own(copied_sqlite):
    before = open_lake(copied_sqlite.folder, None)
    assert len(before.numbering.scan().to_arrow()) == 0
    import_plan(copied_sqlite.settings[0], sorted(PLANS.glob("*-?xx.csv")))
    assert copied_sqlite.export().rows == 0, "it changes no day"
    table = open_lake(copied_sqlite.folder, None).numbering
    rows = {tuple(row.values()) for row in table.scan().to_arrow().to_pylist()}
    with copied_sqlite.engine.connect() as connection:
        stored = connection.execute(text("SELECT first_phone, last_phone, operator, region FROM numbering_ranges"))
        assert rows == set(map(tuple, stored))
    snapshots = len(table.metadata.snapshots)
    copied_sqlite.export()
    assert len(open_lake(copied_sqlite.folder, None).numbering.metadata.snapshots) == snapshots


def test_a_catalogue_that_cannot_be_opened_is_named_without_its_password(copied_sqlite):
    catalogue = "postgresql+psycopg://postgres:hidden@127.0.0.1:1/nothing"
    with pytest.raises(ConfigError, match=r"cannot be opened \(\w+\); see --catalogue") as caught:
        export_to_lake(copied_sqlite.settings, (), copied_sqlite.folder, catalogue)
    assert "hidden" not in str(caught.value)


def test_a_label_of_two_databases_is_refused(copied_sqlite, sandbox, tmp_path):
    other = copied_sqlite.settings[0].database_url.set(database=str(tmp_path / "other.db"))
    again = Copied(other, sandbox, tmp_path)
    again.settings = again.settings[:1]
    again.sync()
    with pytest.raises(ConfigError, match="the account shop is in two of the databases"):
        export_to_lake([copied_sqlite.settings[1], *again.settings], (), copied_sqlite.folder, None)
    assert copied_sqlite.lake() == copied_sqlite.view()
