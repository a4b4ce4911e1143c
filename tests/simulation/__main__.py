"""`python -m simulation`: nights of vendors drawn from seeds, one after another; failures are shrunk and told."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from simulation.freedoms import FREEDOMS
from simulation.runner import Failure, laboratory
from simulation.scenario import ALL, Choice, Scenario, draw_scenario
from simulation.shrinker import shrink
from simulation.vendor import Vendor

CHUNK = 40
"""Vendors that a process takes at once."""


@dataclass(slots=True)
class Outcome:
    """What some vendors came to."""

    vendors: int = 0
    nights: int = 0
    failures: list[Failure] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.failures = self.failures or []


def simulate(seeds: Sequence[int], choice: Choice = ALL) -> Outcome:
    """The lives of the vendors of some seeds."""
    outcome = Outcome()
    with laboratory() as place:
        for seed in seeds:
            scenario = draw_scenario(seed, choice)
            failure = place.run(scenario)
            outcome.vendors += 1
            outcome.nights += scenario.nights if failure is None else failure.night + 1
            if failure is not None:
                outcome.failures.append(failure)
    return outcome


def describe(failure: Failure) -> str:
    """A failure for a person: what happened, the freedoms, the records where they are few, and how to see it again."""
    lines = [f"{failure}"]
    if failure.scenario.records is not None and len(failure.scenario.records) <= 20:
        for charge in Vendor.of(failure.scenario).world.charges:
            states = "; ".join(str(tuple(row) if row else "gone") for _, row in charge.states)
            lines.append(f"  record {charge.number}{f' (x{charge.copies})' if charge.copies > 1 else ''}: {states}")
    return "\n".join([*lines, f"  again: python -m simulation --scenario '{failure.scenario.to_json()}'"])


def _chunks(first: int) -> Iterator[range]:
    return (range(start, start + CHUNK) for start in itertools.count(first, CHUNK))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the first vendor; the time unless given")
    parser.add_argument("--nights", type=int, default=10_000, help="how many at the least (10,000)")
    parser.add_argument("--vendors", type=int, help="so many vendors instead")
    parser.add_argument("--without", default="", help="freedoms, or beginnings of their names, that no vendor takes")
    parser.add_argument("--only", default="", help="no freedoms but these")
    parser.add_argument("--always", default="", help="freedoms that every vendor takes")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--failures", type=int, default=5, help="how many to shrink, one of each kind first")
    parser.add_argument("--scenario", help="one vendor, as a failure describes it")
    parser.add_argument("--list", action="store_true", help="name all freedoms")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate as the command line says; 1 where something failed."""
    options = _parse(arguments)
    if options.list:
        print("\n".join(FREEDOMS))
        return 0
    if options.scenario:
        with laboratory() as place:
            failure = place.run(Scenario.from_json(options.scenario))
        print(describe(failure) if failure else "nothing wrong")
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
    with laboratory() as place:
        for failure in _one_of_each(total.failures)[: options.failures]:
            print("\n" + describe(shrink(place, failure)), flush=True)
    return 1


def _simulate_all(options: argparse.Namespace, seed: int) -> Outcome:
    names = (tuple(filter(None, text.split(","))) for text in (options.without, options.only, options.always))
    work = partial(simulate, choice=Choice(*names))
    total = Outcome()
    if options.vendors:
        chunks: Iterator[range] = iter([range(seed, seed + options.vendors)])
        if options.jobs > 1:
            chunks = iter(
                [
                    range(start, min(start + CHUNK, seed + options.vendors))
                    for start in range(seed, seed + options.vendors, CHUNK)
                ]
            )
    else:
        chunks = _chunks(seed)
    with ProcessPoolExecutor(options.jobs) as pool:
        while options.vendors or total.nights < options.nights:
            some = list(itertools.islice(chunks, options.jobs))
            if not some:
                break
            for outcome in pool.map(work, some):
                total.vendors += outcome.vendors
                total.nights += outcome.nights
                total.failures += outcome.failures
    return total


def _one_of_each(failures: Sequence[Failure]) -> list[Failure]:
    """All failures, those of a kind not seen yet first, and of a kind the one with the fewest freedoms first."""
    ordered = sorted(failures, key=lambda failure: len(failure.scenario.traits))
    seen: Counter[str] = Counter()
    ranks = []
    for failure in ordered:
        ranks.append((seen[failure.kind], failure))
        seen[failure.kind] += 1
    return [failure for _, failure in sorted(ranks, key=lambda rank: rank[0])]


if __name__ == "__main__":
    sys.exit(main())
