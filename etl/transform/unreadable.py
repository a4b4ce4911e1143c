"""What a record that cannot be read is quarantined with: the reason, the payload, and what can be read of its key.

The same for JSON and CSV.
"""

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
"""Levels of a bad record that are kept; a good one has a single level."""


def reject_record(raw: RawRecord, reason: str, zone: tzinfo) -> RejectedRecord:
    """A raw record that failed validation.

    Args:
        raw: As the source spelled it.
        reason: Why; it names the field, never the value.
        zone: Of the vendor's wall clock.
    """
    key = _partial_key(raw, zone)
    return RejectedRecord(_day(raw, key), reason, payload_json(raw), key)


def add_key(item: RejectedRecord, zone: tzinfo) -> RejectedRecord:
    """An item that is not even a raw record, with what its payload shows of a key and a day.

    A field that is given twice shows nothing: its value is a list.
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
        _read(partial(parse_time, zone=zone), raw.created_at),
        _read(parse_phone, raw.phone),
        _read(parse_code, raw.code_auth),
    )


def _read(parse: Callable[[Raw], str], raw: Raw) -> str | None:
    try:
        return parse(raw)
    except (FieldError, TypeError):  # a cached parser cannot look up a list or an object
        return None


def payload_json(raw: RawRecord) -> str:
    """A raw record as JSON text that every database can hold; equal for equal records."""
    fields: dict[str, Any] = {
        name: value for name, value in msgspec.structs.asdict(raw).items() if value is not MISSING
    }
    return sanitise_text(json.dumps(_limit_depth(fields), ensure_ascii=False, sort_keys=True, default=str))


def _limit_depth(value: Any, levels: int = MAX_PAYLOAD_DEPTH) -> Any:
    # Rendering goes as deep as the value, and a recursion too deep here would cost the whole run.
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return "…"
    if isinstance(value, dict):
        return {name: _limit_depth(part, levels - 1) for name, part in value.items()}
    return [_limit_depth(part, levels - 1) for part in value]
