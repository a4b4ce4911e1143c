"""JSON answers: formats that are read, answers that are refused, and records that are rejected singly."""

from __future__ import annotations

import codecs
import io
import json
import re
import tracemalloc
from collections import deque
from contextlib import suppress
from datetime import date
from decimal import Decimal
from itertools import chain, repeat
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.json_answers import read_answer

from etl.date_ranges import DateRange
from etl.errors import InvalidResponse, NoRecordsError, RequestRejected, VendorError
from etl.extract.csv_parser import parse_csv
from etl.extract.json_parser import error_reason, parse_answer, parse_envelope
from etl.model import ALL_FIELDS, MISSING, RawRecord, Record, RejectedRecord, raw_record
from etl.transform.reader import read_feed

calm = settings(deadline=None)
DATA = Path(__file__).parents[1] / "data" / "json"
ROW = '"created_at": "2021-12-29T14:06:51", "code_auth": "2371", "status": 1, "status_info": "ok", "phone": "8"'
RECORD = RawRecord("2021-12-29T14:06:51", "2371", 1, "ok", "8", Decimal("0.2"))


def answer(*items: str, success: str = "true", error: str = '""') -> bytes:
    return f'{{"success": {success}, "error": {error}, "data": [{", ".join(items)}]}}'.encode()


def record(price: str = "0.2", more: str = "") -> str:
    return f'{{{ROW}, "price": {price}{more}}}'


def rows(body: bytes) -> list[RawRecord]:
    feed = read_answer(body)
    assert feed.malformed == ()
    return list(feed.rows)


def refusal(body: bytes) -> str:
    with pytest.raises(InvalidResponse) as refused:
        read_answer(body)
    return str(refused.value)


# Golden pairs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(DATA.glob("*.body")), ids=lambda path: path.stem)
def test_every_known_format_is_read(path: Path) -> None:
    feed = parse_answer(io.BytesIO(path.read_bytes()))
    records: list[Record] = []
    survey = read_feed(feed, DateRange(date.min, date.max), ZoneInfo("Europe/Moscow"), records.extend)
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) == {
        "records": [record._asdict() | {"price": str(record.price)} for record in records],
        "rejected": [
            {"day": item.day and item.day.isoformat(), "reason": item.reason, "payload": item.payload}
            for item in survey.rejected
        ],
        "unknown": list(feed.unknown),
    }


def test_every_example_has_input_and_expected_output() -> None:
    assert {path.stem for path in DATA.glob("*.body")} == {path.stem for path in DATA.glob("*.json")} != set()


# The envelope --------------------------------------------------------------------------------------------------------


def test_the_documented_answer_is_read() -> None:
    assert rows(answer(record(), record())) == [RECORD, RECORD]
    assert read_answer(answer(record())).fields == ALL_FIELDS


def test_an_answer_may_be_empty() -> None:
    feed = read_answer(answer())
    assert (list(feed.rows), feed.fields, feed.malformed) == ([], ALL_FIELDS, ())


@pytest.mark.parametrize(
    "body",
    [
        codecs.BOM_UTF8 + answer(record()),
        b" \r\n" + answer(record()) + b"\n",
        f'{{"data": [{record()}], "success": true}}'.encode(),
        f'{{"success": true, "error": null, "data": [{record()}]}}'.encode(),
        f'{{"success": true, "error": "", "data": [{record()}], "page": {{"total": 1}}}}'.encode(),
        answer(record()).replace(b'": ', b'" : '),
    ],
    ids=["byte order mark", "white space", "another order, no error", "error null", "more beside", "spaces"],
)
def test_irrelevant_variations_of_the_envelope_are_accepted(body: bytes) -> None:
    assert rows(body) == [RECORD]


@pytest.mark.fault(6, 21)
@pytest.mark.parametrize(
    ("body", "reason"),
    {
        b"": "an empty answer",
        b" \r\n\t": "an empty answer",
        b"<!DOCTYPE html><p>Sign in": "an HTML page instead of an answer",
        b"  <html>": "an HTML page instead of an answer",
        b"{'success': True}": "broken JSON instead of an answer",
        answer(record())[:-1]: "broken JSON instead of an answer",
        answer(record())[:60]: "broken JSON instead of an answer",
        answer(record()) + b"}": "broken JSON instead of an answer",
        answer(record()) * 2: "broken JSON instead of an answer",
        '{"success": true, "data": ["é"]}'.encode("latin-1"): "an answer that is not UTF-8",
        answer(record()).decode().encode("utf-16"): "an answer that is not UTF-8",
        b"[]": "JSON that is not the vendor's kind of answer",
        b"null": "JSON that is not the vendor's kind of answer",
        b"12": "JSON that is not the vendor's kind of answer",
        b'{"data": []}': "JSON that is not the vendor's kind of answer",
        b'{"error": "x"}': "JSON that is not the vendor's kind of answer",
        answer(success="false", error='"internal error"'): 'success: false, "internal error"',
        answer(success="false", error='"  two\\n words "'): 'success: false, "two words"',
        answer(success="false"): "success: false, without a reason",
        answer(record(), success="false", error="null"): "success: false, without a reason",
        answer(success="null"): "success: false, without a reason",
        answer(success='"false"'): "success: false, without a reason",
        answer(success="0"): "success: false, without a reason",
        b'{"success": false, "error": "id record not found", "data": {}}': 'success: false, "id record not found"',
        b'{"success": true, "error": "", "data": null}': "an answer whose data is not a list",
        b'{"success": true, "error": "", "data": {"0": {}, "next": {}}}': "an answer whose data is not a list",
        b'{"success": true, "error": "", "data": "[]"}': "an answer whose data is not a list",
        b'{"success": true, "error": ""}': "an answer whose data is not a list",
    }.items(),
)
def test_an_invalid_answer_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    assert refusal(body) == reason


@pytest.mark.parametrize(
    "body",
    [
        f'{{"success": true, "error": "", "data": [{record()}], "data": []}}',
        f'{{"success": true, "data": [{record()}], "data": []}}',
        f'{{"success": false, "error": "x", "success": true, "data": [{record()}]}}',
    ],
)
def test_an_envelope_with_duplicate_keys_is_refused(body: str) -> None:
    assert refusal(body.encode())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ('"query timeout, partial result"', "query timeout, partial result"),
        ('"Превышено время ожидания"', "Превышено время ожидания"),
        ('{"code": 0, "message": "timeout"}', '{"code": 0, "message": "timeout"}'),
        ('["", {"text": "timeout"}]', '["", {"text": "timeout"}]'),
        ("true", "true"),
        ("5", "5"),
        ('"1"', "1"),
    ],
)
def test_an_answer_that_reports_an_error_beside_success_is_refused(error: str, reason: str) -> None:
    body = answer(record(), error=error)
    assert refusal(body) == f'success: true with an error, "{reason}"'
    for name in ("errors", "Error", "errorMessage", "error_message"):
        assert refusal(body.replace(b'"error"', f'"{name}"'.encode()))
    with pytest.raises(InvalidResponse):
        parse_envelope(body)


def test_an_error_about_dates_beside_success_rejects_the_request() -> None:
    with pytest.raises(RequestRejected):
        rows(answer(record(), error='"the period is too long, only a part of it is listed"'))


@pytest.mark.parametrize(
    "error",
    [
        *('""', '" \\n"', "null", "false", "0", "0.0", "[]", "{}", '[""]', '{"code": 0, "message": "OK"}', '"null"'),
        *('"ok"', '"OK."', '"0"', '"None"', '"No errors"', '"Success!"', '"Нет"', '"Без  ошибок"', '"успешно"', "200"),
    ],
)
def test_an_error_field_without_an_error_is_accepted(error: str) -> None:
    assert rows(answer(record(), error=error)) == [RECORD]


def test_the_error_beside_success_is_redacted_and_truncated() -> None:
    body = answer(record(), error=json.dumps({"url": "secret" * 10, "text": "x" * 1000}))
    with pytest.raises(InvalidResponse) as caught:
        list(parse_answer(io.BytesIO(body), lambda text: text.replace("secret", "-")).rows)
    assert (
        str(caught.value)
        == 'success: true with an error, "' + ('{"url": "----------", "text": "' + "x" * 1000)[:200] + '"'
    )


def test_an_error_text_is_truncated() -> None:
    assert error_reason({"error": "x" * 1000}, str) == f'"{"x" * 200}"'
    assert error_reason({"error": ["x"]}, str) == error_reason(None, str) == error_reason([], str) == "without a reason"


# Records -------------------------------------------------------------------------------------------------------------


@pytest.mark.fault(39)
@pytest.mark.parametrize(
    "digits", ["0.2", "0.30000000000000004", "1e-7", "-0.0", "0.1000000000000000055511151231257827"]
)
def test_money_never_passes_through_a_binary_float(digits: str) -> None:
    for body in (answer(record(digits)), answer(record(digits, ', "new": 1'))):
        [row] = rows(body)
        assert str(row.price) == str(Decimal(digits))


@pytest.mark.parametrize("digits", ["0", "7", "-7", "18446744073709551615", "9" * 40])
def test_integers_keep_their_digits(digits: str) -> None:
    for body in (answer(record(digits)), answer(record(digits, ', "new": 1'))):
        [row] = rows(body)
        assert Decimal(row.price) == Decimal(digits)


@pytest.mark.fault(45)
@pytest.mark.parametrize("digits", ["9" * 5000, "1e400", "-1e9999999", "1e99999999999999999999", "0." + "1" * 5000])
def test_an_absurd_number_rejects_only_its_record(digits: str) -> None:
    other = answer(record(), record(digits), record())
    kept: list[Record] = []
    survey = read_feed(read_answer(other), DateRange(date.min, date.max), ZoneInfo("Europe/Moscow"), kept.extend)
    assert (len(kept), len(survey.rejected)) == (2, 1)


@pytest.mark.fault(37)
@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_reject_only_their_record(word: str) -> None:
    assert [row.price for row in rows(answer(record(), record(word)))] == [Decimal("0.2"), word]


def test_values_keep_their_type() -> None:
    body = answer('{"created_at": null, "code_auth": 371, "status": true, "status_info": "", "phone": [], "price": {}}')
    assert rows(body) == [RawRecord(None, 371, True, "", [], {})]


def test_an_absent_field_is_missing_and_not_null() -> None:
    assert rows(answer('{"price": 1}')) == [raw_record(price=1)]
    assert rows(answer("{}")) == [raw_record()]
    assert rows(answer("{}"))[0].status is MISSING


@pytest.mark.parametrize(
    ("reason", "error"),
    {
        **dict.fromkeys(
            (
                "end_date must not be in the future",
                "Invalid date range",
                "Дата начала вне договора",
                "the period is too long",
            ),
            RequestRejected,
        ),
        **dict.fromkeys(
            ("the update failed", "invalid data", "internal error", "validated candidate"), InvalidResponse
        ),
    }.items(),
)
def test_an_error_message_about_dates_rejects_the_request(reason: str, error: type[VendorError]) -> None:
    body = json.dumps({"success": False, "error": reason, "data": {}}, ensure_ascii=False).encode()
    with pytest.raises(VendorError) as caught:
        rows(body)
    assert type(caught.value) is error
    with pytest.raises(VendorError) as caught:
        parse_csv(io.BytesIO(body + b"\n"))
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("reason", "error"),
    (dict.fromkeys(
        (
            "records not found", "Record not found.", "No records", "no data found for the period", "nothing found",
            "Записи не найдены", "Нет данных за период",
        ),
        NoRecordsError,
    )
    | dict.fromkeys(
        ("id record not found", "client not found", "no data source", "records not found: database error"),
        InvalidResponse,
    )).items(),
)  # fmt: skip
def test_an_error_message_may_say_that_there_are_no_records(reason: str, error: type[VendorError]) -> None:
    body = json.dumps({"success": False, "error": reason, "data": {}}, ensure_ascii=False).encode()
    with pytest.raises(VendorError) as caught:
        rows(body)
    assert type(caught.value) is error


def test_an_empty_object_in_place_of_a_list_says_that_there_are_no_records() -> None:
    with pytest.raises(NoRecordsError):
        rows(b'{"success": true, "error": "", "data": {}}')


@pytest.mark.parametrize("success", ["1", '"1"', '"true"'])
def test_success_may_be_spelled_as_a_number_or_a_text(success: str) -> None:
    assert len(rows(answer(record(), success=success))) == 1


def test_a_list_with_gaps_as_php_encodes_it_is_a_list() -> None:
    body = f'{{"success": true, "error": "", "data": {{"0": {record()}, "2": {record("0.3")}}}}}'.encode()
    assert rows(body) == rows(answer(record(), record("0.3")))


def test_a_field_with_another_spelling_of_its_name_is_the_documented_one() -> None:
    item = (
        '{"createdAt": "2021-12-29T14:06:51", "Code_auth": "2371", "STATUS": 1, "status-info": "ok", " phone": "8", '
        '"price": 1}'
    )
    assert rows(answer(item)) == [RawRecord("2021-12-29T14:06:51", "2371", 1, "ok", "8", 1)]


def test_a_field_given_in_two_spellings_is_given_twice() -> None:
    feed = parse_answer(io.BytesIO(answer('{"price": 1, "Price": 2}')))
    assert list(feed.rows) == []
    assert [item.reason for item in feed.malformed] == ["a field is given twice"]


@pytest.mark.parametrize("name", ["created_at", "phone", "code_auth", "price"])
def test_an_answer_whose_records_lack_a_key_field_or_the_price_is_refused(name: str) -> None:
    lacking = re.sub(rf'"{name}": [^,}}]+(, )?', "", record()).replace(", }", "}")
    with pytest.raises(InvalidResponse, match=f"an answer of 2 records of which none has a {name}"):
        read_answer(answer(lacking, lacking))
    renamed = record().replace(f'"{name}"', f'"{name}_new"')
    with pytest.raises(InvalidResponse):
        read_answer(answer(renamed, renamed, renamed))
    assert len(rows(answer(lacking))) == 1, "a single record may be an exception"
    assert len(rows(answer(lacking, lacking, record()))) == 3


@pytest.mark.parametrize("name", ["status", "status_info"])
def test_an_attribute_that_no_record_has_is_reported_as_missing(name: str) -> None:
    lacking = re.sub(rf'"{name}": [^,}}]+, ', "", record())
    assert read_answer(answer(lacking, lacking)).fields == ALL_FIELDS - {name}
    assert read_answer(answer(lacking, record())).fields == ALL_FIELDS
    assert read_answer(answer(record(), record().replace('"ok"', "null"))).fields == ALL_FIELDS


@pytest.mark.fault(60)
def test_unknown_fields_are_named_and_ignored() -> None:
    feed = read_answer(answer(record(more=', "operator": "x", "id": 7'), record(), record(more=', "id": null')))
    assert (list(feed.rows), feed.unknown) == ([RECORD] * 3, ("id", "operator"))


@pytest.mark.parametrize("item", ["1", "null", '"text"', "[1, 2]", "true", "1.50"])
def test_an_item_that_is_not_an_object_is_rejected_alone(item: str) -> None:
    feed = read_answer(answer(record(), item, record()))
    payload = {"1.50": '"1.50"'}.get(item, item)
    assert (list(feed.rows), feed.malformed) == ([RECORD, RECORD], (RejectedRecord(None, "not an object", payload),))


@pytest.mark.fault(38)
@pytest.mark.parametrize(
    "items",
    [
        [record(more=', "price": 9')],
        [record(more=', "price" : 9')],
        [record(more=', "pr\\u0069ce": 9')],
        [record(more=', "new": 1, "new": 2')],
        [record(more=', "price": 9'), f"{{{ROW}}}"],
        [record(more=', "status": 9'), record().replace('"status": 1, ', "")],
        [record(more=', "price": 9'), f"{{{ROW}}}", record()],
    ],
    ids=["plainly", "with a space", "with an escape", "unknown", "another lacks it", "another lacks a status", "three"],
)
def test_a_record_with_a_duplicate_field_is_rejected(items: list[str]) -> None:
    feed = read_answer(answer(*items))
    assert [item.reason for item in feed.malformed] == ["a field is given twice"]
    assert len(list(feed.rows)) == len(items) - 1


def test_text_that_looks_like_a_field_is_text() -> None:
    info = '\\"price\\": 9, \\"price\\": 8'
    assert [row.status_info for row in rows(answer(record().replace("ok", info)))] == ['"price": 9, "price": 8']
    assert [row.status_info for row in rows(answer(record().replace("ok", "price")))] == ["price"]


def test_unusual_text_is_read() -> None:
    body = answer(record().replace("ok", "a\\u0000\\ud800b"), record().replace("ok", "\\ud83d\\udc4d"))
    assert [row.status_info for row in rows(body)] == ["a\x00\ud800b", "👍"]


@pytest.mark.fault(47)
@pytest.mark.parametrize("opening", ['{"phone": ', '{"new": ', "", '{"price": 1, "created_at": '])
def test_nesting_of_any_depth_is_read_or_refused(opening: str) -> None:
    for depth in (*range(1, 1200, 7), 100_000):
        item = opening + "[" * depth + "]" * depth + ("}" if opening else "")
        kept: list[Record] = []
        try:
            feed = read_answer(answer(record(), item))
        except InvalidResponse:
            continue
        read_feed(feed, DateRange(date.min, date.max), ZoneInfo("Europe/Moscow"), kept.extend)
        assert len(kept) == 1


# Anything at all -----------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*sorted(ALL_FIELDS), "success", "error", "data", "x"]), inner, max_size=6)
    ),
    max_leaves=12,
)


@calm
@given(
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.lists(JSON, max_size=4).map(lambda data: json.dumps({"success": True, "error": "", "data": data}).encode())
    | st.integers(0, 150).map(lambda length: answer(record(), record())[:length])
)
@example(b"\xff\xfe")
@example(b'{"success": true, "data": [{"price": 1e999999999999999999}]}')
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for parse in (read_answer, parse_envelope):
        try:
            parse(body)
        except InvalidResponse as refused:
            assert "\n" not in str(refused)  # noqa: PT017 - either way is right


@calm
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(sorted(ALL_FIELDS), JSON), optional={"x": JSON}), max_size=4))
def test_the_fast_decoder_agrees_with_the_exact_one(records: list[dict[str, object]]) -> None:
    items = [json.dumps(record) for record in records]
    # An undocumented item makes the exact decoder read all items of its part.
    one, other = read_answer(answer(*items)), read_answer(answer("0", *items))
    assert repr(one.rows) == repr(other.rows)
    assert (one.unknown, one.malformed) == (other.unknown, other.malformed[1:])


# Data of the other calls ---------------------------------------------------------------------------------------------


def test_data_of_other_calls_is_decoded_exactly_without_a_schema() -> None:
    body = b'{"success": true, "error": "", "data": {"balance": 5.10, "price": 0.2, "more": [1]}}'
    data = parse_envelope(body)
    assert (data, str(data["balance"])) == (
        {"balance": Decimal("5.10"), "price": Decimal("0.2"), "more": [1]},
        "5.10",
    )


def test_no_cause_of_a_refusal_contains_the_answer() -> None:
    for body in (answer(record()) + b"\xff", b'{"phone": "89243555100\xff"', b'{"phone": "89243555100"'):
        with pytest.raises(InvalidResponse) as refused:
            read_answer(body)
        assert refused.value.__context__ is None


# Parts ---------------------------------------------------------------------------------------------------------------

SIZES = [1, 7, 64, 300, 1000, 100_000]
"""Sizes of parts in bytes: less than an item, a few items, all."""


def outcome(body: bytes, part: int) -> object:
    """The result of reading a body, or its refusal."""
    try:
        feed = read_answer(body, part=part)
    except InvalidResponse as refused:
        return str(refused)
    return repr(feed.rows), feed.fields, feed.unknown, feed.malformed


ODD = {
    "documented": answer(record(), record("1"), record("2.50")),
    "a cut would fall into a text": answer(*[record().replace('"ok"', '"},{ },"')] * 3),
    "brackets in a text": answer(*[record().replace('"ok"', '"]}["')] * 3, error='"[]"'),
    "commas in a text": answer(*[record().replace('"ok"', '"Ok, sent, 1"')] * 3),
    "quotes and escapes in a text": answer(*[record().replace('"ok"', r'"\\\"\\\\\"},{\u0022"')] * 3),
    "letters of two bytes": answer(*[record().replace('"ok"', '"доставлено 👍"')] * 3),
    "a comma at the end": answer(record(), record())[:-2] + b", ]}",
    "a comma at the very end": answer(record(), record())[:-2] + b",]}",
    "two commas": answer(record(), "", record()),
    "no comma": answer(f"{record()} {record()}"),
    "two answers": answer(record(), record()) * 2,
    "another list beside": answer(record(), record())[:-1] + b', "more": [{"a": 1}, {"a": 2}]}',
    "data last but one": f'{{"error": "", "data": [{record()}, {record()}], "success": true}}'.encode(),
    "success: false behind": f'{{"data": [{record()}, {record()}], "error": "no", "success": false}}'.encode(),
    "two lists": answer(record())[:-1] + f', "data": [{record()}]}}'.encode(),
    "two lists, one by another spelling": answer(record())[:-1] + f', "d\\u0061ta": [{record()}]}}'.encode(),
    "a list of lists": answer(f"[{record()}, {record()}]", record()),
    "numbers": answer(*map(str, range(50)), "8.92436E+10", "1e-5", "1.5"),
    "one odd record among others": answer(record(), record(more=', "more": 1'), record()),
    "no object among others": answer(record(), "null", record()),
    "nested": answer(record(), record("[[{}]]"), record('{"a": {}}'), record()),
    "nested deeply": answer(record(), record("[" * 101 + "]" * 101), record("[" * 5000 + "]" * 5000), record()),
    "cut short": answer(record(), record(), record())[:-60],
    "cut in a letter": answer(record(), record().replace('"ok"', '"é'))[:-51],
    "success: false": answer(record(), record(), success="false", error='"no"'),
    "a field twice": answer(record(), record(more=', "price": 9'), record()),
    "every field twice": answer(*[f'{{{ROW}, {ROW}, "price": 1}}'] * 3),
    "a price missing": answer(*[f"{{{ROW}}}"] * 3),
    "a price missing, another twice": answer(f"{{{ROW}}}", record(more=', "price": 9')),
    "latin-1": answer(record(), record(), error='"?"').replace(b"?", b"\xe9"),
    "latin-1 behind what is no JSON": answer(record(), "}", record()) + b"\xe9",
    "a page": b"<html>" + answer(record()),
    "a byte order mark": codecs.BOM_UTF8 + answer(record(), record()),
    "two byte order marks": codecs.BOM_UTF8 * 2 + answer(record(), record()),
    "nothing listed": answer(),
    "a number": b"12345",
    "nothing": b"",
}


@pytest.mark.parametrize("body", [*ODD.values(), *[path.read_bytes() for path in sorted(DATA.glob("*.body"))]])
def test_the_size_of_parts_does_not_change_the_result(body: bytes) -> None:
    as_a_whole = outcome(body, len(body) + 1)
    for part in SIZES:
        assert outcome(body, part) == as_a_whole


TEXTS = ['"},{"', '"a, b: [c] {d}"', r'"\"\\"', '"ё"', r'"\ud800"', '"price"']
PRICES = ["NaN", "1e400", "9" * 70, "9" * 4301, "0." + "3" * 5000, "null", "[]", '{"a": 1}']
MORE = [', "price": 9', ', "pr\\u0069ce": 9', ', "x": 1', ', "x": {"x": [1, {}]}']
ITEM = st.sampled_from(
    [
        *(record(), record("-1"), record("12.345678"), record().replace("2371", "0000")),
        *(record().replace('"ok"', text) for text in TEXTS),
        *(record(price) for price in (*PRICES, "[" * 150 + "]" * 150, "[" * 3000 + "]" * 3000)),
        *(record("0", more) for more in MORE),
        *(f"{{{ROW}}}", "{}", "null", "17", "8.92436E+10", "1e5", '"},{"', "[]"),
        *(record().replace(": ", ":").replace(", ", ","), record().replace(", ", "\n,\t").replace(":", " : ")),
    ]
)
SEPARATOR = st.sampled_from([",", ", ", " ,\n"])


@calm
@given(st.lists(ITEM, max_size=12), SEPARATOR, st.sampled_from(SIZES), st.integers(0, 400))
def test_the_position_of_cuts_does_not_change_the_result(
    items: list[str], separator: str, part: int, lost: int
) -> None:
    body = f'{{"success": true, "data": [{separator.join(items)}], "error": ""}}'.encode()
    for whole_or_not in (body, body[: -lost or None]):
        assert outcome(whole_or_not, part) == outcome(whole_or_not, len(body) + 1)


@settings(deadline=None, max_examples=30)
@given(st.lists(ITEM, max_size=5), SEPARATOR, st.integers(0, 9000), st.integers(2, 3000))
@example([record(more=', "price": 9')], ", ", 9000, 2)
def test_the_meaning_of_an_item_is_independent_of_its_position(
    items: list[str], separator: str, before: int, after: int
) -> None:
    few, many = (
        read_answer(f'{{"success": true, "data": [{separator.join(listed)}]}}'.encode())
        for listed in ([*items, record(), record()], [record()] * before + items + [record()] * after)
    )
    assert repr(many.rows[before : len(many.rows) - after]) == repr(few.rows[:-2])
    assert (many.malformed, many.fields, many.unknown) == (few.malformed, few.fields, few.unknown)


@pytest.mark.fault(38)
@pytest.mark.parametrize(
    ("bad", "reason"),
    {
        record(more=', "price": 9'): "a field is given twice",
        record(more=', "pri\\u0063e": 9'): "a field is given twice",
        record("[" * 101 + "]" * 101): "lists or objects are nested too deeply",
        record("[" * 100_000 + "]" * 100_000): "lists or objects are nested too deeply",
        "7": "not an object",
    }.items(),
)
@pytest.mark.parametrize("place", [0, 1, 9_000, 20_000])
def test_an_invalid_item_is_quarantined_alone_at_any_position(bad: str, reason: str, place: int) -> None:
    items = [record()] * 20_000
    items.insert(place, bad)
    feed = read_answer(answer(*items))
    assert ([item.reason for item in feed.malformed], len(list(feed.rows))) == ([reason], 20_000)


@pytest.mark.parametrize("name", ["created_at", "phone", "code_auth", "price"])
def test_a_missing_field_of_a_large_answer_is_detected_at_its_end(name: str) -> None:
    lacking = record().replace(f'"{name}"', f'"{name}_new"')
    feed = parse_answer(io.BytesIO(answer(*[lacking] * 9_001)))
    with pytest.raises(InvalidResponse, match=f"an answer of 9001 records of which none has a {name}"):
        list(feed.rows)
    assert len(list(parse_answer(io.BytesIO(answer(*[lacking] * 9_000, record()))).rows)) == 9_001


class Endless(io.RawIOBase):
    """An answer that is generated while it is read, and never completely in memory."""

    def __init__(self, beginning: bytes, item: bytes, times: int, end: bytes) -> None:
        self._pieces = chain([beginning], repeat(item, times), [end])
        self._rest = b""

    def seek(self, offset: int, whence: int = 0) -> int:
        assert (offset, whence) == (0, 0)
        return 0

    def read(self, size: int = -1) -> bytes:
        pieces = [self._rest]
        count = len(self._rest)
        while count < size and (piece := next(self._pieces, b"")):
            pieces.append(piece)
            count += len(piece)
        read = b"".join(pieces)
        self._rest = read[size:]
        return read[:size]


@pytest.mark.parametrize(
    ("item", "end"),
    {
        "documented": (record() + ", ", record() + "]}"),
        "odd": (record(more=', "x": 1') + ", ", record() + "]}"),
        "broken at once": ("}" * 100, "]}"),
        "cut short": (record() + ", ", record()[:40]),
    }.values(),
)
def test_memory_does_not_grow_with_the_answer(item: str, end: str) -> None:
    peaks = []
    for times in (10_000, 50_000):
        # The reader seeks back after a missing byte order mark; this answer cannot, so it starts with one.
        large = Endless(codecs.BOM_UTF8 + b'{"success": true, "data": [', item.encode(), times, end.encode())
        tracemalloc.start()
        with suppress(InvalidResponse):
            deque(parse_answer(large).rows, maxlen=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
