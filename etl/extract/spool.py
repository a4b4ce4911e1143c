"""Records by day, few in memory, many in a temporary file: an answer may be larger than a small host's memory."""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from itertools import groupby, pairwise
from operator import attrgetter, itemgetter
from typing import BinaryIO, Final, NamedTuple

import msgspec

from etl.errors import DiskFullError
from etl.model import DateRange, DayRecords, Record, TimeSlice, day_bounds, single_slice_day

MAX_IN_MEMORY: Final = 300_000
"""Records that are kept in memory; from then on all of them go to disk, as many at a time."""
MAX_SLICE: Final = 50_000
"""Records of a day from which on it is cut into slices of about as many."""
BUCKET_PREFIX_LENGTH: Final = 15
"""Characters of a time that tell it that exactly: what is written and read back together."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode
_time = attrgetter("created_at")
_day_of = itemgetter(slice(10))


@contextmanager
def disk_full_guard() -> Iterator[None]:
    """For what writes temporary files.

    Raises:
        DiskFullError: Instead of the error of the system.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
    else:
        return
    raise DiskFullError(f"a temporary file could not be written ({reason}); set TMPDIR to a folder with more room")


class _Chunk(NamedTuple):
    """Where some records of the same ten minutes lie in the file, and how many they are."""

    offset: int
    length: int
    records: int
    file: BinaryIO


class RecordSpool:
    """Takes records in any order and gives them back by day. Its file is gone as soon as nobody needs it."""

    def __init__(self) -> None:
        self._held: defaultdict[str, list[Record]] = defaultdict(list)
        self._pieces: defaultdict[str, defaultdict[str, list[_Chunk]]] = defaultdict(partial(defaultdict, list))
        self._file: BinaryIO | None = None
        # The thread that loads reads one window while another thread asks for the days of the next.
        self._lock = threading.Lock()

    def add(self, records: list[Record]) -> None:
        """Keep some records. None may be added after the first was read back.

        Raises:
            DiskFullError: For more of them than fit in memory.
        """
        if len(set(map(_day_of, map(_time, records)))) == 1:
            self._held[_day(records[0])] += records  # nearly always: a listing goes by time
        else:
            for day, some in groupby(records, _day):
                self._held[day] += some
        if sum(map(len, self._held.values())) > MAX_IN_MEMORY:
            self._write_out()

    def days(self, window: DateRange) -> dict[date, DayRecords]:
        """The records of a window's days, each day of it named.

        Raises:
            DiskFullError: For the last of them.
        """
        if self._file is None:
            return {day: single_slice_day(day, self._held.get(day.isoformat(), [])) for day in window.days()}
        self._write_out()
        return {day: self._day(day) for day in window.days()}

    def _write_out(self) -> None:
        with disk_full_guard(), self._lock:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="billing-etl-")  # noqa: SIM115 - as long as its records are wanted
                weakref.finalize(self, self._file.close)
            end = self._file.seek(0, 2)
            for day, records in self._held.items():
                records.sort(key=_time)
                for part, some in groupby(records, _time_bucket):
                    few = list(some)
                    length = self._file.write(_encode(few))
                    self._pieces[day][part].append(_Chunk(end, length, len(few), self._file))
                    end += length
        self._held.clear()

    def _day(self, day: date) -> DayRecords:
        parts: dict[str, list[_Chunk]] = self._pieces.get(day.isoformat(), {})
        counts = Counter({part: sum(piece.records for piece in pieces) for part, pieces in parts.items()})
        first, end = day_bounds(day)
        cuts = [first, *_slice_bounds(counts), end]
        slices = tuple(
            TimeSlice(
                since,
                until,
                partial(self._read, [parts[part] for part in parts if since <= _bucket_start(part) < until]),
            )
            for since, until in pairwise(cuts)
        )
        return DayRecords(counts.total(), slices, on_disk=True)

    def _read(self, parts: list[list[_Chunk]]) -> list[Record]:
        records: list[Record] = []
        for piece in sorted(piece for pieces in parts for piece in pieces):
            with self._lock:
                piece.file.seek(piece.offset)
                text = piece.file.read(piece.length)
            records += _decode(text)
        return records


def _slice_bounds(counts: Counter[str]) -> Iterator[datetime]:
    """Where the slices of a day begin, but for the first one."""
    together = 0
    for part, records in sorted(counts.items()):
        if together and together + records > MAX_SLICE:
            yield _bucket_start(part)
            together = 0
        together += records


def _bucket_start(part: str) -> datetime:
    return datetime.fromisoformat(f"{part}0:00")


def _day(record: Record) -> str:
    return record.created_at[:10]


def _time_bucket(record: Record) -> str:
    return record.created_at[:BUCKET_PREFIX_LENGTH]
