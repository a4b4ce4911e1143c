"""Parsing column by column gives the same results as parsing record by record."""

from __future__ import annotations

import sys
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.model import MISSING, RawRecord
from etl.transform.fields import FieldError, parse_record, parse_time
from etl.transform.vectorised import parse_records, parse_times

MOSCOW = ZoneInfo("Europe/Moscow")
MOMENTS = st.datetimes(min_value=None, max_value=None)
TIMES = st.one_of(
    MOMENTS.map(lambda moment: moment.isoformat(timespec="seconds")),
    MOMENTS.map(lambda moment: moment.isoformat(" ", "seconds")),
    st.sampled_from(
        [
            "2026-03-09T10:00:00",
            "2026-03-09T24:00:00",
            "2026-02-30T10:00:00",
            "2026-03-09T10:00:00Z",
            "2026-03-09T10:00:00.5",
            "09.03.2026 10:00:00",
            "2026-03-09T10:00:00\n2026-03-09T10:00:00",
            "２０26-03-09T10:00:00",
            "",
            None,
            MISSING,
            20260309,
        ]
    ),
)
ANYTHING = st.one_of(
    st.none(),
    st.just(MISSING),
    st.booleans(),
    st.integers(),
    st.decimals(),
    st.text(),
    st.lists(st.integers(), max_size=1),
)
TOUCHED = st.sampled_from(
    ['="0042"', "'0042", "42.0", "8,99900011E+10", "8,999E+10", "1,000", "2 371", "NULL", r"\N", 1000, "=A1"]
    + [Decimal(text) for text in ("1000", "1E+3", "1000.0", "42.0", "8.99900011E+10", "8.999E+10", "89990000000.0")]
)
PHONES = st.one_of(
    st.from_regex(r"[78]9\d{9}", fullmatch=True).filter(str.isascii),
    st.sampled_from(
        ["+79243555100", "8 (924) 355-51-00", "9243555100", 89243555100, None, "", "8924355510０", "1\n2", []]
    ),
)
CODES = st.one_of(
    st.integers(0, 9999).map("{:04}".format), st.sampled_from([71, True, 1, None, "", Decimal(71), "x" * 256, {}])
)
STATES = st.sampled_from([1, 0, True, False, "1", "true", None, MISSING, 2, Decimal("1.0"), Decimal("1E0"), "x", 2**63])
INFOS = st.sampled_from(["Ok: SIP 200 OK", "", None, MISSING, "\x00", "\ud800", 5, True, [], {"a": 1}])
PRICES = st.sampled_from(
    [0, 1, True, Decimal("0.2"), Decimal("0.20"), "0,2", "1 000.5", Decimal("0.30000000000000004"), None, "", "NaN"]
    + [Decimal(text) for text in ("NaN", "Infinity", "1e12", "0.0000001", "-0")]
)
NOISE = st.sampled_from([Decimal("0.200000003"), Decimal("0.2000000030"), "0.200000003", "1,234", "1.234", "0,234"])
DOCUMENTED = st.builds(
    RawRecord, st.just("2026-03-09T10:00:00"), st.just("0371"), STATES, INFOS, st.just("89243555100"), PRICES
)
ODD = st.builds(
    RawRecord,
    st.just("2026-03-09T10:00:00"),
    CODES | TOUCHED | ANYTHING,
    STATES | ANYTHING,
    INFOS | ANYTHING,
    PHONES | TOUCHED | ANYTHING,
    PRICES | NOISE | ANYTHING,
)
ROWS = DOCUMENTED | ODD


def outcome(read):
    """The result, or the error."""
    try:
        return read()
    except (FieldError, TypeError):
        return "bad"


@settings(deadline=None, max_examples=500)
@given(st.lists(TIMES | ANYTHING, max_size=6))
def test_times_equal_those_parsed_singly(column):
    one_by_one = outcome(lambda: [parse_time(raw, MOSCOW) for raw in column])
    assert outcome(lambda: parse_times(column, MOSCOW)[0]) == one_by_one


@settings(deadline=None, max_examples=500)
@given(st.lists(ROWS, max_size=6))
def test_records_equal_those_parsed_singly(rows):
    times = [f"2026-03-09 10:00:0{number}" for number in range(len(rows))]
    one_by_one = outcome(lambda: [parse_record(*pair) for pair in zip(rows, times, strict=True)])
    together = outcome(lambda: parse_records(rows, times))
    assert together == one_by_one
    assert list(map(repr, together)) == list(map(repr, one_by_one)), "equal is not enough: True is 1"


@pytest.mark.parametrize("odd", ["2026-03-09T25:00:00", "2026-02-29T10:00:00", "0000-01-01T10:00:00"])
def test_one_invalid_time_among_many_is_refused(odd):
    column = [f"2026-03-09T10:00:{second:02}" for second in range(60)]
    assert parse_times(column, MOSCOW)[0][-1] == "2026-03-09 10:00:59"
    with pytest.raises(FieldError):
        parse_times([*column, odd], MOSCOW)


def functions_called(act):
    """The names of the called Python functions."""
    names = set()
    sys.setprofile(lambda frame, event, _argument: names.add(frame.f_code.co_name) if event == "call" else None)
    try:
        act()
    finally:
        sys.setprofile(None)
    return names


def test_documented_values_are_not_parsed_one_by_one():
    parsers = {"parse_time", "parse_phone"}

    def parse(times, phones):
        rows = [RawRecord("", "0371", 1, "Ok", phone, Decimal("0.2")) for phone in phones]
        return parse_records(rows, parse_times(times, MOSCOW)[0])

    documented = (["2026-03-09T10:00:00", "2026-03-09T10:00:01"], ["89243555100", "79243555100"])
    assert functions_called(lambda: parse(*documented)) & parsers == set()
    assert functions_called(lambda: parse(["2026-03-09T10:00:00Z"], ["+79243555100"])) & parsers == parsers
    assert [(record.created_at[:10], record.phone) for record in parse(*documented)] == [
        (date(2026, 3, 9).isoformat(), "+79243555100")
    ] * 2
