"""The profile of W1: py-spy samples the stacks of all threads, and each counts for its stage."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.databases import Database
from bench.measure import FailedError, quiet_environment
from bench.records import Load
from bench.subjects import PROGRAM

RATE = 500  # samples per second
RUNS = 3

STAGES = (
    ("fetch: requests, decompression", ("etl/extract/transport", "etl/extract/deadline", "etl/extract/client")),
    ("decode JSON", ("etl/extract/json_parser",)),
    ("hand days over to the process that loads", ("etl/extract/worker",)),
    ("order, count repeats, digest", ("etl/transform/snapshots",)),
    ("find each record's canonical form", ("etl/transform/",)),
    ("sort into days, look for what is missing", ("etl/extract/",)),
    ("compare, plan the rows", ("etl/load/",)),
    (
        "give the rows to the driver, and it to the database",
        ("etl/db/dialects/", "etl/db/records", "etl/db/journal", "etl/db/rejects"),
    ),
    ("other statements, connections, schema", ("etl/db/",)),
    ("the rest: settings, start and end of the run", ("etl/",)),
)
"""Stages by module: the innermost module of the program in a stack decides; of two that match, the first."""
IMPORTS = "imports"
OUTSIDE = "the interpreter's own start and end"

# py-spy counts threads that wait in these functions as running.
_WAITS = re.compile(r"\((?:multiprocessing/connection|threading)\.py:\d+\)$")
_FRAME = re.compile(r"[(/](etl/[a-z_/]+)\.py:\d+\)$")


def profile(databases: Sequence[Database], load: Load, vendor: str, folder: Path) -> str:
    """Run W1 several times on each database under py-spy; returns the shares of its stages as a Markdown table.

    Threads that wait - for the vendor, the database, each other - are not counted.
    """
    shares = {database.name: _shares(_stacks(database, load, vendor, folder)) for database in databases}
    lines = [f"| share of W1's CPU, % | {' | '.join(shares)} |", f"| --- |{' --- |' * len(shares)}"]
    for stage in (IMPORTS, *(name for name, _ in STAGES), OUTSIDE):
        figures = " | ".join(f"{100 * share[stage]:.0f}" for share in shares.values())
        lines.append(f"| {stage} | {figures} |")
    return "\n".join(lines)


def _stacks(database: Database, load: Load, vendor: str, folder: Path) -> Counter[str]:
    stacks: Counter[str] = Counter()
    command, environment = PROGRAM.start(
        database.kind, f"{vendor}/first", database.url(PROGRAM.slug), load.first, load.last
    )
    samples = folder / "stacks.txt"
    spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--rate", str(RATE), "--format", "raw"]
    for _ in range(RUNS):
        database.empty(PROGRAM.slug)
        done = subprocess.run(
            [*spy, "--subprocesses", "--output", str(samples), "--", *command],
            env=quiet_environment(environment), cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise FailedError(f"py-spy ended with {done.returncode}:\n{done.stderr}")
        for line in samples.read_text(encoding="utf-8").splitlines():
            stack, _, times = line.rpartition(" ")
            if not _WAITS.search(stack):
                stacks[stack] += int(times)
    database.drop(PROGRAM.slug)
    return stacks


def _shares(stacks: Counter[str]) -> defaultdict[str, float]:
    shares: defaultdict[str, float] = defaultdict(float)
    for stack, times in stacks.items():
        shares[_stage(stack.split(";"))] += times / stacks.total()
    return shares


def _stage(frames: Iterable[str]) -> str:
    inwards = list(frames)
    if any("<frozen importlib" in frame for frame in inwards):
        return IMPORTS
    modules = [found[1] for frame in reversed(inwards) if (found := _FRAME.search(frame))]
    return next((name for name, begins in STAGES if modules and modules[0].startswith(begins)), OUTSIDE)
