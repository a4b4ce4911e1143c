"""Fetch the next window while the present one is loaded: vendor and database wait for each other less."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue

from etl.model import Batch, Window


def fetch_ahead(fetch: Callable[[Window], Batch], windows: Iterable[Window]) -> Iterator[Batch]:
    """What `fetch` gives for each window, in order, one window ahead.

    Fetches never overlap: the vendor gets one question at a time, and no more than two windows are held in memory.
    An error of `fetch` is raised when its window's turn comes, so all windows before it are done by then.
    """
    fetched: SimpleQueue[Batch | BaseException | None] = SimpleQueue()
    wanted = threading.Semaphore(1)
    stopped = threading.Event()

    def work() -> None:
        end: BaseException | None = None
        try:
            for window in windows:
                wanted.acquire()
                if stopped.is_set():
                    return
                fetched.put(fetch(window))
        except BaseException as error:  # noqa: BLE001 - it is raised again when its turn comes
            end = error
        fetched.put(end)

    # A daemon: a signal ends the program while the vendor is still silent.
    threading.Thread(target=work, name="fetch", daemon=True).start()
    try:
        while isinstance(item := fetched.get(), Batch):
            wanted.release()
            yield item
        if item is not None:
            raise item
    finally:
        stopped.set()
        wanted.release()
