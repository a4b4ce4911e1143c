"""Shrink a failing scenario: fewer nights, freedoms and records, simpler values, and the same kind of failure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from simulation.freedoms import FREEDOMS
from simulation.runner import Failure, Laboratory
from simulation.scenario import Scenario
from simulation.vendor import Vendor

LONGEST = 400
"""Maximum number of scenarios that are tried for one failure."""
LONGEST_LINE = 400
"""Maximum length of a line in the description of a failure."""
MAX_DESCRIBED_RECORDS = 20
"""Number of records up to which a description lists them."""


class _Tries:
    """Runs a limited number of scenarios; `smallest` is the last failure of the same kind."""

    def __init__(self, laboratory: Laboratory, failure: Failure, vendor_class: type[Vendor]) -> None:
        self._laboratory = laboratory
        self._vendor_class = vendor_class
        self.smallest = failure
        self.left = LONGEST

    def fails(self, scenario: Scenario) -> bool:
        """Whether a scenario fails in the same way; if so, it becomes the smallest."""
        if self.left <= 0 or scenario == self.smallest.scenario:
            return False
        self.left -= 1
        failure = self._laboratory.run(scenario, self._vendor_class)
        if failure is None or failure.kind != self.smallest.kind:
            return False
        self.smallest = failure
        return True


def shrink(laboratory: Laboratory, failure: Failure, vendor_class: type[Vendor] = Vendor) -> Failure:
    """Return the smallest failure of the same kind that was found."""
    tries = _Tries(laboratory, failure, vendor_class)
    while tries.left > 0:
        before = tries.smallest.scenario
        _fewer_nights(tries)
        _fewer_freedoms(tries)
        _simpler_values(tries)
        if tries.smallest.scenario == before:
            break
    _fewer_records(tries)
    return tries.smallest


def _fewer_nights(tries: _Tries) -> None:
    for nights in range(1, tries.smallest.scenario.nights):
        if tries.fails(replace(tries.smallest.scenario, nights=nights)):
            return


def _fewer_freedoms(tries: _Tries) -> None:
    names = list(tries.smallest.scenario.traits)
    size = len(names)
    while size:
        for start in range(0, len(names), size):
            some = set(names[start : start + size])
            scenario = tries.smallest.scenario
            kept = {name: value for name, value in scenario.traits.items() if name not in some}
            if len(kept) < len(scenario.traits):
                tries.fails(replace(scenario, traits=kept))
        size //= 2


def _simpler_values(tries: _Tries) -> None:
    for name in list(tries.smallest.scenario.traits):
        for value in _simpler(name, tries.smallest.scenario.traits[name]):
            scenario = tries.smallest.scenario
            if tries.fails(replace(scenario, traits=scenario.traits | {name: value})):
                break


def _simpler(name: str, value: Any) -> Iterator[Any]:
    freedom = FREEDOMS.get(name)
    simpler = freedom.simpler if freedom else ()
    yield from simpler[: simpler.index(value)] if value in simpler else simpler
    if isinstance(value, dict):
        if "nights" in value:
            yield value | {"nights": [0, 99]}
        if "share" in value:
            yield value | {"share": 1.0}
        if value.get("keeps") in {"newest", "any"}:
            yield value | {"keeps": "oldest"}
        if "size" in value:
            yield value | {"size": 10}


def _fewer_records(tries: _Tries) -> None:
    """Delta debugging over the vendor's charges."""
    scenario = tries.smallest.scenario
    kept = [charge.number for charge in Vendor.of(scenario).world.charges]
    tries.left = LONGEST
    size = len(kept) // 2
    while size:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            if tries.fails(replace(scenario, records=tuple(fewer))):
                kept = fewer
            else:
                start += size
        size //= 2


def describe(failure: Failure) -> str:
    """Describe a failure: the violation, the freedoms, the records if they are few, and the command that repeats it."""
    lines = [f"{failure}"]
    if failure.scenario.records is not None and len(failure.scenario.records) <= MAX_DESCRIBED_RECORDS:
        for charge in Vendor.of(failure.scenario).world.charges:
            states = "; ".join(str(tuple(row) if row else "gone") for _, row in charge.states)
            lines.append(f"  record {charge.number}{f' (x{charge.copies})' if charge.copies > 1 else ''}: {states}")
    again = f"PYTHONPATH=tests python -m simulation --scenario {shlex.quote(failure.scenario.to_json())}"
    return "\n".join([*(line[:LONGEST_LINE] for text in lines for line in text.splitlines()), f"  repeat: {again}"])
