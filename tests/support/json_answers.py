"""A JSON answer that is at hand as bytes."""

from __future__ import annotations

import io
from collections.abc import Callable

from etl.extract.json_parser import CHUNK_CHARACTERS, parse_answer
from etl.model import Feed


def read_answer(body: bytes, redact: Callable[[str], str] = str, part: int = CHUNK_CHARACTERS) -> Feed:
    """All of its records, so that the rest of the feed is complete too."""
    feed = parse_answer(io.BytesIO(body), redact, chunk_size=part)
    feed.rows = list(feed.rows)
    return feed
