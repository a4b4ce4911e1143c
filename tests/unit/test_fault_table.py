"""docs/explanation/failure-modes.md is complete: every fault has a row with its tests or the reason for none."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

HOME = Path(__file__).parents[2]
FAULTS = range(1, 129)


class Fault(NamedTuple):
    """A row of the table."""

    number: int
    case: str
    answer: str
    shown_by: str


def rows() -> list[Fault]:
    lines = (HOME / "docs" / "explanation" / "failure-modes.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \d+ \|", line)]
    return [Fault(int(number), *rest) for number, *rest in cells]


def marked(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The function, or nothing, and each number of every mark, including marks of single parameters."""
    of_functions: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                for call in ast.walk(decorator):
                    if numbers := numbers_of(call):
                        of_functions.add(id(call))
                        yield from ((node.name, number) for number in numbers)
    for call in ast.walk(tree):
        if id(call) not in of_functions:
            yield from (("", number) for number in numbers_of(call))


def numbers_of(node: ast.AST) -> list[int]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
        return [ast.literal_eval(argument) for argument in node.args]
    return []


@cache
def marks_of_faults() -> dict[int, set[str]]:
    found: defaultdict[int, set[str]] = defaultdict(set)
    for path in sorted((HOME / "tests").rglob("*.py")):
        source = path.read_text("utf-8")
        if "pytest.mark.fault" in source:
            for function, number in marked(ast.parse(source)):
                found[number].add(f"{path.stem}::{function}")
    return dict(found)


ROWS = rows()


def test_marks_are_found_on_functions_and_parameters():
    source = """
@pytest.mark.fault(1, 2)
@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.fault(3)), 2])
def test_one(): ...
CASES = [pytest.param(1, marks=[pytest.mark.fault(4)])]
"""
    assert sorted(marked(ast.parse(source))) == [("", 4), ("test_one", 1), ("test_one", 2), ("test_one", 3)]


def test_every_fault_has_one_row_in_order():
    assert [fault.number for fault in ROWS] == [*FAULTS]


@pytest.mark.parametrize("fault", ROWS, ids=lambda fault: str(fault.number))
def test_a_row_names_its_tests_or_the_reason_for_none(fault):
    carried = marks_of_faults().get(fault.number, set())
    assert fault.case
    if fault.answer.startswith("not applicable"):
        assert re.fullmatch(r"not applicable: .{15,}", fault.answer)
        assert (fault.shown_by, carried) == ("–", set())
        return
    assert fault.answer
    named = re.findall(r"`((?:\w+::)?test_\w+)`", fault.shown_by)
    assert named, f"it is covered by {sorted(carried) or 'no test'}"
    for name in named:
        assert any(test == name or test.endswith(f"::{name}") for test in carried), f"{name} does not carry the mark"


def test_every_mark_is_of_an_existing_fault():
    assert marks_of_faults().keys() <= set(FAULTS)
