"""`python -m simulation`: simulate vendors, one seed after another; shrink and describe the failures."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from simulation.freedoms import FREEDOMS
from simulation.runner import Failure, open_laboratory
from simulation.scenario import ALL, Choice, Scenario, draw_scenario
from simulation.shrinker import describe, shrink

CHUNK = 40
"""Vendors of one task of a process."""
REPORT_EVERY = 10_000
"""Nights between two lines of progress."""


@dataclass(slots=True)
class Outcome:
    """The totals of some vendors."""

    vendors: int = 0
    nights: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Add the totals of others."""
        self.vendors += other.vendors
        self.nights += other.nights
        self.failures += other.failures


def simulate(seeds: Sequence[int], choice: Choice = ALL, ignored: Sequence[str] = ()) -> Outcome:
    """Simulate the vendors of some seeds."""
    outcome = Outcome()
    with open_laboratory(ignored) as laboratory:
        for seed in seeds:
            scenario = draw_scenario(seed, choice)
            failure = laboratory.run(scenario)
            outcome.vendors += 1
            outcome.nights += scenario.nights if failure is None else failure.night + 1
            if failure is not None:
                outcome.failures.append(failure)
    return outcome


def _chunks(first: int, end: int | None, jobs: int) -> Iterator[list[range]]:
    """Yield chunks of seeds, as many at once as there are processes."""
    for start in itertools.count(first, CHUNK * jobs):
        starts = range(start, start + CHUNK * jobs, CHUNK)
        chunks = [range(one, one + CHUNK if end is None else min(one + CHUNK, end)) for one in starts]
        if not chunks[0]:
            return
        yield [chunk for chunk in chunks if chunk]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="seed of the first vendor (default: the time)")
    parser.add_argument("--nights", type=int, default=10_000, help="minimum number of nights (10,000)")
    parser.add_argument("--vendors", type=int, help="number of vendors, in place of --nights")
    parser.add_argument("--without", default="", help="freedoms that no vendor has, by name or prefix")
    parser.add_argument("--only", default="", help="the only freedoms")
    parser.add_argument("--always", default="", help="freedoms that every vendor has")
    parser.add_argument("--ignore", default="", help="kinds of violations to ignore, such as cost")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument(
        "--failures", type=int, default=5, help="number of failures to shrink, one of each kind first (5)"
    )
    parser.add_argument("--scenario", help="run one scenario, in the format of a failure")
    parser.add_argument("--list", action="store_true", help="list the names of all freedoms")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 if a vendor failed."""
    options = _parse(arguments)
    if options.list:
        print("\n".join(FREEDOMS))
        return 0
    if options.scenario:
        with open_laboratory(options.ignore.split(",")) as laboratory:
            failure = laboratory.run(Scenario.from_json(options.scenario))
        print(describe(failure) if failure else "no failure")
        return int(failure is not None)
    seed = int(time.time()) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    total = _simulate_all(options, seed)
    print(f"{total.vendors} vendors (seeds {seed} to {seed + total.vendors - 1}), {total.nights} nights")
    if not total.failures:
        return 0
    kinds = Counter(failure.kind for failure in total.failures)
    print(
        f"{len(total.failures)} vendors failed: " + ", ".join(f"{kind} {times}" for kind, times in kinds.most_common())
    )
    with open_laboratory(options.ignore.split(",")) as laboratory:
        for failure in _one_of_each(total.failures)[: options.failures]:
            print("\n" + describe(shrink(laboratory, failure)), flush=True)
    return 1


def _simulate_all(options: argparse.Namespace, seed: int) -> Outcome:
    names = (tuple(filter(None, text.split(","))) for text in (options.without, options.only, options.always))
    work = partial(simulate, choice=Choice(*names), ignored=options.ignore.split(","))
    total = Outcome()
    end = seed + options.vendors if options.vendors else None
    with ProcessPoolExecutor(options.jobs) as pool:
        reported = 0
        for chunks in _chunks(seed, end, options.jobs):
            for outcome in pool.map(work, chunks):
                total.add(outcome)
                for failure in outcome.failures:
                    print(f"seed {failure.scenario.seed} failed: {failure.kind}", flush=True)
            if total.nights - reported >= REPORT_EVERY:
                reported = total.nights
                print(f"{total.nights} nights, {len(total.failures)} vendors failed", flush=True)
            if end is None and total.nights >= options.nights:
                break
    return total


def _one_of_each(failures: Sequence[Failure]) -> list[Failure]:
    """Sort failures: one of each kind first, and within a kind those with the fewest freedoms."""
    ordered = sorted(failures, key=lambda failure: len(failure.scenario.traits))
    seen: Counter[str] = Counter()
    ranks = []
    for failure in ordered:
        ranks.append((seen[failure.kind], failure))
        seen[failure.kind] += 1
    return [failure for _, failure in sorted(ranks, key=lambda rank: rank[0])]


if __name__ == "__main__":
    sys.exit(main())
