"""Known bugs of the program: the simulation must find each of them when its fix is removed, in memory.

`python -m simulation.without_fixes` searches for all bugs, or for those with the given numbers. A bug is found by the
first vendor that fails without the fix and passes with it, among vendors with random freedoms and then among vendors
that have the freedoms of the bug.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import patch

import etl
from etl import spreadsheet, unreadable_days
from etl.extract import csv_parser, json_reader  # noqa: F401 - csv_parser is imported late, and has to be patched before
from etl.extract.answer_evidence import AnswerEvidence
from etl.extract.cross_check import CrossCheck
from etl.extract.csv_requests import CsvRequests
from etl.extract.json_requests import JsonRequests
from etl.extract.padding import PADDING_BEFORE
from etl.load.quarantine import Quarantine
from etl.transform import fields, long_texts
from etl.transform.folds import FoldCollector
from simulation.runner import Failure, Laboratory, open_laboratory
from simulation.scenario import Choice, draw_scenario
from simulation.shrinker import describe, shrink
from simulation.test_simulation import IGNORED

Patch = tuple[Any, str, Any]
"""An object, the name of an attribute, and the value of the attribute without the fix."""


@dataclass(frozen=True, slots=True)
class Fix:
    """A fix that can be removed.

    Attributes:
        without: The behaviour of the program without it.
        patches: Returns the patches that remove it.
        focus: The freedoms of vendors that show the bug.
    """

    without: str
    patches: Callable[[], Sequence[Patch]]
    focus: tuple[str, ...]


def _everywhere(original: Callable[..., Any], replacement: Callable[..., Any]) -> list[Patch]:
    """Replace a function in its own module and in all modules that import it."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == etl.__name__]
    return [
        (module, name, replacement) for module in modules for name, thing in vars(module).items() if thing is original
    ]


def _only_hundreds() -> list[Patch]:
    return [(AnswerEvidence, "prove_complete", lambda _, stats: stats.listed % 100 != 0 or not stats.listed)]


def _no_empty_day_between_full_ones() -> list[Patch]:
    original = CrossCheck.new_empty_days
    return [
        (CrossCheck, "new_empty_days", lambda self, result: [] if any(result.days.values()) else original(self, result))
    ]


def _unreadable_is_empty() -> list[Patch]:
    return _everywhere(unreadable_days.unreadable_days, lambda *_: {})


def _unreadable_is_withdrawn() -> list[Patch]:
    return [(Quarantine, "keys", lambda *_: [])]


def _keys_as_they_stand() -> list[Patch]:
    return _everywhere(spreadsheet.restore_key, lambda text: text)


def _last_of_two_fields() -> list[Patch]:
    return [(json_reader, "_QUOTED_FIELDS", ())]


def _texts_of_any_length() -> list[Patch]:
    return _everywhere(long_texts.quarantine_long_texts, lambda read_feed, _: read_feed)


def _floats_of_64_bits() -> list[Patch]:
    return [(fields, "FLOAT32_EVIDENCE", 99)]


def _first_reading_of_a_time() -> list[Patch]:
    return [(FoldCollector, "add", lambda *_: None)]


def _one_first_day() -> list[Patch]:
    def load(self: Any, wanted: Any, start: Any) -> Any:
        return self._download(wanted, start)

    return [
        (JsonRequests, "_candidate_start_dates", lambda _, window: [window.first - PADDING_BEFORE]),
        (CsvRequests, "load", load),
    ]


FIXES = {
    "01": Fix("only a multiple of 100 records looks like a limit", _only_hundreds, ("json_limit",)),
    "02": Fix(
        "an empty day beside full ones is believed", _no_empty_day_between_full_ones, ("json_hides", "newest_down")
    ),
    "03": Fix("a day of which nothing can be read is empty", _unreadable_is_empty, ("csv_unreadable", "json_outage")),
    "04": Fix("what cannot be read is withdrawn", _unreadable_is_withdrawn, ("json_unreadable",)),
    "05": Fix("a key stays as a spreadsheet left it", _keys_as_they_stand, ("csv_phone", "csv_code", "json_outage")),
    "06": Fix("the last of two equal fields holds", _last_of_two_fields, ("json_doubled",)),
    "08": Fix("a text of any length is stored", _texts_of_any_length, ("huge_texts",)),
    "09": Fix("a float of 32 bits is no price", _floats_of_64_bits, ("json_price",)),
    "10": Fix("a repeated time has its first reading", _first_reading_of_a_time, ("json_time", "zone", "autumn")),
    "12": Fix("a first day that is refused has no alternative", _one_first_day, ("contract",)),
}


@contextmanager
def without(fix: Fix) -> Iterator[None]:
    """Run a block without a fix."""
    with ExitStack() as stack:
        for thing, name, replacement in fix.patches():
            stack.enter_context(patch.object(thing, name, replacement))
        _clear_caches()
        try:
            yield
        finally:
            _clear_caches()


def _clear_caches() -> None:
    for thing in vars(fields).values():
        if hasattr(thing, "cache_clear"):
            thing.cache_clear()


@dataclass(frozen=True, slots=True)
class Search:
    """The result of a search.

    Attributes:
        nights: Number of simulated nights, including the one that failed.
        failure: The first failure; None if there was none.
    """

    nights: int
    failure: Failure | None


def search(laboratory: Laboratory, fix: Fix, seed: int, nights: int, choice: Choice) -> Search:
    """Search for the first vendor, from a seed on, that fails only without a fix."""
    nights_done = 0
    for number in count(seed):
        scenario = draw_scenario(number, choice)
        with without(fix):
            failure = laboratory.run(scenario)
        nights_done += scenario.nights if failure is None else failure.night + 1
        if failure is not None and laboratory.run(scenario) is None:
            return Search(nights_done, failure)
        if nights_done >= nights:
            break
    return Search(nights_done, None)


def _search_in_all_ways(number: str, seed: int, nights: int, *, focused: bool, shrunk: bool) -> tuple[str, bool]:
    """Search for a bug; return a description of the results, and whether it was found."""
    fix = FIXES[number]
    found_at_all = False
    lines = [f"{number} {fix.without}"]
    with open_laboratory(IGNORED) as laboratory:
        ways = [(f"always {','.join(fix.focus)}", fix.focus)]
        for name, always in ways if focused else [("by chance", ()), *ways]:
            result = search(laboratory, fix, seed, nights, Choice(always=always))
            if result.failure is None:
                lines.append(f"  {name}: not found in {result.nights} nights from seed {seed}")
                continue
            found = result.failure
            if shrunk:
                with without(fix):
                    found = shrink(laboratory, found)
            lines.append(f"  {name}: found after {result.nights} nights, by seed {found.scenario.seed}: {found.kind}")
            lines += [f"    {line}" for line in describe(found).splitlines()] if shrunk else []
            found_at_all = True
    return "\n".join(lines), found_at_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 if a bug was not found."""
    parser = argparse.ArgumentParser(prog="simulation.without_fixes", description=__doc__)
    parser.add_argument("numbers", nargs="*", help="numbers of the bugs (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first vendor (0)")
    parser.add_argument("--nights", type=int, default=3_000, help="maximum number of nights of a search (3,000)")
    parser.add_argument("--focused", action="store_true", help="only vendors that have the freedoms of the bug")
    parser.add_argument("--unshrunk", action="store_true", help="do not shrink the failures")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args(arguments)
    numbers = options.numbers or list(FIXES)
    missed = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        task = partial(
            _search_in_all_ways,
            seed=options.seed,
            nights=options.nights,
            focused=options.focused,
            shrunk=not options.unshrunk,
        )
        for text, is_found in pool.map(task, numbers):
            print(text, flush=True)
            missed += not is_found
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
