"""Rejected records: the reason, the payload, and the readable part of the key. The same for JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, tzinfo
from functools import partial
from typing import Any, Final

import msgspec

from etl.model import ALL_FIELDS, MISSING, PartialKey, Raw, RawRecord, RejectedRecord, raw_record
from etl.transform.fields import (
    FieldError,
    day_if_readable,
    parse_code,
    parse_phone,
    parse_time,
    sanitise_text,
)

MAX_PAYLOAD_DEPTH: Final = 20
"""Nested levels of a rejected record that are kept; a valid record has a single level."""


def reject_record(raw: RawRecord, reason: str, zone: tzinfo) -> RejectedRecord:
    """Create the rejected record of a raw record.

    Args:
        raw: The record as the source spells it.
        reason: The invalid field and the problem, never the value.
        zone: The zone of the vendor's wall clock.
    """
    key = _partial_key(raw, zone)
    return RejectedRecord(_day(raw, key), reason, payload_json(raw), key)


def add_key(item: RejectedRecord, zone: tzinfo) -> RejectedRecord:
    """Add the readable parts of the key and the day to a malformed item.

    A field that is given twice has a list for its value, which is unreadable.
    """
    try:
        fields = json.loads(item.payload)
    except (ValueError, RecursionError):
        return item
    if not isinstance(fields, dict):
        return item
    raw = raw_record(**{name: fields[name] for name in ALL_FIELDS & fields.keys()})
    key = _partial_key(raw, zone)
    return replace(item, day=_day(raw, key), key=key)


def _day(raw: RawRecord, key: PartialKey) -> date | None:
    return date.fromisoformat(key[0][:10]) if key[0] else day_if_readable(raw.created_at)


def _partial_key(raw: RawRecord, zone: tzinfo) -> PartialKey:
    return (
        _parse_or_none(partial(parse_time, zone=zone), raw.created_at),
        _parse_or_none(parse_phone, raw.phone),
        _parse_or_none(parse_code, raw.code_auth),
    )


def _parse_or_none(parse: Callable[[Raw], str], raw: Raw) -> str | None:
    try:
        return parse(raw)
    except (FieldError, TypeError):  # the cached parsers cannot hash a list or an object
        return None


def payload_json(raw: RawRecord) -> str:
    """Convert a raw record to JSON text that every database can store; equal records give equal texts."""
    fields: dict[str, Any] = {
        name: value for name, value in msgspec.structs.asdict(raw).items() if value is not MISSING
    }
    return sanitise_text(json.dumps(_limit_depth(fields), ensure_ascii=False, sort_keys=True, default=str))


def _limit_depth(value: Any, levels: int = MAX_PAYLOAD_DEPTH) -> Any:
    # json.dumps recurses into the value: a RecursionError would end the whole run.
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return "…"
    if isinstance(value, dict):
        return {name: _limit_depth(item, levels - 1) for name, item in value.items()}
    return [_limit_depth(item, levels - 1) for item in value]
