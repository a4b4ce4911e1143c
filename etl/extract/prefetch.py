"""Fetch the next windows while the present one is loaded: vendor and database wait for each other less."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

from etl.model import DateRange

T = TypeVar("T")


def prefetch(fetch: Callable[[DateRange], T], windows: Iterable[DateRange], *, ahead: int) -> Iterator[T]:
    """What `fetch` gives for each window, in order.

    An error of `fetch` is raised when its window's turn comes, so all windows before it are done by then.

    Args:
        fetch: Called from as many threads as windows are fetched ahead.
        windows: In the order in which they are wanted.
        ahead: How many windows may be under way, or lie fetched, besides the one that was handed out; with 0 each
            is fetched when its turn comes.
    """
    if not ahead:
        yield from map(fetch, windows)
        return
    wanted: deque[tuple[DateRange, Future[T]]] = deque((window, Future()) for window in windows)
    in_turn = deque(future for _, future in wanted)
    room = threading.Semaphore(ahead)
    stopped = threading.Event()

    def work() -> None:
        with suppress(IndexError):  # all are fetched
            while room.acquire() and not stopped.is_set():
                _complete(fetch, *wanted.popleft())

    for number in range(min(ahead, len(wanted))):
        # Daemons: a signal ends the program while the vendor is still silent.
        # What is logged there is about the same account.
        threading.Thread(target=copy_context().run, args=[work], name=f"fetch-{number + 1}", daemon=True).start()
    try:
        while in_turn:
            yield _next_result(in_turn.popleft(), room)
    finally:
        stopped.set()
        room.release(ahead)


def _complete(fetch: Callable[[DateRange], T], window: DateRange, future: Future[T]) -> None:
    try:
        future.set_result(fetch(window))
    except BaseException as error:  # noqa: BLE001 - it is raised again when its turn comes
        future.set_exception(error)


def _next_result(future: Future[T], room: threading.Semaphore) -> T:
    try:
        result = future.result()
    finally:
        del future  # it holds its error, in whose traceback this frame is
    room.release()
    return result
