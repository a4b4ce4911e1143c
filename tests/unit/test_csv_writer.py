"""Text in a CSV cell is not executed by a spreadsheet, and can be restored."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.reports.columns import BILLING, COLUMNS
from etl.reports.csv_writer import EXCEL_RUSSIAN, csv_writer, escape_formula, phone_cell, unescape

SIGNS = "=+-@"
pieces = st.one_of(
    st.sampled_from([*SIGNS, ";", "\t", "\r", "\n", "'", " ", "\ufeff", "＝", "ok", "1"]), st.characters()
)
texts = st.lists(pieces, max_size=6).map("".join)
storable = texts.map(lambda text: text.encode("utf-8", "replace").decode())
row = (
    "default", "2026-03-08 10:00:00", "2026-03-08 07:00:00+00:00", "2026-03-08", "+79243555100", "0371", "1", "ok",
    "0.200000", "3", "0.600000", "true", None, None, "closed", "2026-03-09 00:00:00.000000+00:00", None,
    "sms",
)  # fmt: skip


@given(texts)
def test_escaped_text_can_be_restored(text):
    assert unescape(escape_formula(text)) == text
    assert unescape(phone_cell(text)) == text


@given(texts)
def test_no_part_of_a_cell_starts_like_a_formula(text):
    for separator in "\t\r\n":
        text = text.replace(separator, ";")
    for part in escape_formula(text).split(";"):
        seen = unicodedata.normalize("NFKC", part.lstrip(" \ufeff")).lstrip()
        assert seen[:1] not in set(SIGNS)


def test_characters_that_look_like_signs_are_escaped():
    alike = [
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.normalize("NFKC", character)[:1] in set(SIGNS)
    ]
    assert len(alike) > len(SIGNS)
    assert [character for character in alike if escape_formula(f"{character}1") != f"'{character}1"] == []


@pytest.mark.parametrize(
    "text", ["", "ok", "Ok: SIP 200 OK", "нет ответа", "(busy)", "a=b", "1+1", "a-b", "x@y", "a, b"]
)
def test_harmless_text_is_unchanged(text):
    assert escape_formula(text) == text


@pytest.mark.parametrize(
    ("phone", "cell"),
    [("+79243555100", "+79243555100"), ("+7924*****00", "'+7924*****00"), ("+1+1", "'+1+1"), ("+", "'+"), ("", ""),
     ("+7924355510\u0660", "'+7924355510\u0660"), ("hmac-0a", "hmac-0a"), ("-79243555100", "'-79243555100")],
)  # fmt: skip
def test_a_phone_of_plus_sign_and_digits_is_unchanged(phone, cell):
    assert phone_cell(phone) == cell


@given(st.lists(st.tuples(storable, storable), max_size=3))
def test_cells_are_quoted_as_the_csv_module_quotes_them(pairs):
    rows = [(*row[:4], phone, *row[5:7], text, *row[8:]) for phone, text in pairs]
    file, expected = io.BytesIO(), io.StringIO(newline="")
    csv_writer()(file, BILLING, [rows] if rows else [])
    writer = csv.writer(expected)
    writer.writerow(COLUMNS)
    writer.writerows((*row[:4], phone_cell(row[4]), *row[5:7], escape_formula(row[7]), *row[8:]) for row in rows)
    assert file.getvalue().decode() == expected.getvalue()


def test_values_of_a_row_have_these_formats():
    file = io.BytesIO()
    assert csv_writer()(file, BILLING, [[row], [row, row]]) == 3
    assert file.getvalue().count(b"\r\n") == 4
    assert next(csv.DictReader(io.StringIO(file.getvalue().decode(), newline=""))) == dict(
        zip(
            COLUMNS,
            ["default", "2026-03-08 10:00:00", "2026-03-08 07:00:00+00:00", "2026-03-08", "+79243555100", "0371", "1",
             "ok", "0.200000", "3", "0.600000", "true", "", "", "closed", "2026-03-09 00:00:00.000000+00:00", "",
             "sms"],
            strict=True,
        )
    )  # fmt: skip


def test_russian_excel_reads_each_cell_with_its_type():
    hostile = (
        "=1+1", *row[1:4], "+79243555100", "0371", "-2", "ok;=1+1", "-0.000001", "1234567890123456",
        "999999999999.999999", "false", 'he said "no"', "a,b", *row[14:],
    )  # fmt: skip
    file = io.BytesIO()
    assert csv_writer(EXCEL_RUSSIAN)(file, BILLING, [[row, hostile]]) == 2
    content = file.getvalue()
    assert content.startswith(b"\xef\xbb\xbfaccount;created_at;")
    assert content.count(b"\n") == content.count(b"\r\n") == 3
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=";", strict=True))
    assert rows[0] == list(COLUMNS)
    assert rows[1] == [
        "default", "2026-03-08 10:00:00", "2026-03-08 07:00:00", "2026-03-08", "'+79243555100", "'0371", "1", "ok",
        "0,200000", "3", "0,600000", "true", "", "", "closed", "2026-03-09 00:00:00", "", "sms",
    ]  # fmt: skip
    assert rows[2][:12] == [
        "'=1+1", *rows[1][1:4], "'+79243555100", "'0371", "-2", "ok;'=1+1", "-0,000001", "'1234567890123456",
        "'999999999999,999999", "false",
    ]  # fmt: skip
    numbers = {"status", "price", "repeats", "amount"}
    for name, cell in zip(COLUMNS, rows[2], strict=True):
        assert name in numbers or cell[:1] not in set(SIGNS)


def test_a_compressed_file_has_the_same_rows_and_no_timestamp():
    files = [io.BytesIO() for _ in range(3)]
    for file, compressed in zip(files, (False, True, True), strict=True):
        csv_writer(compressed=compressed)(file, BILLING, [[row]])
    plain, *archives = (file.getvalue() for file in files)
    assert gzip.decompress(archives[0]) == plain
    assert archives[0] == archives[1]
    assert archives[0][4:8] == bytes(4)
