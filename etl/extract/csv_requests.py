"""Requests of the CSV call: padded (`padding`), and without padding where the vendor rejects the earlier start date."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from typing import BinaryIO

from etl.date_ranges import DateRange
from etl.errors import DateRangeMismatch, InvalidResponse, RequestRejected, VendorError
from etl.extract.client import Client
from etl.extract.completeness import describe_range, overlaps
from etl.extract.csv_export import CsvExport
from etl.extract.run_evidence import RunEvidence
from etl.extract.source_days import log_unknown_fields
from etl.extract.spool import RecordSpool
from etl.model import ATTRIBUTES, FeedReader

log = logging.getLogger(__name__)


class CsvRequests:
    """Downloads exports by `get_billing_csv`, and keeps the latest start date that the vendor rejects.

    Args:
        client: Sends the requests.
        read_feed: Parses the records.
        evidence: Receives the sizes of the exports.
        open_spool: Creates the storage of an export's records.

    Attributes:
        retries: Whether a request that fails is repeated.
    """

    def __init__(
        self, client: Client, read_feed: FeedReader, evidence: RunEvidence, open_spool: Callable[[], RecordSpool]
    ) -> None:
        self.retries = True
        self._client = client
        self._read_feed = read_feed
        self._open_spool = open_spool
        self._today = evidence.today
        self._answers = evidence.csv
        self._get_newest = evidence.get_newest
        self._rejection: tuple[date, str] | None = None

    def load(self, target: DateRange, start: date) -> CsvExport:
        """Download an export; without padding if the padded start date is rejected (assumed: before the oldest day).

        Args:
            target: The days whose records are kept.
            start: The start date, at most the first target day.

        Raises:
            RequestRejected: The vendor rejects the first target day as well.
            VendorError: There is no usable export.
        """
        try:
            return self._download(target, start)
        except RequestRejected as error:
            if start >= target.first:
                raise
            log.info("an export since %s was rejected (%s)", start, error)
        return self._download(target, target.first)

    def serves(self, start: date) -> bool:
        """Whether the vendor serves an export since a day that lists a record."""
        try:
            return bool(self._download(DateRange(start, max(start, self._today)), start).stats.listed)
        except VendorError:
            return False

    def forget_rejection(self) -> None:
        """Request rejected start dates again: the rejection may have been temporary."""
        self._rejection = None

    def _download(self, target: DateRange, start: date) -> CsvExport:
        from etl.extract.csv_parser import parse_csv  # most runs do not need it

        requested = DateRange(start, max(target.last, self._today))

        def read(file: BinaryIO) -> CsvExport:
            feed = parse_csv(file)
            spool = self._open_spool()
            stats = self._read_feed(feed, target, spool.add)
            log_unknown_fields(feed)
            if stats.earliest is not None and not overlaps(requested, stats):
                raise DateRangeMismatch(f"{describe_range(stats)} in place of those since {start}")
            return CsvExport(requested, target, stats, spool, ATTRIBUTES - feed.fields)

        if self._rejection is not None and start <= self._rejection[0]:
            raise RequestRejected(self._rejection[1])
        try:
            export = self._client.get_export(start, read, retry=self.retries)
        except RequestRejected as error:
            self._rejection = start, str(error)  # without the error: its frames hold exports
            raise
        days = export.days(target)
        if (newest := self._get_newest()) is not None:
            if newest.have_other_keys(days, export.stats, self._today):
                raise InvalidResponse("an export with other times, phones or codes than get_billing_record lists")
            if newest.have_other_prices(days, self._today):
                raise InvalidResponse("an export with other prices than get_billing_record lists")
        self._answers.add(export.stats, requested, {day: len(records) for day, records in days.items()})
        return export
