"""Fetch and transform in a process of their own, beside the one that loads.

Both are Python, and threads of one process take turns: on two processors a second process halves a long load. It is a
fork, which begins with all that there is to know. It hands over a window at a time: what is small through a pipe, the
records in a file without a name, from which the load reads a slice when it comes to it. What was on disk already goes
to a file on disk, what was in memory to one in memory.

A usual night is a single window, which has nothing to be fetched beside: it never forks.
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

from etl.errors import BillingError
from etl.extract.prefetch import prefetch
from etl.extract.spool import disk_full_guard
from etl.model import CountedRecords, DateRange, DaySnapshot, TimeSlice, WindowData

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Fetched: TypeAlias = tuple[WindowData, Iterable[DaySnapshot]]

MIN_WINDOWS_FOR_WORKER: Final = 2
"""Windows from which on there is something to be fetched beside a load."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def fetch_in_worker(
    fetch: Callable[[DateRange], Fetched], windows: Sequence[DateRange], *, ahead: int
) -> Generator[Fetched]:
    """What `fetch` gives for each window, in order; an error of it when its window's turn comes. See `prefetch`.

    Args:
        fetch: Called in a fork where there are several windows, a second processor and no other thread, of whose locks
            a fork might inherit one that nobody opens any more; else in threads.
        windows: In the order in which they are wanted.
        ahead: How many windows may be under way, or lie fetched, besides the one that was handed out.

    Raises:
        BillingError: The fork ended before its time.
    """
    fork = (
        _start_worker(prefetch(fetch, windows, ahead=ahead - 1))
        if ahead and len(windows) >= MIN_WINDOWS_FOR_WORKER
        else None
    )
    if fork is None:
        yield from prefetch(fetch, windows, ahead=ahead)
        return
    number, pipe = fork
    try:
        for _ in windows:
            yield _take_result(pipe)
    finally:
        pipe.close()
        os.kill(number, signal.SIGKILL)  # nothing that it has wants to be given back
        os.waitpid(number, 0)


def _start_worker(results: Iterator[Fetched]) -> tuple[int, Connection] | None:
    """A fork that hands over these results, and the way to it; None where there had better be none, or can be none."""
    # macOS has forks, and libraries that do not survive one.
    if sys.platform != "linux" or threading.active_count() > 1:
        return None
    from multiprocessing import Pipe  # few nights need it

    try:
        if len(os.sched_getaffinity(0)) == 1:
            return None
        pipe, far_end = Pipe()
        # A signal that a fork answered as its parent does would have it tidy up what is not its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            number = os.fork()
            if not number:
                _worker_main(far_end, pipe, results)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    except OSError:  # the host allows no further process
        return None
    far_end.close()
    return number, pipe


def _worker_main(pipe: Connection, parents_end: Connection, results: Iterator[Fetched]) -> NoReturn:
    """Hand over one result after another, each when it is asked for, until nobody is there to ask."""
    asked = threading.Semaphore(0)

    def listen() -> None:
        with suppress(EOFError, OSError):
            while pipe.recv_bytes():
                asked.release()
        os._exit(0)

    try:  # whatever is raised outside of it would go on as the parent's run
        from multiprocessing.reduction import send_handle

        parents_end.close()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the parent answers them, and ends this process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        threading.Thread(target=listen, daemon=True).start()
        for message, file in _serialise(results):
            asked.acquire()
            pipe.send_bytes(message)
            if file is not None:
                send_handle(pipe, file.fileno(), None)
        threading.Event().wait()
    finally:
        # Whatever was inherited is the parent's: nothing of it may be closed in good order here.
        os._exit(1)


def _serialise(results: Iterator[Fetched]) -> Iterator[tuple[bytes, IO[bytes] | None]]:
    """Each result as a message, and the file with its records; an error is a message without one, and the last."""
    try:
        for batch, snapshots in results:
            with disk_full_guard(), _spool_file(batch) as file:
                days = [(replace(snapshot, slices=()), _write_slices(file, snapshot.slices)) for snapshot in snapshots]
                file.flush()
                counts = {day: replace(records, slices=()) for day, records in batch.days.items()}
                message = pickle.dumps((replace(batch, days=counts), days))
                del batch, snapshots  # what was handed over does not wait in memory for the next window
                yield message, file
    except BaseException as error:  # noqa: BLE001 - it is raised again over there
        yield _serialise_error(error), None


def _spool_file(batch: WindowData) -> IO[bytes]:
    if any(records.on_disk for records in batch.days.values()):
        return tempfile.TemporaryFile(prefix="billing-etl-")
    return open(os.memfd_create("billing-etl"), "w+b")  # noqa: PTH123 - it has no path


def _serialise_error(error: BaseException) -> bytes:
    error.add_note("where it was fetched:\n" + "".join(traceback.format_exception(error)))
    with suppress(Exception):
        message = pickle.dumps(error)
        pickle.loads(message)  # noqa: S301 - our own
        return message
    return pickle.dumps(RuntimeError(type(error).__name__))


def _take_result(pipe: Connection) -> Fetched:
    received = _receive(pipe)
    if received is None:
        raise BillingError("the process that fetches was ended from outside; did the memory run out?")
    if isinstance(received, BaseException):
        try:
            raise received
        finally:
            del received  # this frame is in its traceback
    (batch, days), file = received
    return batch, [replace(day, slices=tuple(part.in_file(file) for part in parts)) for day, parts in days]


def _receive(pipe: Connection) -> tuple[Any, IO[bytes]] | BaseException | None:
    """A message and its file, or the error that is one without; None where the sender ended before it was done."""
    from multiprocessing.reduction import recv_handle

    try:
        pipe.send_bytes(b"next")
        message = pickle.loads(pipe.recv_bytes())  # noqa: S301 - of our own fork
        if isinstance(message, BaseException):
            return message
        handle = recv_handle(pipe)
    except (EOFError, OSError, RuntimeError):
        # The end may come between two messages, within one, or before the file: each has an error of its own.
        return None
    return message, open(handle, "rb")  # noqa: PTH123 - it has no path, and lives as long as its days


class _SlicePointer(NamedTuple):
    """A slice, and where in the file its records lie."""

    since: datetime
    until: datetime
    offset: int
    length: int

    def in_file(self, file: IO[bytes]) -> TimeSlice[CountedRecords]:
        """The slice, read anew each time."""

        def read() -> CountedRecords:
            (*columns, prices), repeats = _decode(os.pread(file.fileno(), self.length, self.offset))
            # Few prices are different.
            amounts = {price: Decimal(price) for price in set(prices)}
            return CountedRecords((*columns, list(map(amounts.__getitem__, prices))), repeats)

        return TimeSlice(self.since, self.until, read)


def _write_slices(file: IO[bytes], slices: Iterable[TimeSlice[CountedRecords]]) -> list[_SlicePointer]:
    parts = []
    for part in slices:
        listing = part.read()
        text = _encode((listing.columns, listing.repeats))
        parts.append(_SlicePointer(part.since, part.until, file.tell(), file.write(text)))
    return parts
