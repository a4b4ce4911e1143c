"""The JSON answers of the vendor: `{"success": true, "error": "", "data": …}`.

An answer of any size is read the same way: a part at a time, item by item. `_Reader.value` alone decides what a value
means. Items in the form of the reference, which nearly all are, are decoded faster, many at once, where it is certain
that `_Reader.value` would give the same (see `_decode_documented`). No item is ever judged by its neighbours.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import chain
from typing import IO, Any, Final, NoReturn

import msgspec

from etl.errors import InvalidResponse
from etl.model import ALL_FIELDS, MISSING, REQUIRED_FIELDS, Feed, RawRecord, RejectedRecord

CHUNK_CHARACTERS: Final = 1 << 18
"""Bytes that are read and decoded together."""
MAX_DEPTH: Final = 100
"""Levels of lists and objects in a value: far more than any record has, far fewer than the decoder's own recursion."""
MAX_NUMBER_LENGTH: Final = 4300
"""Digits; Python's own int() takes quadratic time, and refuses more."""
MAX_REASON_LENGTH: Final = 200
"""Characters of the vendor's own words that are passed on."""
MIN_RECORDS_FOR_FIELD_CHECK: Final = 2
"""Records from which on a field that none of them has is missing from the answer: one record alone may be odd."""

_FIELDS: Final = RawRecord.__struct_fields__
_QUOTED_FIELDS: Final = tuple(b'"%b"' % name.encode() for name in _FIELDS)
_LIST_OR_OBJECT_AS_VALUE: Final = re.compile(rb'"[ \t\r\n]*:[ \t\r\n]*[\[{]')
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_TEXT_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|["\[\]{}]', re.DOTALL)
_MAX_TOKEN_LENGTH: Final = 16
"""Characters, generously: a word or an escape of which the end is not in memory."""


class _RepeatedField(dict[str, Any]):
    """An object that gives a field twice: nobody can say which value holds, so that it has the list of them."""


class _TooDeeplyNested:
    """A value of more than MAX_DEPTH levels."""


def parse_answer(answer: IO[bytes], redact: Callable[[str], str] = str, *, part: int = CHUNK_CHARACTERS) -> Feed:
    """The records of an answer to `post_billing_data`.

    Args:
        answer: All of it, decoded from its transfer. It must stay open until the rows are read.
        redact: Cleans the vendor's own words.
        part: Bytes that are decoded together. It makes no difference to what is read.

    Returns:
        The records as a stream. It raises InvalidResponse where the answer turns out to be broken, cut short, or one
        that says it is none, so nothing of it counts until all of it is read.
    """
    feed = Feed(rows=())
    feed.rows = chain.from_iterable(_read_records(_Reader(answer, part), feed, redact))
    return feed


def parse_data(body: bytes, redact: Callable[[str], str] = str) -> Any:
    """What stands under `data` in a successful answer, decoded without a schema.

    Args:
        body: The answer, decoded from its transfer.
        redact: Cleans the vendor's own words.

    Raises:
        InvalidResponse: It is no JSON, no such envelope, or one that says `success: false`.
    """
    reader = _Reader(io.BytesIO(body), CHUNK_CHARACTERS)
    return _data_of([(name, reader.value()) for name in reader.members()], redact)


def error_reason(answer: Any, redact: Callable[[str], str]) -> str:
    """What an answer says of its error, in quotes: cleaned first and then cut, or half a secret might stay."""
    text = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not text.strip():
        return "without a reason"
    return f'"{" ".join(redact(text).split())[:MAX_REASON_LENGTH]}"'


# The answer ----------------------------------------------------------------------------------------------------------


def _read_records(reader: _Reader, feed: Feed, redact: Callable[[str], str]) -> Iterator[list[RawRecord]]:
    """The records, some at a time; what is known only at the end is put into `feed` there."""
    envelope: list[tuple[str, Any]] = []
    carried: set[str] = set()
    malformed: list[RejectedRecord] = []
    count = 0
    for name in reader.members():
        if name != "data" or reader.peek() != "[":
            envelope.append((name, reader.value()))
            continue
        envelope.append((name, []))
        for documented, others in reader.items():
            if documented:
                carried |= ALL_FIELDS
            records = documented or list(_records_of(others, carried, malformed))
            count += len(records)
            yield records
    if not isinstance(_data_of(envelope, redact), list):
        raise InvalidResponse("an answer whose data is not a list")
    feed.unknown = tuple(sorted(carried - ALL_FIELDS))
    feed.malformed = tuple(malformed)
    if count < MIN_RECORDS_FOR_FIELD_CHECK:
        return
    if missing := [name for name in REQUIRED_FIELDS if name not in carried]:
        raise InvalidResponse(f"an answer of {count} records of which none has a {' or a '.join(missing)}")
    feed.fields = ALL_FIELDS & carried


def _records_of(items: list[Any], carried: set[str], malformed: list[RejectedRecord]) -> Iterator[RawRecord]:
    for item in items:
        if isinstance(item, _TooDeeplyNested):
            malformed.append(RejectedRecord(None, "lists or objects are nested too deeply", '"…"'))
        elif isinstance(item, _RepeatedField):
            malformed.append(_reject("a field is given twice", item))
        elif isinstance(item, dict):
            carried.update(item)
            yield RawRecord(*[item.get(name, MISSING) for name in _FIELDS])
        else:
            malformed.append(_reject("not an object", item))


def _reject(reason: str, item: Any) -> RejectedRecord:
    # ensure_ascii: what no database can hold stays an escape.
    return RejectedRecord(None, reason, json.dumps(item, sort_keys=True, default=str))


def _data_of(envelope: list[tuple[str, Any]], redact: Callable[[str], str]) -> Any:
    answer = _object(envelope)
    if isinstance(answer, _RepeatedField) or "success" not in answer:
        raise InvalidResponse("JSON that is not the vendor's kind of answer")
    if answer["success"] is not True:
        raise InvalidResponse(f"success: false, {error_reason(answer, redact)}")
    return answer.get("data")


# JSON ----------------------------------------------------------------------------------------------------------------


class _Reader:
    """Reads one value after another; no more of the answer is in memory than is being decoded.

    Raises:
        InvalidResponse: From every method, where the answer is not UTF-8 or no JSON.
    """

    def __init__(self, answer: IO[bytes], part: int) -> None:
        answer.seek(0)
        if answer.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            answer.seek(0)
        self._answer = answer
        self._part = part
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at = "", 0
        self._ended = False
        self._first = ""

    def members(self) -> Iterator[str]:
        """The name of each member of the answer, an object; the caller reads its value before it goes on."""
        self._first = self.peek()
        if not self._first:
            raise InvalidResponse("an empty answer")
        if self._first != "{":
            self.value()
            self._require_end()
            raise InvalidResponse("JSON that is not the vendor's kind of answer")
        self._take("{")
        more = self.peek() != "}" or self._take("}") != "}"
        while more:
            if self.peek() != '"':
                self._refuse()
            name = self.value()
            self._take(":")
            yield name
            more = self._take(",}") == ","
        self._require_end()

    def items(self) -> Iterator[tuple[list[RawRecord], list[Any]]]:
        """The items of a list, some at a time: records in the form of the reference, or else what `value` gives."""
        self._take("[")
        if self.peek() == "]":
            self._take("]")
            return
        more = True
        while more:
            for records in self._documented_items():
                yield records, []
            others: list[Any] = []
            # To try the faster way again after each item would cost more than it saves: first what is in memory.
            last = self._text.rfind("},")
            until = last if last >= 0 else len(self._text)
            while more and (not others or self._at <= until):
                others.append(self.value())
                more = self._take(",]") == ","
            yield [], others

    def _documented_items(self) -> Iterator[list[RawRecord]]:
        """Records in the form of the reference, each up to its comma, until something else comes."""
        unread = self._text[self._at :].encode() + self._decoder.getstate()[0]
        while True:
            unread += self._answer.read(self._part)
            end = unread.rfind(b"},") + 1
            records = _decode_documented(unread[:end]) if end else None
            if records is None:
                break
            unread = unread[end + 1 :]
            yield records
        self._decoder.reset()
        self._text, self._at = "", 0
        self._append(unread)

    def value(self) -> Any:
        """The next value exactly as it stands: numbers from their digits, NaN and Infinity as texts."""
        self.peek()
        while True:
            value, end = self._decode()
            # A number may go on behind what is in memory: of `1e+5`, `1e+` would be read as 1.
            if end > self._at and (end + len("e+") < len(self._text) or self._ended):
                self._at = end
                return value
            if self._ended:
                self._refuse()
            self._read_on()

    def _decode(self) -> tuple[Any, int]:
        """The value that begins here, and where it ends; where it begins, if its end is not in memory."""
        text, begin = self._text, self._at
        value, end, broken = None, begin, False
        try:
            value, end = _exact(text, begin)
        except RecursionError:
            value, (end, _) = _TooDeeplyNested(), _measure(text, begin)
        except json.JSONDecodeError as error:
            # Only a text without an end is named by its beginning: whatever else is wrong here stays so.
            broken = error.pos < len(text) - _MAX_TOKEN_LENGTH and text[error.pos] != '"'
        if broken:
            self._refuse()
        if isinstance(value, dict | list) and text.count("[", begin, end) + text.count("{", begin, end) > MAX_DEPTH:
            _, depth = _measure(text, begin)
            value = value if depth <= MAX_DEPTH else _TooDeeplyNested()
        return value, end

    def peek(self) -> str:
        """The next character that is no white space; none at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it may be none
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read_on()

    def _take(self, possible: str) -> str:
        character = self.peek()
        if not character or character not in possible:
            self._refuse()
        self._at += 1
        return character

    def _require_end(self) -> None:
        if self.peek():
            self._refuse()

    def _read_on(self) -> None:
        """Read at least as much again as is in memory: what has no end there is not decoded too often."""
        self._text, self._at = self._text[self._at :], 0
        chunk = self._answer.read(max(self._part, len(self._text)))
        self._ended = not chunk
        self._append(chunk)

    def _append(self, chunk: bytes) -> None:
        text = None
        with suppress(UnicodeDecodeError):
            text = self._decoder.decode(chunk, final=self._ended)
        if text is None:
            # Outside of the block: the decoder's own error holds a part of the answer, phones and all.
            raise InvalidResponse("an answer that is not UTF-8")
        self._text += text

    def _refuse(self) -> NoReturn:
        while not self._ended:  # what is not UTF-8 is called that, wherever it is broken besides
            self._at = len(self._text)
            self._read_on()
        raise InvalidResponse(f"{'an HTML page' if self._first == '<' else 'broken JSON'} instead of an answer")


def _decode_documented(text: bytes) -> list[RawRecord] | None:
    """Records in the form of the reference; None where they might not mean what `_Reader.value` would make of them.

    The decoder refuses what is no JSON, a field that is unknown or missing, and what Python alone reads. It takes a
    field that is given twice, and lists and objects of any depth.
    """
    try:
        records = _documented(b"[%b]" % text)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    # An object of six members has five commas, and each record has the six fields. So no more commas mean no more
    # members; where a text has some, each name stands there once a record, unless a letter of it is an escape.
    if text.count(b",") != len(_FIELDS) * len(records) - 1 and (
        b"\\u00" in text or any(text.count(name) != len(records) for name in _QUOTED_FIELDS)
    ):
        return None
    if (b"[" in text or text.count(b"{") != len(records)) and _LIST_OR_OBJECT_AS_VALUE.search(text):
        return None
    return records


def _measure(text: str, begin: int) -> tuple[int, int]:
    """Where the list or object that begins here ends, or where it begins if it has no end; and its levels."""
    opened: list[str] = []
    levels = 0
    for token in _TEXT_OR_BRACKET.finditer(text, begin):
        match token[0]:
            case "[" | "{" as bracket:
                opened.append(bracket)
                levels = max(levels, len(opened))
            case "]" | "}" as bracket:
                if opened.pop() + bracket not in {"[]", "{}"}:
                    break
                if not opened:
                    return token.end(), levels
            case '"':  # a text without an end
                break
    return begin, levels


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    values: dict[str, list[Any]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return _RepeatedField((name, some if len(some) > 1 else some[0]) for name, some in values.items())


@lru_cache(maxsize=1024)  # few prices are different
def _number(digits: str) -> int | Decimal | str:
    """The number exactly: money never passes through a binary float. One beyond reason stays a text."""
    if len(digits.lstrip("-")) > MAX_NUMBER_LENGTH:
        return digits  # no field takes it for a number
    for kind in (int, Decimal):
        with suppress(ValueError, InvalidOperation):
            return kind(digits)
    return digits


_exact = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_number, parse_int=_number, parse_constant=str
).raw_decode
_documented = msgspec.json.Decoder(list[RawRecord], float_hook=_number).decode
