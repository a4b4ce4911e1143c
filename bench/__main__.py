"""`python -m bench`: all the work, one contender after another. `make bench` sets up what it needs."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from bench.contenders import OUR_PYTHON
from bench.databases import Database, MariaDB, PostgreSQL, SQLite
from bench.measure import ROOT, Comparison, FailedError
from bench.report import FIGURES, PROFILE, Figures, draw, table, write
from bench.works import Alone, Bench, Growth
from bench.years import Years

DOCS = ROOT / "docs"

Figure = TypeVar("Figure", Comparison, Alone, Growth, Years)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="runs of each contender (default: %(default)s)")
    parser.add_argument("--big", action="store_true", help="also 1,200,000 records and days of many")
    parser.add_argument("--growth", action="store_true", help="also how a first sync grows with days and records")
    parser.add_argument("--accounts", action="store_true", help="also a night of 50 accounts, side by side or not")
    parser.add_argument("--years", action="store_true", help="also the views' queries on a year of 10 million charges")
    parser.add_argument("--profile", action="store_true", help="instead of all that: where the time of W1 goes")
    parser.add_argument(
        "--only", choices=["sqlite", "postgresql", "mariadb"], action="append", help="this database, not all"
    )
    parser.add_argument("--postgresql", default="postgresql://postgres@127.0.0.1:5432/postgres", metavar="URL")
    parser.add_argument("--mariadb", default="mysql://root@127.0.0.1:3306/", metavar="URL")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the records, to try it out; writes no file")
    options = parser.parse_args()
    if not OUR_PYTHON.exists():
        parser.error("the program's own environment is not there: run `make bench`")
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
                wanted = {name: getattr(options, name) for name in ("big", "growth", "accounts", "years")}
                figures = _measure(bench, **wanted)
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
    """The databases wanted that answer, and the names of those that do not."""
    databases: list[Database] = [SQLite(folder), PostgreSQL(options.postgresql), MariaDB(options.mariadb)]
    there: list[Database] = []
    missing = []
    for database in databases:
        if options.only and database.kind not in options.only:
            continue
        try:
            database.version()
        except Exception as error:  # noqa: BLE001 - each driver has errors of its own; all mean the same here
            print(f"{database.name} does not answer: {error}", file=sys.stderr)
            missing.append(database.name)
        else:
            there.append(database)
    return there, missing


def _measure(bench: Bench, *, big: bool, growth: bool, accounts: bool, years: bool) -> Figures:
    figures = Figures()
    for comparison in bench.comparisons():
        figures.comparisons.append(_told(comparison))
    for alone in (*bench.start(), *bench.latency()):
        figures.alone.append(_told(alone))
    if big:
        for comparison in bench.big():
            figures.comparisons.append(_told(comparison))
        for alone in bench.volume():
            figures.alone.append(_told(alone))
    if accounts:
        for alone in bench.accounts():
            figures.alone.append(_told(alone))
    if growth:
        for grown in bench.growth():
            figures.growth.append(_told(grown))
    if years:
        figures.years.extend(map(_told, bench.years()))
    return figures


def _told(figure: Figure) -> Figure:
    """Say each figure as soon as it is there: the whole takes its time."""
    match figure:
        case Comparison(database, work, contender, floor, other):
            print(f"{database} {work} {contender}: {figure.wall:.2f} × {floor.wall:.2f} s, {other.peak:.0f} MiB")
        case Alone(what, runs):
            print(f"{what}: {runs.wall:.2f} s, CPU {runs.cpu:.2f} s, {runs.peak:.0f} MiB")
        case Growth(database, by):
            print(f"{database} by {by}: exponent {figure.exponent:.2f}")
        case Years(database, what, rows, seconds):
            print(f"{database}, {rows:,} charges, {what}: {seconds:.3f} s")
    sys.stdout.flush()
    return figure


if __name__ == "__main__":
    sys.exit(main())
