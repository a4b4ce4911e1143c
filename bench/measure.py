"""Measurements of runs, and comparisons of runs in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import linear_regression, median

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Run:
    """A whole process: wall and CPU seconds, and peak memory in MiB."""

    wall: float
    cpu: float
    peak: float


class FailedError(Exception):
    """A subject failed or stored other records, so its time is meaningless."""


def quiet_environment(given: dict[str, str]) -> dict[str, str]:
    """This process's environment and the given variables, without those that would disturb."""
    # Without bytecode every start would compile all modules; settings of a real account do not belong here.
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("BILLING_")
    }
    return kept | given


def run(command: list[str], environment: dict[str, str], folder: Path) -> Run:
    """Time a command in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    resource_timer = [sys.executable, "-I", "-S", str(Path(__file__).with_name("resource_timer.py"))]
    done = subprocess.run(
        [*resource_timer, *command],
        env=quiet_environment(environment), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    figures = json.loads(done.stdout) if done.returncode == 0 else {"code": done.returncode}
    if code := figures.pop("code"):
        raise FailedError(f"{' '.join(command)} ended with {code}:\n{done.stderr}")
    return Run(**figures)


@dataclass(frozen=True, slots=True)
class Runs:
    """Several runs of the same command."""

    runs: tuple[Run, ...]

    @property
    def wall(self) -> float:
        return median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        return median(run.cpu for run in self.runs)

    @property
    def peak(self) -> float:
        return median(run.peak for run in self.runs)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Pairs of runs of the baseline and of a subject, directly after each other."""

    database: str
    scenario: str
    subject: str
    baseline: Runs
    other: Runs

    @property
    def wall(self) -> float:
        return median(self._ratios(lambda one: one.wall))

    @property
    def spread(self) -> tuple[float, float]:
        ratios = self._ratios(lambda one: one.wall)
        return min(ratios), max(ratios)

    @property
    def cpu(self) -> float:
        return median(self._ratios(lambda one: one.cpu))

    def _ratios(self, of: Callable[[Run], float]) -> list[float]:
        # Per pair, because a temporary load of the machine affects both runs.
        return [of(other) / of(baseline) for baseline, other in zip(self.baseline.runs, self.other.runs, strict=True)]


def in_turn(pairs: int, baseline: Callable[[], Run], other: Callable[[], Run]) -> tuple[Runs, Runs]:
    """Run both in pairs, in alternating order."""
    baselines: list[Run] = []
    others: list[Run] = []
    for number in range(pairs):
        turns = [(baselines, baseline), (others, other)]
        for runs, once in turns if number % 2 == 0 else reversed(turns):
            runs.append(once())
    return Runs(tuple(baselines)), Runs(tuple(others))


def repeated(times: int, once: Callable[[], Run]) -> Runs:
    """Run it a number of times, after one run that does not count."""
    once()
    return Runs(tuple(once() for _ in range(times)))


def exponent(sizes: Iterable[float], seconds: Iterable[float]) -> float:
    """The slope of the regression line through the logarithms: 1 is twice the time for twice the size."""
    # Seconds are differences, which may be negative for tiny loads.
    return linear_regression([log(size) for size in sizes], [log(max(second, 0.001)) for second in seconds]).slope
