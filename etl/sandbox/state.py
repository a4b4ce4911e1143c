"""The vendor's state: its data, its behaviour, the queued faults, the received requests and the clock."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

from etl.sandbox.behaviour import Behaviour
from etl.sandbox.dataset import Dataset
from etl.sandbox.endpoints import Request
from etl.sandbox.faults import Faults

MOSCOW: Final = timezone(timedelta(hours=3))


class VendorState:
    """Everything that decides the sandbox's responses; it may be changed from any thread while the server runs.

    Args:
        dataset: The vendor's records; generated up to `now` by default.
        now: The vendor's wall clock, stopped at this time; the current time in Moscow by default.
    """

    def __init__(self, dataset: Dataset | None = None, now: datetime | None = None) -> None:
        self._first_now = self._now = now
        self.dataset: Final = generate_dataset(1, self.now) if dataset is None else dataset
        self.policies = Behaviour()
        self.faults: Final = Faults(self.dataset.lock)
        self.requests: list[Request] = []
        """Every request below the vendor's path so far, with a valid token or not."""

    @property
    def now(self) -> datetime:
        """The vendor's wall clock."""
        return self._now or current_time()

    def set_now(self, now: datetime | None) -> None:
        """Stop the vendor's clock at a time; None starts it again. The generated records are extended up to it."""
        if now and now.tzinfo:
            now = now.astimezone(MOSCOW).replace(tzinfo=None)
        with self.dataset.lock:
            self._now = now
            self.dataset.grow(self.now)

    def reset(self) -> None:
        """Restore the first records, behaviour and clock; clear the faults and the requests."""
        with self.dataset.lock:
            self._now = self._first_now
            self.dataset.reset()
            self.policies = Behaviour()
            self.faults.clear()
            self.requests.clear()


def current_time() -> datetime:
    """The time in Moscow, naive, to the second."""
    return datetime.now(MOSCOW).replace(tzinfo=None, microsecond=0)


def generate_dataset(seed: int, now: datetime) -> Dataset:
    """Generate records up to `now`."""
    return Dataset(seed, today=now.date(), until=now.time())
