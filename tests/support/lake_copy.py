"""Two accounts in one database, their lake, and the rows that readers find in it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import pyarrow.parquet as pq
from pyiceberg.avro.file import AvroFile
from sqlalchemy import text

from etl.lake.catalogue import open_lake
from etl.lake.schema import BILLING_COLUMNS
from etl.services.lake import export_to_lake
from etl.services.run import RunRequest
from etl.services.sync import run_sync
from support.engines import open_engine
from support.run_helpers import NO_PROGRESS, settings_of

FIRST, JANUARY, NINTH, TODAY = date(2026, 1, 29), date(2026, 1, 31), date(2026, 3, 9), date(2026, 3, 11)
MORNING = datetime(2026, 3, 11, 6, 30, tzinfo=UTC)
LABELS = ("shop", "office")
COLUMNS = tuple(BILLING_COLUMNS)


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


class LakeCopy:
    """Two accounts in one database, and their lake."""

    def __init__(self, url, vendor, folder):
        self.vendor, self.folder = vendor, folder / "the lake"
        self.settings = [settings_of(url, vendor, FIRST, account=label) for label in LABELS]
        self.engine = open_engine(url)
        self.now = MORNING

    def sync(self, command="sync", day=None):
        self.now += timedelta(minutes=1)
        for settings in self.settings:
            request = RunRequest(command, day, day)
            done = run_sync(settings, request, NO_PROGRESS, redact=str, clock=lambda: self.now)
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

    def table(self):
        return open_lake(self.folder, None).billing

    def files(self):
        """The files of the current snapshot, as PyIceberg plans a scan."""
        return [urlsplit(task.file.file_path).path for task in self.table().scan().plan_files()]

    def lake(self):
        """The rows in the Parquet files of the current snapshot."""
        rows = [row for file in self.files() for row in pq.ParquetFile(file).read(columns=list(COLUMNS)).to_pylist()]
        return sorted(normal([row[name] for name in COLUMNS]) for row in rows)

    def files_left(self):
        """Data files and manifests on the disk, including those of no snapshot."""
        return {path for path in self.folder.rglob("*") if path.suffix in {".parquet", ".avro"}}

    def files_that_hold(self, phone):
        """Files on the disk that contain a phone in a row or in the bounds of a column, after decompression."""
        return sorted(path for path in self.files_left() if phone in content_of(path))


def content_of(path):
    """The content of a data file or a manifest, as text."""
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        return f"{file.read().to_pylist()} {file.metadata.to_dict()}"
    from pyiceberg.io.pyarrow import PyArrowFileIO

    with AvroFile(PyArrowFileIO().new_input(str(path))) as records:
        return str(list(records))


def normal(row):
    """A row in one form for all databases, drivers and engines."""
    values = dict(zip(COLUMNS, row, strict=True))
    for name in ("created_at", "created_at_utc", "first_seen_at", "updated_at", "day"):
        stamp = str(values[name]).removesuffix("+00:00")
        values[name] = stamp.rstrip("0").rstrip(".") if "." in stamp else stamp
    for name in ("price", "amount"):
        values[name] = Decimal(str(values[name])).quantize(Decimal("0.000001"))
    values["status"], values["repeats"] = int(values["status"]), int(values["repeats"])
    values["delivered"] = bool(values["delivered"])
    return tuple(values.values())


def synced_copy(url, vendor, folder):
    """Two synced accounts without a lake."""
    made = LakeCopy(url, vendor, folder)
    vendor.dataset.replace([*charges(JANUARY, 3), *charges(NINTH, 3), *charges(NINTH, 2), *charges(TODAY, 1)])
    made.sync()
    return made


def exported_copy(url, vendor, folder):
    """Two synced accounts, exported to their lake."""
    made = synced_copy(url, vendor, folder)
    result = made.export()
    assert (result.rows, [account.days for account in result.accounts.values()]) == (14, [42, 42])
    assert made.lake() == made.view()
    return made
