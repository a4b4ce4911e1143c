"""The figures as tables in docs/performance.md, between two markers, and as a picture."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from bench.databases import Database
from bench.measure import Comparison, Runs
from bench.scenarios import FEW_PAIRS, Growth, Measurement
from bench.years import Years

Figure: TypeAlias = Comparison | Measurement | Growth | Years

FIGURES, PROFILE = "figures", "profile"
"""The generated parts of the document, each between two markers."""
PACKAGES = ("dlt", "msgspec", "orjson", "psycopg", "pymysql", "requests", "sqlalchemy")
COLOURS = {"billing-etl": "#1f6f8b", "SQLAlchemy Core": "#b0b7bd", "dlt": "#d8a657"}
TICKS = (0.25, 0.5, 1, 2, 5, 10, 20, 50)


@dataclass(slots=True)
class Figures:
    """All measurements."""

    comparisons: list[Comparison] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    years: list[Years] = field(default_factory=list)

    def add(self, figure: Figure) -> None:
        """Add a figure to those of its kind."""
        match figure:
            case Comparison():
                self.comparisons.append(figure)
            case Measurement():
                self.measurements.append(figure)
            case Growth():
                self.growth.append(figure)
            case Years():
                self.years.append(figure)


def table(figures: Figures, databases: Sequence[Database], missing: Sequence[str], pairs: int, load: float) -> str:
    """The generated part, as Markdown.

    Args:
        figures: The measurements.
        databases: The measured databases.
        missing: The names of databases that did not answer.
        pairs: The number of pairs of runs.
        load: The load average before the benchmark.
    """
    parts = [_circumstances(databases, missing, pairs, load)]
    if figures.comparisons:
        parts.append(_comparisons(figures.comparisons))
    if figures.measurements:
        parts.append(_measurements(figures.measurements))
    if figures.growth:
        parts.append(_growth(figures.growth))
    if figures.years:
        parts.append(_years(figures.years))
    return "\n\n".join(parts)


def write(path: Path, part: str, text: str) -> None:
    """Replace the generated text."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def draw(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Draw bars from the baseline: faster to the left, slower to the right."""
    import matplotlib as mpl

    mpl.use("svg")
    # Equal figures give equal files: no timestamp, no random names.
    mpl.rcParams |= {"svg.hashsalt": "billing-etl", "svg.fonttype": "none", "font.family": "sans-serif"}
    from matplotlib import pyplot as plt

    bars = [one for group in _by_scenario(comparisons).values() for one in group]
    figure, axes = plt.subplots(figsize=(8.5, 0.8 + 0.34 * len(bars)), layout="constrained", facecolor="white")
    positions: list[float] = []
    position = 0.0
    for group in _by_scenario(comparisons).values():
        for _one in group:
            positions.append(position)
            position += 1
        position += 0.6  # between two scenarios
    ratios = [one.wall for one in bars]
    colours = [COLOURS[one.subject] for one in bars]
    axes.barh(positions, [ratio - 1 for ratio in ratios], left=1, color=colours, height=0.8)
    for where, ratio in zip(positions, ratios, strict=True):
        label = {"x": ratio, "y": where, "s": f" {ratio:.2f} ", "va": "center", "fontsize": 9}
        axes.text(**label, ha="left" if ratio >= 1 else "right")
    axes.axvline(1, color="#333333", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(min(0.45, min(ratios) * 0.75), max(2.2, max(ratios) * 1.4))
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(positions, [f"{one.database}, {one.scenario}: {one.subject}" for one in bars], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("wall time as a multiple of the baseline of the same database (1 is the baseline; left is faster)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", color="#e6e6e6")
    axes.set_axisbelow(True)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _circumstances(databases: Sequence[Database], missing: Sequence[str], pairs: int, load: float) -> str:
    model, memory = _machine()
    servers = ", ".join(f"{database.name} {database.version()}" for database in databases)
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    system = f"{platform.system()} {platform.release()}"
    lines = [
        f"Measured on {today}: {model}, {os.cpu_count()} cores, {memory:.0f} GiB, {system}; load {load:.1f} before.",
        f"Python {platform.python_version()}, {servers}; {packages}.",
        f"Medians of {pairs} pairs (BIG, growth and slow answers: {min(pairs, FEW_PAIRS)}).",
    ]
    if missing:
        lines.append(f"Not measured, because not available: {', '.join(missing)}.")
    return "\n".join(lines)


def _machine() -> tuple[str, float]:
    """The processor's name and the memory in GiB."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (found[1] if found else platform.machine()), memory


def _by_scenario(comparisons: Sequence[Comparison]) -> dict[tuple[str, str], list[Comparison]]:
    """All comparisons of each database and scenario, in the order in which the databases were measured."""
    databases = list(dict.fromkeys(comparison.database for comparison in comparisons))
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for one in sorted(comparisons, key=lambda one: databases.index(one.database)):
        groups.setdefault((one.database, one.scenario), []).append(one)
    return groups


def _comparisons(comparisons: Sequence[Comparison]) -> str:
    lines = [
        "| database, scenario | program | wall ÷ baseline | min–max | CPU ÷ baseline | wall, s | CPU, s | peak, MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (database, scenario), group in _by_scenario(comparisons).items():
        baselines = Runs(tuple(run for one in group for run in one.baseline.runs))
        lines.append(f"| {database}, {scenario} | baseline | 1 | | 1 | {_cost(baselines)} |")
        for one in group:
            low, high = one.spread
            name = f"**{one.subject}**" if one.subject == "billing-etl" else one.subject
            ratios = f"{one.wall:.2f} | {low:.2f}–{high:.2f} | {one.cpu:.2f}"
            lines.append(f"| {database}, {scenario} | {name} | {ratios} | {_cost(one.other)} |")
    return "\n".join(lines)


def _measurements(measurements: Sequence[Measurement]) -> str:
    lines = ["| billing-etl only | wall, s | CPU, s | peak, MiB |", "| --- | --- | --- | --- |"]
    lines += [f"| {one.what} | {_cost(one.runs)} |" for one in measurements]
    return "\n".join(lines)


def _growth(growth: Sequence[Growth]) -> str:
    lines = [
        "| a first sync grows | sizes | seconds beyond a sync of one record | exponent |",
        "| --- | --- | --- | --- |",
    ]
    for one in growth:
        sizes = ", ".join(f"{size:,}" for size in one.sizes)
        seconds = ", ".join(f"{second:.2f}" for second in one.seconds)
        lines.append(f"| by {one.by}, {one.database} | {sizes} | {seconds} | {one.exponent:.2f} |")
    return "\n".join(lines)


def _cost(runs: Runs) -> str:
    return f"{runs.wall:.2f} | {runs.cpu:.2f} | {runs.peak:.0f}"


def _years(years: Sequence[Years]) -> str:
    databases = list(dict.fromkeys(entry.database for entry in years))
    seconds = {(entry.what, entry.database): entry.seconds for entry in years}
    lines = [
        f"Seconds on {years[0].rows:,} charges of one account in a year:",
        "",
        f"| query or command | {' | '.join(databases)} |",
        f"| --- |{' --- |' * len(databases)}",
    ]
    for what in dict.fromkeys(entry.what for entry in years):
        values = (seconds.get((what, database)) for database in databases)
        lines.append(f"| {what} | {' | '.join('' if value is None else f'{value:.3f}' for value in values)} |")
    return "\n".join(lines)
