"""The numbering plan: published files are read, invalid lines are reported, and every number has one assignee."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import ConfigError
from etl.numbering.parser import PlanFile, PlanRange, read_plan_file
from etl.numbering.ranges import resolve_overlaps, split_at_blocks

DATA = Path(__file__).parents[1] / "data" / "numbering"
HEADER = "АВС/ DEF;От;До;Емкость;Оператор;Регион;Территория ГАР;ИНН"
LINE = "900;0000000;0009999;10000;АО Один;Город;Улица;7700000001"
SOURCE = PlanFile("made.csv", None)


def as_tuples(ranges):
    return [(item.first, item.last, item.operator, item.region, item.inn, item.line) for item in ranges]


@pytest.fixture
def read(tmp_path):
    def read(*lines, encoding="utf-8", end="\r\n"):
        path = tmp_path / "plan.csv"
        path.write_bytes("".join(line + end for line in lines).encode(encoding))
        return read_plan_file(path)

    return read


def refusal(read, *lines, **form):
    with pytest.raises(ConfigError) as error:
        read(*lines, **form)
    text = str(error.value).split("plan.csv", 1)[1]
    assert "\n" not in text
    return text.removeprefix(": ").removeprefix(", ")


def test_a_published_file_is_read():
    assert as_tuples(read_plan_file(DATA / "DEF-9xx.csv")) == [
        (9000000000, 9000049999, 'ООО "Первый"', "Краснодарский край", "7700000001", 2),
        (9000050000, 9000249999, 'АО "Второй"', "г. Москва", "7700000002", 3),
        (9000300000, 9000300999, 'ООО "Первый"', "Тверская область", "7700000001", 4),
        (9243550000, 9243559999, 'ПАО "Третий"', "Хабаровский край", "7700000003", 5),
        (9999999990, 9999999999, 'АО "Второй"', "Российская Федерация", None, 6),
    ]


def test_an_older_copy_in_cp1251_with_unusual_spaces_and_fewer_columns_is_read():
    assert as_tuples(read_plan_file(DATA / "DEF-9xx_older.csv")) == [
        (9000000000, 9000049999, 'ООО "Прежний"', "Краснодарский край", None, 2),
        (9000050000, 9000249999, 'АО "Второй"', "г. Москва", None, 3),
    ]


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        "ABC/DEF;От;До;Ёмкость;Оператор;Регион;Территория ГАР;ИНН",
        " авс / def ; ОТ;до;Емкость ;Оператор;Регион;ТерриторияГАР;\u00a0ИНН",
        '"АВС/ DEF";"От";"До";"Емкость";"Оператор";"Регион";"Территория ГАР";"ИНН"',
    ],
)
@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
def test_the_header_is_recognised_by_its_words(read, header, encoding, end):
    assert as_tuples(read(header, LINE, encoding=encoding, end=end)) == [
        (9000000000, 9000009999, "АО Один", "Город", "7700000001", 2)
    ]


def test_columns_may_be_in_any_order_and_others_may_follow(read):
    header = "Новое;ИНН;Регион;Оператор;Емкость;До;От;АВС/ DEF"
    assert as_tuples(read(header, "x;;Город;АО;3;12;10;900")) == [(9000000010, 9000000012, "АО", "Город", None, 2)]


def test_blank_lines_are_skipped_and_counted(read):
    assert as_tuples(read("", HEADER, ";;;", LINE, "  "))[0][-1] == 4


@pytest.mark.parametrize(
    ("field", "name"),
    [('ООО ""Один""', 'ООО ""Один""'), ('"ООО ""Один"""', 'ООО "Один"'), ('"Один; и другие"', "Один; и другие")],
)
def test_quotation_marks_of_csv_and_of_the_plan_are_read(read, field, name):
    assert read(HEADER, f"900;0;0;1;{field};Город;;")[0].operator == name


WRONG_LINES = {
    "90;0;0;1;АО;Город;;": "АВС/ DEF must be three digits and not start with 0",
    "090;0;0;1;АО;Город;;": "АВС/ DEF must be three digits and not start with 0",
    "9000;0;0;1;АО;Город;;": "АВС/ DEF must be a number of at most 3 digits",
    "900;;0;1;АО;Город;;": "От must be a number of at most 7 digits",
    "900;0;10000000;10000001;АО;Город;;": "До must be a number of at most 7 digits",
    "900;-1;0;2;АО;Город;;": "От must be a number of at most 7 digits",
    "900;٣;0;1;АО;Город;;": "От must be a number of at most 7 digits",
    "900;2;1;0;АО;Город;;": "От is greater than До",
    "900;0;9;11;АО;Город;;": "Емкость is 11, but the range has 10 numbers",
    "900;0;9;;АО;Город;;": "Емкость must be a number of at most 8 digits",
    "900;0;9;10; ;Город;;": "the operator is missing",
    "900;0;9;10;АО": "5 fields, but the first line has 8",
    "900;0;9;10;АО;Город;;;лишнее": "9 fields, but the first line has 8",
    f"900;0;9;10;{'О' * 501};Город;;": "Оператор has more than 500 characters, or unprintable ones",
    "900;0;9;10;АО\0;Город;;": "Оператор has more than 500 characters, or unprintable ones",
    "900;0;9;10;АО;Город;;1234567890123": "Инн has more than 12 characters, or unprintable ones",
}


@pytest.mark.parametrize("line", WRONG_LINES)
def test_an_invalid_line_is_reported_with_its_number(read, line):
    assert refusal(read, HEADER, LINE, line) == f"line 3: {WRONG_LINES[line]}"


def test_an_unclosed_quotation_mark_affects_only_its_line(read):
    assert refusal(read, HEADER, '900;0;9;10;"АО;Город;;', LINE) == "line 2: 5 fields, but the first line has 8"


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_refused(read, content):
    assert refusal(read, content, end="") == "the file is empty"


def test_a_file_without_ranges_is_refused(read):
    assert refusal(read, HEADER) == "the file has a header and no ranges"


@pytest.mark.parametrize("first", ["<!DOCTYPE html>", LINE, "phone,price", "АВС/ DEF,От,До", "a" * 200_000])
def test_another_kind_of_file_is_refused_with_the_expected_columns(read, first):
    text = refusal(read, first, LINE)
    assert text.startswith("not a file of the numbering plan: its first line must name the columns АВС/ DEF;От;До;")


def test_missing_columns_are_named(read):
    assert refusal(read, "АВС/ DEF;От;До;Оператор;Оператор").endswith("repeated: емкость, оператор, регион")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "plan.csv"
    path.write_bytes(b"\x98\xff\xfe")
    with pytest.raises(ConfigError, match="neither UTF-8 nor Windows-1251"):
        read_plan_file(path)


@pytest.mark.parametrize("name", ["nowhere.csv", "", "x\0y"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(ConfigError, match=r": [A-Za-z ]+$"):
        read_plan_file(tmp_path / name)


def plan(*ranges):
    return [
        PlanRange(9000000000 + first, 9000000000 + last, operator, "", None, SOURCE, line)
        for line, (first, last, operator) in enumerate(ranges, start=2)
    ]


def short(ranges):
    return [(item.first - 9000000000, item.last - 9000000000, item.operator) for item in ranges]


def test_ranges_without_overlap_are_unchanged():
    ranges = plan((0, 9, "a"), (10, 19, "a"), (30, 39, "b"))
    assert list(resolve_overlaps(reversed(ranges))) == ranges


def test_the_narrower_of_overlapping_ranges_wins():
    assert short(resolve_overlaps(read_plan_file(DATA / "overlapping.csv"))) == [
        (0, 9999, 'ООО "Широкий"'),
        (10000, 11999, 'АО "Узкий"'),
        (12000, 12999, 'ПАО "Самый узкий"'),
        (13000, 19999, 'АО "Узкий"'),
        (20000, 89999, 'ООО "Широкий"'),
        (90000, 109999, 'ООО "Через край"'),
    ]


def test_equal_ranges_of_one_owner_are_one():
    assert short(resolve_overlaps(plan((0, 9, "a"), (0, 9, "a")))) == [(0, 9, "a")]


def test_equal_ranges_of_different_owners_are_refused_with_both_lines():
    message = r"contradicting\.csv, line 4: the same numbers as in contradicting\.csv, line 3,"
    with pytest.raises(ConfigError, match=message):
        list(resolve_overlaps(read_plan_file(DATA / "contradicting.csv")))


def test_equal_ranges_do_not_conflict_where_a_narrower_one_decides():
    assert short(resolve_overlaps(plan((0, 9, "a"), (0, 9, "b"), (0, 9, "a"), (0, 4, "c"), (5, 9, "d")))) == [
        (0, 4, "c"),
        (5, 9, "d"),
    ]


spans = st.tuples(st.integers(0, 30), st.integers(0, 12), st.sampled_from("abc"))


@given(st.lists(spans, max_size=8).map(lambda made: plan(*((first, first + more, who) for first, more, who in made))))
def test_each_number_has_the_owner_found_by_linear_search(ranges):
    expected = {}
    contradicts = False
    for number in range(9000000000, 9000000050):
        overlapping = [item for item in ranges if item.first <= number <= item.last]
        min_width = min((item.last - item.first for item in overlapping), default=None)
        owners = {item.operator for item in overlapping if item.last - item.first == min_width}
        contradicts |= len(owners) > 1
        if len(owners) == 1:
            expected[number] = owners.pop()
    if contradicts:
        with pytest.raises(ConfigError):
            list(resolve_overlaps(ranges))
        return
    pieces = list(resolve_overlaps(ranges))
    assert [number for item in pieces for number in range(item.first, item.last + 1)] == sorted(expected)
    assert all(expected[number] == item.operator for item in pieces for number in range(item.first, item.last + 1))


def test_no_piece_crosses_a_block_of_a_hundred_thousand():
    ranges = plan((0, 5, "a"), (99_999, 300_000, "b"))
    assert short(split_at_blocks(ranges)) == [
        (0, 5, "a"),
        (99_999, 99_999, "b"),
        (100_000, 199_999, "b"),
        (200_000, 299_999, "b"),
        (300_000, 300_000, "b"),
    ]
