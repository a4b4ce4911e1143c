"""The JSON answers of the vendor: `{"success": true, "error": "", "data": …}`.

The strict decoder reads what the reference describes, fast. Whatever it refuses is read again by the tolerant one,
record by record, so that one bad record does not cost the others.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import chain
from typing import IO, Any, Final, TypeVar

import msgspec

from etl.errors import UnusableAnswer
from etl.model import ALL_FIELDS, REQUIRED_FIELDS, Feed, RawRecord, Rejected, raw_record

ENVELOPE: Final = 1024
"""Bytes at each end of an answer in which its own fields are looked for."""
LONGEST_REASON: Final = 200
"""Characters of the vendor's own words that are passed on."""
LONGEST_NUMBER: Final = 64
"""Characters; Python's own int() takes quadratic time, and refuses above 4,300."""
LARGE: Final = 1 << 20
"""Bytes from which on an answer is decoded in parts."""
PART: Final = 1 << 18
"""Bytes of a large answer that are decoded together."""
SEVERAL: Final = 2
"""Records from which on a field that none of them has is one that the answer lacks: one record may be odd by itself."""


T = TypeVar("T")


class _Undocumented(Exception):
    """A large answer is not in the form of the reference after all."""


class _Answer(msgspec.Struct):
    success: bool
    data: list[RawRecord]


class _DoubledField(dict[str, Any]):
    """An object that gives a field twice: nobody can say which value holds."""


# Money never passes through a binary float: the hook gets the digits as they stand. Few prices are different.
_decimal = lru_cache(maxsize=1024)(Decimal)
_strict = msgspec.json.Decoder(_Answer, float_hook=_decimal)
_strict_part = msgspec.json.Decoder(list[RawRecord], float_hook=_decimal)


def read_billing(answer: IO[bytes], read: Callable[[Feed], T], redact: Callable[[str], str] = str) -> T:
    """What `read` makes of the records of an answer to `post_billing_data`.

    A large answer is read and decoded a part at a time, so that it is never in memory as a whole.

    Args:
        answer: All of it, decoded from its transfer.
        read: Gets the records; a second time where a large answer turns out, half-way, to be of another form.
        redact: Cleans the vendor's own words.

    Raises:
        UnusableAnswer: It is no such answer, or says that it is none.
    """
    if answer.seek(0, io.SEEK_END) > LARGE:
        with suppress(_Undocumented):
            return read(Feed(rows=chain.from_iterable(_decode_in_parts(answer))))
    answer.seek(0)
    return read(parse_billing(answer.read(), redact))


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


def _decode_in_parts(answer: IO[bytes]) -> Iterator[list[RawRecord]]:
    """The records of a large answer in documented form, part by part.

    It is cut between two objects. A cut that fell into a text, or anywhere else, leaves parts that are no JSON: what is
    a list in every part is the same list as a whole.

    Raises:
        _Undocumented: It is in another form.
    """
    tail_begins = answer.seek(max(0, answer.seek(0, io.SEEK_END) - ENVELOPE))
    tail = answer.read()
    answer.seek(0)
    head = answer.read(ENVELOPE)
    first, last = head.find(b"[") + 1, tail.rfind(b"]")
    envelope = head[:first] + tail[last:]
    if last < 0 or not _decode(_strict, envelope).success or _names_a_field_twice(envelope, 0):
        raise _Undocumented
    begin, end = first, tail_begins + last
    while begin <= end:
        answer.seek(begin)
        text = answer.read(min(PART, end - begin))
        if begin + len(text) < end:
            text = text[: text.rfind(b"},") + 1]
        part = _decode(_strict_part, b"[%b]" % text)
        # Who doubles a field does so in every record.
        if not part or (begin == first and _names_a_field_twice(text, len(part))):
            raise _Undocumented
        yield part
        begin += len(text) + 1


def _decode(decoder: msgspec.json.Decoder[T], text: bytes) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, InvalidOperation, RecursionError, ValueError):
        pass
    # Outside of the block: nothing may stand on the decoder's own error, which may hold a part of the answer.
    raise _Undocumented


def _malformed(reason: str, item: Any) -> Rejected:
    # ensure_ascii: what no database can hold stays an escape.
    return Rejected(None, reason, json.dumps(item, sort_keys=True, default=str))


def _names_a_field_twice(text: bytes, records: int) -> bool:
    # The strict decoder takes the last of two values in silence. Each of its records has each field, so a name that
    # stands there more often is doubled (or the whole content of a text: the tolerant decoder tells), unless a letter
    # of it is written as an escape.
    envelope = text[:ENVELOPE] + text[-ENVELOPE:] if len(text) > 2 * ENVELOPE else text
    return (
        b"\\u00" in text
        or any(text.count(b'"%s"' % name.encode()) > records for name in ALL_FIELDS)
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
