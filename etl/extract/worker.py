"""A worker process that fetches and transforms windows while the parent process loads them.

Because of the GIL, threads cannot do both at once: on two processors, a second process saves a quarter of a first sync
of 300,000 records on SQLite, and 30 % on the servers. The worker is a fork, so that it inherits all state. It sends one
window at a time: metadata through a pipe, records in an unnamed file from which the parent reads a slice on demand. The
file is on disk if the records were, else in memory.

With the default settings a usual night has two windows, the days of the lookback and today, and so has a worker.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeAlias

import msgspec

from etl.date_ranges import DateRange
from etl.errors import BillingError
from etl.extract.prefetch import prefetch
from etl.extract.spool import disk_full_guard
from etl.model import CountedRecords, DaySnapshot, TimeSlice, WindowData

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Fetched: TypeAlias = tuple[WindowData, Iterable[DaySnapshot]]

MIN_WINDOWS_FOR_WORKER: Final = 2
"""Number of windows from which on a worker is started: a single window has nothing to fetch during its load."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def fetch_in_worker(
    fetch: Callable[[DateRange], Fetched], windows: Sequence[DateRange], *, depth: int
) -> Generator[Fetched]:
    """Yield the result of `fetch` for each window, in order. An error is raised in place of its result.

    Args:
        fetch: Called in a worker process if there are several windows, a second processor and no other thread (a fork
            may inherit its locks, which then stay locked); otherwise in threads. See `prefetch`.
        windows: The windows, in the order of the results.
        depth: Maximum number of windows that are being fetched or are ready, besides the one in use.

    Raises:
        BillingError: The worker ended unexpectedly.
    """
    worker = (
        _start_worker(prefetch(fetch, windows, depth=depth - 1))
        if depth and len(windows) >= MIN_WINDOWS_FOR_WORKER
        else None
    )
    if worker is None:
        yield from prefetch(fetch, windows, depth=depth)
        return
    pid, conn = worker
    try:
        for _ in windows:
            yield _take_result(conn)
    finally:
        conn.close()
        os.kill(pid, signal.SIGKILL)  # it owns no resource that needs cleaning up
        os.waitpid(pid, 0)


def _start_worker(results: Iterator[Fetched]) -> tuple[int, Connection] | None:
    """Fork a worker that sends these results; return its pid and connection, or None if a fork is unsafe or fails."""
    # On macOS, system libraries do not support a fork.
    if sys.platform != "linux" or threading.active_count() > 1:
        return None
    from multiprocessing import Pipe  # only for a worker

    try:
        if len(os.sched_getaffinity(0)) == 1:
            return None
        conn, child_conn = Pipe()
        # Otherwise a signal would start the handlers of the parent in the worker, which would clean up its resources.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if not pid:
                _worker_main(child_conn, conn, results)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    except OSError:  # the host allows no more processes
        return None
    child_conn.close()
    return pid, conn


def _worker_main(conn: Connection, parent_conn: Connection, results: Iterator[Fetched]) -> NoReturn:
    """Send one result for each request, until the parent closes the connection."""
    requests = threading.Semaphore(0)

    def listen() -> None:
        with suppress(EOFError, OSError):
            while conn.recv_bytes():
                requests.release()
        os._exit(0)

    try:  # an exception must not leave this function: the worker would continue as the parent's run
        from multiprocessing.reduction import send_handle

        parent_conn.close()
        for signum in _SIGNALS:
            signal.signal(signum, signal.SIG_IGN)  # the parent handles them, and kills this process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        threading.Thread(target=listen, daemon=True).start()
        for message, file in _serialise(results):
            requests.acquire()
            conn.send_bytes(message)
            if file is not None:
                send_handle(conn, file.fileno(), None)
        threading.Event().wait()
    finally:
        # Without cleanup: all inherited resources belong to the parent.
        os._exit(1)


def _serialise(results: Iterator[Fetched]) -> Iterator[tuple[bytes, IO[bytes] | None]]:
    """Yield each result as a message and the file with its records; an error is the last message, without a file."""
    try:
        for data, snapshots in results:
            with disk_full_guard(), _spool_file(data) as file:
                days = [(replace(snapshot, slices=()), _write_slices(file, snapshot.slices)) for snapshot in snapshots]
                file.flush()
                counts = {day: replace(records, slices=()) for day, records in data.days.items()}
                message = pickle.dumps((replace(data, days=counts), days))
                del data, snapshots  # free the memory before the next window
                yield message, file
    except BaseException as error:  # noqa: BLE001 - raised again in the parent
        yield _serialise_error(error), None


def _spool_file(data: WindowData) -> IO[bytes]:
    if any(records.on_disk for records in data.days.values()):
        return tempfile.TemporaryFile(prefix="billing-etl-")
    return open(os.memfd_create("billing-etl"), "w+b")  # noqa: PTH123 - no path


def _serialise_error(error: BaseException) -> bytes:
    error.add_note("where it was fetched:\n" + "".join(traceback.format_exception(error)))
    with suppress(Exception):
        message = pickle.dumps(error)
        pickle.loads(message)  # noqa: S301 - created above
        return message
    return pickle.dumps(RuntimeError(type(error).__name__))


def _take_result(conn: Connection) -> Fetched:
    received = _receive(conn)
    if received is None:
        raise BillingError("the worker process was killed (out of memory?)")
    if isinstance(received, BaseException):
        try:
            raise received
        finally:
            del received  # its traceback holds this frame: a cycle
    (data, days), file = received
    return data, [replace(day, slices=tuple(pointer.load_from(file) for pointer in pointers)) for day, pointers in days]


def _receive(conn: Connection) -> tuple[Any, IO[bytes]] | BaseException | None:
    """Receive a message and its file, or an error; None if the worker ended before it sent them."""
    from multiprocessing.reduction import recv_handle

    try:
        conn.send_bytes(b"next")
        message = pickle.loads(conn.recv_bytes())  # noqa: S301 - sent by our own fork
        if isinstance(message, BaseException):
            return message
        handle = recv_handle(conn)
    except (EOFError, OSError, RuntimeError):
        # The errors of an end between two messages, within one, and before the file.
        return None
    return message, open(handle, "rb")  # noqa: PTH123 - no path; its days keep it open


class _SlicePointer(NamedTuple):
    """A slice, and the position of its records in the file."""

    since: datetime
    until: datetime
    offset: int
    length: int

    def load_from(self, file: IO[bytes]) -> TimeSlice[CountedRecords]:
        """The slice; each `read` loads it from the file."""

        def read() -> CountedRecords:
            (*columns, prices), repeats = _decode(os.pread(file.fileno(), self.length, self.offset))
            # There are few distinct prices.
            amounts = {price: Decimal(price) for price in set(prices)}
            return CountedRecords((*columns, list(map(amounts.__getitem__, prices))), repeats)

        return TimeSlice(self.since, self.until, read)


def _write_slices(file: IO[bytes], slices: Iterable[TimeSlice[CountedRecords]]) -> list[_SlicePointer]:
    pointers = []
    for time_slice in slices:
        counted = time_slice.read()
        text = _encode((counted.columns, counted.repeats))
        pointers.append(_SlicePointer(time_slice.since, time_slice.until, file.tell(), file.write(text)))
    return pointers
