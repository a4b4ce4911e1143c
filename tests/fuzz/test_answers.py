"""Any bytes as an answer are refused with a message, or read completely in canonical form."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from support.fuzzing import assert_clean_message, fuzz, parts, spoil
from support.json_answers import read_answer

from etl.date_ranges import DateRange
from etl.errors import InvalidResponse
from etl.extract.csv_columns import FIELDS
from etl.extract.csv_parser import parse_csv
from etl.extract.spool import RecordSpool
from etl.log import Redactor
from etl.model import ALL_FIELDS, MISSING, REQUIRED_FIELDS, Feed, RawRecord, ReadStats, Record, raw_record
from etl.transform.fields import parse_record, parse_time
from etl.transform.reader import read_feed

DATA = Path(__file__).parents[1] / "data"
MOSCOW = ZoneInfo("Europe/Moscow")
EVER = DateRange(date.min, date.max)
REDACT = Redactor()

BODIES = [path.read_bytes() for path in sorted((DATA / "json").glob("*.body"))]
EXPORTS = [path.read_bytes() for path in sorted((DATA / "csv").glob("*.csv"))]
FIELD_TOKENS = [
    *("2021-12-29T14:06:51", "2021-02-30T00:00:00", "29.12.2021 14:06:51", "0001-01-01 00:00:00+14:00", "20211229"),
    *("89243555100", "+7 (924) 355-51-00", "8.92436E+10", "0371", "0.30000000000000004", "0.0000001", "1,50", "1_000"),
    *("8.92435551E+10", '="0371"', "'371", "371.0", "NULL", "0.20000000298023224", "1,234"),
    *("-0", "1e400", "1e-9999999", "NaN", "Infinity", "-Infinity", "true", "٣", "１２", "12345678901234567890", "1."),
    *("", " ", "\u2028", "\x85", "\ufeff", "\u202e", "=1+1", "ё", "9" * 5000, "x" * 300, "created_at", "price"),
]
JSON_WORD = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.\w]+|[\[\]{},:]')
JSON_TOKENS = [
    *(token.encode() for token in FIELD_TOKENS),
    *(json.dumps(token).encode() for token in FIELD_TOKENS),
    *(b"null", b"[]", b"{}", b"[" * 900 + b"]" * 900, b"[" * 5000, b'{"a":' * 950 + b"1" + b"}" * 950, b"1" * 5000),
    *(rb'"\u0000"', rb'"\ud800"', rb'"pr\u0069ce"', b'"\xff\xfe"', b'"data"', b'"success"', b"false", b"<html>"),
]
CSV_WORD = re.compile(rb'"(?:[^"]|"")*"|[^;,\t|\r\n"]+|[;,\t|\r\n]')
RUSSIAN_NAMES = ("Дата", "Телефон", "Код", "Цена", "Статус", "Описание", "Код ошибки")
CSV_TOKENS = [
    *(token.encode() for token in FIELD_TOKENS),
    *(name.encode("cp1251") for name in RUSSIAN_NAMES),
    *(name.encode() for name in (*RUSSIAN_NAMES, "phone", "status")),
    *(b";", b",", b"\t", b"|", b"\r", b"\n", b"\r\n", b'"', b'""', b"\0"),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\x98", b"\xcf"),
]


def body(random: Random) -> bytes:
    if random.random() < 0.05:
        return random.randbytes(random.randrange(200))
    return spoil(random, BODIES, JSON_TOKENS, JSON_WORD)


def export(random: Random) -> bytes:
    if random.random() < 0.05:
        return random.randbytes(random.randrange(200))
    return spoil(random, EXPORTS, CSV_TOKENS, CSV_WORD)


def read(feed: Feed) -> tuple[list[Record], ReadStats]:
    records: list[Record] = []
    return records, read_feed(feed, EVER, MOSCOW, records.extend)


def assert_whole(records: list[Record], survey: ReadStats) -> None:
    """Check that each listed record is either accepted in canonical form or rejected."""
    assert survey.kept == len(records)
    assert survey.listed == len(records) + len(survey.rejected)
    for record in records:
        assert parse_record(raw_record(**record._asdict()), parse_time(record.created_at, MOSCOW)) == record
        assert record.price.as_tuple().exponent == -6
        f"{record.phone}{record.code_auth}{record.status_info}".encode()
        assert "\0" not in record.phone + record.code_auth + record.status_info
    for rejected in survey.rejected:
        assert rejected.reason.isprintable()
        assert "\0" not in rejected.payload
        rejected.payload.encode()
        json.loads(rejected.payload, parse_constant=pytest.fail)


def doubled(pairs: list[tuple[str, Any]]) -> Any:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) or "data" in fields else "doubled"


def assert_says_what_another_reader_sees(data: bytes, survey: ReadStats) -> None:
    """Check the number of items, and of items with a duplicate field, with another decoder."""
    text = data.decode("utf-8-sig", "replace")  # the strict decoder ignores unknown names
    try:
        items = json.loads(text, object_pairs_hook=doubled, parse_int=str, parse_float=str)["data"]
    except RecursionError:
        return  # that decoder does not go as deep
    assert survey.listed == len(items)
    twice = sum(rejected.reason == "a field is given twice" for rejected in survey.rejected)
    assert twice == sum(item == "doubled" for item in items) - text.count('"doubled"')


SUMS = [word.encode(encoding) for word in ("Итого", "Всего", "Total") for encoding in ("utf-8", "cp1251")]


def assert_every_line_is_a_row(data: bytes, rows: list[RawRecord]) -> None:
    """Check that all lines except headers, empty ones, sums and that for Excel are rows, in a file without quotes."""
    if b'"' in data or b"'" in data or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return
    lines = re.split(rb"\r\n|\r|\n", data.removeprefix(codecs.BOM_UTF8))
    lines = [line for line in lines if line.strip(b";,\t|")]
    if lines[0].lower().startswith(b"sep="):
        del lines[0]
    sums = sum(any(word in line for word in SUMS) for line in lines)
    headers = lines.count(lines[0])
    assert len(lines) - headers - sums <= len(rows) <= len(lines)
    assert sums or len(rows) in {len(lines), len(lines) - headers}


def as_body(records: list[Record]) -> bytes:
    prices = [format(record.price, "f") for record in records]
    rows = [record._asdict() | {"price": f"<{price}>"} for record, price in zip(records, prices, strict=True)]
    text = json.dumps({"success": True, "error": "", "data": rows}, ensure_ascii=False)
    return re.sub(r'"price": "<([-.\d]+)>"', r'"price": \1', text).encode()


def as_export(records: list[Record]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(FIELDS)
    for record in records:
        cells = record._asdict() | {"status": "" if record.status is None else record.status}
        writer.writerow([cells[name] for name in FIELDS])
    return text.getvalue().encode()


def assert_spilt_is_not_lost(records: list[Record]) -> None:
    spill = RecordSpool()
    spill.add(records)
    for record in records:
        day = date.fromisoformat(record.created_at[:10])
        assert any(record in part.read() for part in spill.days(DateRange(day, day))[day].slices)


@parts
@pytest.mark.fault(35, 36, 37, 38, 39, 47)
def test_any_bytes_as_json_are_refused_or_read_completely(part: int) -> None:
    def accepts(data: bytes) -> bool:
        try:
            feed = read_answer(data, REDACT)
            records, survey = read(feed)
        except InvalidResponse as refusal:
            assert_clean_message(refusal)
            return False
        assert set(REQUIRED_FIELDS) <= feed.fields <= ALL_FIELDS
        assert_whole(records, survey)
        assert_says_what_another_reader_sees(data, survey)
        assert read(read_answer(as_body(records)))[0] == records
        return True

    fuzz(part, body, accepts)


@parts
@pytest.mark.fault(35, 55, 57)
def test_any_bytes_as_csv_are_refused_or_read_completely(part: int) -> None:
    def accepts(data: bytes) -> bool:
        try:
            feed = parse_csv(io.BytesIO(data))
            rows = list(feed.rows)
            records, survey = read(Feed(rows, feed.fields, feed.unknown))
        except InvalidResponse as refusal:
            assert_clean_message(refusal)
            return False
        assert set(REQUIRED_FIELDS) <= feed.fields <= ALL_FIELDS
        for row in rows:
            assert {name for name in ALL_FIELDS if getattr(row, name) is not MISSING} == feed.fields
            assert all(isinstance(getattr(row, name), str) for name in feed.fields)
        assert_every_line_is_a_row(data, rows)
        assert_whole(records, survey)
        assert read(read_answer(as_body(records)))[0] == records
        return True

    fuzz(part, export, accepts)


@parts
@pytest.mark.fault(31, 39, 42, 57)
def test_json_and_csv_of_the_same_records_are_read_equally(part: int) -> None:
    def accepts(data: bytes) -> bool:
        try:
            records, _survey = read(read_answer(data, REDACT))
        except InvalidResponse:
            return False
        feed = parse_csv(io.BytesIO(as_export(records)))
        again, survey = read(feed)
        assert (again, survey.rejected) == (records, ())
        assert_spilt_is_not_lost(records)
        assert sum((record.price for record in again), Decimal(0)) == sum(
            (record.price for record in records), Decimal(0)
        )
        assert Counter(again) == Counter(records)
        return bool(records)

    fuzz(part, body, accepts)
