"""Quarantine the records whose text the database cannot take, so that the rest of their window is stored.

What is kept of such a record is its beginning, with the length and the digest of the whole: equal records are kept as
equal payloads, different ones as different payloads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any, Final

from etl.model import DateRange, Feed, FeedReader, ReadStats, Record, RejectedRecord, TextLimit

KEPT_LENGTH: Final = 1_000
"""Characters of a text too long that are kept."""


def quarantine_long_texts(read_feed: FeedReader, limit: TextLimit) -> FeedReader:
    """The reading of a feed, with records that are longer than the limit among the rejected ones."""

    def read(feed: Feed, window: DateRange, keep: Callable[[list[Record]], Any]) -> ReadStats:
        rejected: list[RejectedRecord] = []

        def keep_fitting(records: list[Record]) -> None:
            longest = max((len(record.status_info) for record in records), default=0)
            if limit.surely_allows(longest):
                keep(records)
                return
            keep([record for record in records if limit.allows(record.status_info)])
            rejected.extend(reject(record, limit) for record in records if not limit.allows(record.status_info))

        survey = read_feed(feed, window, keep_fitting)
        shortened = (replace(item, payload=shorten_payload(item.payload, limit)) for item in survey.rejected)
        return replace(survey, kept=survey.kept - len(rejected), rejected=(*shortened, *rejected))

    return read


def reject(record: Record, limit: TextLimit) -> RejectedRecord:
    """What is kept of a record whose status_info is too long."""
    size = len(record.status_info.encode())
    reason = f"status_info of {size:,} bytes is longer than the database takes: {limit.setting}"
    fields = record._asdict() | {"price": str(record.price), "status_info": _shorten(record.status_info)}
    payload = json.dumps(fields, ensure_ascii=False, sort_keys=True)
    key = (record.created_at, record.phone, record.code_auth)
    return RejectedRecord(date.fromisoformat(record.created_at[:10]), reason, payload, key, readable=True)


def shorten_payload(payload: str, limit: TextLimit) -> str:
    """A bad record's payload, its longest texts cut where the database cannot take it whole."""
    if limit.allows(payload):
        return payload
    try:
        value = json.loads(payload, parse_float=str)
    except (ValueError, RecursionError):
        value = payload
    if isinstance(value, dict):
        fields = {
            name: _shorten(part) if isinstance(part, str) and len(part) > KEPT_LENGTH else part
            for name, part in value.items()
        }
        rendered = json.dumps(fields, ensure_ascii=payload.isascii(), sort_keys=True)
        if limit.allows(rendered):
            return rendered
    return json.dumps(_shorten(payload), ensure_ascii=payload.isascii())


def _shorten(text: str) -> str:
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"{text[:KEPT_LENGTH]}… ({len(text):,} characters, digest {digest})"
