"""Parser of the vendor's JSON answers: `{"success": true, "error": "", "data": …}`."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from typing import IO, Any, Final

from etl.errors import InvalidResponse, NoRecordsError, RequestRejected, VendorError
from etl.extract.json_reader import CHUNK_BYTES, DuplicateKeyDict, JsonReader, TooDeeplyNested, object_from_pairs
from etl.extract.pagination import find_claims
from etl.model import ALL_FIELDS, MISSING, REQUIRED_FIELDS, Feed, RawRecord, RejectedRecord

MAX_REASON_LENGTH: Final = 200
"""Maximum number of characters of the vendor's error message."""
MIN_RECORDS_FOR_FIELD_CHECK: Final = 2
"""Number of records from which on a field that none of them has is an error: a single record may be an exception."""

_SUCCESS: Final = (True, "true", "1")
"""Values of `success`; 1 equals true. Source: `true` in the vendor's reference; the others are assumed."""
_ERROR_FIELDS: Final = frozenset({"error", "errors", "errormessage"})
"""Fields with the vendor's error, without separators. Source: `error` in the reference; the others are assumed."""
_NO_ERROR: Final = frozenset({
    "", "-", "0", "0.0", "200", "false", "no", "none", "null", "nil", "n/a", "ok", "okay", "success", "successful",
    "successfully", "done", "no error", "no errors", "without errors", "нет", "ок", "успех", "успешно", "готово",
    "выполнено", "нет ошибки", "нет ошибок", "ошибки нет", "ошибок нет", "без ошибок", "ошибка отсутствует",
    "ошибки отсутствуют",
})  # fmt: skip
"""Values of these fields that report no error, in lower case. Source: the empty text; the others are assumed."""
_LONG_NUMBER: Final = re.compile(r"\d{10,}")
_ABOUT_DATES: Final = re.compile(
    r"\b(?:start_|end_)?dates?\b|\b(?:period|range)\b|\bдат[аыуе]\b|\bпериод", re.IGNORECASE
)
_NO_RECORDS: Final = re.compile(
    r"""
    (?:
        (?:billing\ )?(?:records?|data|rows|entries|calls)\ (?:(?:was|were|is|are)\ )?not\ found
        | (?:there\ (?:is|are)\ )?no\ (?:billing\ )?(?:records?|data|rows|entries|calls)(?:\ (?:(?:was|were)\ )?found)?
        | nothing\ (?:was\ )?found
        | (?:запис[иь]|данные)\ не\ найден[аоы]? | (?:нет|не\ найдено)\ (?:записей|данных)
    )
    (?:\ (?:for|in|within|between|on|since|за|в|с)\ .*)?
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""A message that there are no records. Source: the reference has "id record not found" for `get_status`; that the calls
about charges have a similar one for days without records is assumed."""
_FIELDS: Final = RawRecord.__struct_fields__


def parse_answer(answer: IO[bytes], redact: Callable[[str], str] = str, *, chunk_size: int = CHUNK_BYTES) -> Feed:
    """Parse the records of an answer to `post_billing_data`.

    Args:
        answer: The body, without content encoding. It must stay open until the rows are consumed.
        redact: Removes secrets and personal data from the vendor's messages.
        chunk_size: Bytes that are decoded at once. The result does not depend on it.

    Returns:
        A feed whose rows are parsed lazily. They raise InvalidResponse if the answer is invalid, truncated or an error
        message, and RequestRejected if the message is about the dates, so that no row may be used before all are
        consumed.
    """
    feed = Feed(rows=())
    feed.rows = chain.from_iterable(_read_records(JsonReader(answer, chunk_size), feed, redact))
    return feed


def parse_envelope(body: bytes, redact: Callable[[str], str] = str) -> Any:
    """Return the `data` of a successful answer, decoded without a schema.

    Args:
        body: The body, without content encoding.
        redact: Removes secrets and personal data from the vendor's messages.

    Raises:
        InvalidResponse: The body is not JSON, has another envelope, or has `success: false` or an error.
        RequestRejected: It has an error about the dates of the request.
    """
    reader = JsonReader(io.BytesIO(body), CHUNK_BYTES)
    return _unwrap_data([(name, reader.value()) for name in reader.members()], redact)


def error_reason(answer: Any, redact: Callable[[str], str]) -> str:
    """Return the quoted error message of an answer, without long numbers, which may be phones.

    It is redacted before it is shortened: no half of a secret remains.
    """
    text = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not text.strip():
        return "without a reason"
    shown = _LONG_NUMBER.sub("…", " ".join(redact(text).split()))
    return f'"{shown[:MAX_REASON_LENGTH]}"'


def says_no_records(reason: str) -> bool:
    """Whether the vendor's error message says that there are no records: an empty answer in another form (assumed)."""
    return _NO_RECORDS.fullmatch(reason.strip('" .!')) is not None


def is_about_dates(reason: str) -> bool:
    """Whether the vendor's error message rejects the dates of a request: others may be accepted (assumed)."""
    return _ABOUT_DATES.search(reason) is not None


# Envelope ------------------------------------------------------------------------------------------------------------


def _read_records(reader: JsonReader, feed: Feed, redact: Callable[[str], str]) -> Iterator[list[RawRecord]]:
    """Yield the records in batches; at the end, set the other attributes of the feed."""
    envelope: list[tuple[str, Any]] = []
    seen_fields: set[str] = set()
    malformed: list[RejectedRecord] = []
    count = 0
    for name in reader.members():
        if name != "data" or reader.peek() != "[":
            envelope.append((name, reader.value()))
            continue
        envelope.append((name, []))
        for documented, other_items in reader.items():
            if documented:
                seen_fields |= ALL_FIELDS
            records = documented or list(_to_raw_records(other_items, seen_fields, malformed))
            count += len(records)
            yield records
    data = _unwrap_data(envelope, redact)
    if _is_numbered(data):
        records = list(_to_raw_records(list(data.values()), seen_fields, malformed))
        count += len(records)
        yield records
    elif data == {}:
        # As the reference has it for errors, and as PHP may encode an empty list (assumed).
        raise NoRecordsError("an answer whose data is an empty object")
    elif not isinstance(data, list):
        raise InvalidResponse("an answer whose data is not a list")
    feed.unknown = tuple(sorted(seen_fields - ALL_FIELDS))
    feed.malformed = tuple(malformed)
    feed.claims = find_claims(dict(envelope), count + len(malformed))
    if count < MIN_RECORDS_FOR_FIELD_CHECK:
        return
    if missing := [name for name in REQUIRED_FIELDS if name not in seen_fields]:
        raise InvalidResponse(f"an answer of {count} records of which none has a {' or a '.join(missing)}")
    feed.fields = ALL_FIELDS & seen_fields


def _is_numbered(data: Any) -> bool:
    """Whether data is an object of items by number, as PHP encodes a list with gaps (assumed)."""
    return isinstance(data, dict) and bool(data) and all(name.isdecimal() for name in data)


def _to_raw_records(items: list[Any], seen_fields: set[str], malformed: list[RejectedRecord]) -> Iterator[RawRecord]:
    for item in items:
        if isinstance(item, TooDeeplyNested):
            malformed.append(RejectedRecord(None, "lists or objects are nested too deeply", '"…"'))
        elif isinstance(item, DuplicateKeyDict):
            malformed.append(_reject("a field is given twice", item))
        elif isinstance(item, dict):
            fields = _with_documented_names(item)
            if isinstance(fields, DuplicateKeyDict):
                malformed.append(_reject("a field is given twice", fields))
                continue
            seen_fields.update(fields)
            yield RawRecord(*[fields.get(name, MISSING) for name in _FIELDS])
        else:
            malformed.append(_reject("not an object", item))


def _with_documented_names(item: dict[str, Any]) -> dict[str, Any]:
    """The same object with the documented names of fields that are spelled otherwise, such as `Phone` or `codeAuth`."""
    unknown = item.keys() - ALL_FIELDS
    if not unknown or not any(map(_documented_name, unknown)):
        return item
    return object_from_pairs((_documented_name(name) or name, value) for name, value in item.items())


@lru_cache(maxsize=1024)
def _documented_name(name: str) -> str | None:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", name.strip()[:MAX_REASON_LENGTH]).casefold()
    return words if words in ALL_FIELDS else None


def _reject(reason: str, item: Any) -> RejectedRecord:
    # ensure_ascii: characters that a database cannot store stay escaped.
    return RejectedRecord(None, reason, json.dumps(item, sort_keys=True, default=str))


def _unwrap_data(envelope: list[tuple[str, Any]], redact: Callable[[str], str]) -> Any:
    answer = object_from_pairs(envelope)
    if isinstance(answer, DuplicateKeyDict) or "success" not in answer:
        raise InvalidResponse("JSON that is not the vendor's kind of answer")
    if answer["success"] not in _SUCCESS:
        raise _vendor_error("success: false", answer, redact)
    for name, value in answer.items():
        if re.sub(r"[\W_]", "", name).casefold() in _ERROR_FIELDS and _reports_error(value):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            raise _vendor_error("success: true with an error", {"error": text}, redact)
    return answer.get("data")


def _vendor_error(outcome: str, answer: dict[str, Any], redact: Callable[[str], str]) -> VendorError:
    reason = error_reason(answer, redact)
    if says_no_records(reason):
        return NoRecordsError(f"{outcome}, {reason}")
    error = RequestRejected if is_about_dates(reason) else InvalidResponse
    return error(f"{outcome}, {reason}")


def _reports_error(value: Any) -> bool:
    """Whether the value of an error field reports one; an object or a list does if a value in it does.

    Assumed: beside `success: true` it means that the data may be only a part.
    """
    if isinstance(value, dict | list):
        return any(map(_reports_error, value.values() if isinstance(value, dict) else value))
    return " ".join(str(value).split()).strip(" .!").casefold() not in _NO_ERROR
