"""Windows are fetched ahead in order, with limited concurrency, and errors are raised in order."""

from __future__ import annotations

import threading
from datetime import date, timedelta

import pytest

from etl.date_ranges import DateRange
from etl.extract.prefetch import prefetch

FIRST = date(2026, 3, 1)
WINDOWS = [DateRange(day, day) for day in (FIRST + timedelta(days=number) for number in range(8))]


class Vendor:
    """Records requests and their concurrency; answers the n-th request after `let(n)`."""

    def __init__(self) -> None:
        self.requested: list[DateRange] = []
        self.at_once = self.most_at_once = 0
        self.changed = threading.Condition()
        self.may_answer = 0

    def fetch(self, window: DateRange) -> DateRange:
        with self.changed:
            self.requested.append(window)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.may_answer > WINDOWS.index(window), timeout=20)
            self.at_once -= 1
        return window

    def let(self, number: int) -> None:
        with self.changed:
            self.may_answer = number
            self.changed.notify_all()

    def wait_until_requested(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requested) >= number, timeout=20)


@pytest.mark.parametrize("ahead", [0, 1, 2, 3, 20])
def test_windows_are_returned_in_order(ahead):
    vendor = Vendor()
    vendor.let(len(WINDOWS))
    assert list(prefetch(vendor.fetch, WINDOWS, depth=ahead)) == WINDOWS
    assert sorted(vendor.requested, key=WINDOWS.index) == WINDOWS
    assert vendor.most_at_once <= max(ahead, 1)


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_no_more_windows_are_fetched_at_once_than_allowed(ahead):
    vendor = Vendor()
    fetched = prefetch(vendor.fetch, WINDOWS, depth=ahead)
    threading.Thread(target=lambda: (vendor.wait_until_requested(ahead), vendor.let(1)), daemon=True).start()
    assert next(fetched) == WINDOWS[0]
    vendor.wait_until_requested(ahead + 1)
    assert vendor.requested == WINDOWS[: ahead + 1], "one returned, the others prefetched"
    vendor.let(len(WINDOWS))
    assert list(fetched) == WINDOWS[1:]
    assert vendor.most_at_once == ahead


def test_windows_are_fetched_on_demand_without_prefetching():
    vendor = Vendor()
    vendor.let(len(WINDOWS))
    fetched = prefetch(vendor.fetch, WINDOWS, depth=0)
    assert next(fetched) == WINDOWS[0]
    assert vendor.requested == WINDOWS[:1]


@pytest.mark.parametrize("ahead", [0, 1, 2, 20])
def test_an_error_is_raised_in_order(ahead):
    def fetch(window):
        if window == WINDOWS[3]:
            raise ZeroDivisionError
        return window

    fetched = prefetch(fetch, WINDOWS, depth=ahead)
    assert [next(fetched) for _ in range(3)] == WINDOWS[:3]
    with pytest.raises(ZeroDivisionError):
        next(fetched)


def test_nothing_is_fetched_after_the_end():
    vendor = Vendor()
    vendor.let(len(WINDOWS))
    fetched = prefetch(vendor.fetch, WINDOWS, depth=1)
    next(fetched)
    vendor.wait_until_requested(2)
    before = {thread.name for thread in threading.enumerate()}
    assert "fetch-1" in before
    fetched.close()
    for thread in threading.enumerate():
        if thread.name == "fetch-1":
            thread.join(20)
    assert vendor.requested == WINDOWS[:2]
