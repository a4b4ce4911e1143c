"""Windows are fetched ahead: in order, never more at once than allowed, and no error before its turn."""

from __future__ import annotations

import threading
from datetime import date, timedelta

import pytest

from etl.extract.prefetch import prefetch
from etl.model import DateRange

FIRST = date(2026, 3, 1)
WINDOWS = [DateRange(day, day) for day in (FIRST + timedelta(days=number) for number in range(8))]


class Vendor:
    """Notes which windows are asked for, how many at once, and answers the n-th question when `let(n)` was called."""

    def __init__(self) -> None:
        self.asked: list[DateRange] = []
        self.at_once = self.most_at_once = 0
        self.changed = threading.Condition()
        self.may_answer = 0

    def fetch(self, window: DateRange) -> DateRange:
        with self.changed:
            self.asked.append(window)
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

    def wait_until_asked(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked) >= number, timeout=20)


@pytest.mark.parametrize("ahead", [0, 1, 2, 3, 20])
def test_windows_come_in_their_order(ahead):
    vendor = Vendor()
    vendor.let(len(WINDOWS))
    assert list(prefetch(vendor.fetch, WINDOWS, depth=ahead)) == WINDOWS
    assert sorted(vendor.asked, key=WINDOWS.index) == WINDOWS
    assert vendor.most_at_once <= max(ahead, 1)


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_so_many_are_under_way_and_no_more(ahead):
    vendor = Vendor()
    fetched = prefetch(vendor.fetch, WINDOWS, depth=ahead)
    threading.Thread(target=lambda: (vendor.wait_until_asked(ahead), vendor.let(1)), daemon=True).start()
    assert next(fetched) == WINDOWS[0]
    vendor.wait_until_asked(ahead + 1)
    assert vendor.asked == WINDOWS[: ahead + 1], "one that was handed out, the others besides"
    vendor.let(len(WINDOWS))
    assert list(fetched) == WINDOWS[1:]
    assert vendor.most_at_once == ahead


def test_with_none_ahead_each_is_fetched_when_its_turn_comes():
    vendor = Vendor()
    vendor.let(len(WINDOWS))
    fetched = prefetch(vendor.fetch, WINDOWS, depth=0)
    assert next(fetched) == WINDOWS[0]
    assert vendor.asked == WINDOWS[:1]


@pytest.mark.parametrize("ahead", [0, 1, 2, 20])
def test_an_error_is_raised_when_its_turn_comes(ahead):
    def fetch(window):
        if window == WINDOWS[3]:
            raise ZeroDivisionError
        return window

    fetched = prefetch(fetch, WINDOWS, depth=ahead)
    assert [next(fetched) for _ in range(3)] == WINDOWS[:3]
    with pytest.raises(ZeroDivisionError):
        next(fetched)


def test_after_an_end_nothing_more_is_asked_for():
    vendor = Vendor()
    vendor.let(len(WINDOWS))
    fetched = prefetch(vendor.fetch, WINDOWS, depth=1)
    next(fetched)
    vendor.wait_until_asked(2)
    before = {thread.name for thread in threading.enumerate()}
    assert "fetch-1" in before
    fetched.close()
    for thread in threading.enumerate():
        if thread.name == "fetch-1":
            thread.join(20)
    assert vendor.asked == WINDOWS[:2]
