"""Prefetching: the next windows are fetched in threads while the current one is loaded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

from etl.date_ranges import DateRange

T = TypeVar("T")


def prefetch(fetch: Callable[[DateRange], T], windows: Iterable[DateRange], *, depth: int) -> Iterator[T]:
    """Yield the result of `fetch` for each window, in order.

    An error of `fetch` is raised in place of its result, after the results of all earlier windows.

    Args:
        fetch: Called from `depth` threads.
        windows: The windows, in the order of the results.
        depth: Maximum number of windows that are being fetched or are ready, besides the one in use; with 0, each is
            fetched on demand.
    """
    if not depth:
        yield from map(fetch, windows)
        return
    pending: deque[tuple[DateRange, Future[T]]] = deque((window, Future()) for window in windows)
    ordered = deque(future for _, future in pending)
    slots = threading.Semaphore(depth)
    stopped = threading.Event()

    def work() -> None:
        with suppress(IndexError):  # no window is left
            while slots.acquire() and not stopped.is_set():
                _complete(fetch, *pending.popleft())

    for index in range(min(depth, len(pending))):
        # Daemon threads: a signal ends the program without waiting for a response.
        # The copied context names the account in the log.
        threading.Thread(target=copy_context().run, args=[work], name=f"fetch-{index + 1}", daemon=True).start()
    try:
        while ordered:
            yield _next_result(ordered.popleft(), slots)
    finally:
        stopped.set()
        slots.release(depth)


def _complete(fetch: Callable[[DateRange], T], window: DateRange, future: Future[T]) -> None:
    try:
        future.set_result(fetch(window))
    except BaseException as error:  # noqa: BLE001 - raised again in place of the result
        future.set_exception(error)


def _next_result(future: Future[T], slots: threading.Semaphore) -> T:
    try:
        result = future.result()
    finally:
        del future  # it holds its error, whose traceback holds this frame: a cycle
    slots.release()
    return result
