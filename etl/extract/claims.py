"""The fields of answers that only appear to claim more records than are listed: they have another meaning."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Final

from etl.date_ranges import DateRange
from etl.errors import VendorError
from etl.model import ReadStats

QUIET_SINCE: Final = timedelta(days=3650)
"""Ten years: no account has records so long ago. Assumed."""
MAX_COMPARISONS: Final = 2
"""Answers of a run that are compared with the answers to requests for their parts: these requests cost."""

Request = Callable[[DateRange], ReadStats]
"""Sends a request for some dates and returns the statistics of the answer."""

log = logging.getLogger(__name__)


class VoidClaims:
    """Finds the fields whose claims are void, by a few requests of a run in which answers have claims. Thread-safe.

    Args:
        request: Sends the requests.
        today: The current date in the vendor's wall clock.
    """

    def __init__(self, request: Request, today: date) -> None:
        self._request = request
        self._today = today
        self._void: frozenset[str] | None = None
        self._comparisons_left = MAX_COMPARISONS
        self._lock = threading.Lock()

    def without_void(self, stats: ReadStats, requested: DateRange) -> frozenset[str]:
        """The claims of an answer that are not void.

        A field is void if it also claims more records in the answer about a day on which no account has records, as the
        number of all records does; or in an answer that lists as much as the answers to requests for its parts, as an
        amount does.

        Raises:
            AuthenticationError: The vendor rejects the token.
        """
        with self._lock:
            if self._void is None:
                quiet_day = self._today - QUIET_SINCE
                empty = self._try(DateRange(quiet_day, quiet_day))
                self._void = frozenset[str]()
                if empty is not None and not empty.listed:
                    self._add(empty.claims, "an empty answer has them, too")
            if (claims := stats.claims - self._void) and self._comparisons_left and (parts := split(requested, stats)):
                self._comparisons_left -= 1
                answers = [answer for part in parts if (answer := self._try(part)) is not None]
                if len(answers) == len(parts) and lists_all(stats, answers):
                    self._add(claims, "the answers to requests for its parts list no more")
            return stats.claims - self._void

    def _add(self, claims: frozenset[str], reason: str) -> None:
        if claims:
            names = ", ".join(sorted(name[:40] for name in claims))
            log.info("fields of an answer that claim more records are ignored (%s): %s", reason, names)
            self._void = (self._void or frozenset()) | claims

    def _try(self, request: DateRange) -> ReadStats | None:
        try:
            return self._request(request)
        except VendorError:
            return None


def split(requested: DateRange, stats: ReadStats) -> tuple[DateRange, DateRange] | None:
    """Two parts of a request that share the middle one of the listed days; None if there are too few days."""
    days = sorted(day for day in stats.counts if day in requested)
    middle = days[len(days) // 2] if len(days) > 2 else None
    return (DateRange(requested.first, middle), DateRange(middle, requested.last)) if middle else None


def lists_all(whole: ReadStats, parts: Sequence[ReadStats]) -> bool:
    """Whether an answer lists each record that the smaller answers to requests for its parts do.

    No limit truncated it then: the same limit would have left a part whole, and with more records than the answer has.
    """
    days = whole.counts.keys() | {day for part in parts for day in part.counts}
    return all(0 < part.listed < whole.listed for part in parts) and all(
        whole.counts.get(day, 0) == max(part.counts.get(day, 0) for part in parts) for day in days
    )
