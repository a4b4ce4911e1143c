"""`python -m bench`: run the benchmark. `make bench` creates its environment."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from bench.databases import Database, MariaDB, PostgreSQL, SQLite
from bench.measure import ROOT, Comparison, FailedError
from bench.report import FIGURES, PROFILE, Figure, Figures, draw, table, write
from bench.scenarios import Bench, Growth, Measurement
from bench.subjects import PROGRAM_PYTHON
from bench.years import Years

DOCS = ROOT / "docs"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="runs of each subject (default: %(default)s)")
    parser.add_argument("--big", action="store_true", help="also 1,200,000 records and very large days")
    parser.add_argument("--exports", action="store_true", help="also `export`, `verify`, `backup` of 1,200,000 records")
    parser.add_argument("--growth", action="store_true", help="also the growth of a first sync with days and records")
    parser.add_argument("--accounts", action="store_true", help="also a night of 50 accounts, parallel and sequential")
    parser.add_argument("--years", action="store_true", help="also the views' queries on a year of 10 million charges")
    parser.add_argument("--profile", action="store_true", help="only the profile of W1")
    parser.add_argument(
        "--only", choices=["sqlite", "postgresql", "mariadb"], action="append", help="only this database"
    )
    parser.add_argument("--postgresql", default="postgresql://postgres@127.0.0.1:5432/postgres", metavar="URL")
    parser.add_argument("--mariadb", default="mysql://root@127.0.0.1:3306/", metavar="URL")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the records, for a quick test; writes no file"
    )
    options = parser.parse_args()
    if not PROGRAM_PYTHON.exists():
        parser.error("the program's environment is missing: run `make bench`")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as folder:
        databases, missing = _databases(options, Path(folder))
        today = datetime.now(ZoneInfo("Europe/Moscow")).date()
        yesterday = today - timedelta(days=1)
        bench = Bench(databases, Path(folder), pairs=options.pairs, scale=options.scale, last=yesterday, today=today)
        try:
            if options.profile:
                text = bench.profile()
            else:
                figures = _measure(bench, options)
                text = table(figures, databases, missing, options.pairs, load)
        except FailedError as error:
            print(error, file=sys.stderr)
            return 1
    print(text)
    if options.scale == 1 and not options.only:
        write(DOCS / "performance.md", PROFILE if options.profile else FIGURES, text)
        if not options.profile:
            draw(DOCS / "performance.svg", figures.comparisons)
    return 0


def _databases(options: argparse.Namespace, folder: Path) -> tuple[list[Database], list[str]]:
    """The requested databases that answer, and the names of the others."""
    databases: list[Database] = [SQLite(folder), PostgreSQL(options.postgresql), MariaDB(options.mariadb)]
    there: list[Database] = []
    missing = []
    for database in databases:
        if options.only and database.kind not in options.only:
            continue
        try:
            database.version()
        except Exception as error:  # noqa: BLE001 - each driver has its own errors
            print(f"{database.name} does not answer: {error}", file=sys.stderr)
            missing.append(database.name)
        else:
            there.append(database)
    return there, missing


def _measure(bench: Bench, options: argparse.Namespace) -> Figures:
    optional = {
        "big": (bench.big, bench.volume), "exports": (bench.exports,), "accounts": (bench.accounts,),
        "growth": (bench.growth,), "years": (bench.years,),
    }  # fmt: skip
    chosen = [measure for name, measures in optional.items() if getattr(options, name) for measure in measures]
    figures = Figures()
    for measure in (bench.comparisons, bench.start, bench.latency, *chosen):
        for figure in measure():
            _print(figure)
            figures.add(figure)
    return figures


def _print(figure: Figure) -> None:
    """Print a figure as soon as it is measured."""
    match figure:
        case Comparison(database, scenario, subject, baseline, other):
            print(f"{database} {scenario} {subject}: {figure.wall:.2f} × {baseline.wall:.2f} s, {other.peak:.0f} MiB")
        case Measurement(what, runs):
            print(f"{what}: {runs.wall:.2f} s, CPU {runs.cpu:.2f} s, {runs.peak:.0f} MiB")
        case Growth(database, by):
            print(f"{database} by {by}: exponent {figure.exponent:.2f}")
        case Years(database, what, rows, seconds):
            print(f"{database}, {rows:,} charges, {what}: {seconds:.3f} s")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
