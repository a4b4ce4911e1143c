"""Quarantine records whose text is longer than the database accepts, so that the rest of the window is stored.

The payload keeps the start of the text with the length and the digest of the whole text: equal records have equal
payloads, different records have different ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any, Final

from etl.date_ranges import DateRange
from etl.model import Feed, FeedReader, ReadStats, Record, RejectedRecord, TextLimit

MAX_KEPT_LENGTH: Final = 1_000
"""Characters of a too long text that are kept."""


def quarantine_long_texts(read_feed: FeedReader, limit: TextLimit) -> FeedReader:
    """Wrap a reader: records with a text longer than the limit are rejected."""

    def read(feed: Feed, window: DateRange, sink: Callable[[list[Record]], Any]) -> ReadStats:
        rejected: list[RejectedRecord] = []

        def filter_records(records: list[Record]) -> None:
            longest = max((len(record.status_info) for record in records), default=0)
            if limit.surely_allows(longest):
                sink(records)
                return
            sink([record for record in records if limit.allows(record.status_info)])
            rejected.extend(
                reject_long_text(record, limit) for record in records if not limit.allows(record.status_info)
            )

        stats = read_feed(feed, window, filter_records)
        shortened = (replace(item, payload=shorten_payload(item.payload, limit)) for item in stats.rejected)
        return replace(stats, kept=stats.kept - len(rejected), rejected=(*shortened, *rejected))

    return read


def reject_long_text(record: Record, limit: TextLimit) -> RejectedRecord:
    """Create the rejected record for a status_info that is too long."""
    size = len(record.status_info.encode())
    reason = f"status_info of {size:,} bytes is longer than the database takes: {limit.setting}"
    fields = record._asdict() | {"price": str(record.price), "status_info": _shorten(record.status_info)}
    payload = json.dumps(fields, ensure_ascii=False, sort_keys=True)
    key = (record.created_at, record.phone, record.code_auth)
    return RejectedRecord(date.fromisoformat(record.created_at[:10]), reason, payload, key, readable=True)


def shorten_payload(payload: str, limit: TextLimit) -> str:
    """Shorten the longest texts of a rejected payload if the database does not accept it in full."""
    if limit.allows(payload):
        return payload
    try:
        value = json.loads(payload, parse_float=str)
    except (ValueError, RecursionError):
        value = payload
    if isinstance(value, dict):
        fields = {
            name: _shorten(field) if isinstance(field, str) and len(field) > MAX_KEPT_LENGTH else field
            for name, field in value.items()
        }
        rendered = json.dumps(fields, ensure_ascii=payload.isascii(), sort_keys=True)
        if limit.allows(rendered):
            return rendered
    return json.dumps(_shorten(payload), ensure_ascii=payload.isascii())


def _shorten(text: str) -> str:
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"{text[:MAX_KEPT_LENGTH]}… ({len(text):,} characters, digest {digest})"
