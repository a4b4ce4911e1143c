"""Changes of a key by spreadsheets are undone if every digit is certain, and never guessed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.spreadsheet import NO_VALUE, is_no_value, restore_key

PHONE = "89990001122"
DIGITS = st.text("0123456789", min_size=1, max_size=15)
SCIENTIFIC = re.compile(r"[\d.,]+[eE][+-]?\d+", re.ASCII)


@pytest.mark.parametrize(
    "key", [PHONE, "0042", "+7 (999) 000-11-22", "12a", "112", "anonymous", "-5", "42.5", "O'Hara"]
)
def test_an_unchanged_key_is_kept(key):
    assert restore_key(key) == key


@pytest.mark.parametrize("key", [PHONE, "0042", "+79990001122", "+7 (999) 000-11-22", "12a"])
@pytest.mark.parametrize(
    "guarded", ['="{}"', '= "{}"', "'{}", "’{}", "‘{}’", "'{}'", '"{}"', '"{}', '="{}', '="{}""', '\'="{}"', '"\'{}"']
)
def test_a_guard_around_a_key_is_removed(guarded, key):
    assert restore_key(guarded.format(key)) == key


@pytest.mark.parametrize(
    ("touched", "key"),
    {
        "=89990001122": PHONE,
        '="42.0"': "42",
        "'42,0": "42",
        "89990001122.0": PHONE,
        "89990001122,00": PHONE,
        "89990001122.": PHONE,
        "89 990 001 122,00": PHONE,
        "+79990001122.0": "+79990001122",
        "0042.0": "0042",
        "101.00": "101",
        "42.000": "42",
        "0.0": "0",
        "0,000": "0",
        "-42.0": "-42",
        "999999999999999.0": "999999999999999",
    }.items(),
)
def test_the_zero_fraction_of_a_float_is_removed(touched, key):
    assert restore_key(touched) == key


@pytest.mark.parametrize(
    ("touched", "key"),
    {
        "8.99900011E+10": "89990001100",
        "8,99900011e10": "89990001100",
        '="8.99900011E+10"': "89990001100",
        "8.9990001122E+10": PHONE,
        "8.99900011220E+10": PHONE,
        "899900011e2": "89990001100",
        "+7.9990001122E+10": "+79990001122",
        "8.9990E+4": "89990",
        "1.01E+02": "101",
        "4.20E+01": "42",
        "2.371E+03": "2371",
        "0.00E+00": "0",
    }.items(),
)
def test_exact_scientific_notation_is_expanded(touched, key):
    assert restore_key(touched) == key


@pytest.mark.parametrize(
    "rounded",
    [
        *("8,999E+10", "9E+10", "8.99900E+10", "8.99900000E+10", "8.999000E+10", "8.9990001E+10", "8,92436E+10"),
        *("2.37E+03", "1E+03", "1e3", "1.2345E+3", "8.99E-1", "1E99999", "8.99900011E+20", "8 999E+7", "8.99.1E+7"),
        *('="8,999E+10"', "'8,999E+10", "-8,999E+10"),
    ],
)
def test_a_number_that_may_have_been_rounded_is_lost(rounded):
    assert restore_key(rounded) is None


@pytest.mark.parametrize(
    "lost",
    [
        *("########", "##", "#N/A", "#Н/Д", "#REF!", "#ЗНАЧ!"),
        *("#DIV/0!", "#NAME?", "1,000", "2,371", "89,990,001,122", "1234567890123456.0", "'" * 9 + "1"),
    ],
)
def test_spreadsheet_errors_and_ambiguous_digits_are_lost(lost):
    assert restore_key(lost) is None


@pytest.mark.parametrize("formula", ["=1+1", "=A1", '="8"&"9"', "=SUM(A1:A2)", "=", "=cmd|' /C calc'!A0"])
def test_a_formula_that_is_not_a_guard_is_kept_as_text(formula):
    assert restore_key(formula) == formula


@pytest.mark.parametrize("word", sorted(NO_VALUE))
def test_a_word_for_no_value_is_empty(word):
    assert restore_key(word) == restore_key(f'="{word}"') == restore_key(f"'{word}") == ""
    assert is_no_value(f" {word}\n")


@pytest.mark.parametrize("text", ["n/a", "N/A", "none", "-", "nil", "NULLS", "0", "no code"])
def test_an_ordinary_word_is_text(text):
    assert restore_key(text) == text
    assert not is_no_value(text)


@given(st.text() | st.text("0123456789=\"'’“.,eE+-# \\N", max_size=30))
def test_restoring_a_key_is_idempotent(text):
    key = restore_key(text.strip())
    if key is not None:
        assert restore_key(key) == key
        assert not key.startswith(("'", "’", '"'))
        assert not SCIENTIFIC.fullmatch(key)
        assert not re.fullmatch(r"\d+[.,]0*", key, re.ASCII)


@given(DIGITS)
def test_a_key_formatted_as_a_float_or_with_all_digits_is_restored(digits):
    number = digits.lstrip("0") or "0"
    assert restore_key(f"{float(digits)!r}") == number
    assert restore_key(f"{int(digits):.14E}") == number


@given(st.integers(10**10, 10**11 - 1), st.integers(0, 7))
def test_a_rounded_phone_never_becomes_another_phone(phone, places):
    assert restore_key(f"{phone:.{places}E}") is None
