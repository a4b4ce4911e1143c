"""What a run costs, and what two of them in turn say of each other."""

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
    """A whole process: wall and CPU seconds, and the peak of its memory in MiB."""

    wall: float
    cpu: float
    peak: float


class FailedError(Exception):
    """A contender ended with an error, or with another result than the records: its time means nothing."""


def quiet_environment(given: dict[str, str]) -> dict[str, str]:
    """This process's environment and what is given, without what would disturb."""
    # Without bytecode every start would compile everything anew; the settings of somebody's account are not for this.
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("BILLING_")
    }
    return kept | given


def run(command: list[str], environment: dict[str, str], folder: Path) -> Run:
    """Time a command in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    stopwatch = [sys.executable, "-I", "-S", str(Path(__file__).with_name("stopwatch.py"))]
    done = subprocess.run(
        [*stopwatch, *command],
        env=quiet_environment(environment), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    figures = json.loads(done.stdout) if done.returncode == 0 else {"code": done.returncode}
    if code := figures.pop("code"):
        raise FailedError(f"{' '.join(command)} ended with {code}:\n{done.stderr}")
    return Run(**figures)


@dataclass(frozen=True, slots=True)
class Runs:
    """Several of the same."""

    runs: tuple[Run, ...]

    @property
    def wall(self) -> float:
        return median(one.wall for one in self.runs)

    @property
    def cpu(self) -> float:
        return median(one.cpu for one in self.runs)

    @property
    def peak(self) -> float:
        return median(one.peak for one in self.runs)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Pairs of runs of the floor and of a contender, one right after the other."""

    database: str
    work: str
    contender: str
    floor: Runs
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
        # Of each pair by itself: what disturbs the machine for a while disturbs both.
        return [of(other) / of(floor) for floor, other in zip(self.floor.runs, self.other.runs, strict=True)]


def in_turn(pairs: int, floor: Callable[[], Run], other: Callable[[], Run]) -> tuple[Runs, Runs]:
    """Run both so many times; who goes first alternates."""
    floors: list[Run] = []
    others: list[Run] = []
    for number in range(pairs):
        turns = [(floors, floor), (others, other)]
        for runs, once in turns if number % 2 == 0 else reversed(turns):
            runs.append(once())
    return Runs(tuple(floors)), Runs(tuple(others))


def repeated(times: int, once: Callable[[], Run]) -> Runs:
    """Run it so many times, after one that does not count."""
    once()
    return Runs(tuple(once() for _ in range(times)))


def exponent(sizes: Iterable[float], seconds: Iterable[float]) -> float:
    """The slope of the line through the logarithms: 1 is twice the time for twice the size."""
    # Seconds are differences: of tiny loads they may come out below nothing.
    return linear_regression([log(size) for size in sizes], [log(max(second, 0.001)) for second in seconds]).slope
