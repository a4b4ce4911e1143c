"""Parse a JSON answer from bytes."""

from __future__ import annotations

import io
from collections.abc import Callable

from etl.extract.json_parser import parse_answer
from etl.extract.json_reader import CHUNK_BYTES
from etl.model import Feed


def read_answer(body: bytes, redact: Callable[[str], str] = str, part: int = CHUNK_BYTES) -> Feed:
    """Read all records of an answer; the other fields of the feed are complete after that."""
    feed = parse_answer(io.BytesIO(body), redact, chunk_size=part)
    feed.rows = list(feed.rows)
    return feed
