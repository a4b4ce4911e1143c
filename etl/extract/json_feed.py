"""The JSON answers of the vendor: `{"success": true, "error": "", "data": …}`.

The strict decoder reads what the reference describes, fast. Whatever it refuses is read again by the tolerant one,
record by record, so that one bad record does not cost the others.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from etl.errors import UnusableAnswer
from etl.model import ALL_FIELDS, REQUIRED_FIELDS, Feed, RawRecord, Rejected, raw_record

ENVELOPE: Final = 1024
"""Bytes at each end of an answer in which its own fields are looked for."""
SAMPLE: Final = 1 << 20
"""Bytes of an answer in which doubled fields are looked for."""
LONGEST_REASON: Final = 200
"""Characters of the vendor's own words that are passed on."""
LONGEST_NUMBER: Final = 64
"""Characters; Python's own int() takes quadratic time, and refuses above 4,300."""
SEVERAL: Final = 2
"""Records from which on a field that none of them has is one that the answer lacks: one record may be odd by itself."""


class _Answer(msgspec.Struct):
    success: bool
    data: list[RawRecord]


class _DoubledField(dict[str, Any]):
    """An object that gives a field twice: nobody can say which value holds."""


# Money never passes through a binary float: the hook gets the digits as they stand.
_strict = msgspec.json.Decoder(_Answer, float_hook=Decimal)


def parse_billing(body: bytes, redact: Callable[[str], str] = str) -> Feed:
    """The records of an answer to `post_billing_data`.

    Args:
        body: The answer, decoded from its transfer.
        redact: Cleans the vendor's own words.

    Raises:
        UnusableAnswer: It is no such answer, or says that it is none.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    answer: _Answer | None = None
    with suppress(msgspec.DecodeError, InvalidOperation, RecursionError, ValueError):
        answer = _strict.decode(body)
    # Outside of the block: a refusal must not stand on the decoder's own error, which may hold the whole answer.
    if answer is None or not answer.success or _names_a_field_twice(body, len(answer.data)):
        return _parse_tolerantly(body, redact)
    return Feed(rows=answer.data)


def parse_data(body: bytes, redact: Callable[[str], str] = str) -> Any:
    """What stands under `data` in a successful answer, decoded without a schema.

    Args:
        body: The answer, decoded from its transfer.
        redact: Cleans the vendor's own words.

    Raises:
        UnusableAnswer: It is no JSON, no such envelope, or one that says `success: false`.
    """
    if not body.strip():
        raise UnusableAnswer("an empty answer")
    try:
        answer = json.loads(
            body.removeprefix(codecs.BOM_UTF8).decode("utf-8"),
            parse_float=_parse_number,
            parse_int=_parse_number,
            parse_constant=str,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError:
        problem = "an answer that is not UTF-8"
    except (ValueError, RecursionError):
        problem = f"{'an HTML page' if body.lstrip()[:1] == b'<' else 'broken JSON'} instead of an answer"
    else:
        problem = ""
    if problem:
        # Outside of the except block: the decoder's own error holds the whole answer, phones and all.
        raise UnusableAnswer(problem)
    if not isinstance(answer, dict) or isinstance(answer, _DoubledField) or "success" not in answer:
        raise UnusableAnswer("JSON that is not the vendor's kind of answer")
    if answer["success"] is not True:
        raise UnusableAnswer(f"success: false, {error_text(answer, redact)}")
    return answer.get("data")


def error_text(answer: Any, redact: Callable[[str], str]) -> str:
    """What an answer says of its error, in quotes: cleaned first and then cut, or half a secret might stay."""
    text = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not text.strip():
        return "without a reason"
    return f'"{" ".join(redact(text).split())[:LONGEST_REASON]}"'


def _parse_tolerantly(body: bytes, redact: Callable[[str], str]) -> Feed:
    data = parse_data(body, redact)
    if not isinstance(data, list):
        raise UnusableAnswer("an answer whose data is not a list")
    carried: set[str] = set()
    rows: list[RawRecord] = []
    malformed: list[Rejected] = []
    for item in data:
        if isinstance(item, _DoubledField):
            malformed.append(_malformed("a field is given twice", item))
        elif isinstance(item, dict):
            carried |= item.keys()
            rows.append(raw_record(**{name: item[name] for name in ALL_FIELDS & item.keys()}))
        else:
            malformed.append(_malformed("not an object", item))
    unknown = tuple(sorted(carried - ALL_FIELDS))
    if len(rows) < SEVERAL:
        return Feed(rows=rows, unknown=unknown, malformed=tuple(malformed))
    if missing := [name for name in REQUIRED_FIELDS if name not in carried]:
        raise UnusableAnswer(f"an answer of {len(rows)} records of which none has a {' or a '.join(missing)}")
    return Feed(rows=rows, fields=ALL_FIELDS & carried, unknown=unknown, malformed=tuple(malformed))


def _malformed(reason: str, item: Any) -> Rejected:
    # ensure_ascii: what no database can hold stays an escape.
    return Rejected(None, reason, json.dumps(item, sort_keys=True, default=str))


def _names_a_field_twice(body: bytes, records: int) -> bool:
    # The strict decoder takes the last of two values in silence. Each of its records has each field, so a name that
    # stands there more often is doubled (or the whole content of a text: the tolerant decoder tells), unless a letter
    # of it is written as an escape. Of a large answer only the beginning is looked at: who doubles a field does so in
    # every record.
    sample = body[:SAMPLE]
    counts = [sample.count(b'"%s"' % name.encode()) for name in ALL_FIELDS]
    envelope = body[:ENVELOPE] + body[-ENVELOPE:] if len(body) > 2 * ENVELOPE else body
    return (
        b"\\u00" in sample
        or max(counts) > (records if sample == body else min(counts) + 1)
        or any(envelope.count(name) > 1 for name in (b'"success"', b'"data"'))
    )


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else _DoubledField(fields)


def _parse_number(digits: str) -> int | Decimal | str:
    if len(digits) > LONGEST_NUMBER:
        return digits  # no field takes it for a number
    try:
        return int(digits)
    except ValueError:
        pass
    try:
        return Decimal(digits)
    except InvalidOperation:
        return digits
