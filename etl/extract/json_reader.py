"""A decoder of the vendor's JSON that reads a stream in chunks and loses nothing.

Answers of any size are decoded in the same way, item by item. Only `JsonReader.value` defines the meaning of a value.
Items in the documented format, nearly all of them, are decoded faster in batches, if it is certain that
`JsonReader.value` would return the same (see `_decode_documented`). The result for an item depends on no other item.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import IO, Any, Final, NoReturn

import msgspec

from etl.errors import InvalidResponse
from etl.model import RawRecord

CHUNK_BYTES: Final = 1 << 18
"""Bytes that are read and decoded at once."""
MAX_DEPTH: Final = 100
"""Maximum nesting of a value: far more than any record has, far less than the decoder's recursion limit."""
MAX_NUMBER_LENGTH: Final = 4300
"""Maximum number of digits; int() takes quadratic time and rejects more."""
_FIELDS: Final = RawRecord.__struct_fields__
_QUOTED_FIELDS: Final = tuple(b'"%b"' % name.encode() for name in _FIELDS)
_LIST_OR_OBJECT_AS_VALUE: Final = re.compile(rb'"[ \t\r\n]*:[ \t\r\n]*[\[{]')
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_TEXT_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|["\[\]{}]', re.DOTALL)
_MAX_TOKEN_LENGTH: Final = 16
"""Characters, at least those of the longest literal or escape sequence, which may be incomplete in memory."""


class DuplicateKeyDict(dict[str, Any]):
    """An object with a duplicate field, which has the list of its values: none of them is certain."""


class TooDeeplyNested:
    """A placeholder for a value of more than MAX_DEPTH levels."""


class JsonReader:
    """A JSON stream decoder that holds only the current chunk in memory.

    Raises:
        InvalidResponse: From every method, if the answer is not UTF-8 or not JSON.
    """

    def __init__(self, answer: IO[bytes], chunk_size: int) -> None:
        answer.seek(0)
        if answer.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            answer.seek(0)
        self._answer = answer
        self._chunk_size = chunk_size
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._position = "", 0
        self._at_end = False
        self._first_character = ""

    def members(self) -> Iterator[str]:
        """Yield the name of each member of the top-level object; the caller must read its value before the next one."""
        self._first_character = self.peek()
        if not self._first_character:
            raise InvalidResponse("an empty answer")
        if self._first_character != "{":
            self.value()
            self._require_end()
            raise InvalidResponse("JSON that is not the vendor's kind of answer")
        self._expect("{")
        has_more = self.peek() != "}" or self._expect("}") != "}"
        while has_more:
            if self.peek() != '"':
                self._fail()
            name = self.value()
            self._expect(":")
            yield name
            has_more = self._expect(",}") == ","
        self._require_end()

    def items(self) -> Iterator[tuple[list[RawRecord], list[Any]]]:
        """Yield the items of a list in batches: records in the documented format, or else results of `value`."""
        self._expect("[")
        if self.peek() == "]":
            self._expect("]")
            return
        has_more = True
        while has_more:
            for records in self._documented_items():
                yield records, []
            other_items: list[Any] = []
            # Retrying the fast path after every item would cost more than it saves: finish the text in memory first.
            last = self._text.rfind("},")
            last_complete = last if last >= 0 else len(self._text)
            while has_more and (not other_items or self._position <= last_complete):
                other_items.append(self.value())
                has_more = self._expect(",]") == ","
            yield [], other_items

    def _documented_items(self) -> Iterator[list[RawRecord]]:
        """Yield records in the documented format, each up to its comma, until there is another item."""
        unread = self._text[self._position :].encode() + self._decoder.getstate()[0]
        while True:
            unread += self._answer.read(self._chunk_size)
            end = unread.rfind(b"},") + 1
            records = _decode_documented(unread[:end]) if end else None
            if records is None:
                break
            unread = unread[end + 1 :]
            yield records
        self._decoder.reset()
        self._text, self._position = "", 0
        self._append(unread)

    def value(self) -> Any:
        """Return the next value without loss: numbers from their digits, NaN and Infinity as texts."""
        self.peek()
        while True:
            value, end = self._decode()
            # A number may continue after the text in memory: `1e+` of `1e+5` would be parsed as 1.
            if end > self._position and (end + len("e+") < len(self._text) or self._at_end):
                self._position = end
                return value
            if self._at_end:
                self._fail()
            self._read_more()

    def _decode(self) -> tuple[Any, int]:
        """Return the value at the current position and its end; the position itself if its end is not in memory."""
        text, start = self._text, self._position
        value, end, is_invalid = None, start, False
        try:
            value, end = _strict_decode(text, start)
        except RecursionError:
            value, (end, _) = TooDeeplyNested(), _scan_nesting(text, start)
        except json.JSONDecodeError as error:
            # Only an unterminated string has its error at its start; any other error does not depend on the next chunk.
            is_invalid = error.pos < len(text) - _MAX_TOKEN_LENGTH and text[error.pos] != '"'
        if is_invalid:
            self._fail()
        if isinstance(value, dict | list) and text.count("[", start, end) + text.count("{", start, end) > MAX_DEPTH:
            _, depth = _scan_nesting(text, start)
            value = value if depth <= MAX_DEPTH else TooDeeplyNested()
        return value, end

    def peek(self) -> str:
        """Return the next character that is not white space; an empty text at the end."""
        while True:
            self._position = _SPACE.match(self._text, self._position).end()  # type: ignore[union-attr]  # it matches the empty text
            if self._position < len(self._text) or self._at_end:
                return self._text[self._position : self._position + 1]
            self._read_more()

    def _expect(self, allowed: str) -> str:
        character = self.peek()
        if not character or character not in allowed:
            self._fail()
        self._position += 1
        return character

    def _require_end(self) -> None:
        if self.peek():
            self._fail()

    def _read_more(self) -> None:
        """Read at least as much as is in memory, so that an incomplete value is decoded only a few times."""
        self._text, self._position = self._text[self._position :], 0
        chunk = self._answer.read(max(self._chunk_size, len(self._text)))
        self._at_end = not chunk
        self._append(chunk)

    def _append(self, chunk: bytes) -> None:
        text = None
        with suppress(UnicodeDecodeError):
            text = self._decoder.decode(chunk, final=self._at_end)
        if text is None:
            # Outside the block: the decoder's error contains a part of the answer with phone numbers.
            raise InvalidResponse("an answer that is not UTF-8")
        self._text += text

    def _fail(self) -> NoReturn:
        while not self._at_end:  # an encoding error anywhere in the answer takes precedence
            self._position = len(self._text)
            self._read_more()
        raise InvalidResponse(
            f"{'an HTML page' if self._first_character == '<' else 'broken JSON'} instead of an answer"
        )


def _decode_documented(text: bytes) -> list[RawRecord] | None:
    """Decode records in the documented format; None if `JsonReader.value` might return something else.

    The decoder rejects invalid JSON, unknown and missing fields, and extensions of Python's decoder. It accepts
    duplicate fields, and lists and objects of any depth, which are checked here.
    """
    try:
        records = _decode_documented_list(b"[%b]" % text)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    # Each record has all six fields, and an object of six members has five commas. So without further commas there are
    # no duplicates. Commas may also be in texts: then each field name must occur once a record, without escapes.
    if text.count(b",") != len(_FIELDS) * len(records) - 1 and (
        b"\\u00" in text or any(text.count(name) != len(records) for name in _QUOTED_FIELDS)
    ):
        return None
    if (b"[" in text or text.count(b"{") != len(records)) and _LIST_OR_OBJECT_AS_VALUE.search(text):
        return None
    return records


def _scan_nesting(text: str, start: int) -> tuple[int, int]:
    """Return the end of a list or object (its start if it is incomplete) and its depth."""
    open_brackets: list[str] = []
    levels = 0
    for token in _TEXT_OR_BRACKET.finditer(text, start):
        match token[0]:
            case "[" | "{" as bracket:
                open_brackets.append(bracket)
                levels = max(levels, len(open_brackets))
            case "]" | "}" as bracket:
                if open_brackets.pop() + bracket not in {"[]", "{}"}:
                    break
                if not open_brackets:
                    return token.end(), levels
            case '"':  # an unterminated string
                break
    return start, levels


def object_from_pairs(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Create an object from its members; a DuplicateKeyDict if a name occurs twice."""
    pairs = list(pairs)
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    values: dict[str, list[Any]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return DuplicateKeyDict(
        (name, field_values if len(field_values) > 1 else field_values[0]) for name, field_values in values.items()
    )


@lru_cache(maxsize=1024)  # there are few distinct prices
def _number(digits: str) -> int | Decimal | str:
    """Parse a number exactly: money is never a binary float. A number that is too long stays a text."""
    if len(digits.lstrip("-")) > MAX_NUMBER_LENGTH:
        return digits  # no field parser accepts it as a number
    for number_type in (int, Decimal):
        with suppress(ValueError, InvalidOperation):
            return number_type(digits)
    return digits


_strict_decode = json.JSONDecoder(
    object_pairs_hook=object_from_pairs, parse_float=_number, parse_int=_number, parse_constant=str
).raw_decode
_decode_documented_list = msgspec.json.Decoder(list[RawRecord], float_hook=_number).decode
