"""The account's newest records from `get_billing_record`: evidence of whether other answers are complete."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from etl.date_ranges import ALL_DATES
from etl.errors import VendorError
from etl.extract.client import MAX_NEWEST_RECORDS, Client
from etl.extract.completeness import NewestRecords
from etl.model import Feed, FeedReader, Record

log = logging.getLogger(__name__)


class NewestSource:
    """The newest records, fetched once and kept. Thread-safe."""

    def __init__(self, client: Client, read_feed: FeedReader) -> None:
        self._client = client
        self._read_feed = read_feed
        self._fetched: tuple[NewestRecords | None] | None = None
        self._lock = threading.Lock()

    def get(self) -> NewestRecords | None:
        """The newest records; None if they are unavailable.

        Raises:
            AuthenticationError: The vendor rejects the token.
        """
        with self._lock:
            if self._fetched is None:
                self._fetched = (self._fetch(),)
            return self._fetched[0]

    def with_client(self, client: Client) -> NewestSource:
        """The same source, with what it has fetched so far, that sends its requests by another client."""
        other = NewestSource(client, self._read_feed)
        other._fetched = self._fetched
        return other

    def refresh(self) -> None:
        """Fetch the newest records again; keep the earlier ones if they are unavailable.

        Raises:
            AuthenticationError: The vendor rejects the token.
        """
        if (newest := self._fetch()) is not None:
            with self._lock:
                self._fetched = (newest,)

    def _fetch(self) -> NewestRecords | None:
        def read(feed: Feed) -> NewestRecords:
            records: list[Record] = []
            stats = self._read_feed(feed, ALL_DATES, records.extend)
            is_ordered = stats.ascending or stats.descending
            include_all = stats.listed < MAX_NEWEST_RECORDS
            return NewestRecords(Counter(records), stats.listed, include_all, stats.rejected, is_ordered)

        try:
            return self._client.get_newest_records(MAX_NEWEST_RECORDS, read)
        except VendorError as error:
            log.info("the newest records are unavailable (%s)", error)
            return None
