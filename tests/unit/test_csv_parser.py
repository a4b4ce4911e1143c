"""The billing export: formats that are read, and files that are refused instead of guessed."""

import codecs
import csv
import gzip
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from etl.errors import InvalidResponse
from etl.extract.csv_columns import FIELDS, field_for_header
from etl.extract.csv_parser import parse_csv
from etl.model import MISSING, RawRecord, raw_record

DATA = Path(__file__).parents[1] / "data" / "csv"
HEADER = ",".join(FIELDS)
TIME = "2021-12-29T14:06:51"
ROW = f"{TIME},2371,1,ok,89243555100,0.2"
CELLS = dict(zip(FIELDS, ROW.split(","), strict=True))
NAMES = {
    "English": dict(zip(FIELDS, FIELDS, strict=True)),
    "Russian": {
        "created_at": "Дата и время",
        "code_auth": "Код авторизации",
        "status": "Статус",
        "status_info": "Информация о статусе",
        "phone": "Номер телефона",
        "price": "Стоимость, руб.",
    },
    "CamelCase": {
        "created_at": "CreatedAt",
        "code_auth": "CodeAuth",
        "status": "Status",
        "status_info": "StatusInfo",
        "phone": "Phone",
        "price": "Price",
    },
}


def read(data: bytes) -> list[RawRecord]:
    return list(parse_csv(BytesIO(data)).rows)


def reason_for_refusing(data: bytes) -> str:
    with pytest.raises(InvalidResponse) as refusal:
        read(data)
    return str(refusal.value)


def lines(*texts: str) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


# What is read --------------------------------------------------------------------------------------------------------


@pytest.mark.fault(31, 34)
@pytest.mark.parametrize("path", sorted(DATA.glob("*.csv")), ids=lambda path: path.stem)
def test_every_known_format_is_read(path: Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    feed = parse_csv(BytesIO(path.read_bytes()))
    assert sorted(feed.fields) == expected["fields"]
    assert list(feed.unknown) == expected["unknown"]
    assert list(feed.rows) == [raw_record(**row) for row in expected["rows"]]


def test_every_example_has_input_and_expected_output() -> None:
    assert {path.stem for path in DATA.glob("*.csv")} == {path.stem for path in DATA.glob("*.json")} != set()


@pytest.mark.parametrize("order", [FIELDS, ("status_info", *(field for field in FIELDS if field != "status_info"))])
@pytest.mark.parametrize("text", ["Total timeout", "Всего", "Сумма"])
def test_a_row_with_a_time_is_a_record_whatever_its_text(text: str, order: Sequence[str]) -> None:
    short = dict.fromkeys(FIELDS, "") | {"created_at": CELLS["created_at"], "status_info": text, "price": "5"}
    rows = [";".join(cells[field] for field in order) for cells in (CELLS, short)]
    expected = [raw_record(**CELLS), raw_record(**short)]
    assert read(lines(";".join(order), *rows)) == expected
    assert read(lines(*rows)) == expected, "without a header, too"


@pytest.mark.parametrize(("amount", "records"), [("0.4", 2), ("0,40", 2), ("0.2", 3), ("0.41", 3), ("0.4 руб.", 3)])
def test_a_last_line_with_the_sum_of_all_prices_alone_is_no_record(amount: str, records: int) -> None:
    row = ROW.replace(",", ";")
    total = ";".join(amount if name == "price" else "" for name in FIELDS)
    assert len(read(lines(";".join(FIELDS), row, row, total))) == records
    assert len(read(lines(";".join(FIELDS), row, row, total, ""))) == records


def test_a_price_alone_before_the_last_line_is_a_record() -> None:
    row = ROW.replace(",", ";")
    total = ";".join("0.2" if name == "price" else "" for name in FIELDS)
    assert len(read(lines(";".join(FIELDS), row, total, row))) == 3
    assert len(read(lines(";".join(FIELDS), row, total, total))) == 3


@pytest.mark.parametrize("column", ["created_at", "phone", "code_auth", "status", "status_info"])
def test_a_last_line_with_the_sum_and_any_other_field_is_a_record(column: str) -> None:
    total = ";".join({"price": "0.2", column: "1"}.get(name, "") for name in FIELDS)
    assert len(read(lines(";".join(FIELDS), ROW.replace(",", ";"), total))) == 2


def test_the_number_of_lines_with_totals_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "etl")
    totals = ["Итого;;;;;0.2", "Total;2021-12-29;;;;0.2"]
    assert read(lines(";".join(FIELDS), ROW.replace(",", ";"), *totals)) == [raw_record(**CELLS)]
    assert caplog.messages == ["the export has 2 lines with totals, which are no records: line 3, 4"]


FIRST_LINE = "created_at;phone;code_auth;status;status_info;price\n"
RECORD_LINES = [f"2026-03-02 10:0{n}:00;89243555100;000{n};1;ok;0.20\n" for n in range(4)]


def test_a_repeated_header_is_ignored_and_a_repeated_export_refused() -> None:
    parts = FIRST_LINE + "".join(RECORD_LINES[:2]) + FIRST_LINE + "".join(RECORD_LINES[2:])
    assert len(list(parse_csv(BytesIO(parts.encode())).rows)) == 4
    twice = (FIRST_LINE + "".join(RECORD_LINES)) * 2
    with pytest.raises(InvalidResponse, match="line 7 repeats the first record after another header"):
        list(parse_csv(BytesIO(twice.encode())).rows)


@pytest.mark.parametrize("line", ["", "  ", "\t", "\x1a", "\0", " ; ;;;; "])
def test_a_line_of_blanks_is_ignored(line: str) -> None:
    text = FIRST_LINE + RECORD_LINES[0] + f"{line}\n" + RECORD_LINES[1] + f"{line}\n"
    assert read(text.encode()) == read((FIRST_LINE + "".join(RECORD_LINES[:2])).encode())


@pytest.mark.parametrize(
    ("field", "names"),
    {
        "created_at": "created_at|CREATED-AT|Created at|created.at|createdAt|date|Time|datetime|Creation date|"
        "Дата|ДАТА|Время|Дата и время|Дата/время|Дата создания|Создано|Дата звонка|дата_время|Время (МСК)",
        "phone": "phone|Phone number|phoneNumber|msisdn|number|Тел.|Телефон|Номер|Номер телефона|Номер абонента|"
        "Абонент|Телефон клиента|НОМЕР_ТЕЛЕФОНА",
        "code_auth": "code_auth|Code|Auth code|pin|Код|код авторизации|Код подтверждения|ПИН-код|Код (PIN)",
        "status": "status|State|Статус|Состояние|Результат|Код статуса|status_code|Статус (код)|Статус звонка",
        "status_info": "status_info|statusInfo|Info|Description|message|Status details|Comment|Инфо|Статус инфо|"
        "Информация о статусе|Описание|Описание статуса|Статус (описание)|Статус, описание|Комментарий|"
        "Расшифровка статуса|Детали|Текст статуса|Описание кода статуса",
        "price": "price|Cost|amount|Sum|Tariff|Цена|Цена, руб|Цена, ₽|Стоимость|Стоимость, руб.|Сумма|Тариф|"
        "Сумма списания|Стоимость звонка|price_rub|Price (RUB)",
    }.items(),
)
def test_a_field_is_recognised_by_its_usual_names(field: str, names: str) -> None:
    assert {name: field_for_header(name) for name in names.split("|")} == dict.fromkeys(names.split("|"), field)


@pytest.mark.parametrize(
    "name",
    [
        *("", "id", "№", "updated_at", "timezone", "created_at_utc", "Дата статуса", "Страна", "summary", "Телеграм"),
        *("Код ошибки", "country code", "Код абонента", "Номер договора", "Номер запроса", "Статус номера"),
        *("Цена, коп.", "Price, $", "Сумма, %", "Цена без НДС", "Дата;Телефон", "Код|Цена", ' "phone"'),
    ],
)
def test_a_name_that_only_resembles_a_field_is_not_recognised(name: str) -> None:
    assert field_for_header(name) is None


@pytest.mark.parametrize(
    "phones",
    [
        ("8924***5100", "8924***5101", "8924***5102"),
        ("112", "0611", "900"),
        ("998901234567", "375291234567", ""),
        ("", "", ""),
        ("112", "113", "115"),
        ("89243555100", "89243555101", "89243555102"),
        ("1", "2", "89243555100"),
    ],
)
def test_unusual_phones_are_read_if_no_other_column_has_all_the_phones(phones: tuple[str, ...]) -> None:
    caller = ("100000000001", "89243555199", "")  # no column of phones alone
    rows = [f"{TIME},2371,{phone},{other},0.2" for phone, other in zip(phones, caller, strict=True)]
    assert [record.phone for record in read(lines("created_at,code_auth,phone,from,price", *rows))] == [*phones]


def test_absent_columns_are_missing_and_not_empty() -> None:
    [record] = read(lines("created_at,phone,code_auth,price", "2021-12-29T14:06:51,89243555100,,0.2"))
    assert (record.status, record.status_info, record.code_auth) == (MISSING, MISSING, "")


def touched(code: str, phone: str) -> bytes:
    """A row whose keys were changed by a spreadsheet."""
    return lines(f"2021-12-29T14:06:51;{code};1;NULL;{phone};0.2").replace(b'="', b'"=""').replace(b'";', b'""";')


@pytest.mark.parametrize(
    ("code", "phone"),
    [
        *(
            ('="0371"', '="89243555100"'),
            ("'0371", "'89243555100"),
            ("371.0", "89243555100.0"),
            ("371,0", "89243555100,0"),
        ),
        *(("3.71E+02", "8.92435551E+10"), ("NULL", "8,92435551e10")),
    ],
)
def test_keys_changed_by_a_spreadsheet_need_no_header_if_unambiguous(code: str, phone: str) -> None:
    [first, second] = read(touched(code, phone) + lines("2021-12-29T14:06:51;0042;1;ok;89243555100;0.2"))
    assert (first.code_auth, first.phone, first.status_info, first.price) == (code, phone, "NULL", "0.2")
    assert second == raw_record(**CELLS | {"code_auth": "0042"})


def test_floats_that_may_be_codes_or_prices_need_a_header() -> None:
    data = lines("2021-12-29T14:06:51;371.0;1;ok;89243555100;2.0")
    assert reason_for_refusing(data) == "no header, and the code_auth could be column 2 or column 6"


@pytest.mark.parametrize("word", ["NULL", "None", "\\N"])
def test_words_for_no_value_are_valid_statuses(word: str) -> None:
    row = ROW.replace(",1,", f",{word},")
    assert [record.status for record in read(lines(HEADER, row))] == [word]
    assert [record.status for record in read(lines(ROW, row))] == ["1", word]


@pytest.mark.fault(56)
def test_a_long_description_is_read() -> None:
    long = "x" * 500_000
    [record] = read(lines(HEADER, ROW.replace("ok", long)))
    assert record.status_info == long


def test_the_field_size_limit_of_other_csv_readers_is_unchanged() -> None:
    limit = csv.field_size_limit()
    rows = parse_csv(BytesIO(lines(HEADER, *[ROW] * 1000))).rows
    for _ in rows:
        assert csv.field_size_limit() == limit
    reason_for_refusing(lines(HEADER, ROW, "2021-12-29"))
    reason_for_refusing(lines(HEADER, ROW, '"'))
    assert csv.field_size_limit() == limit


def test_long_cells_are_read_in_threads_and_the_limit_is_restored() -> None:
    limit = csv.field_size_limit()
    export = lines(HEADER, *[ROW.replace("ok", "x" * 200_000)] * 20)
    with ThreadPoolExecutor(4) as pool:
        assert list(map(len, pool.map(read, [export] * 12))) == [20] * 12
    assert csv.field_size_limit() == limit


def test_rows_may_be_left_unread_and_the_file_read_again() -> None:
    file = BytesIO(lines(HEADER, ROW, ROW))
    assert next(iter(parse_csv(file).rows)) == raw_record(**CELLS)
    assert len(list(parse_csv(file).rows)) == 2


# What is refused -----------------------------------------------------------------------------------------------------

RUSSIAN = "Дата;Код;Статус;Инфо;Телефон;Цена\n29.12.2021 14:06:51;2371;1;Доставлено;89243555100;0,20\n"

REFUSALS = {
    "nothing at all": (b"", "an empty answer in place of a CSV"),
    "white space": (b" \r\n\t\n", "an empty answer in place of a CSV"),
    "a lone byte order mark": (codecs.BOM_UTF8 + b"\n", "an empty answer in place of a CSV"),
    "an error in JSON": (b'{"success": false, "error": "bad 89243555100"}', "a JSON error in place of a CSV"),
    "JSON": (b"\n [1, 2]", "JSON in place of a CSV"),
    "a page": (codecs.BOM_UTF8 + b" <!DOCTYPE html>\n", "an HTML or XML page in place of a CSV"),
    "a plain text": (b"Blocking a client by balance\n", "the first line is neither a header nor a record"),
    "an archive": (gzip.compress(lines(HEADER)), "a gzip archive in place of a CSV"),
    "a workbook": (b"PK\x03\x04...\n", "a zip archive or an .xlsx workbook in place of a CSV"),
    "UTF-16 that does not say so": (HEADER.encode("utf-16-le"), "binary data in place of a CSV"),
    "a last line without an end": (lines(HEADER, ROW)[:-1], "it breaks off in the middle of a line"),
    "UTF-16 cut in mid-character": (
        f"{HEADER}\n".encode("utf-16")[:-1],
        "it breaks off in the middle of a line",
    ),
    "UTF-8 cut in mid-character": (RUSSIAN.encode()[:9], "it breaks off in the middle of a line"),
    "UTF-8 that lost a byte": (
        RUSSIAN.encode().replace("Д".encode(), b"\xd0"),
        "its text is neither UTF-8 nor cp1251",
    ),
    "a byte that cp1251 lacks": (
        RUSSIAN.encode("cp1251").replace(b"\xc4", b"\x98"),
        "its text is neither UTF-8 nor cp1251",
    ),
    "UTF-16 that is none": (
        codecs.BOM_UTF16_LE + b"\x00\xd8a\x00\n\x00",
        "it starts with the byte order mark of utf-16, and is not valid utf-16",
    ),
    "a line without end": (lines(HEADER, ROW.replace("ok", "x" * (3 << 20))), "a line is longer than 1048576 bytes"),
    "an unclosed quote": (
        lines(HEADER, ROW.replace("ok", '"ok'), ROW),
        "line 3 has an unclosed or misplaced quote, or no end",
    ),
    "a short row": (lines(HEADER, ROW, "2021-12-29"), "line 3 has 1 columns, the first one has 6"),
    "a long row": (lines(HEADER, ROW + ",0"), "line 2 has 7 columns, the first one has 6"),
    "a decimal comma that nothing quotes": (
        lines(HEADER, ROW.replace("0.2", "0,2")),
        "line 2 has 7 columns, the first one has 6",
    ),
    "a delimiter at the end of the rows alone": (
        lines(HEADER, ROW + ","),
        "line 2 has 7 columns, the first one has 6",
    ),
    "a value under no name": (
        lines(HEADER + ",", ROW + ",1"),
        "line 2 has something in column 7, which has no name",
    ),
    "no key": (
        lines("created_at;статус;id;price", "2021-12-29;1;1;1"),
        "the header names no phone, code_auth; not understood: id",
    ),
    "no price": (
        lines("Дата;Телефон;Код;Цена, коп."),
        "the header names no price; not understood: Цена, коп.",
    ),
    "names of the phones and the codes that are confused": (
        lines("created_at,phone,status,status_info,code_auth,price", ROW, ROW.replace("2371", "")),
        "its header names the phones code_auth, or the codes phone",
    ),
    "row numbers under the name of the phones": (
        lines("Номер;Дата;Получатель;Код;Цена", *[f"{n};{TIME};8924355510{n};2371;0.2" for n in range(3)]),
        "its column Номер (number 1) has the numbers of the rows in place of phones",
    ),
    "descending row numbers, and no phones at all": (
        lines("Number,Date,Code,Price", *[f"{n}.,{TIME},2371,0.2" for n in (12, 11, 10)]),
        "its column Number (number 1) has the numbers of the rows in place of phones",
    ),
    "numbers of orders under the name of the phones": (
        lines("Номер;Дата;Кому;Код;Цена", f"2026000000017;{TIME};+7 (924) 355-51-00;2371;0.2", f"5;{TIME};;2371;0.2"),
        "its column Номер (number 1) has no phones, but column Кому (number 3) has",
    ),
    "masked phones beside full ones": (
        lines("Телефон;Дата;Кому;Код;Цена", f"8924***5100;{TIME};9243555100;2371;0.2"),
        "its column Телефон (number 1) has no phones, but column Кому (number 3) has",
    ),
    "two columns for one field": (
        lines("Дата;Телефон;Код;Цена;Номер абонента"),
        "two columns match the field phone: number 2 (Телефон) and number 5 (Номер абонента)",
    ),
    "a header that two delimiters make sense of": (
        lines("created_at;phone;code;price;x,created_at,phone,code,price,y"),
        "it can be read with ';' and with ',' as the delimiter",
    ),
    "a field twice": (
        lines(HEADER + ",price"),
        "two columns match the field price: number 6 (price) and number 7 (price)",
    ),
    "no header and phones that a spreadsheet rounded": (
        lines(ROW, ROW.replace("89243555100", '"8,92436E+10"')),
        "no header, and no column is certain to be the phone",
    ),
    "a record of an unknown time": (
        lines("29/12/2021,2371,1,ok,89243555100,0.2"),
        "the first line is neither a header nor a record",
    ),
    "no header and too few columns": (
        lines("2021-12-29T14:06:51,2371,89243555100,0.2"),
        "no header, and 4 columns where there should be five or six",
    ),
    "no header and too many columns": (
        lines(ROW + ",1"),
        "no header, and its 7 columns do not make up the fields of a record",
    ),
    "no header and whole prices": (
        lines(ROW.replace("0.2", "2"), ROW.replace("0.2", "0")),
        "no header, and the status could be column 3 or column 6",
    ),
    "no header and two decimals": (
        lines("2021-12-29T14:06:51,2371,1.0,ok,89243555100,0.2"),
        "no header, and no column is certain to be the status",
    ),
    "no header and two columns of phones": (
        lines("2021-12-29T14:06:51,89031112233,1,ok,89243555100,0.2"),
        "no header, and its 6 columns do not make up the fields of a record",
    ),
    "no header and codes that may be statuses": (
        lines(ROW.replace("2371", "42")),
        "no header, and the code_auth could be column 2 or column 3",
    ),
    "no header and an empty last column": (
        lines("2021-12-29T14:06:51,2371,1,89243555100,0.2,"),
        "no header, and the status_info could be column 6 or none",
    ),
    "no header and two empty columns": (
        lines("2021-12-29T14:06:51,,1,,89243555100,0.2"),
        "no header, and its 6 columns do not make up the fields of a record",
    ),
    "no header and one row without a time": (
        lines(ROW, ROW.replace("2021-12-29T14:06:51", "-")),
        "no header, and no column is certain to be the created_at",
    ),
}


@pytest.mark.fault(32, 54, 55)
@pytest.mark.parametrize(("data", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_an_invalid_file_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    assert reason_for_refusing(data) == reason


def test_a_reason_repeats_only_short_printable_names() -> None:
    reason = reason_for_refusing(lines("created_at,price,Номер 8-924-355-51-00\x1b[31m,2371," + "ы" * 99))
    assert reason == "the header names no phone, code_auth; not understood: Номер 8-…-…-…-… […m, …, " + "ы" * 40


# Properties ----------------------------------------------------------------------------------------------------------

# Letters that are also in cp1251, of which no two in a row are valid UTF-8.
TEXT = st.text(
    alphabet=st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("абвгдЯ\n\r\t"), max_size=12
)
WORDS = st.builds("ok{}".format, TEXT)


class Form(NamedTuple):
    """A format in which the vendor may write its export."""

    delimiter: str
    names: str | None
    order: Sequence[str]
    encoding: str
    line_end: str
    quote_all: bool
    trailing_delimiter: bool

    def write(self, records: Sequence[RawRecord]) -> bytes:
        rows = [[getattr(record, field) for field in self.order] for record in records]
        if self.names:
            rows.insert(0, [NAMES[self.names][field] for field in self.order])
        end = self.delimiter * self.trailing_delimiter + self.line_end
        return "".join(self.delimiter.join(map(self.cell, row)) + end for row in rows).encode(self.encoding)

    def cell(self, text: str) -> str:
        special = self.quote_all or not set(text).isdisjoint(self.delimiter + '"\r\n')
        return '"' + text.replace('"', '""') + '"' if special else text


def forms(names: st.SearchStrategy[str | None]) -> st.SearchStrategy[Form]:
    return st.builds(
        Form,
        delimiter=st.sampled_from(";,\t|"),
        names=names,
        order=st.permutations(FIELDS),
        encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1251", "utf-16"]),
        line_end=st.sampled_from(["\n", "\r\n", "\r"]),
        quote_all=st.booleans(),
        trailing_delimiter=st.booleans(),
    )


@st.composite
def exports(draw: st.DrawFn, info: st.SearchStrategy[str], min_size: int = 0) -> list[RawRecord]:
    """Records as one vendor would write them: with one format of time and one decimal sign."""
    time_form = draw(st.sampled_from(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S,%f", "%d.%m.%Y %H:%M:%S"]))
    decimal_sign = draw(st.sampled_from(".,"))
    zeros_lost = draw(st.booleans())

    def price(number: int, places: int) -> str:
        return f"{number / 10**places:.{places}f}".replace(".", decimal_sign)

    def code(number: int | None) -> str:
        return "" if number is None else str(number) if zeros_lost else f"{number:04}"

    record = st.builds(
        RawRecord,
        # Not before the year 1000, which strftime does not pad.
        created_at=st.datetimes(min_value=datetime.fromisoformat("1000-01-01")).map(
            lambda moment: moment.strftime(time_form)
        ),
        code_auth=st.builds(code, st.none() | st.integers(0, 9999)),
        status=st.sampled_from(["1", "0", "2", "-1", "true", "False", ""]),
        status_info=info,
        phone=st.from_regex(r"(8|7|\+7)9[0-9]{9}|\+49 30 [0-9]{7}|0611|", fullmatch=True),
        price=st.builds(price, st.integers(-999, 99999), st.integers(0, 3)),
    )
    return draw(st.lists(record, min_size=min_size, max_size=6))


@pytest.mark.fault(57)
@given(exports(TEXT), forms(st.sampled_from(list(NAMES))))
def test_records_written_with_a_header_are_read_back(records: list[RawRecord], form: Form) -> None:
    assert read(form.write(records)) == records


@given(exports(WORDS, min_size=1), forms(st.none()))
def test_records_with_unambiguous_columns_need_no_header(records: list[RawRecord], form: Form) -> None:
    certain = RawRecord("2021-12-29T14:06:51", "2371", "1", "ok", "89243555100", "0.2")
    assert read(form.write([*records, certain])) == [*records, certain]


AMBIGUOUS = st.builds(
    RawRecord,
    created_at=st.just("2021-12-29 14:06:51"),
    code_auth=st.sampled_from(["", "7", "42", "0042", "237", "2371", "123456"]),
    status=st.sampled_from(["1", "0", "-1", "true", "", "200"]),
    status_info=st.sampled_from(["", "", "ok", "Ok: SIP 200 OK", "2021-12-29 14:06:51", "89243555100", "0.2"]),
    phone=st.sampled_from(["89243555100", "9243555100", "0611", "", "+49 30 1234567"]),
    price=st.sampled_from(["0.2", "0,20", "0", "1", "-5", "12", "2371", "1 000,50"]),
)


@given(st.lists(AMBIGUOUS, min_size=1, max_size=4), forms(st.none()), st.booleans())
def test_a_file_without_header_is_read_correctly_or_refused(
    records: list[RawRecord], form: Form, described: bool
) -> None:
    # The only assumption: descriptions contain letters somewhere, or are always empty.
    infos = "".join(record.status_info for record in records)
    assume(not infos or any(set("OPok") & set(record.status_info) for record in records))
    if not described:
        for record in records:
            record.status_info = MISSING
        form = form._replace(order=[field for field in form.order if field != "status_info"])
    try:
        found = read(form.write(records))
    except InvalidResponse:
        return
    assert found == records


@pytest.mark.fault(5)
@given(exports(TEXT), forms(st.sampled_from([*NAMES, None])), st.data())
def test_a_truncated_file_is_refused_unless_cut_between_rows(
    records: list[RawRecord], form: Form, data: st.DataObject
) -> None:
    whole = form.write(records)
    try:
        found = read(whole[: data.draw(st.integers(0, len(whole)), label="cut")])
    except InvalidResponse:
        return
    assert found == records[: len(found)]


@given(exports(TEXT, min_size=1), forms(st.sampled_from([*NAMES, None])), st.data())
def test_a_damaged_file_is_refused_without_cells_in_the_reason(
    records: list[RawRecord], form: Form, data: st.DataObject
) -> None:
    whole = form.write(records)
    place = data.draw(st.integers(0, len(whole)), label="place")
    damaged = whole[:place] + data.draw(st.binary(max_size=3), label="put in") + whole[place + 1 :]
    try:
        read(damaged)
        reason = ""
    except InvalidResponse as refusal:
        reason = str(refusal)
    assert reason.isprintable()
    assert not any(len(record.phone) > 4 and record.phone in reason for record in records)


@given(st.binary())
@example(b"\xff\xfe")
@example(b"\xef\xbb\xbf\n")
@example(b"2021-12-29 14:06:51\n")
def test_random_bytes_are_only_refused(data: bytes) -> None:
    try:
        read(data)
    except InvalidResponse:
        return


@pytest.mark.parametrize(
    "data", [codecs.BOM_UTF8 + lines(HEADER, ROW) + b"\xff\n", lines(HEADER, ROW, '"a"b,1,1,1,1,1')]
)
def test_no_cause_of_a_refusal_contains_cells(data: bytes) -> None:
    with pytest.raises(InvalidResponse) as refusal:
        read(data)
    assert refusal.value.__context__ is None
