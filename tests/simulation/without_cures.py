"""The cases that the program once got wrong, each found again by simulation when its cure is taken out of the program.

`python -m simulation.without_cures` tries each, or those of which the numbers are given. A case is found by the first
vendor that the program does not survive without the cure, and survives with it: first among vendors that take their
freedoms by chance, and then among those that take the freedoms of the case.
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
from etl import spreadsheet, unreadable
from etl.extract import csv_parser, json_parser  # noqa: F401 - csv_parser is imported late, and has to be patched before
from etl.extract.completeness import AnswerSizes
from etl.extract.csv_source import CsvSource
from etl.extract.json_source import PADDING_BEFORE, JsonSource
from etl.extract.source import Source
from etl.load.quarantine import Quarantine
from etl.transform import fields, long_texts
from etl.transform.folds import FoldCollector
from simulation.runner import Failure, Laboratory, laboratory
from simulation.scenario import Choice, draw_scenario
from simulation.shrinker import describe, shrink
from simulation.test_simulation import IGNORED, OPEN

Patch = tuple[Any, str, Any]
"""An object, the name of one of its attributes, and what stands there without the cure."""


@dataclass(frozen=True, slots=True)
class Cure:
    """A cure that can be taken out.

    Attributes:
        without: What the program does without it.
        patches: What takes it out.
        focus: Freedoms of the case.
    """

    without: str
    patches: Callable[[], Sequence[Patch]]
    focus: tuple[str, ...]


def _everywhere(original: Callable[..., Any], replacement: Callable[..., Any]) -> list[Patch]:
    """The patches of a function in its own module, and in every module of the program that imported it."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == etl.__name__]
    return [
        (module, name, replacement) for module in modules for name, thing in vars(module).items() if thing is original
    ]


def _only_hundreds() -> list[Patch]:
    return [(AnswerSizes, "show_whole", lambda _, listed: listed % 100 != 0 or not listed)]


def _no_empty_day_between_full_ones() -> list[Patch]:
    news = Source._news
    return [(Source, "_news", lambda self, ours: [] if any(ours.days.values()) else news(self, ours))]


def _unreadable_is_empty() -> list[Patch]:
    return _everywhere(unreadable.unreadable_days, lambda *_: {})


def _unreadable_is_withdrawn() -> list[Patch]:
    return [(Quarantine, "keys", lambda *_: [])]


def _keys_as_they_stand() -> list[Patch]:
    return _everywhere(spreadsheet.restore_key, lambda text: text)


def _last_of_two_fields() -> list[Patch]:
    return [(json_parser, "_QUOTED_FIELDS", ())]


def _texts_of_any_length() -> list[Patch]:
    return _everywhere(long_texts.quarantine_long_texts, lambda read_feed, _: read_feed)


def _floats_of_64_bits() -> list[Patch]:
    return [(fields, "FLOAT32_EVIDENCE", 99)]


def _first_reading_of_a_time() -> list[Patch]:
    return [(FoldCollector, "add", lambda *_: None)]


def _one_first_day() -> list[Patch]:
    def load(self: Any, wanted: Any, start: Any) -> Any:
        return self._read(wanted, start)

    return [
        (JsonSource, "_possible_starts", lambda _, window: [window.first - PADDING_BEFORE]),
        (CsvSource, "_load", load),
    ]


CURES = {
    "01": Cure("only a multiple of 100 records looks like a limit", _only_hundreds, ("json_limit",)),
    "02": Cure(
        "an empty day beside full ones is believed", _no_empty_day_between_full_ones, ("json_hides", "newest_down")
    ),
    "03": Cure("a day of which nothing can be read is empty", _unreadable_is_empty, ("json_unreadable", "csv_outage")),
    "04": Cure("what cannot be read is withdrawn", _unreadable_is_withdrawn, ("json_unreadable",)),
    "05": Cure("a key stays as a spreadsheet left it", _keys_as_they_stand, ("csv_phone", "csv_code", "json_outage")),
    "06": Cure("the last of two equal fields holds", _last_of_two_fields, ("json_doubled",)),
    "08": Cure("a text of any length is stored", _texts_of_any_length, ("huge_texts",)),
    "09": Cure("a float of 32 bits is no price", _floats_of_64_bits, ("json_price",)),
    "10": Cure("a repeated time has its first reading", _first_reading_of_a_time, ("json_time", "zone", "autumn")),
    "12": Cure("a first day that is refused has no alternative", _one_first_day, ("contract",)),
}


@contextmanager
def without(cure: Cure) -> Iterator[None]:
    """The program without a cure."""
    with ExitStack() as stack:
        for thing, name, replacement in cure.patches():
            stack.enter_context(patch.object(thing, name, replacement))
        _forget_what_was_read()
        try:
            yield
        finally:
            _forget_what_was_read()


def _forget_what_was_read() -> None:
    for thing in vars(fields).values():
        if hasattr(thing, "cache_clear"):
            thing.cache_clear()


@dataclass(frozen=True, slots=True)
class Search:
    """What came of looking for a case.

    Attributes:
        nights: That were lived, the last of them the one that failed.
        failure: What was found; None where nothing was.
    """

    nights: int
    failure: Failure | None


def search(place: Laboratory, cure: Cure, seed: int, nights: int, choice: Choice) -> Search:
    """The first vendor from a seed on that the program survives only with a cure."""
    lived = 0
    for number in count(seed):
        scenario = draw_scenario(number, choice)
        with without(cure):
            failure = place.run(scenario)
        lived += scenario.nights if failure is None else failure.night + 1
        if failure is not None and place.run(scenario) is None:
            return Search(lived, failure)
        if lived >= nights:
            break
    return Search(lived, None)


def _look(number: str, seed: int, nights: int, *, focused: bool, shrunk: bool) -> tuple[str, bool]:
    """What comes of looking for a case, for a person, and whether it was found."""
    cure = CURES[number]
    found_at_all = False
    lines = [f"{number} {cure.without}"]
    with laboratory(IGNORED) as place:
        ways = [(f"always {','.join(cure.focus)}", cure.focus)]
        for name, always in ways if focused else [("by chance", ()), *ways]:
            result = search(place, cure, seed, nights, Choice(without=OPEN, always=always))
            if result.failure is None:
                lines.append(f"  {name}: not found in {result.nights} nights from seed {seed}")
                continue
            found = result.failure
            if shrunk:
                with without(cure):
                    found = shrink(place, found)
            lines.append(f"  {name}: found after {result.nights} nights, by seed {found.scenario.seed}: {found.kind}")
            lines += [f"    {line}" for line in describe(found).splitlines()] if shrunk else []
            found_at_all = True
    return "\n".join(lines), found_at_all


def main(arguments: Sequence[str] | None = None) -> int:
    """Look for each case; 1 where one is not found."""
    parser = argparse.ArgumentParser(prog="simulation.without_cures", description=__doc__)
    parser.add_argument("numbers", nargs="*", help="of the cases; all unless given")
    parser.add_argument("--seed", type=int, default=0, help="of the first vendor (0)")
    parser.add_argument("--nights", type=int, default=3_000, help="how many at the most, with and without a focus")
    parser.add_argument("--focused", action="store_true", help="only vendors that take the freedoms of the case")
    parser.add_argument("--unshrunk", action="store_true", help="name the failures only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args(arguments)
    numbers = options.numbers or list(CURES)
    missed = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        look = partial(
            _look, seed=options.seed, nights=options.nights, focused=options.focused, shrunk=not options.unshrunk
        )
        for text, is_found in pool.map(look, numbers):
            print(text, flush=True)
            missed += not is_found
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
