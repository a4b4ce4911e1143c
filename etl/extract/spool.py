"""Records by day, in memory or, if there are many, in a temporary file: an answer may exceed a small host's memory."""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from itertools import groupby, pairwise
from operator import attrgetter, itemgetter
from typing import BinaryIO, Final, NamedTuple

import msgspec

from etl.date_ranges import DateRange
from etl.errors import DiskFullError
from etl.model import DayRecords, Record, TimeSlice, day_bounds, single_slice_day

MAX_IN_MEMORY: Final = 300_000
"""Maximum number of records in memory; more are written to disk, in batches of this size."""
MAX_SLICE: Final = 50_000
"""Maximum number of records of a slice; larger days have several slices, of whole ten-minute buckets."""
BUCKET_PREFIX_LENGTH: Final = 15
"""Characters of `created_at` that name a bucket of ten minutes: its records are written and read together."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode
_created_at = attrgetter("created_at")
_date_prefix = itemgetter(slice(10))


@contextmanager
def disk_full_guard() -> Iterator[None]:
    """Translate the errors of writing temporary files.

    Raises:
        DiskFullError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
    else:
        return
    raise DiskFullError(
        f"a temporary file could not be written ({reason}); set TMPDIR to a folder with more free space"
    )


def _temporary_file() -> BinaryIO:
    return tempfile.TemporaryFile(prefix="billing-etl-")


class _Chunk(NamedTuple):
    """The position and number of some records of one ten-minute bucket in the file."""

    offset: int
    length: int
    records: int
    file: BinaryIO


class RecordSpool:
    """Stores records in any order and returns them by day. Its file is deleted with the last reference to it."""

    def __init__(
        self,
        *,
        max_in_memory: int = MAX_IN_MEMORY,
        max_slice: int = MAX_SLICE,
        open_file: Callable[[], BinaryIO] = _temporary_file,
    ) -> None:
        """Create an empty spool.

        Args:
            max_in_memory: Number of records above which they are written to the file.
            max_slice: Number of records above which a day has several slices.
            open_file: Opens the temporary file, for reading and writing.
        """
        self._max_in_memory = max_in_memory
        self._max_slice = max_slice
        self._open_file = open_file
        self._buffer: defaultdict[str, list[Record]] = defaultdict(list)
        self._chunks: defaultdict[str, defaultdict[str, list[_Chunk]]] = defaultdict(partial(defaultdict, list))
        self._file: BinaryIO | None = None
        # One thread may load a window while another one calls `days` for the next.
        self._lock = threading.Lock()

    def add(self, records: list[Record]) -> None:
        """Add records. Not to be called after the first read.

        Raises:
            DiskFullError: They do not fit in memory, and the disk is full.
        """
        if len(set(map(_date_prefix, map(_created_at, records)))) == 1:
            self._buffer[_day_of_record(records[0])] += records  # nearly always: answers are ordered by time
        else:
            for day, group in groupby(records, _day_of_record):
                self._buffer[day] += group
        if sum(map(len, self._buffer.values())) > self._max_in_memory:
            self._write_out()

    def days(self, window: DateRange) -> dict[date, DayRecords]:
        """Return the records of every day of a window.

        Raises:
            DiskFullError: The last batch cannot be written.
        """
        if self._file is None:
            return {day: single_slice_day(day, self._buffer.get(day.isoformat(), [])) for day in window.days()}
        self._write_out()
        return {day: self._day_records(day) for day in window.days()}

    def _write_out(self) -> None:
        with disk_full_guard(), self._lock:
            if self._file is None:
                self._file = self._open_file()
                weakref.finalize(self, self._file.close)
            offset = self._file.seek(0, 2)
            for day, records in self._buffer.items():
                records.sort(key=_created_at)
                for bucket, group in groupby(records, _time_bucket):
                    batch = list(group)
                    length = self._file.write(_encode(batch))
                    self._chunks[day][bucket].append(_Chunk(offset, length, len(batch), self._file))
                    offset += length
        self._buffer.clear()

    def _day_records(self, day: date) -> DayRecords:
        buckets: dict[str, list[_Chunk]] = self._chunks.get(day.isoformat(), {})
        counts = Counter({bucket: sum(chunk.records for chunk in chunks) for bucket, chunks in buckets.items()})
        start, end = day_bounds(day)
        bounds = [start, *_slice_bounds(counts, self._max_slice), end]
        slices = tuple(
            TimeSlice(
                since,
                until,
                partial(self._read, [buckets[bucket] for bucket in buckets if since <= _bucket_start(bucket) < until]),
            )
            for since, until in pairwise(bounds)
        )
        return DayRecords(counts.total(), slices, on_disk=True)

    def _read(self, buckets: list[list[_Chunk]]) -> list[Record]:
        records: list[Record] = []
        for chunk in sorted(chunk for chunks in buckets for chunk in chunks):
            with self._lock:
                chunk.file.seek(chunk.offset)
                content = chunk.file.read(chunk.length)
            records += _decode(content)
        return records


def _slice_bounds(counts: Counter[str], max_slice: int) -> Iterator[datetime]:
    """Yield the starts of a day's slices, except the first one."""
    size = 0
    for bucket, records in sorted(counts.items()):
        if size and size + records > max_slice:
            yield _bucket_start(bucket)
            size = 0
        size += records


def _bucket_start(bucket: str) -> datetime:
    return datetime.fromisoformat(f"{bucket}0:00")


def _day_of_record(record: Record) -> str:
    return record.created_at[:10]


def _time_bucket(record: Record) -> str:
    return record.created_at[:BUCKET_PREFIX_LENGTH]
